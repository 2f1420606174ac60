"""Open what a user names: regular files only, up to a size that each kind of file has."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import yaml

__all__ = [
    "ANNOTATIONS",
    "CONFIG",
    "IMAGE",
    "LABELS",
    "LIST",
    "REFERENCE",
    "SHARD",
    "STATE",
    "WEIGHTS",
    "FileKind",
    "TooMuchYaml",
    "open_file",
    "parse_yaml",
    "read_bytes",
    "sha256_of",
]


class FileKind(NamedTuple):
    """What files of a kind are called, and how many bytes the largest one has that is read."""

    called: str
    most: int


_MIB, _GIB = 2**20, 2**30

# COCO's largest annotations have 450 MB and LVIS' 1 GB, the boxes of Open Images 2.3 GB.
ANNOTATIONS = FileKind("a JSON file", 8 * _GIB)
LABELS = FileKind("a file of labels", 8 * _GIB)
IMAGE = FileKind("an image", 4 * _GIB)
LIST = FileKind("a list of images", 2 * _GIB)
WEIGHTS = FileKind("a weights file", 128 * _GIB)
REFERENCE = FileKind("a reference", _GIB)
CONFIG = FileKind("a config", _MIB)
SHARD = FileKind("a file of detections", 1024 * _GIB)  # read line by line
STATE = FileKind("a file of this kind", 2 * _GIB)  # what a program of ours has written for itself

_PART = 64 * _MIB

# What is no regular file.
_OTHERS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_file(path: str, kind: FileKind) -> BinaryIO:
    """Open a regular file to be read as bytes.

    Args:
        path: of a file on this machine.
        kind: bounds its size.

    Raises:
        OSError: it cannot be opened, is a pipe, a device or the like, or is too large; ``strerror``
            says so to a user.
    """
    try:
        # A pipe that nobody writes to would make us wait; a regular file ignores this flag.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a NUL, or half of a character
        raise OSError(errno.EINVAL, "no file can have this name", path) from error
    try:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(found.st_mode):
            other = _OTHERS.get(stat.S_IFMT(found.st_mode), "something else")
            raise OSError(errno.EINVAL, f"it is {other}, not a file", path)
        if found.st_size > kind.most:
            raise _too_large(path, f"it has {found.st_size:,} bytes", kind)
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_bytes(
    path: str,
    kind: FileKind,
    as_text: bool = False,
    check_start: Callable[[bytes], None] = lambda start: None,
) -> bytearray:
    """Read a regular file.

    Args:
        path: of a file on this machine.
        kind: bounds its size.
        as_text: refuse a file with a NUL byte, which UTF-8 text never has, at the first one. A file
            that is a hole of gigabytes is no text then.
        check_start: given the first four bytes before more is read; it may raise.

    Raises:
        OSError: as for :func:`open_file`; or it grows too large while it is read.
    """
    with open_file(path, kind) as file:
        check_start(file.read(4))
        file.seek(0)
        content = bytearray(os.fstat(file.fileno()).st_size)
        end = 0
        while True:
            if end == len(content):  # to its end, or it grows; files of /proc say that they have 0
                more = file.read(_PART)
                if not more:
                    return content
                content += more
                size = len(more)
            else:
                with memoryview(content) as view:
                    size = file.readinto(view[end : end + _PART])  # type: ignore[attr-defined]
                if not size:  # it was cut meanwhile
                    return content[:end]
            if as_text and content.find(0, end, end + size) >= 0:
                raise OSError(errno.EILSEQ, "it has NUL bytes, so it is no text in UTF-8", path)
            end += size
            if end > kind.most:
                raise _too_large(path, "it grows", kind)


def sha256_of(path: str, kind: FileKind) -> str:
    """Return the hexadecimal SHA-256 of a file's content.

    Raises:
        OSError: as for :func:`open_file`.
    """
    digest = hashlib.sha256()
    with open_file(path, kind) as file:
        while part := file.read(_MIB):
            digest.update(part)
    return digest.hexdigest()


def _too_large(path: str, how: str, kind: FileKind) -> OSError:
    text = f"{how}, and {kind.called} of more than {kind.most:,} is not read"
    return OSError(errno.EFBIG, text, path)


# ---- YAML ----------------------------------------------------------------------------------------

# Mappings, lists and plain values; one that several places share counts in each.
_MOST_VALUES = 100_000
_MOST_LAYERS = 50
# Characters; the time that YAML takes for a number is the square of its length.
_LONGEST_TEXT = 20_000


class TooMuchYaml(yaml.YAMLError):
    """A YAML text is sound, and would take too much time or memory."""


def parse_yaml(text: str, name: str = "text") -> Any:
    """Read a YAML text of plain values, in time and memory that its length bounds.

    Anchors and aliases let a short text stand for billions of values: they are counted before any
    is made. No Python object is ever constructed.

    Args:
        text: the YAML.
        name: what messages call it.

    Raises:
        yaml.YAMLError: it is not valid, or has too many values, layers or characters.
    """
    loader = yaml.SafeLoader(text)
    loader.name = name
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, [])
        return loader.construct_document(node)
    except RecursionError:
        raise TooMuchYaml(f"it has more than {_MOST_LAYERS} layers") from None
    except yaml.YAMLError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        # A date in the month 13, a number without digits, ...
        raise yaml.YAMLError(f"a value cannot be read ({' '.join(str(error).split())})") from error
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], above: list[int]) -> int:
    """Return how many values a node stands for."""
    if id(node) in above:
        raise TooMuchYaml("an alias leads back to what it is in")
    if len(above) > _MOST_LAYERS:
        raise TooMuchYaml(f"it has more than {_MOST_LAYERS} layers")
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > _LONGEST_TEXT:
            raise TooMuchYaml(f"a value has more than {_LONGEST_TEXT:,} characters")
        return 1
    inside = node.value
    if isinstance(node, yaml.MappingNode):
        inside = [part for pair in node.value for part in pair]
    total = 1
    for part in inside:
        total += _count(part, known, [*above, id(node)])
        if total > _MOST_VALUES:
            raise TooMuchYaml(f"it has more than {_MOST_VALUES:,} values, aliases followed")
    known[id(node)] = total
    return total
