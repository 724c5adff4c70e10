"""The operations of RFC 6902 that injection makes: ``add`` and ``replace``."""

from __future__ import annotations

from typing import Any

from jsonpatch import apply_patch
from jsonpointer import JsonPointer

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


def append(items: list[Any], existing: object, *path: str | int) -> list[Operation]:
    """Append ``items`` to a list that is created when it is absent (``existing`` is None)."""
    if not items:
        return []
    return [add(items, *path)] if existing is None else [add(item, *path, "-") for item in items]


def apply(document: dict[str, Any], patch: tuple[Operation, ...]) -> dict[str, Any]:
    """A copy of ``document`` with the operations applied."""
    patched: dict[str, Any] = apply_patch(document, list(patch))
    return patched
