from fcos.config.config import CfgNode
from fcos.config.defaults import add_fcos_config, get_cfg, read_cfg

__all__ = ["CfgNode", "add_fcos_config", "get_cfg", "read_cfg"]
