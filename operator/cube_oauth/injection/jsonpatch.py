"""The operations of RFC 6902 that injection makes: ``add`` and ``replace``, and ``remove`` to undo them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonpatch import apply_patch
from jsonpointer import JsonPointer

if TYPE_CHECKING:
    from collections.abc import Sequence

Operation = dict[str, Any]


def pointer(*parts: str | int) -> str:
    """A JSON Pointer (RFC 6901)."""
    return str(JsonPointer.from_parts(parts).path)


def add(value: Any, *path: str | int) -> Operation:
    """Insert into a list (``-`` appends), or set a member."""
    return {"op": "add", "path": pointer(*path), "value": value}


def replace(value: Any, *path: str | int) -> Operation:
    """Replace what is there."""
    return {"op": "replace", "path": pointer(*path), "value": value}


def remove(*path: str | int) -> Operation:
    """Remove a member or an item."""
    return {"op": "remove", "path": pointer(*path)}


def remove_items(indices: Sequence[int], length: int, *path: str | int) -> list[Operation]:
    """Remove items of a list of ``length``, the last first; the list itself when nothing would be left."""
    if indices and len(indices) == length:
        return [remove(*path)]
    return [remove(*path, index) for index in sorted(indices, reverse=True)]


def append(items: list[Any], existing: object, *path: str | int) -> list[Operation]:
    """Append ``items`` to a list that is created when it is absent (``existing`` is None)."""
    if not items:
        return []
    return [add(items, *path)] if existing is None else [add(item, *path, "-") for item in items]


def apply(document: dict[str, Any], patch: tuple[Operation, ...]) -> dict[str, Any]:
    """A copy of ``document`` with the operations applied."""
    patched: dict[str, Any] = apply_patch(document, list(patch))
    return patched


def below(path: tuple[str | int, ...], patch: Sequence[Operation]) -> list[Operation]:
    """The patch of a part as a patch of the whole."""
    return [{**operation, "path": pointer(*path) + operation["path"]} for operation in patch]
