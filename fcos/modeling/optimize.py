"""A trained detector made faster: for inference alone, and in a copy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.poolers import ROIPooler
from fcos.modeling.fcos.fcos import FCOS
from fcos.utils.errors import UserError

__all__ = ["PRECISIONS", "optimize_for_inference"]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

M = TypeVar("M", bound=nn.Module)


def optimize_for_inference(model: M, precision: str = "auto", compile: bool = False) -> M:
    """A copy of a detector that is called in the same way and gives its detections sooner.

    - Batch normalisation that follows a convolution, frozen or in evaluation mode, becomes part of
      the convolution's weights. (Not in the backbones of timm, and not in towers with NORM "BN",
      whose five levels share a convolution but not the normalisation.)
    - Weights and features lie in memory as ``MODEL.CHANNELS_LAST`` would have it.
    - Backbone and towers compute in half precision where it is fast. Distances are scaled, boxes
      decoded, scores ranked and regions cut out in float32; a mask head stays in float32.

    ``model`` itself is not changed. The copy has other weights under other names, so it cannot be
    trained and is no place to save or load weights.

    Args:
        model: what ``build_model`` gives for ``OneStageDetector`` or ``GeneralizedRCNN`` with
            FCOS, with its weights loaded, on the device it is to run on.
        precision: "float32", "bfloat16", "float16", or "auto": float16 on a GPU, bfloat16 on a
            processor that computes in it, else float32.
        compile: compile backbone and head by torch.compile, which takes minutes when the first
            image comes, and a C++ compiler. Images may have any size.

    Returns:
        The copy, in evaluation mode.

    Raises:
        UserError: ``precision`` is none of these, or the device does not compute in it, or the
            model has no FCOS.
    """
    generator = getattr(model, "proposal_generator", None)
    if not isinstance(generator, FCOS):
        raise UserError(
            f"Only detectors with FCOS as MODEL.PROPOSAL_GENERATOR.NAME can be optimized, not "
            f"{type(model).__name__} with {type(generator).__name__}."
        )
    dtype = _dtype(precision, next(model.parameters()).device)
    made: Any = copy.deepcopy(model).eval().requires_grad_(False)
    _fold_batch_norm(made)
    made.to(memory_format=torch.channels_last)
    _compute_in(dtype, made)
    if compile:
        made.backbone.compile(dynamic=True)
        made.proposal_generator.fcos_head.compile(dynamic=True)
    return made


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in PRECISIONS:
        raise UserError(f"--optimize: expected one of {', '.join(PRECISIONS)}, got {precision!r}.")
    on_cpu = device.type == "cpu"
    if precision == "auto":
        precision = "float16" if not on_cpu else "bfloat16" if _cpu_has_bfloat16() else "float32"
    if on_cpu and precision == "float16":
        raise UserError(
            "--optimize float16 needs a GPU, but MODEL.DEVICE is cpu; choose bfloat16 or float32."
        )
    if precision == "bfloat16" and not (_cpu_has_bfloat16() if on_cpu else _gpu_has_bfloat16()):
        raise UserError(
            f"--optimize bfloat16: this {'processor' if on_cpu else 'GPU'} does not compute in it; "
            f"choose {'float32' if on_cpu else 'float16'}."
        )
    return getattr(torch, precision)


def _cpu_has_bfloat16() -> bool:
    """Whether the processor itself multiplies in bfloat16; where it does not, it is slower."""
    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.11
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _gpu_has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _fold_batch_norm(model: nn.Module) -> None:
    """Fold it into the convolutions that carry it, as all those of detectron2 do."""
    for module in model.modules():
        norm = getattr(module, "norm", None)
        if not isinstance(norm, (FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm)):
            continue
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or norm.running_mean is None:
            continue
        statistics: Any = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        bias: Any = getattr(module, "bias", None)
        folded = fuse_conv_bn_weights(weight, bias, *statistics)
        module.weight, module.bias = folded  # type: ignore[assignment]
        module.norm = None  # type: ignore[assignment]


def _compute_in(dtype: torch.dtype, model: Any) -> None:
    backbone, head = model.backbone, model.proposal_generator.fcos_head
    backbone.to(dtype)
    # The factor of each level is one number, and half precision would move all its boxes.
    for tower in (head.share_tower, head.cls_tower, head.bbox_tower):
        tower.to(dtype)
    for layer in (head.cls_logits, head.bbox_pred, head.ctrness):
        layer.to(dtype)
    backbone.register_forward_pre_hook(_InputAs(dtype))
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_features_in_float32)


class _InputAs:
    """Brings images to the type and the order in memory that the backbone computes in."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        images = inputs[0].to(self.dtype, memory_format=torch.channels_last)
        return images, *inputs[1:]


def _features_in_float32(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    features: Sequence[Tensor] = inputs[0]
    return [feature.float() for feature in features], *inputs[1:]
