"""The files below a folder of labels: found once, images by name, and which split they are in."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from fcos.data.importing.labels import LabelledImage, Unreadable
from fcos.utils.errors import UserError
from fcos.utils.places import is_below

__all__ = ["IMAGE_ENDINGS", "Folder", "group_by", "nearest", "split_of", "stem_of"]

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
        UserError: one of them is no folder, or one below cannot be read.
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
        seen = {os.path.realpath(folder)}  # links may lead in a circle
        for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
            inside = {name: os.path.join(place, name) for name in sorted(folders)}
            folders.clear()
            for name, path in inside.items():
                is_hidden = name.startswith((".", "__MACOSX")) or path == self._without
                if not is_hidden and os.path.realpath(path) not in seen:
                    seen.add(os.path.realpath(path))
                    folders.append(name)
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

    def holds(self, path: str) -> bool:
        """Whether a path lies below one of the folders that the user named."""
        return any(is_below(path, root) for root in self.roots)

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
                if self.holds(path):
                    return path
                raise Unreadable(
                    "labels whose image lies elsewhere: name the folder of the images (--images or "
                    "IMAGES)"
                )
        raise Unreadable("labels whose image file was not found")

    def labelled(
        self, names: Iterable[str], labels: str, where: str, split: str = ""
    ) -> LabelledImage:
        """Find an image file; arguments as for :meth:`image`.

        Args:
            where: names its labels in a message.

        Returns:
            It without objects, in the split that the labels say, or else its folders.
        """
        path = self.image(names, labels, split)
        return LabelledImage(path, where, split=split or self.split_of(path))


def _refuse(error: OSError) -> None:
    """Refuse a folder whose labels or images would be missing without a word."""
    raise UserError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Make it "
        "readable, or name a folder without it."
    ) from error


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

    Of several, it is the one of the same name, or else the one whose folder lies above all others:
    labels/1.txt and not labels/old/1.txt is that of images/1.jpg.

    Raises:
        Unreadable: there is none such.
    """
    if len(paths) == 1:
        return paths[0]
    wanted = Counter(os.path.dirname(path).split(os.sep))
    folders = {p: Counter(os.path.dirname(p).split(os.sep)) for p in paths}
    shared = {p: (names & wanted).total() for p, names in folders.items()}
    best = [p for p in paths if shared[p] == max(shared.values())]
    same_name = [p for p in best if os.path.basename(p) == os.path.basename(path)]
    best = same_name or best
    best = [p for p in best if all(folders[p] <= folders[q] for q in best)] or best
    if len(best) > 1:
        raise Unreadable("labels whose image could be several files of that name")
    return best[0]
