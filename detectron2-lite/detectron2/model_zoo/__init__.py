"""The configs and weights of detectron2's model zoo, by name."""

from detectron2._missing import missing_names
from detectron2.model_zoo.model_zoo import get, get_checkpoint_url, get_config, get_config_file

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file"]

__getattr__ = missing_names(__name__)
