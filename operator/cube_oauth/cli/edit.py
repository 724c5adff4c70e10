"""Edits YAML as text: a JSON patch changes the lines that it is about, and comments, order and layout of all others stay.

Every operation is found by the marks of PyYAML's nodes. What was edited is read again and compared with the patched data, so that
a layout which was not understood is refused, never written.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import yaml
from jsonpointer import JsonPointer
from yaml.composer import Composer
from yaml.resolver import Resolver

from cube_oauth.injection.jsonpatch import apply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cube_oauth.injection.jsonpatch import Operation

ENDLESS = 1_000_000
"""The width of a line that is never folded."""
DOCUMENT = re.compile(r"^(?=---(?:\s|$))", re.MULTILINE)
COMMENT_OR_BLANK = re.compile(r"\s*(#|$)")
PARSERS = (getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader)
"""libyaml first: it takes tabs, as kubectl does, and is ten times as fast. PyYAML's own takes the surrogate pairs of JSON."""


class LayoutError(ValueError):
    """The text is laid out in a way that cannot be edited; the message says what to change."""


def documents(text: str) -> list[str]:
    """The documents of a YAML stream, or the objects of a JSON stream, as text; joined they are ``text`` again."""
    return [document for part in DOCUMENT.split(text) for document in _json_objects(part) if document]


def _json_objects(text: str) -> list[str]:
    """JSON objects that follow one another; anything else as it is."""
    starts, decoder = [0], json.JSONDecoder()
    try:
        while text.startswith("{", starts[-1]):
            _, end = decoder.raw_decode(text, starts[-1])
            starts.append(len(text) - len(text[end:].lstrip()))
    except ValueError:  # a flow mapping of YAML
        return [text]
    return [text[start:end] for start, end in pairwise([*starts, len(text)])]


def load(text: str) -> Any:
    """What a document says, without shared parts: an alias is a copy. Raises yaml.YAMLError, ValueError."""
    return json.loads(json.dumps(_parsed(lambda parser: parser(text).get_single_data()), default=str))


def _parsed(read: Callable[[Any], Any]) -> Any:
    """What the first parser that understands the text makes of it."""
    first, second = PARSERS
    try:
        return read(first)
    except yaml.YAMLError:
        return read(second)


def edited(text: str, patch: Sequence[Operation]) -> str:
    """One document with the operations ``add``, ``replace`` and ``remove`` applied. Raises LayoutError, yaml.YAMLError.

    A flow collection (``[…]``, ``{…}``) that is removed from lines of block style stays, empty: what is added there is in block
    style, so its author wrote it.
    """
    newline = "\r\n" if 0 < text.count("\r\n") == text.count("\n") else "\n"  # of both kinds, each line keeps its own
    changed = text.replace(newline, "\n")
    ends = changed.endswith("\n")
    if not ends and load(changed) != load(f"{changed}\n"):
        raise LayoutError("its last line belongs to a block of text (|, >) and has no end; put a newline behind it")
    changed = changed if ends else f"{changed}\n"
    try:
        for operation in patch:
            changed = _Edit(changed).apply(operation)
        understood = _without_empty(load(changed)) == _without_empty(apply(load(text), tuple(patch)))
    except yaml.YAMLError:
        understood = False
    if not understood:
        raise LayoutError("a YAML anchor or merge key (&, *, <<) stands where something must change; write out what it stands for")
    return (changed if ends else changed[:-1]).replace("\n", newline)


def _without_empty(data: Any) -> Any:
    """``data`` without members that are null, ``[]`` or ``{}``: the API server sees no difference."""
    if isinstance(data, dict):
        kept = {key: _without_empty(value) for key, value in data.items()}
        return {key: value for key, value in kept.items() if value not in (None, [], {})}
    return [_without_empty(item) for item in data] if isinstance(data, list) else data


