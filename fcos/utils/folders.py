"""Folders that are complete or not there at all, and that lie where they seem to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from fcos.utils.errors import UserError
from fcos.utils.files import check_writable
from fcos.utils.places import reason_of, remove, unfinished_name

__all__ = ["made_folder", "subfolder"]


@contextlib.contextmanager
def made_folder(path: str, *, replace: bool = False) -> Iterator[str]:
    """Make a folder with all that is in it, or none.

    Args:
        path: of the folder.
        replace: replace one that is there: at every moment it is the old or the new one, or for an
            instant absent. Else it may only be there empty.

    Yields:
        The path of an empty folder to write to. When the block ends, it takes its place; after
        an error in the block, it is removed.

    Raises:
        UserError: it cannot be made, or replaced.
    """
    unfinished, earlier = unfinished_name(path), f"{path}.replaced"
    try:
        if os.path.isdir(path) and os.path.samefile(path, os.curdir):
            raise UserError(
                f"{path} is the current folder, which cannot be replaced: name another."
            )
        remove(unfinished)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        os.mkdir(unfinished)
        yield unfinished
        if replace and os.path.lexists(path):
            remove(earlier)
            os.rename(path, earlier)
        os.rename(unfinished, path)
        if replace:  # also what is left of a process that was killed between the two lines above
            remove(earlier)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {reason_of(error)}. Choose another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            remove(unfinished)


def subfolder(folder: str, *names: str) -> str:
    """Make a folder below one that the user named, and return its path.

    Args:
        folder: which the user named; it may be a link.
        names: of the folders in it, from the outermost one.

    Raises:
        UserError: it cannot be made, or is a link, so that files would be written elsewhere.
    """
    path = folder
    for name in names:
        path = os.path.join(path, name)
        if os.path.islink(path):
            raise UserError(
                f"{path} is a link, so that files would be written outside of {folder}: remove "
                "the link, or name the folder that it leads to."
            )
    check_writable(path)
    return path
