"""``NODE_OPTIONS`` with our hook behind whatever it held, wherever that came from; and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cube_oauth.injection import layout
from cube_oauth.injection.jsonpatch import Operation, add, replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cube_oauth.injection.facts import Container, EnvSource, Json

NODE_OPTIONS = "NODE_OPTIONS"
REQUIRE = f"--require={layout.HOOK}"
FORMER = "CUBE_OAUTH_NODE_OPTIONS"
"""Holds a NODE_OPTIONS whose value is not in the pod, so that ours can begin with it."""
EXPANDED = {"name": NODE_OPTIONS, "value": f"$({FORMER}) {REQUIRE}"}
"""The kubelet expands what stands earlier in ``env``."""


def changed(cube: Container) -> list[Operation]:
    """What changes in a NODE_OPTIONS that stands in ``env``; of several the last counts, as for the kubelet."""
    path = ("spec", "containers", cube.index, "env")
    for index, variable in reversed(list(enumerate(cube.env or ()))):
        if variable.get("name") == NODE_OPTIONS:
            if "valueFrom" in variable:
                return [replace(FORMER, *path, index, "name")]
            return [add(f"{variable.get('value') or ''} {REQUIRE}".strip(), *path, index, "value")]
    return []


def added(cube: Container, *, offline: bool) -> list[Json]:
    """The variables to append to ``env``.

    Nobody but the kubelet knows whether ``envFrom`` has a NODE_OPTIONS, and one in ``env`` would override it in silence. So each
    source is asked for that key, which may be absent; the kubelet takes the last that is there, and the empty one before them when
    none is. A manifest that tools go on to apply cannot hold two variables of one name: offline, people are warned instead.
    """
    for variable in cube.env or ():
        if variable.get("name") == NODE_OPTIONS:
            return [EXPANDED] if _moved(cube) else []
    sources = [] if offline else [found for source in cube.env_from if (found := _optional(source))]
    return [{"name": FORMER, "value": ""}, *sources, EXPANDED] if sources else [{"name": NODE_OPTIONS, "value": REQUIRE}]


def _moved(cube: Container) -> bool:
    return any(operation["op"] == "replace" for operation in changed(cube))


def _optional(source: EnvSource) -> Json | None:
    key = source.key(NODE_OPTIONS)
    return {"name": FORMER, "valueFrom": {source.reference: {"name": source.name, "key": key, "optional": True}}} if key else None


def warnings(cube: Container, *, offline: bool) -> list[str]:
    """What could be lost."""
    sources = [source.name for source in cube.env_from if source.key(NODE_OPTIONS)]
    if not offline or not sources or NODE_OPTIONS in cube.variables:
        return []
    warning = (
        f"container {cube.name}: if envFrom ({', '.join(sources)}) has NODE_OPTIONS, it no longer counts; "
        "set NODE_OPTIONS in env instead, and the hook is appended to it"
    )
    return [warning]


def restored(before: Sequence[Mapping[str, Any]], *path: str | int) -> list[Operation]:
    """The inverse of ``changed``, for the variables that stood before ours."""
    operations = []
    for index, variable in enumerate(before):
        if variable["name"] == FORMER:
            operations.append(replace(NODE_OPTIONS, *path, index, "name"))
        elif variable["name"] == NODE_OPTIONS and str(variable.get("value", "")).endswith(REQUIRE):
            operations.append(replace(variable["value"].removesuffix(REQUIRE).rstrip(), *path, index, "value"))
    return operations
