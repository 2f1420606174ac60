"""Published models by name: list them, describe one, fetch its weights."""

from __future__ import annotations

import difflib
import functools
import logging
import os

from tabulate import tabulate

from detectron2.utils.file_io import PathManager
from fcos.checkpoint.published import MODELS, Published, sha256_start
from fcos.config import get_cfg, get_config_file
from fcos.utils.errors import UserError, one_line
from fcos.utils.reading import WEIGHTS, sha256_of

__all__ = ["describe_zoo", "fetch", "fetched", "nearest", "published"]

logger = logging.getLogger(__name__)


def published(name: str) -> Published | None:
    """Return the published model of this name, unless there is a file of this name."""
    if os.path.exists(name):
        return None
    return next((model for model in MODELS if model.name == name), None)


def nearest(name: str) -> str:
    """Return the name of a published model that a wrong one is near to, or ""."""
    names = {model.name.lower(): model.name for model in MODELS}
    names |= {model.name.partition("/")[2].lower(): model.name for model in reversed(MODELS)}
    near = difflib.get_close_matches(name.lower().removesuffix(".pth"), names, n=1, cutoff=0.75)
    return names[near[0]] if near else ""


def fetched(model: Published) -> str:
    """Return the weights of a published model on this machine; its licence is logged.

    Raises:
        UserError: they cannot be fetched, or are not what was published.
    """
    _say_licence(model)
    address = _address(model)
    if not address:
        raise UserError(f"There are no weights of {model.name} to fetch: {model.source.missing}.")
    return fetch(address, f"{model.name} ({address})")


@functools.cache
def _say_licence(model: Published) -> None:
    logger.info(f"{model.name} is by {model.source.title}; licence: {model.source.licence}.")


def fetch(address: str, name: str) -> str:
    """Return the path of a file at an address: fetched once, and kept; checked where it can be.

    Args:
        address: that detectron2's ``PathManager`` knows; a path is returned as it is.
        name: what messages call it.

    Raises:
        UserError: it cannot be fetched, or has another sha256.
    """
    try:
        path: str = PathManager.get_local_path(address)
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"The weights file {name} cannot be fetched: {one_line(error)}") from None
    wanted = sha256_start(address)
    if wanted and not (found := sha256_of(path, WEIGHTS)).startswith(wanted):
        os.remove(path)
        raise UserError(
            f"The weights file {name} is not what was published: its sha256 begins with "
            f"{found[:8]}, not with {wanted}. It is deleted; the same command fetches it again."
        )
    return path


def _address(model: Published) -> str:
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(f"published/{model.name}.yaml"))
    return str(cfg.MODEL.WEIGHTS)


def describe_zoo(words: list[str]) -> str:
    """List the published models whose names contain all of some words; if it is one, describe it.

    Those whose weights can be fetched come first.

    Raises:
        UserError: there is none.
    """
    exact = [model for model in MODELS if [model.name] == words]
    found = exact or [
        model for model in MODELS if all(word.lower() in model.name.lower() for word in words)
    ]
    if not found:
        near = nearest(" ".join(words))
        hint = f" Did you mean {near}?" if near else " fcos zoo lists all."
        raise UserError(f"No published model is called {' '.join(words)}.{hint}")
    return _describe(found[0]) if len(found) == 1 else _table(found)


def _table(models: list[Published]) -> str:
    headers = ["name", "AP", "on", "test-dev", "speed", "licence of the weights"]
    rows = [
        [
            model.name,
            model.ap or "-",
            model.data or "-",
            model.test_dev or "-",
            model.speed or "-",
            "(no weights)" if model.source.missing else model.source.licence,
        ]
        for model in sorted(models, key=lambda model: bool(model.source.missing))
    ]
    return (
        f"{tabulate(rows, headers, disable_numparse=True)}\n\n"
        "AP and speed as the source published them. fcos zoo NAME tells more;\n"
        "fcos demo NAME picture.jpg --output out/ fetches the weights and detects."
    )


def _describe(model: Published) -> str:
    address = _address(model)
    start = sha256_start(address)
    lines = [
        f"name      {model.name}, by {model.source.title}",
        f"AP        {model.figures}, as stated in {model.source.stated_in}",
        f"speed     {model.speed or 'not published'}",
        f"licence   {model.source.licence}",
        f"config    {model.config}",
        f"weights   {address or 'none: ' + model.source.missing}",
        f"sha256    {'begins with ' + start if start else 'not published'}",
    ]
    return "\n".join(lines)
