"""The config: a tree of keys with defaults, YAML files and command-line overrides over it."""

from detectron2._missing import missing_names
from detectron2.config.config import CfgNode, configurable, get_cfg

__all__ = ["CfgNode", "configurable", "get_cfg"]

__getattr__ = missing_names(__name__)
