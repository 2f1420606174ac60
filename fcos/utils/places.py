"""Places of files: what may take one, and what is left in one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable

from detectron2.utils.file_io import PathManager
from fcos.utils.errors import UserError

__all__ = [
    "check_place",
    "is_below",
    "is_file",
    "is_folder",
    "reason_of",
    "remove",
    "unfinished_name",
]

_LONGEST = 255  # bytes of a file's name, in usual file systems


def check_place(path: str, *, may_be_link: bool = True) -> None:
    """Check that a file may take this place.

    Args:
        path: of the file.
        may_be_link: a link is replaced; else it is refused.

    Raises:
        UserError: there is a folder, a device or a pipe, or a link to one.
    """
    kind = _kind_of(path)
    if os.path.islink(path) and not may_be_link:
        kind = "a link"
    if kind:
        advice = "remove it, or choose another place" if may_be_link else "remove the link"
        raise UserError(f"{path} cannot be written: it is {kind}; {advice}.")


def _kind_of(path: str) -> str:
    """Name what is in the place of a file; "" for nothing, a file or a link to nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISREG(mode):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"


def is_file(path: str) -> bool:
    """Return whether there is a file of this path, or of this name as detectron2 knows it.

    Raises:
        UserError: it is an address.
    """
    return _is_there(path, PathManager.isfile)


def is_folder(path: str) -> bool:
    """Return whether there is a folder of this path, as :func:`is_file` does of a file."""
    return _is_there(path, PathManager.isdir)


def _is_there(path: str, is_kind: Callable[[str], bool]) -> bool:
    try:
        return is_kind(path)
    except NotImplementedError:  # of addresses on the web
        raise UserError(f"{path} is an address, which is not fetched: download it.") from None


def is_below(path: str, folder: str) -> bool:
    """Return whether a path lies below a folder.

    Links in the folder are followed, since only someone who may write there can have made them.
    Not so "..", which a name in any file may have.

    Args:
        path: of a file or folder, which need not exist.
        folder: without "..".
    """
    if os.pardir not in path.replace(os.sep, "/").split("/"):
        if os.path.abspath(path).startswith(os.path.join(os.path.abspath(folder), "")):
            return True
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def unfinished_name(path: str) -> str:
    """Return the name that a file or folder has until it is complete."""
    folder, name = os.path.split(path)
    ending = ".unfinished"
    if len(os.fsencode(name + ending)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return os.path.join(folder, name + ending)


def remove(path: str) -> None:
    """Remove a file, a link (not what it leads to) or a folder, where there is one."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def reason_of(error: BaseException) -> str:
    """Find the operating system's reason: torch's writer raises another error from it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or os.strerror(cause.errno or errno.EIO)
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())
