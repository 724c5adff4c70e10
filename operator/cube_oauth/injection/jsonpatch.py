"""The part of RFC 6902 that injection needs: ``add`` and ``replace``."""

from __future__ import annotations

import copy
from typing import Any

Operation = dict[str, Any]


def pointer(*parts: str | int) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def add(value: Any, *path: str | int) -> Operation:
    """Insert into a list (``-`` appends), or set a member."""
    return {"op": "add", "path": pointer(*path), "value": value}


def replace(value: Any, *path: str | int) -> Operation:
    """Replace what is there."""
    return {"op": "replace", "path": pointer(*path), "value": value}


def append(items: list[Any], existing: object, *path: str | int) -> list[Operation]:
    """Append ``items`` to a list that is created when it is absent (``existing`` is None)."""
    if not items:
        return []
    return [add(items, *path)] if existing is None else [add(item, *path, "-") for item in items]


def apply(document: dict[str, Any], patch: tuple[Operation, ...]) -> dict[str, Any]:
    """A copy of ``document`` with the operations applied."""
    result = copy.deepcopy(document)
    for operation in patch:
        _apply(result, operation)
    return result


def _apply(document: Any, operation: Operation) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for part in parents:
        document = document[int(part)] if isinstance(document, list) else document[part]
    value = copy.deepcopy(operation["value"])
    if not isinstance(document, list):
        document[last] = value
    elif operation["op"] == "replace":
        document[int(last)] = value
    else:
        document.insert(len(document) if last == "-" else int(last), value)
