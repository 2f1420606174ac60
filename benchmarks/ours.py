"""fcos as a contestant, with the settings of the peer that it meets."""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.agreement import Found
from benchmarks.scenes import NUM_CLASSES, Truth
from benchmarks.settings import Settings
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from fcos.checkpoint import AdetCheckpointer
from fcos.config import CfgNode, get_cfg
from fcos.modeling.fcos import FCOSLosses

__all__ = [
    "box_term",
    "config_like",
    "detector",
    "found",
    "instances",
    "load",
    "proposal_generator",
]

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {
    "torchvision": "configs/published/torchvision/R_50_FPN.yaml",
    "detectron2": "configs/published/detectron2/R_50_FPN_1x.yaml",
}


def config_like(peer: str, settings: Settings) -> CfgNode:
    """The published config that computes what ``peer`` does, without its weights."""
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / CONFIGS[peer]))
    cfg.MODEL.DEVICE = settings.device
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.FCOS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.RESNETS.DEPTH = settings.sizes.depth
    if settings.sizes.depth < 50:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    return cfg


def detector(peer: str, settings: Settings) -> Any:
    """The whole detector, a module with random weights."""
    return build_model(config_like(peer, settings))


@functools.lru_cache(maxsize=2)
def proposal_generator(peer: str, settings: Settings) -> Any:
    """The module of head, targets, losses and post-processing alone, for evaluation."""
    return detector(peer, settings).proposal_generator.eval()


def load(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give ``model`` all the weights of a peer, as a user would: from a file of the peer's.

    Raises:
        UserError: something of ``model`` is not in them.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "peer.pth")
        torch.save(weights, path)
        checkpointer = AdetCheckpointer(model)
        checkpointer.load(path, checkpointables=[])
    checkpointer.coverage.require_all("A comparison")


def instances(truth: Sequence[Truth], size: tuple[int, int], device: str) -> list[Instances]:
    """Ground truth as detectron2's mapper gives it, on ``device``."""
    return [
        Instances(size, gt_boxes=Boxes(boxes.to(device)), gt_classes=classes.to(device))
        for boxes, classes in truth
    ]


def found(results: Sequence[Any]) -> list[Found]:
    """Detections of a batch in the form that is compared; Instances or dicts with them."""
    plain = [r["instances"] if isinstance(r, dict) else r for r in results]
    return [(r.pred_boxes.tensor, r.scores, r.pred_classes) for r in plain]


@torch.no_grad()
def box_term(*args: Any, **kwargs: Any) -> Tensor:
    """The mean of 1 - GIoU over positive locations, as a peer computes it.

    Ours weights locations by centerness, and adds 1 to areas, as the original implementation does.
    So the weights are left out here, and distances are counted in so small a unit that the 1 does
    not matter.

    Args:
        args, kwargs: those of ``FCOSLosses.forward``.
    """
    given = inspect.signature(FCOSLosses.forward).bind(None, *args, **kwargs).arguments
    given.pop("self")
    for name in ("ltrb", "ltrb_targets"):
        given[name] = given[name].float() * 1e3
    unweighted = FCOSLosses(loc_loss_type="giou", box_quality="iou")
    return unweighted(**given)["loss_fcos_loc"]