class _Composer(Composer, Resolver):
    """Composes an alias as a leaf: its node would carry the marks of the anchor."""

    def __init__(self, parser: Any) -> None:
        Composer.__init__(self)
        Resolver.__init__(self)
        self.check_event, self.peek_event, self.get_event = parser.check_event, parser.peek_event, parser.get_event

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            return yaml.ScalarNode("alias", f"*{event.anchor}", event.start_mark, event.end_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


Entry = tuple[yaml.Node, yaml.Node]
"""Where a member begins (its key, or the item itself), and its value."""


class _Edit:
    """One operation on one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.splitlines(keepends=True)

    def apply(self, operation: Operation) -> str:
        """The text afterwards."""
        *path, last = JsonPointer(operation["path"]).parts
        parent = _parsed(lambda parser: _Composer(parser(self._text)).get_single_node())
        for part in path:
            parent = self._entry(parent, part)[1]
        if operation["op"] == "remove":
            return self._remove(parent, last)
        if isinstance(parent, yaml.SequenceNode):
            return self._insert(parent, last, operation["value"])
        known = {key.value for key, _ in _pairs(parent)}
        if last in known:
            return self._set(self._entry(parent, last)[1], operation["value"])
        return self._insert(parent, last, operation["value"])

    @staticmethod
    def _entry(parent: yaml.Node, part: str) -> Entry:
        if isinstance(parent, yaml.SequenceNode):
            return parent.value[int(part)], parent.value[int(part)]
        found = [(key, value) for key, value in _pairs(parent) if key.value == part]
        if not found:
            raise LayoutError(f"{part} comes from a YAML anchor (*, <<); write out what it stands for")
        if len(found) > 1:
            raise LayoutError(f"{part} stands there more than once; keep one")
        return found[0]

    # --- what is there

    def _set(self, node: yaml.Node, value: Any) -> str:
        """Replace a value, in the style that it has."""
        old = self._text[node.start_mark.index : node.end_mark.index]
        after = old[len(old.rstrip()) :]
        space = "" if self._text[: node.start_mark.index].endswith((" ", "\t", "\n")) else " "
        style = getattr(node, "style", None) or None  # libyaml has an empty one for plain text
        return self._spliced(node.start_mark.index, node.end_mark.index, f"{space}{_inline(value, style)}{after}")

    def _remove(self, parent: yaml.Node, part: str) -> str:
        first, value = self._entry(parent, part)
        if _is_flow(parent):
            return self._spliced(*_flow_span(_entries(parent), (first, value)), "")
        if _is_flow(value) and isinstance(parent, yaml.MappingNode):
            return self._spliced(
                value.start_mark.index, value.end_mark.index, "[]" if isinstance(value, yaml.SequenceNode) else "{}"
            )
        start, end = first.start_mark.line, self._last_line(value) + 1
        if not re.fullmatch(r"\s*(-\s+)?", self._lines[start][: first.start_mark.column]):
            raise LayoutError(f"line {start + 1} holds more than one entry; put each on a line of its own")
        return "".join(self._lines[:start] + self._lines[end:])

    # --- what is new

    def _insert(self, parent: yaml.Node, part: str, value: Any) -> str:
        entries = _entries(parent)
        if _is_flow(parent) or not entries:
            return self._insert_flow(parent, entries, part, value)
        if isinstance(parent, yaml.MappingNode):
            return self._insert_lines(self._last_line(parent) + 1, entries[0][0].start_mark.column, {part: value})
        dash = parent.start_mark.column
        if part == "-":
            return self._insert_lines(self._last_line(parent) + 1, dash, [value])
        following = entries[int(part)][0] if int(part) else parent  # the dash of the first may have a line of its own
        return self._insert_lines(self._before(following.start_mark.line), dash, [value])

    def _insert_flow(self, parent: yaml.Node, entries: list[Entry], part: str, value: Any) -> str:
        written = _inline(value) if isinstance(parent, yaml.SequenceNode) else f"{_inline(part)}: {_inline(value)}"
        if not entries:
            return self._spliced(parent.start_mark.index + 1, parent.start_mark.index + 1, written)
        if part.isdecimal() and int(part) < len(entries):
            where = entries[int(part)][0].start_mark.index
            return self._spliced(where, where, f"{written}, ")
        where = entries[-1][1].end_mark.index
        return self._spliced(where, where, f", {written}")

    def _insert_lines(self, line: int, column: int, value: Any) -> str:
        block = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=ENDLESS)
        return "".join(
            [*self._lines[:line], *(f"{' ' * column}{added}" for added in block.splitlines(keepends=True)), *self._lines[line:]]
        )

    def _before(self, line: int) -> int:
        """The line above an item's comments."""
        while COMMENT_OR_BLANK.match(self._lines[line - 1]):
            line -= 1
        return line

    def _last_line(self, node: yaml.Node) -> int:
        """The last line with content of a node; the marks of a block end where the next thing begins."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            return self._last_line(_entries(node)[-1][1])
        content = self._text[node.start_mark.index : node.end_mark.index]
        keeps_blank_lines = getattr(node, "style", None) in ("|", ">") and "+" in content.partition("\n")[0]
        return int(node.start_mark.line) + (content[:-1] if keeps_blank_lines else content.rstrip()).count("\n")

    def _spliced(self, start: int, end: int, written: str) -> str:
        return self._text[:start] + written + self._text[end:]


def _pairs(node: yaml.Node) -> list[Entry]:
    if not isinstance(node, yaml.MappingNode):
        raise LayoutError("a YAML alias (*) stands where something must change; write out what it stands for")
    return list(node.value)


def _entries(node: yaml.Node) -> list[Entry]:
    return [(item, item) for item in node.value] if isinstance(node, yaml.SequenceNode) else _pairs(node)


def _is_flow(node: yaml.Node) -> bool:
    return bool(getattr(node, "flow_style", False))


def _flow_span(entries: list[Entry], entry: Entry) -> tuple[int, int]:
    """What to cut so that an entry of a flow collection goes with one of its commas."""
    index = entries.index(entry)
    if index:
        return entries[index - 1][1].end_mark.index, entry[1].end_mark.index
    end = entries[1][0].start_mark if len(entries) > 1 else entry[1].end_mark
    return entry[0].start_mark.index, end.index


def _inline(value: Any, style: str | None = '"') -> str:
    """``value`` on one line: JSON (which is YAML), or a scalar in its author's style."""
    if isinstance(value, str) and style in (None, "'"):
        written: str = yaml.safe_dump(value, default_style=style, width=ENDLESS, allow_unicode=True)
        return written.removesuffix("\n...\n").rstrip("\n")
    return json.dumps(value, ensure_ascii=False)


NO_TEXT_TO_GO = re.compile(r"[yn]|[-+]?[\d.]+e[-+]?\d+|0o\d+", re.IGNORECASE)
"""What kubectl takes for a boolean or a number, and PyYAML for text."""


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines (a certificate) as a block, and in quotes what others would not read as text."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "'" if NO_TEXT_TO_GO.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
