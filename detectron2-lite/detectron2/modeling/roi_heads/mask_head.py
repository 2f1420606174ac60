"""Mask heads: from the features of a region to the mask of the object in it (arXiv:1703.06870)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2._missing import missing_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ConvTranspose2d, ShapeSpec, cat, get_norm
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from detectron2.utils.registry import Registry

__all__ = [
    "ROI_MASK_HEAD_REGISTRY",
    "BaseMaskRCNNHead",
    "MaskRCNNConvUpsampleHead",
    "build_mask_head",
    "mask_rcnn_inference",
    "mask_rcnn_loss",
]

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD")
ROI_MASK_HEAD_REGISTRY.__doc__ = """Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module``."""


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The module that ``MODEL.ROI_MASK_HEAD.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: channels, height and width of the features of one region.

    Raises:
        KeyError: nothing is registered under that name.
    """
    return ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)


def mask_rcnn_loss(
    pred_mask_logits: Tensor, instances: Sequence[Instances], vis_period: int = 0
) -> Tensor:
    """Mean binary cross-entropy over the cells of all masks.

    Of a region only the mask of its class counts.  How many cells are wrong goes into the event
    storage, as ``mask_rcnn/accuracy``, ``false_positive`` (of the cells outside of objects) and
    ``false_negative`` (of those inside).

    Args:
        pred_mask_logits: (R, C, M, M), or (R, 1, M, M) of a head that does not know classes.
        instances: of each image, R regions in all: ``proposal_boxes`` in pixels, ``gt_classes``
            and ``gt_masks``.
        vis_period: put predictions and ground truth as images every so many iterations; 0: never.

    Returns:
        A scalar, float32. Zero, with a gradient path, if there are no regions.

    Raises:
        ValueError: the masks are not square, or there are more or fewer than regions.
    """
    if pred_mask_logits.shape[2] != pred_mask_logits.shape[3]:
        raise ValueError(
            f"pred_mask_logits: expected square masks, got {tuple(pred_mask_logits.shape)}"
        )
    num_regions = sum(len(one) for one in instances)
    if num_regions != len(pred_mask_logits):
        raise ValueError(
            f"pred_mask_logits are of {len(pred_mask_logits)} regions, instances of {num_regions}"
        )
    # An image without objects may have no gt_masks.
    some = [one for one in instances if len(one) > 0]
    if not some:
        return pred_mask_logits.sum() * 0
    size = pred_mask_logits.shape[3]
    is_inside = cat([_cropped(one, size) for one in some]).to(pred_mask_logits.device)
    logits = _of_class(pred_mask_logits, [one.gt_classes for one in some])
    _log_mistakes(logits.detach() > 0, is_inside)
    if vis_period > 0 and get_event_storage().iter % vis_period == 0:
        _show(logits.detach().sigmoid(), is_inside)
    return F.binary_cross_entropy_with_logits(logits.float(), is_inside.float())


def mask_rcnn_inference(pred_mask_logits: Tensor, pred_instances: Sequence[Instances]) -> None:
    """Give detections the field ``pred_masks``: (N, 1, M, M), the mask of the predicted class.

    Its values are probabilities in the frames of the boxes; ``detector_postprocess`` puts them
    into the image.

    Args:
        pred_mask_logits: (R, C, M, M), or (R, 1, M, M) of a head that does not know classes.
        pred_instances: of each image, R detections in all, with ``pred_classes``. Changed.
    """
    if not pred_instances:
        return
    logits = _of_class(pred_mask_logits, [one.pred_classes for one in pred_instances])
    numbers = [len(one) for one in pred_instances]
    masks = logits.sigmoid()[:, None].split(numbers)
    for one, own in zip(pred_instances, masks, strict=True):
        one.pred_masks = own


def _cropped(instances: Instances, size: int) -> Tensor:
    return instances.gt_masks.crop_and_resize(instances.proposal_boxes.tensor, size)


