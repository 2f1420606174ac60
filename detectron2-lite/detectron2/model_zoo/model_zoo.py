"""What the model zoo has: configs with a feature pyramid, and the addresses of their weights."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import torch
from torch import nn

from detectron2._missing import missing, missing_names
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.model_zoo._names import CONFIGS
from detectron2.modeling import build_model

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file"]

_CONFIGS = Path(__file__).parent / "configs"
_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
# Config without its suffix -> run and file below the address of the config.
_WEIGHTS = {
    "COCO-Detection/faster_rcnn_R_50_FPN_1x": "137257794/model_final_b275ba.pkl",
    "COCO-Detection/faster_rcnn_R_50_FPN_3x": "137849458/model_final_280758.pkl",
    "COCO-Detection/faster_rcnn_R_101_FPN_3x": "137851257/model_final_f6e8b1.pkl",
    "COCO-Detection/retinanet_R_50_FPN_1x": "190397773/model_final_bfca0b.pkl",
    "COCO-Detection/retinanet_R_50_FPN_3x": "190397829/model_final_5bd44e.pkl",
    "COCO-Detection/retinanet_R_101_FPN_3x": "190397697/model_final_971ab9.pkl",
    "COCO-Detection/rpn_R_50_FPN_1x": "137258492/model_final_02ce48.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "137260431/model_final_a54504.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x": "137849600/model_final_f10217.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x": "138205316/model_final_a3ec72.pkl",
    "Misc/scratch_mask_rcnn_R_50_FPN_3x_gn": "138602908/model_final_01ca85.pkl",
}


def get_checkpoint_url(config_path: str) -> str:
    """Return the address of the weights that were trained by a config.

    Args:
        config_path: name of the config, as of :func:`get_config_file`; its suffix does not matter.

    Raises:
        NotImplementedError: only the full detectron2 has this config.
        RuntimeError: detectron2's model zoo has no weights for it.
    """
    name = str(PurePosixPath(config_path).with_suffix(""))
    if name in _WEIGHTS:
        return f"{_ADDRESS}{name}/{_WEIGHTS[name]}"
    if not _has_config(f"{name}.yaml"):
        _refuse_left_out(f"{name}.yaml", f"{name}.py")
    raise RuntimeError(f"{config_path}: the model zoo has no weights for such a config")


def get_config_file(config_path: str) -> str:
    """Return the path of a config file of the model zoo.

    Args:
        config_path: name with folder and suffix, as
            "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml".

    Raises:
        NotImplementedError: only the full detectron2 has this config.
        RuntimeError: detectron2's model zoo has no such config.
    """
    if _has_config(config_path):
        return str(_CONFIGS / config_path)
    _refuse_left_out(config_path)
    raise RuntimeError(f"{config_path}: the model zoo has no such config")


def get_config(config_path: str, trained: bool = False) -> CfgNode:
    """Read a config of the model zoo.

    Args:
        config_path: as of :func:`get_config_file`.
        trained: MODEL.WEIGHTS becomes the address of the trained weights; otherwise it is what the
            training started from, as a rule a backbone trained on ImageNet.

    Raises:
        NotImplementedError, RuntimeError: see the other functions.
    """
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(config_path))
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """Build a model of the model zoo and load its weights, over the network at the first time.

    Args:
        config_path, trained: as of :func:`get_config`.
        device: where the model computes; None: where the config says, or on the CPU if there is no
            GPU.

    Returns:
        The model, in training mode.

    Raises:
        NotImplementedError, RuntimeError: see the other functions.
    """
    cfg = get_config(config_path, trained)
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    if device is not None:
        cfg.MODEL.DEVICE = device
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def _has_config(config_path: str) -> bool:
    return config_path.endswith(".yaml") and (_CONFIGS / config_path).is_file()


def _refuse_left_out(*config_paths: str) -> None:
    for path in map(PurePosixPath, config_paths):
        folder = "" if path.parent == PurePosixPath() else str(path.parent)
        if path.name in CONFIGS.get(folder, "").split():
            raise missing(f"{path} of the model zoo")


__getattr__ = missing_names(__name__)
