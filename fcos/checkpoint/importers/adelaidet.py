"""Files of AdelaiDet. Its names are ours, except those of its DLA-34."""

import re

import torch

from fcos.checkpoint.importers.family import HEAD, Family, Weights
from fcos.checkpoint.importers.rules import Rule

_DLA = "backbone.bottom_up."


def _leave(weights: Weights) -> Weights:
    """Add the unused projections that AdelaiDet's DLA has in stages of two levels.

    They get the values of ``tree1.project``, which has the same shape.
    """
    left = dict(weights)
    for name, value in weights.items():
        if re.match(re.escape(_DLA) + r"net\.level\d\.tree1\.project\.", name):
            left[name.replace(".tree1.project.", ".project.")] = torch.as_tensor(value).clone()
    return left


FAMILY = Family(
    name="adelaidet",
    mark=r"proposal_generator\.fcos_head\.(ctrness|centerness)\.",
    rules=(
        Rule(HEAD + "ctrness.{what}", HEAD + "ctrness.{what}"),
        # In the original's files that AdelaiDet's converter has converted.
        Rule(HEAD + "centerness.{what}", HEAD + "ctrness.{what}"),
        # Our DLA-34 is timm's, in a module "net". Both have the names of the network's authors
        # (arXiv:1707.06484).
        Rule(_DLA + "base_layer.{rest}", _DLA + "net.base_layer.{rest}"),
        Rule(_DLA + "level{s}.{rest}", _DLA + "net.level{s}.{rest}"),
    ),
    kept=".*",
    # Files of 2020 have the first two, which are in our config. For the third, see _leave.
    dropped=r"pixel_mean|pixel_std|backbone\.bottom_up\.level[34]\.project\..*",
    leave=_leave,
    note=(
        "These are names of AdelaiDet; weights published by it are licensed for non-commercial "
        "use only."
    ),
)
