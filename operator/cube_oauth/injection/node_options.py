"""``NODE_OPTIONS`` with our hook behind whatever it held, wherever that came from; and back again."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from cube_oauth.injection import layout
from cube_oauth.injection.jsonpatch import Operation, add, remove, replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cube_oauth.injection.facts import Container, EnvSource, Json

NODE_OPTIONS, REQUIRE = layout.NODE_OPTIONS, layout.REQUIRE
FORMER = "CUBE_OAUTH_NODE_OPTIONS"
"""Holds a NODE_OPTIONS whose value is not in the pod, so that ours can begin with it."""
EXPANDED = {"name": NODE_OPTIONS, "value": f"$({FORMER}) {REQUIRE}"}
"""The kubelet expands what stands earlier in ``env``."""
EMPTY = {"name": FORMER, "value": ""}
EARLIER = {"name": FORMER, "value": f"$({NODE_OPTIONS})"}
"""The one that a later NODE_OPTIONS would override."""


def changed(cube: Container, *, offline: bool) -> list[Operation]:
    """What changes in a NODE_OPTIONS that stands in ``env``; of several the last that is there counts, as for the kubelet.

    An optional one (``valueFrom``) may be absent. Then an earlier one counts, or ``envFrom``, or there is none, and without a value
    ``$(…)`` would stay as it is and Node.js not start: so what counts then comes before it, where two variables of one name are
    possible.
    """
    path = ("spec", "containers", cube.index, "env")
    env = cube.env or ()
    found = [index for index, variable in enumerate(env) if variable.get("name") == NODE_OPTIONS]
    if not found:
        return []
    last = env[found[-1]]
    if "valueFrom" not in last:
        return _appended(str(last.get("value") or ""), *path, found[-1], "value")
    optional = sorted(takewhile(lambda index: _may_be_absent(env[index]), reversed(found)))
    moved = [replace(FORMER, *path, index, "name") for index in optional or found[-1:]]
    before = _before(cube, certain=len(optional) < len(found)) if optional and not offline else []
    return [*moved, *(add(item, *path, optional[0]) for item in reversed(before))]


def _appended(value: str, *path: str | int) -> list[Operation]:
    return [] if REQUIRE in value.split() else [add(f"{value} {REQUIRE}" if value else REQUIRE, *path)]


def _may_be_absent(variable: Mapping[str, Any]) -> bool:
    return any(isinstance(source, dict) and source.get("optional") for source in (variable.get("valueFrom") or {}).values())


def _before(cube: Container, *, certain: bool) -> list[Json]:
    """What counts when no optional one is there; ``certain``: one stands before them that surely is."""
    return [EARLIER] if certain else [EMPTY, *_sources(cube.env_from)]


def _sources(env_from: Sequence[EnvSource]) -> list[Json]:
    return [found for source in env_from if (found := _optional(source))]


def added(cube: Container, *, offline: bool) -> list[Json]:
    """The variables to append to ``env``.

    Nobody but the kubelet knows whether ``envFrom`` has a NODE_OPTIONS, and one in ``env`` would override it in silence. So each
    source is asked for that key, which may be absent; the kubelet takes the last that is there, and the empty one before them when
    none is. A manifest that tools go on to apply cannot hold two variables of one name: offline, people are warned instead.
    """
    present = _present(cube)
    if present is not None:
        return [EXPANDED] if "valueFrom" in present else []
    sources = [] if offline else _sources(cube.env_from)
    return [EMPTY, *sources, EXPANDED] if sources else [{"name": NODE_OPTIONS, "value": REQUIRE}]


def _present(cube: Container) -> Mapping[str, Any] | None:
    """The NODE_OPTIONS of ``env`` that counts."""
    return next((variable for variable in reversed(cube.env or ()) if variable.get("name") == NODE_OPTIONS), None)


def _optional(source: EnvSource) -> Json | None:
    key = source.key(NODE_OPTIONS)
    return {"name": FORMER, "valueFrom": {source.reference: {"name": source.name, "key": key, "optional": True}}} if key else None


def warnings(cube: Container, *, offline: bool) -> list[str]:
    """What could be lost."""
    present = _present(cube)
    if offline and present and _may_be_absent(present):
        return [
            f"container {cube.name}: where the optional source of NODE_OPTIONS has none, Node.js does not start; remove optional"
        ]
    sources = [source.name for source in cube.env_from if source.key(NODE_OPTIONS)]
    if not offline or not sources or present:
        return []
    warning = (
        f"container {cube.name}: if envFrom ({', '.join(sources)}) has NODE_OPTIONS, it no longer counts; "
        "set NODE_OPTIONS in env instead, and the hook is appended to it"
    )
    return [warning]


def restored(container: Container, before: Sequence[Mapping[str, Any]], *path: str | int) -> list[Operation]:
    """The inverse of ``changed``, for the variables that stood before ours."""
    ours = _inserted(container, before)
    operations = []
    for index, variable in reversed(list(enumerate(before))):
        if index in ours:
            operations.append(remove(*path, index))
        elif variable["name"] == FORMER:
            operations.append(replace(NODE_OPTIONS, *path, index, "name"))
        elif variable["name"] == NODE_OPTIONS and str(variable.get("value", "")).endswith(REQUIRE):
            operations.append(replace(variable["value"].removesuffix(REQUIRE).removesuffix(" "), *path, index, "value"))
    return operations


def _inserted(container: Container, before: Sequence[Mapping[str, Any]]) -> range:
    """Where ``_before`` was put: it begins with one of two that are never anybody else's."""
    first = next((index for index, variable in enumerate(before) if variable in (EMPTY, EARLIER)), None)
    if first is None:
        return range(0)
    return range(first, first + len(_before(container, certain=before[first] == EARLIER)))
