"""Finds the pod templates in manifests, and edits the text of those that change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from cube_oauth.cli.edit import LayoutError, documents, edited
from cube_oauth.injection.checks import Reason
from cube_oauth.injection.inject import inject
from cube_oauth.injection.jsonpatch import Operation, below
from cube_oauth.injection.uninject import uninject
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cube_oauth.injection.facts import App, Settings

Json = dict[str, Any]

TEMPLATES = ((), ("spec", "template"), ("spec", "jobTemplate", "spec", "template"))
"""Where a pod's metadata and spec stand: in a Pod, in what has a template (Deployment, Job, a Rollout …), in a CronJob."""


class RefusedError(ValueError):
    """A pod cannot be injected; the message names the object and says what to change."""


@dataclass(frozen=True)
class Template:
    """A pod template in a document."""

    title: str
    """Kind and name of the object, for messages."""
    path: tuple[str | int, ...]
    manifest: Json
    owner_labels: Json
    """The labels of the object itself."""


def templates(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[Template]:
    """The pod templates of a document, those of a List's items included."""
    if not isinstance(document, dict):
        return
    if isinstance(document.get("items"), list):
        for index, item in enumerate(document["items"]):
            yield from templates(item, (*path, "items", index))
        return
    meta = document.get("metadata") or {}
    for place in TEMPLATES:
        if _is_pod(found := _at(document, place)):
            title = f"{document.get('kind', 'object')} {meta.get('name') or meta.get('generateName', '')}"
            yield Template(title, (*path, *place), found, meta.get("labels") or {})
            return


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _is_pod(manifest: Any) -> bool:
    return isinstance(manifest, dict) and isinstance(manifest.get("spec"), dict) and bool(manifest["spec"].get("containers"))


def changed(text: str, change: Callable[[Template], Sequence[Operation]]) -> str:
    """The stream with what ``change`` says about its pod templates. Raises RefusedError, yaml.YAMLError."""
    return "".join(_document(part, change) if names.INJECT_LABEL in part else part for part in documents(text))


def _document(text: str, change: Callable[[Template], Sequence[Operation]]) -> str:
    for template in templates(yaml.safe_load(text)):
        try:
            text = edited(text, below(template.path, change(template)))
        except LayoutError as error:
            raise RefusedError(f"{template.title}: {error}") from error
    return text


def injecting(
    settings: Settings, apps: Sequence[App] | None, say: Callable[[str], None]
) -> Callable[[Template], Sequence[Operation]]:
    """A change that injects, and says of each object that asks for it what became of it. It raises RefusedError."""

    def change(template: Template) -> Sequence[Operation]:
        outcome = inject(template.manifest, settings, apps, offline=True)
        if outcome.refusal:
            raise RefusedError(f"{template.title}: {outcome.refusal}")
        if outcome.reason is not Reason.NOT_REQUESTED:
            say(f"{template.title}: {outcome.reason}")
        elif names.INJECT_LABEL in template.owner_labels:
            say(f"warning: {template.title}: {MISPLACED}")
        for warning in outcome.warnings:
            say(f"warning: {template.title}: {warning}")
        return outcome.patch

    return change


MISPLACED = f"the label {names.INJECT_LABEL} stands on the object itself; it belongs in the pod template's metadata"


def uninjecting(say: Callable[[str], None]) -> Callable[[Template], Sequence[Operation]]:
    """A change that takes out what was injected."""

    def change(template: Template) -> Sequence[Operation]:
        patch = uninject(template.manifest)
        if patch:
            say(f"{template.title}: Uninjected")
        return patch

    return change
