"""Finds the pod templates in manifests, and edits the text of those that change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cube_oauth.cli.edit import LayoutError, documents, edited, load
from cube_oauth.injection.checks import Reason
from cube_oauth.injection.inject import inject
from cube_oauth.injection.jsonpatch import Operation, below
from cube_oauth.injection.uninject import uninject
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cube_oauth.injection.facts import App, Settings

Json = dict[str, Any]

MISPLACED = f"the label {names.INJECT_LABEL} stands on the object itself; it belongs in the pod template's metadata"


class RefusedError(ValueError):
    """Pods cannot be injected; the message names the objects, one a line, and says what to change."""


@dataclass(frozen=True)
class Template:
    """A pod template in a document."""

    title: str
    """Kind and name of the object, for messages."""
    path: tuple[str | int, ...]
    manifest: Json
    owner_labels: Json
    """The labels of the object itself."""


def templates(document: Any, path: tuple[str | int, ...] = (), of: Json | None = None) -> Iterator[Template]:
    """The pod templates of a document, wherever they stand: in a Deployment, a CronJob, a kind that is not known here, in Lists.

    ``of`` is the object that the document is a part of.
    """
    if isinstance(document, list):
        for index, item in enumerate(document):
            yield from templates(item, (*path, index), of)
    if not isinstance(document, dict):
        return
    of = document if "kind" in document else of or document
    if _is_pod(document):
        meta = of.get("metadata") or {}
        title = f"{of.get('kind', 'object')} {meta.get('name') or meta.get('generateName', '')}"
        yield Template(title, path, document, meta.get("labels") or {})
        return
    for key, value in document.items():
        yield from templates(value, (*path, key), of)


def _is_pod(manifest: Json) -> bool:
    """A Pod, or what is made one. Other kinds may have ``spec.containers``, too."""
    spec = manifest.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    named = isinstance(containers, list) and any(isinstance(item, dict) and "name" in item for item in containers)
    return named and manifest.get("kind", "Pod") == "Pod"


def changed(text: str, change: Callable[[Template], Sequence[Operation]]) -> str:
    """The stream with what ``change`` says about its pod templates. Raises RefusedError, yaml.YAMLError."""
    refused: list[str] = []
    parts = [_document(part, change, refused) if names.GROUP in part else part for part in documents(text)]
    if refused:
        raise RefusedError("\n".join(refused))
    return "".join(parts)


def _document(text: str, change: Callable[[Template], Sequence[Operation]], refused: list[str]) -> str:
    for template in templates(load(text)):
        try:
            if patch := change(template):
                text = edited(text, below(template.path, patch))
        except (LayoutError, RefusedError) as error:
            refused.append(f"{template.title}: {error}")
        except (AttributeError, TypeError, ValueError):  # the webhook's pods have passed the API server's schema
            refused.append(f"{template.title}: this is no pod that Kubernetes knows")
    return text


def injecting(
    settings: Settings, apps: Sequence[App] | None, say: Callable[[str], None]
) -> Callable[[Template], Sequence[Operation]]:
    """A change that injects, and says of each object that asks for it what became of it. It raises RefusedError."""

    def change(template: Template) -> Sequence[Operation]:
        outcome = inject(template.manifest, settings, apps, offline=True)
        if outcome.refusal:
            raise RefusedError(outcome.refusal)
        if outcome.reason is not Reason.NOT_REQUESTED:
            say(f"{template.title}: {outcome.reason}")
        elif names.INJECT_LABEL in template.owner_labels:
            say(f"warning: {template.title}: {MISPLACED}")
        for warning in outcome.warnings:
            say(f"warning: {template.title}: {warning}")
        return outcome.patch

    return change


def uninjecting(say: Callable[[str], None]) -> Callable[[Template], Sequence[Operation]]:
    """A change that takes out what was injected."""

    def change(template: Template) -> Sequence[Operation]:
        patch = uninject(template.manifest)
        if patch:
            say(f"{template.title}: Uninjected")
        return patch

    return change