def _of_class(logits: Tensor, classes: list[Tensor]) -> Tensor:
    """(R, M, M): of each region the mask of its class, or the only one there is."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    wanted = cat(classes).to(device=logits.device, dtype=torch.int64)
    return logits[torch.arange(len(wanted), device=logits.device), wanted]


def _log_mistakes(is_predicted: Tensor, is_inside: Tensor) -> None:
    is_wrong = is_predicted != is_inside
    counts = torch.stack([is_wrong.sum(), (is_wrong & is_inside).sum(), is_inside.sum()])
    wrong, missed, inside = counts.tolist()  # the only wait for the GPU
    storage = get_event_storage()
    cells = is_inside.numel()
    storage.put_scalar("mask_rcnn/accuracy", 1 - wrong / max(cells, 1))
    storage.put_scalar("mask_rcnn/false_positive", (wrong - missed) / max(cells - inside, 1))
    storage.put_scalar("mask_rcnn/false_negative", missed / max(inside, 1))


def _show(probabilities: Tensor, is_inside: Tensor) -> None:
    pairs = torch.cat([probabilities, is_inside.to(probabilities.dtype)], dim=2)
    for index, pair in enumerate(pairs):
        name = f"Left: mask prediction;   Right: mask GT ({index})"
        get_event_storage().put_image(name, pair.expand(3, -1, -1))


class BaseMaskRCNNHead(nn.Module):
    """A mask head without its layers: a subclass adds :meth:`layers`."""

    @configurable
    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0):
        """
        Args:
            loss_weight: the loss is multiplied by it.
            vis_period: see :func:`mask_rcnn_loss`.
        """
        super().__init__()
        self.loss_weight = loss_weight
        self.vis_period = vis_period

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The arguments by VIS_PERIOD."""
        return {"vis_period": cfg.VIS_PERIOD}

    def forward(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor] | list[Instances]:
        """
        Args:
            x: (R, C, H, W) features of the regions of all images, one image after the other.
            instances: these regions; in training with ground truth (see :func:`mask_rcnn_loss`),
                in inference with ``pred_classes``.

        Returns:
            In training the loss, ``loss_mask``; in inference ``instances`` with ``pred_masks``.
        """
        logits = self.layers(x)
        if not self.training:
            mask_rcnn_inference(logits, instances)
            return instances
        loss = mask_rcnn_loss(logits, instances, self.vis_period)
        return {"loss_mask": loss * self.loss_weight}

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, H, W) features to (R, classes, M, M) logits."""
        raise NotImplementedError(f"{type(self).__name__} has no layers")


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead, nn.Sequential):
    """3x3 convolutions, a doubling of the resolution, and a 1x1 convolution to one mask per class.

    In the state dict they are ``mask_fcn1``, ``mask_fcn2``, ..., ``deconv`` and ``predictor``.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        conv_dims: Sequence[int],
        conv_norm: str = "",
        **kwargs: Any,
    ):
        """
        Args:
            input_shape: its ``channels`` are those of the features.
            num_classes: masks per region; 1 for a head that does not know classes.
            conv_dims: channels of each 3x3 convolution, and then of the doubling.
            conv_norm: of the 3x3 convolutions, as :func:`detectron2.layers.get_norm` takes it.
            kwargs: of :class:`BaseMaskRCNNHead`.

        Raises:
            ValueError: ``conv_dims`` is empty.
        """
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn.weight_init import c2_msra_fill

        super().__init__(**kwargs)
        if len(conv_dims) == 0:
            raise ValueError("conv_dims: expected channels of one layer at least, got none")
        *widths, last = conv_dims
        channels = input_shape.channels
        for number, width in enumerate(widths, start=1):
            conv = Conv2d(
                channels,
                width,
                3,
                padding=1,
                bias=not conv_norm,
                norm=get_norm(conv_norm, width),
                activation=nn.ReLU(),
            )
            self.add_module(f"mask_fcn{number}", conv)
            channels = width
        self.deconv = ConvTranspose2d(channels, last, 2, stride=2)
        self.deconv_relu = nn.ReLU()
        self.predictor = Conv2d(last, num_classes, 1)
        for layer in self:
            if layer is not self.deconv_relu and layer is not self.predictor:
                c2_msra_fill(layer)
        # Small, so that training starts from masks of one half everywhere.
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The arguments by MODEL.ROI_MASK_HEAD and MODEL.ROI_HEADS.NUM_CLASSES."""
        options = cfg.MODEL.ROI_MASK_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if options.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            # One more for the doubling.
            "conv_dims": [options.CONV_DIM] * (options.NUM_CONV + 1),
            "conv_norm": options.NORM,
        }

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, H, W) features to (R, num_classes, 2 H, 2 W) logits."""
        for layer in self:
            x = layer(x)
        return x


__getattr__ = missing_names(__name__)
