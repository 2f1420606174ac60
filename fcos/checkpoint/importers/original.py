"""Files of tianzhi0549/FCOS, the implementation of the paper."""

import torch

from fcos.checkpoint.importers.family import HEAD, Family, Weights
from fcos.checkpoint.importers.rules import Rule, resnet

# Its frozen batch normalisation divides by the root of the variance; the framework's adds this to
# the variance first. Subtracted from the variance, it makes both compute the same.
_EPSILON = 1e-5


def _shift_variances(weights: Weights, by: float) -> Weights:
    def shifted(value: torch.Tensor) -> torch.Tensor:
        value = torch.as_tensor(value)
        return (value.double() + by).to(value.dtype)

    return {
        name: shifted(value) if name.endswith(".norm.running_var") else value
        for name, value in weights.items()
    }


_DEFORMABLE = "backbone.body.layer{s}.{b}.conv2.", "backbone.bottom_up.res{s+1}.{b}.conv2"

FAMILY = Family(
    name="original",
    mark=r"rpn\.head\.centerness\.",
    rules=(
        Rule("backbone.body.stem.conv1.weight", "backbone.bottom_up.stem.conv1.weight"),
        Rule("backbone.body.stem.bn1.{what}", "backbone.bottom_up.stem.conv1.norm.{what}"),
        Rule(_DEFORMABLE[0] + "offset.{what}", _DEFORMABLE[1] + "_offset.{what}"),
        Rule(
            _DEFORMABLE[0] + "conv.weight",
            _DEFORMABLE[1] + ".weight",
            beside=(_DEFORMABLE[0] + "offset.weight", _DEFORMABLE[1] + "_offset.weight"),
        ),
        *resnet("backbone.body."),
        Rule("backbone.fpn.fpn_inner{i}.{what}", "backbone.fpn_lateral{i+1}.{what}"),
        Rule("backbone.fpn.fpn_layer{i}.{what}", "backbone.fpn_output{i+1}.{what}"),
        Rule("backbone.fpn.top_blocks.{level}.{what}", "backbone.top_block.{level}.{what}"),
        Rule("rpn.head.centerness.{what}", HEAD + "ctrness.{what}"),
        Rule("rpn.head.cls_logits.{what}", HEAD + "cls_logits.{what}"),
        Rule("rpn.head.bbox_pred.{what}", HEAD + "bbox_pred.{what}"),
        # The towers, and the scales of the levels.
        Rule("rpn.head.{tower}.{i}.{what}", HEAD + "{tower}.{i}.{what}"),
        # Deformable convolution in the towers: its offsets and itself.
        Rule("rpn.head.{tower}.{i}.{part}.{what}", HEAD + "{tower}.{i}.{part}.{what}"),
    ),
    dropped=r".*\.num_batches_tracked",
    arrive=lambda weights: _shift_variances(weights, -_EPSILON),
    leave=lambda weights: _shift_variances(weights, _EPSILON),
    note=(
        "These are names of tianzhi0549/FCOS; weights published by it are licensed for "
        "non-commercial use only."
    ),
)
