"""Configs with the keys that FCOS adds to detectron2's; :mod:`fcos.config.keys` has them all.

``import fcos`` changes no default of detectron2; the keys exist in the config that
:func:`get_cfg` returns and in those that :func:`add_fcos_config` was called on.
"""

from __future__ import annotations

from collections.abc import Sequence

import detectron2.config
from fcos.config.config import CfgNode
from fcos.config.keys import add_keys, check_keys


def get_cfg() -> CfgNode:
    """Return a fresh copy of detectron2's default config with the keys of FCOS added."""
    cfg = CfgNode(detectron2.config.get_cfg())
    add_fcos_config(cfg)
    return cfg


def add_fcos_config(cfg: detectron2.config.CfgNode) -> None:
    """Add the keys of FCOS to ``cfg``, in place.

    Args:
        cfg: a config with detectron2's keys. Best is :func:`get_cfg`, whose nodes also name the
            nearest key for a mistyped one.
    """
    add_keys(cfg)


def read_cfg(config_file: str, options: Sequence[str] = ()) -> CfgNode:
    """Read a config file and change some of its keys.

    Args:
        config_file: path of the YAML file.
        options: ``KEY, VALUE, KEY, VALUE, ...``.

    Returns:
        The config, not frozen.

    Raises:
        UserError: there is no such file, or something in it or in ``options`` is wrong.
    """
    cfg = get_cfg()
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(options))
    check_keys(cfg)
    return cfg
