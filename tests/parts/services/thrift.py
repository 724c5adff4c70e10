"""Thrift's binary protocol, as much as one reply of a server takes: a value knows its type and is encoded when it is made."""

import struct as packing
from dataclasses import dataclass
from typing import Any

BOOL, I32, I64, STRING, STRUCT, MAP, SET, LIST = 2, 8, 10, 11, 12, 13, 14, 15
FIXED = {BOOL: ">?", 3: ">b", 4: ">d", 6: ">h", I32: ">i", I64: ">q"}
CALL, REPLY = 1, 2
VERSION = 0x80010000


@dataclass(frozen=True)
class Value:
    """A value of one of Thrift's types."""

    kind: int
    data: bytes


def flag(yes: bool) -> Value:
    return Value(BOOL, packing.pack(">?", yes))


def i32(number: int) -> Value:
    return Value(I32, packing.pack(">i", number))


def i64(number: int) -> Value:
    return Value(I64, packing.pack(">q", number))


def text(words: str | bytes) -> Value:
    content = words.encode() if isinstance(words, str) else words
    return Value(STRING, packing.pack(">i", len(content)) + content)


def struct(fields: dict[int, Value]) -> Value:
    """Make a struct (or a union) of fields by their ids."""
    content = b"".join(packing.pack(">bh", value.kind, number) + value.data for number, value in fields.items())
    return Value(STRUCT, content + b"\0")


def sequence(*items: Value) -> Value:
    return Value(LIST, packing.pack(">bi", items[0].kind, len(items)) + b"".join(item.data for item in items))


def reply(method: str, number: int, result: Value) -> bytes:
    """Encode what a method returned."""
    return packing.pack(">I", VERSION | REPLY) + text(method).data + packing.pack(">i", number) + struct({0: result}).data


def call(message: bytes) -> tuple[str, int, dict[int, Any]]:
    """Read a call: the method, its number, and its arguments by their ids."""
    reader = _Reader(message)
    if reader.fixed(">I") != VERSION | CALL:
        raise ValueError("not a call of Thrift's binary protocol")
    return reader.value(STRING).decode(), reader.fixed(">i"), reader.value(STRUCT)


class _Reader:
    def __init__(self, message: bytes):
        self.message = message
        self.at = 0

    def fixed(self, form: str) -> Any:
        [value] = packing.unpack_from(form, self.message, self.at)
        self.at += packing.calcsize(form)
        return value

    def value(self, kind: int) -> Any:
        if kind in FIXED:
            return self.fixed(FIXED[kind])
        if kind == STRING:
            size = self.fixed(">i")
            self.at += size
            return self.message[self.at - size : self.at]
        if kind == STRUCT:
            fields = {}
            while field := self.fixed(">b"):
                number = self.fixed(">h")
                fields[number] = self.value(field)
            return fields
        if kind == MAP:
            keys, values, size = self.fixed(">b"), self.fixed(">b"), self.fixed(">i")
            return {self.value(keys): self.value(values) for _ in range(size)}
        items, size = self.fixed(">b"), self.fixed(">i")
        return [self.value(items) for _ in range(size)]
