"""The config files that come with this package: in the repository, or installed with it."""

from __future__ import annotations

import difflib
import logging
import os
from pathlib import Path

from fcos.utils.errors import UserError
from fcos.utils.places import is_file

__all__ = ["configs_folder", "find_base", "find_config", "get_config_file"]

FOLDER = "configs"


def configs_folder() -> Path:
    """Return the folder of the config files: that of the repository, or of the installed package.

    Raises:
        UserError: there is none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / FOLDER, package.parent / FOLDER):
        if folder.is_dir():
            return folder
    raise UserError(f"The config files of fcos are missing: {package / FOLDER} does not exist.")


def get_config_file(name: str) -> str:
    """Return the path of a config file that comes with this package.

    Args:
        name: such as ``R_50_1x.yaml`` or ``table3/1_c5.yaml``; ``configs/`` may stand before it.

    Raises:
        UserError: there is none of this name.
    """
    path = _own(name)
    if path is None:
        root = configs_folder()
        known = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.yaml"))]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"fcos has no config file {name!r} in {root}.{hint}")
    return path


def find_config(name: str) -> str:
    """Return the path of a config file: the user's, or the one of this name that is installed.

    Args:
        name: a path; where nothing is there, ``R_50_1x.yaml`` and ``configs/R_50_1x.yaml`` are
            those of this package.

    Raises:
        UserError: there is no such file.
    """
    if is_file(name):
        return name
    path = _own(name)
    if path is None:
        raise UserError(f"The config file {name} does not exist.")
    return path


def find_base(path: str) -> str:
    """Return the path of a file that ``_BASE_`` of another one names, like :func:`find_config`.

    Args:
        path: the name, in the folder of the file that names it.

    Raises:
        UserError: it is an address. A file is fetched only where the user names it.
    """
    if "://" in path:
        raise UserError(
            f"_BASE_ {path} is an address, which is not fetched: download the file, and let _BASE_ "
            "name it."
        )
    if is_file(path):
        return path
    parts = Path(path).parts
    after = parts[len(parts) - parts[::-1].index(FOLDER) :] if FOLDER in parts else ()
    own = (after and _own(os.path.join(*after))) or _own(os.path.basename(path))
    if own:
        logging.getLogger(__name__).info(f"_BASE_ {path} is {own}, which comes with fcos.")
    return own or path


def _own(name: str) -> str | None:
    parts = Path(name).parts
    parts = parts[1:] if parts[:1] == (FOLDER,) else parts
    if not parts or Path(*parts).is_absolute() or ".." in parts:
        return None
    path = str(configs_folder().joinpath(*parts))
    return path if os.path.isfile(path) else None  # Path.is_file raises errors of its own
