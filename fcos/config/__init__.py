from fcos.config.config import CfgNode
from fcos.config.defaults import add_fcos_config, get_cfg, read_cfg
from fcos.config.files import get_config_file

__all__ = ["CfgNode", "add_fcos_config", "get_cfg", "get_config_file", "read_cfg"]
