"""An XML file as a tree whose nodes know their line, for errors that can be found.

Comments are kept only where ZAP files put facts into them: "Conformance feature ...".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.parsers import expat

from evse_node.errors import ConfigError

_CONFORMANCE = re.compile(r"\s*Conformance\s+(?:feature\s+)?(.*?)\s*(?:\s-\s.*)?", re.DOTALL)
_BOOLEAN: Final = {"true": True, "false": False, "1": True, "0": False}


class Node:
    """An element. `conformance_note` is the text of a conformance comment right before it."""

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
        """Return the error that names this element's place and `reason`."""
        return ConfigError(f"{self.file}:{self.line}: {reason}")

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
        """Return an XML attribute as integer (decimal or 0x...); None when it is missing.

        Raises ConfigError when it is not a number.
        """
        text = self.attributes.get(name)
        return None if text is None else self.parse_number(text, name)

    def required_number(self, name: str, maximum: int) -> int:
        """Return an XML attribute as integer from 0 to `maximum`. Raises ConfigError."""
        number = self.parse_number(self.required(name), name)
        if not 0 <= number <= maximum:
            raise self.error(f"{name} {self.attributes[name]} is not in 0 to {maximum:#x}")
        return number

    def parse_number(self, text: str, what: str) -> int:
        """Return `text` as integer. Raises ConfigError."""
        text = text.strip()
        try:
            if "_" not in text:
                return int(text, 16 if "x" in text or "X" in text else 10)
        except ValueError:
            pass
        raise self.error(f"{what} {text!r} is not a number")

    def flag(self, name: str, default: bool = False) -> bool:
        """Return an XML attribute as boolean. Raises ConfigError when it is not one."""
        text = self.attributes.get(name)
        if text is None:
            return default
        value = _BOOLEAN.get(text.strip().lower())
        if value is None:
            raise self.error(f"{name} {text!r} is not true or false")
        return value


def read_xml(file: Path) -> Node:
    """Read `file` and return its root. Raises ConfigError for what is not well-formed XML."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    return parse_xml(data, file)


def parse_xml(data: bytes, file: Path) -> Node:
    """Parse the bytes of `file`. Raises ConfigError for what is not well-formed XML."""
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
        # A comment belongs to the element that follows it, not to what comes after its parent.
        notes[0] = None
        open_nodes.pop()

    def text(data: str) -> None:
        if not data.isspace():
            open_nodes[-1].text += data

    def comment(data: str) -> None:
        if match := _CONFORMANCE.fullmatch(data):
            notes[0] = match[1]

    def doctype(name: str, system_id: str | None, public_id: str | None, internal: bool) -> None:
        raise ConfigError(f"{file}:{parser.CurrentLineNumber}: document types are not accepted")

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
