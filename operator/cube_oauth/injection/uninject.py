"""``uninject``: what was injected into a pod template, taken out again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cube_oauth.injection import layout, node_options
from cube_oauth.injection.checks import ALLOWED_VARIABLES, PREFIX
from cube_oauth.injection.facts import Container, Json, Pod
from cube_oauth.injection.jsonpatch import Operation, remove, remove_items
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VOLUMES = frozenset({layout.SHARED_VOLUME, layout.TOKEN_VOLUME})
Variables = tuple["Mapping[str, Any]", ...]


def uninject(manifest: Json) -> tuple[Operation, ...]:
    """The JSON patch that takes hook and sidecar out of a Pod (or of ``{"metadata", "spec"}``); empty when they are not in it."""
    pod, spec = Pod.of(manifest), manifest.get("spec") or {}
    if not pod.injected:
        return ()
    return (
        *_annotation(pod.annotations or {}),
        *_without(spec["initContainers"], frozenset({layout.SIDECAR}), "spec", "initContainers"),
        *_without(spec.get("volumes") or (), VOLUMES, "spec", "volumes"),
        *(operation for container in pod.containers for operation in _container(container)),
    )


def _annotation(annotations: Mapping[str, str]) -> list[Operation]:
    if names.INJECTED_ANNOTATION not in annotations:
        return []
    path = ("metadata", "annotations")
    return [remove(*path) if len(annotations) == 1 else remove(*path, names.INJECTED_ANNOTATION)]


def _without(items: Sequence[Mapping[str, Any]], ours: frozenset[str], *path: str | int) -> list[Operation]:
    """Remove the items of these names."""
    return remove_items([index for index, item in enumerate(items) if item["name"] in ours], len(items), *path)


def _container(container: Container) -> list[Operation]:
    if layout.SOCKET_VARIABLE not in container.variables:
        return []
    path = ("spec", "containers", container.index)
    return [
        *_without(container.mounts or (), VOLUMES, *path, "volumeMounts"),
        *_environment(container, *path, "env"),
    ]


def _environment(container: Container, *path: str | int) -> list[Operation]:
    """The variables of ours gone, and NODE_OPTIONS as it was: what stands before ours was there before."""
    env = container.env or ()
    begin = [variable["name"] for variable in env].index(layout.SOCKET_VARIABLE)
    ours = _names(env[begin:])
    gone = [begin + index for index, variable in enumerate(env[begin:]) if variable["name"] in ours]
    return [*remove_items(gone, len(env), *path), *node_options.restored(container, env[:begin], *path)]


def _names(added: Variables) -> set[str]:
    """Which of the variables from ours on are ours."""
    account = {name for variable in added if variable["name"] == layout.ACCOUNT_VARIABLE for name in variable["value"].split(",")}
    prefixed = {variable["name"] for variable in added if variable["name"].startswith(PREFIX)} - ALLOWED_VARIABLES
    return account | prefixed | {node_options.NODE_OPTIONS}
