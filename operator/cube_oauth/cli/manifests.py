"""Finds the pod templates in manifests and injects them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cube_oauth.injection.inject import inject
from cube_oauth.injection.jsonpatch import apply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cube_oauth.injection.facts import App, Settings

Json = dict[str, Any]

TEMPLATES = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Kind → where its pod template is."""


class RefusedError(ValueError):
    """A pod cannot be injected; the message names the object and says what to change."""


def injected(document: Any, settings: Settings, apps: Sequence[App] | None, warn: Callable[[str], None]) -> Any:
    """The document with its pod templates injected; whatever has none stays as it is. Raises RefusedError."""
    if not isinstance(document, dict):
        return document
    if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
        return {**document, "items": [injected(item, settings, apps, warn) for item in document["items"]]}
    path = TEMPLATES.get(str(document.get("kind")))
    if path is None:
        return document
    name = f"{document['kind']} {(document.get('metadata') or {}).get('name', '')}"

    def change(template: Json) -> Json:
        outcome = inject(template, settings, apps)
        if outcome.refusal:
            raise RefusedError(f"{name}: {outcome.refusal}")
        for warning in outcome.warnings:
            warn(f"{name}: {warning}")
        return apply(template, outcome.patch)

    return _changed(document, path, change)


def _changed(document: Json, path: tuple[str, ...], change: Callable[[Json], Json]) -> Json:
    """A copy of ``document`` with what is at ``path`` changed; unchanged when there is nothing."""
    if not path:
        return change(document)
    first, *rest = path
    part = document.get(first)
    return {**document, first: _changed(part, tuple(rest), change)} if isinstance(part, dict) else document
