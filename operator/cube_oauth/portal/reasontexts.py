"""The controller's sentences and the presets' words as part of the catalogue, from the tables where they are written. Pure.

The controller writes English into conditions; a page says the same from the reason, in the reader's language. So a reason without
a translation is a missing key of a catalogue, which a test finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import escape

from cube_oauth.lifecycle import apps, authorize, deposits
from cube_oauth.providers import PRESETS, errors
from cube_oauth.resources.usercredential import USERNAME_SENTENCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROVIDER, APP, GRANT = "reason.provider", "reason.app", "reason.grant"
"""Prefixes: a provider's errors; what is wrong with an OAuthApp; why an authorization was refused."""


def _sentences() -> Iterator[tuple[str, str]]:
    yield from ((f"{PROVIDER}.{reason.word}", reason.message) for reason in errors.REASONS)
    yield from ((f"{APP}.{problem.reason}", problem.message) for problem in (*apps.PROBLEMS, *deposits.PROBLEMS))
    yield f"{APP}.{deposits.TRIED}", deposits.TRIED_SENTENCE
    yield from ((f"{GRANT}.{word}", sentence) for word, sentence in authorize.SENTENCES.items())
    yield from ((f"username.{word}", sentence) for word, sentence in USERNAME_SENTENCES.items())


def _presets() -> Iterator[tuple[str, str]]:
    for name, known in PRESETS.items():
        yield f"preset.{name}", known.title
        yield from ((f"advice.{name}.{parameter.name}", parameter.advice) for parameter in known.parameters)


def _escaped(texts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The catalogue's texts are markup; these are not."""
    return {key: str(escape(text)) for key, text in texts}


ENGLISH_REASONS = _escaped((*_sentences(), *_presets()))
