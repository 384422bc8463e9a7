"""XML elements with line numbers, for error messages.

Of the comments only those with facts are kept: "Conformance feature ...".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar
from xml.parsers import expat

from evse_node.errors import ConfigError

_CONFORMANCE = re.compile(r"\s*Conformance\s+(?:feature\s+)?(.*?)\s*(?:\s-\s.*)?", re.DOTALL)
_BOOLEAN: Final = {"true": True, "false": False, "1": True, "0": False}

T = TypeVar("T")


class Node:
    """An element. `conformance_note` is the conformance in the comment before it, if any."""

    __slots__ = ("attributes", "children", "conformance_note", "file", "line", "tag", "text")

    def __init__(
        self, tag: str, attributes: dict[str, str], file: Path, line: int, note: str | None
    ) -> None:
        self.tag = tag
        self.attributes = attributes
        self.file = file
        self.line = line
        self.conformance_note = note
        self.text = ""
        self.children: list[Node] = []

    def error(self, reason: str) -> ConfigError:
        """Return an error with this element's file and line."""
        return ConfigError(f"{self.file}:{self.line}: {reason}")

    def claim(self, taken: dict[str, Node], *names: str) -> None:
        """Add names of this element to those in use. Raises ConfigError for one in use."""
        for name in names:
            if name in taken:
                other = taken[name]
                raise self.error(f"{name} is already defined at {other.file}:{other.line}")
            taken[name] = self

    def all(self, tag: str) -> Iterator[Node]:
        """Return the children with this tag."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Node | None:
        """Return the first child with this tag, if any."""
        return next(self.all(tag), None)

    def required(self, name: str) -> str:
        """Return an XML attribute. Raises ConfigError when it is missing or empty."""
        value = self.attributes.get(name, "").strip()
        if not value:
            raise self.error(f"<{self.tag}> has no {name}")
        return value

    def number(self, name: str) -> int | None:
        """Return an XML attribute as an integer (decimal or 0x...), if present.

        Raises ConfigError.
        """
        text = self.attributes.get(name)
        return None if text is None else self.parse_number(text, name)

    def required_number(self, name: str, maximum: int) -> int:
        """Return an XML attribute as an integer from 0 to `maximum`. Raises ConfigError."""
        number = self.parse_number(self.required(name), name)
        if not 0 <= number <= maximum:
            raise self.error(f"{name} {self.attributes[name]} is not in 0 to {maximum:#x}")
        return number

    def parse_number(self, text: str, what: str) -> int:
        """Return `text` as an integer. Raises ConfigError."""
        text = text.strip()
        try:
            if "_" not in text:
                return int(text, 16 if "x" in text or "X" in text else 10)
        except ValueError:
            pass
        raise self.error(f"{what} {text!r} is not a number")

    def flag(self, name: str, default: bool = False) -> bool:
        """Return an XML attribute as a boolean. Raises ConfigError."""
        text = self.attributes.get(name)
        if text is None:
            return default
        value = _BOOLEAN.get(text.strip().lower())
        if value is None:
            raise self.error(f"{name} {text!r} is not true or false")
        return value

    def choice(self, name: str, values: Mapping[str, T]) -> T:
        """Return the value that an XML attribute names. Raises ConfigError."""
        text = self.required(name)
        if text not in values:
            raise self.error(f"{name} {text!r} is not one of {', '.join(values)}")
        return values[text]


def read_xml(file: Path) -> Node:
    """Read an XML file and return its root. Raises ConfigError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    return parse_xml(data, file)


def parse_xml(data: bytes, file: Path) -> Node:
    """Parse the content of `file` and return the root. Raises ConfigError."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    open_nodes: list[Node] = []
    roots: list[Node] = []
    notes: list[str | None] = [None]

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, attributes, file, parser.CurrentLineNumber, notes[0])
        notes[0] = None
        if open_nodes:
            open_nodes[-1].children.append(node)
        else:
            roots.append(node)
        open_nodes.append(node)

    def end(tag: str) -> None:
        # A comment belongs to the next sibling, not to an element after its parent.
        notes[0] = None
        open_nodes.pop()

    def text(data: str) -> None:
        if not data.isspace():
            open_nodes[-1].text += data

    def comment(data: str) -> None:
        if match := _CONFORMANCE.fullmatch(data):
            notes[0] = match[1]

    def doctype(name: str, system_id: str | None, public_id: str | None, internal: bool) -> None:
        raise ConfigError(f"{file}:{parser.CurrentLineNumber}: document types are not allowed")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.CommentHandler = comment
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise ConfigError(f"{file}:{error.lineno}: {reason}") from error
    return roots[0]
