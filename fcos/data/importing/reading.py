"""Text, JSON and XML files of the user, which may be anything."""

from __future__ import annotations

import codecs
import json
from typing import Any
from xml.parsers import expat

from fcos.data.importing.labels import Unreadable
from fcos.utils.reading import LABELS, open_file, read_bytes

__all__ = ["Node", "read_json", "read_lines", "read_text", "read_xml"]


def read_text(path: str) -> str:
    """Return the contents of a text file: in UTF-8, UTF-16 with its mark, or Latin-1.

    Raises:
        Unreadable: it cannot be read.
    """
    try:
        content = read_bytes(path, LABELS)
    except OSError as error:
        raise Unreadable(f"files that cannot be read ({error.strerror})") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_lines(path: str) -> list[str]:
    """Return the lines of a text file, without their ends."""
    return read_text(path).splitlines()


def read_json(path: str) -> Any:
    """Return the contents of a JSON file.

    Raises:
        Unreadable: it is none.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise Unreadable(f"files that are not JSON ({error.msg})", error.lineno) from None
    except ValueError:
        raise Unreadable("files of JSON with a number of thousands of digits") from None
    except RecursionError:
        raise Unreadable("files of JSON in too many layers") from None


class Node:
    """An element of an XML file: its tag, attributes, elements, line, and text if it has none."""

    __slots__ = ("attributes", "children", "line", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        self.tag, self.attributes, self.line = tag, attributes, line
        self.text = ""
        self.children: list[Node] = []

    def find(self, tag: str) -> Node | None:
        """Return the first element with this tag directly inside."""
        for child in self.children:
            if child.tag == tag:
                return child
        return None

    def value(self, tag: str) -> str:
        """Return the text of that element, "" if it is missing or empty."""
        for child in self.children:
            if child.tag == tag:
                return child.text.strip()
        return ""


def read_xml(path: str) -> Node:
    """Return the outermost element of an XML file.

    Raises:
        Unreadable: it is none, or it declares entities, with which a small file can fill memory.
    """
    root = Node("", {}, 0)
    open_nodes = [root]
    pieces: list[str] = []  # of the text since the last tag
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, attributes, parser.CurrentLineNumber)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)
        pieces.clear()

    def end(tag: str) -> None:
        node = open_nodes.pop()
        if not node.children:
            node.text = "".join(pieces)

    def entity(*_: Any) -> None:
        raise Unreadable("XML files that declare entities", parser.CurrentLineNumber)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = pieces.append, entity
    try:
        with open_file(path, LABELS) as file:
            parser.ParseFile(file)
    except OSError as error:
        raise Unreadable(f"files that cannot be read ({error.strerror})") from None
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise Unreadable(f"files that are not XML ({reason})", error.lineno) from None
    return root.children[0]
