"""The config that a checkpoint was trained with, carried beside its weights as YAML."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import yaml

from fcos.config import CfgNode, get_cfg
from fcos.config.keys import check_keys
from fcos.utils.errors import UserError, one_line

__all__ = ["CARRIED", "CONFIG", "carried_by", "cfg_in", "stored_text"]

logger = logging.getLogger(__name__)

#: the name of the entry in the file
CONFIG = "fcos_config"

#: entries of a checkpoint that belong to its weights, also in another layout
CARRIED = (CONFIG, "class_names")

_MOST = 2**16  # characters, read in seconds; a config has some 7,000


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def stored_text(cfg: CfgNode) -> str:
    """Return a config as a checkpoint carries it: the text of ``dump()``, without aliases.

    OUTPUT_DIR is left out: the same training in another folder writes the same files.

    Returns:
        The text; "", with a warning, where it is longer than :func:`cfg_in` reads.
    """
    content = yaml.safe_load(cfg.dump())
    del content["OUTPUT_DIR"]
    text = yaml.dump(content, Dumper=_WithoutAliases)
    if len(text) <= _MOST:
        return text
    logger.warning(
        f"The config has {len(text):,} characters, more than {_MOST:,}, so checkpoints do not "
        "carry it: keep config.yaml beside them."
    )
    return ""


def carried_by(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint has of :data:`CARRIED`."""
    return {name: checkpoint[name] for name in CARRIED if name in checkpoint}


def cfg_in(checkpoint: Mapping[str, Any], path: str) -> CfgNode | None:
    """Read the config in a checkpoint. It is data from anywhere: no code of it is ever run.

    Args:
        checkpoint: all that is in the file, with or without the weights.
        path: what messages call the file.

    Returns:
        None where it has none, as weights that others published.

    Raises:
        UserError: what it has cannot be used.
    """
    text = checkpoint.get(CONFIG)
    if text is None:
        return None
    try:
        if not isinstance(text, str):
            raise UserError(f"It is a {type(text).__name__}, not a text.")
        if len(text) > _MOST:
            raise UserError(f"It has {len(text):,} characters, more than {_MOST:,}.")
        cfg = get_cfg()
        cfg.merge_from_text(text)
        check_keys(cfg)
    except UserError as error:
        raise UserError(
            f"The config in {path} cannot be used: name another one by --config-file. "
            f"{one_line(error)}"
        ) from None
    return cfg
