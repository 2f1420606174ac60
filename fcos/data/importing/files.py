"""The files below a folder of labels: found once, images by name, and which split they are in."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any
from xml.parsers import expat

from fcos.data.importing.labels import Unreadable
from fcos.utils.errors import UserError

__all__ = ["IMAGE_ENDINGS", "Folder", "Node", "read_json", "read_lines", "read_xml", "split_of"]

IMAGE_ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .tif .tiff .webp .gif .ppm .pgm .pbm .jp2".split()
)

_SPLITS = {
    **dict.fromkeys(["train", "training", "trainval"], "train"),
    **dict.fromkeys(["val", "valid", "validation", "dev"], "val"),
    **dict.fromkeys(["test", "testing"], "test"),
}


def split_of(words: Iterable[str]) -> str:
    """Return the split that the first of ``words`` names, such as "train2017"; "" if none does."""
    for word in words:
        match = re.fullmatch(r"([a-z]+)[-_]?(19|20)?\d{0,2}", word.lower())
        if match and match[1] in _SPLITS:
            return _SPLITS[match[1]]
    return ""


class Folder:
    """Everything below a folder, and below another one with the images.

    Args:
        root: the folder.
        images: the other one; "": there is none.
        without: a folder that is not looked into.

    Raises:
        UserError: one of them is no folder.
    """

    def __init__(self, root: str, images: str = "", without: str = "") -> None:
        self.root = os.path.abspath(root)
        self.roots = [self.root]
        if images and os.path.abspath(images) != self.root:
            self.roots.append(os.path.abspath(images))
        self._without = os.path.abspath(without) if without else ""
        self.by_ending: dict[str, list[str]] = {}
        self.images: list[str] = []
        for folder in self.roots:
            if not os.path.isdir(folder):
                raise UserError(f"{folder} is not a folder.")
            for path in self._walk(folder):
                ending = os.path.splitext(path)[1].lower()
                if ending in IMAGE_ENDINGS:
                    self.images.append(path)
                elif folder == self.root:
                    self.by_ending.setdefault(ending, []).append(path)
        self.images = list(dict.fromkeys(self.images))  # one folder may lie in the other
        self._by_name = group_by(self.images, lambda path: os.path.basename(path).lower())
        self._by_stem = group_by(self.images, stem_of)

    def _walk(self, folder: str) -> Iterable[str]:
        for place, folders, names in os.walk(folder, followlinks=True):
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith((".", "__MACOSX"))
                and os.path.join(place, name) != self._without
            )
            # macOS leaves files "._name" beside those that it copies.
            yield from (os.path.join(place, n) for n in sorted(names) if not n.startswith("."))

    def relative(self, path: str) -> str:
        """Return a path as a message names it."""
        for root in self.roots:
            if path.startswith(root + os.sep):
                return os.path.relpath(path, root)
        return path

    def split_of(self, path: str) -> str:
        """Return the split that a folder on the way to ``path`` names, "" if none does."""
        relative = self.relative(path)
        return "" if os.path.isabs(relative) else split_of(relative.split(os.sep)[:-1])

    def has_image_called(self, stem: str) -> bool:
        """Whether an image has this name, in small letters and without its ending."""
        return stem in self._by_stem

    def image(self, names: Iterable[str], labels: str, split: str = "") -> str:
        """Find an image file.

        Args:
            names: what it may be called, the best first: a path or a name, with or without ending.
            labels: the file that names it.
            split: that it is in, if the labels say.

        Returns:
            Its path.

        Raises:
            Unreadable: there is none, or there are several that it could be.
        """
        names = [name.replace("\\", "/").strip() for name in names]
        for name in filter(None, names):
            base = os.path.basename(name).lower()
            found = self._by_name.get(base) or self._by_stem.get(stem_of(base))
            found = found or self._by_stem.get(base)  # of "a.b", where "a.b.jpg" is meant
            if found:
                found = [p for p in found if self.split_of(p) == split] or found
                return nearest(found, os.path.join(os.path.dirname(labels), name))
            path = os.path.normpath(os.path.join(os.path.dirname(labels), name))
            if os.path.isfile(path):
                return path
        raise Unreadable("labels whose image file was not found")


def group_by(paths: Iterable[str], key: Any) -> dict[str, list[str]]:
    """Group paths by what ``key`` says of them."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return groups


def stem_of(path: str) -> str:
    """Return the name of a file without its ending, in small letters."""
    return os.path.splitext(os.path.basename(path))[0].lower()


def nearest(paths: list[str], path: str) -> str:
    """Choose the one of ``paths`` that shares most folders with ``path``.

    Raises:
        Unreadable: several do.
    """
    if len(paths) == 1:
        return paths[0]
    wanted = Counter(os.path.dirname(path).split(os.sep))
    shared = [(Counter(os.path.dirname(p).split(os.sep)) & wanted).total() for p in paths]
    best = [p for p, number in zip(paths, shared, strict=True) if number == max(shared)]
    same_name = [p for p in best if os.path.basename(p) == os.path.basename(path)]
    best = same_name or best
    if len(best) > 1:
        raise Unreadable("labels whose image could be several files of that name")
    return best[0]


def read_text(path: str) -> str:
    """Return the contents of a text file: in UTF-8, UTF-16 with its mark, or Latin-1.

    Raises:
        Unreadable: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
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
    except RecursionError:
        raise Unreadable("files of JSON in too many layers") from None


class Node:
    """An element of an XML file: its tag, attributes, text, elements and line."""

    __slots__ = ("attributes", "children", "line", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        self.tag, self.attributes, self.line = tag, attributes, line
        self.text = ""
        self.children: list[Node] = []

    def find(self, tag: str) -> Node | None:
        """Return the first element with this tag directly inside."""
        return next((child for child in self.children if child.tag == tag), None)

    def value(self, tag: str) -> str:
        """Return the text of that element, "" if it is missing or empty."""
        child = self.find(tag)
        return child.text.strip() if child else ""


def read_xml(path: str) -> Node:
    """Return the outermost element of an XML file.

    Raises:
        Unreadable: it is none, or it declares entities, with which a small file can fill memory.
    """
    root = Node("", {}, 0)
    open_nodes = [root]
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, attributes, parser.CurrentLineNumber)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def end(tag: str) -> None:
        open_nodes.pop()

    def text(data: str) -> None:
        open_nodes[-1].text += data

    def entity(*_: Any) -> None:
        raise Unreadable("XML files that declare entities", parser.CurrentLineNumber)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = text, entity
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except OSError as error:
        raise Unreadable(f"files that cannot be read ({error.strerror})") from None
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise Unreadable(f"files that are not XML ({reason})", error.lineno) from None
    return root.children[0]
