"""Why a request was refused: one word for the metric and the log, and the page's texts in ``texts.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Kept:
    """What was typed, and where it is shown again."""

    address: str
    fields: Mapping[str, str]


class RefusedError(Exception):
    """The person gets the page ``refused.<word>`` with ``values`` in it, and a link to ``retry`` when there is one."""

    def __init__(
        self, word: str, status: int = 400, *, retry: str | None = None, wait: int = 0, kept: Kept | None = None, **values: object
    ) -> None:
        super().__init__(word)
        self.word = word
        self.status = status
        self.retry = retry
        self.wait = wait
        """Seconds, for ``Retry-After``."""
        self.kept = kept
        """What the person would have to type again."""
        self.values = values
