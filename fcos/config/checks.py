"""What several keys of a model have to agree on; each check raises a ``UserError``.

What one key may be by itself, :mod:`fcos.config.keys` says. Code that reads a group of keys calls
the check of that group, which looks at both, so a mistake gets the same sentence in a program and
in a notebook. Constructors check their arguments too, for callers without a config, and name the
argument instead of the key. What has to ask the machine or the data is not here.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence

from detectron2.layers import get_norm
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
)
from fcos.config.config import CfgNode, value_of
from fcos.config.detector_keys import is_of_fcos
from fcos.config.keys import check_keys
from fcos.config.keys.key import shown
from fcos.config.model_classes import check_region_classes
from fcos.utils.errors import UserError
from fcos.utils.values import listed

_MOST_CHANNELS = 4096  # of the convolutions in a bottleneck of res2


def check_detector(cfg: CfgNode) -> None:
    """Refuse what building the detector would refuse, as far as its parts are known."""
    _check_names(cfg)
    if not is_of_fcos(cfg):
        return
    if cfg.MODEL.BACKBONE.NAME == "build_fcos_resnet_fpn_backbone":
        _check_resnet_levels(cfg)
    check_fcos(cfg)
    if cfg.MODEL.META_ARCHITECTURE == "OneStageDetector":
        check_boxes_only(cfg)


def _check_resnet_levels(cfg: CfgNode) -> None:
    """Refuse what a ResNet with FPN would be refused for, without building it."""
    check_resnet(cfg)
    last = 16 if cfg.MODEL.RESNETS.RES5_DILATION == 2 else 32
    strides = {"stem": 4, "res2": 4, "res3": 8, "res4": 16, "res5": last}
    check_fpn(cfg, {name: strides[name] for name in cfg.MODEL.RESNETS.OUT_FEATURES})
    if cfg.MODEL.FCOS.NORM == "GN":
        _check_norm("MODEL.FCOS.NORM", "GN", cfg.MODEL.FPN.OUT_CHANNELS)
    levels = [strides[name] for name in cfg.MODEL.FPN.IN_FEATURES]
    levels += [levels[-1] * 2, levels[-1] * 4][: cfg.MODEL.FCOS.TOP_LEVELS]
    check_levels(cfg, {f"p{int(math.log2(stride))}": stride for stride in levels})


def _check_names(cfg: CfgNode) -> None:
    """Refuse names that no part of a detector is registered under."""
    named = {"META_ARCHITECTURE": META_ARCH_REGISTRY, "BACKBONE.NAME": BACKBONE_REGISTRY}
    if cfg.MODEL.META_ARCHITECTURE in ("OneStageDetector", "GeneralizedRCNN", "ProposalNetwork"):
        named["PROPOSAL_GENERATOR.NAME"] = PROPOSAL_GENERATOR_REGISTRY
    for key, registry in named.items():
        name = value_of(cfg.MODEL, key)
        if name == "PrecomputedProposals":  # none
            continue
        try:
            registry.get(name)
        except NotImplementedError as error:
            raise UserError(f"MODEL.{key}: {error}") from None
        except KeyError:
            known = [known for known, _ in registry]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise UserError(
                f"MODEL.{key} is {shown(name)}, under which nothing is registered: set it to one "
                f"of {', '.join(map(repr, known))}{hint}."
            ) from None


def check_fcos(cfg: CfgNode) -> None:
    """Refuse values of MODEL.FCOS that are unknown, out of range, or contradict each other."""
    check_keys(cfg, "MODEL.FCOS.", "MODEL.META_ARCHITECTURE")
    node = cfg.MODEL.FCOS
    check_region_classes(cfg)
    sizes, levels = node.SIZES_OF_INTEREST, len(node.IN_FEATURES)
    if len(sizes) not in (0, levels - 1):
        raise UserError(
            f"MODEL.FCOS.SIZES_OF_INTEREST has {len(sizes)} limits: expected one fewer than there "
            f"are IN_FEATURES ({levels}), or none to derive them from FPN_STRIDES."
        )
    if node.USE_DEFORMABLE and node.NUM_STACKED_CONVS == 0:
        raise UserError(
            "MODEL.FCOS.USE_DEFORMABLE is True, which makes the last convolution of each tower "
            "deformable, but MODEL.FCOS.NUM_STACKED_CONVS is 0: set that to 1 or more."
        )


def check_fpn(cfg: CfgNode, strides: Mapping[str, int]) -> None:
    """Refuse values of MODEL.FPN and of the levels on top of it that no backbone can have.

    Args:
        cfg: the config.
        strides: of each feature of the backbone below the FPN, in pixels.
    """
    check_keys(cfg, "MODEL.FPN.", "MODEL.FCOS.TOP_", "MODEL.FCOS.IN_FEATURES")
    _check_norm("MODEL.FPN.NORM", cfg.MODEL.FPN.NORM, cfg.MODEL.FPN.OUT_CHANNELS)
    taken = list(cfg.MODEL.FPN.IN_FEATURES)
    _check_top_levels(cfg.MODEL, list(strides))
    missing = [name for name in taken if name not in strides]
    if missing or not taken:
        raise UserError(
            f"MODEL.FPN.IN_FEATURES: the backbone has no {listed(missing) or 'such features'}; "
            f"it gives {', '.join(strides)} (a ResNet those of MODEL.RESNETS.OUT_FEATURES)"
        )
    if any(2 * strides[fine] != strides[coarse] for fine, coarse in itertools.pairwise(taken)):
        raise UserError(
            f"MODEL.FPN.IN_FEATURES is {taken}, of the strides {[strides[n] for n in taken]}: "
            "name features whose strides double from one to the next."
        )


def _check_top_levels(model: CfgNode, bottom_up: Sequence[str]) -> None:
    """Refuse levels on top that cannot be computed, or that nothing would use."""
    options, finer = model.FCOS, model.FPN.IN_FEATURES
    number, source = options.TOP_LEVELS, options.TOP_IN_FEATURE
    by_fpn = source == "p5"
    key, features = ("MODEL.FPN.IN_FEATURES", finer) if by_fpn else ("the backbone", bottom_up)
    if number and "res5" not in features:
        raise UserError(
            f"MODEL.FCOS.TOP_LEVELS: P6 is computed from {source}, so {key} needs res5, "
            f"got {listed(features)}; add it or set TOP_LEVELS to 0"
        )
    made = ("p6", "p7")[:number]
    unused = [name for name in made if name not in options.IN_FEATURES]
    given = [name.replace("res", "p") for name in finer]
    # FCOS itself refuses a feature that the backbone lacks, whatever the backbone is.
    if unused and set(options.IN_FEATURES) <= {*given, *made}:
        raise UserError(
            f"MODEL.FCOS.TOP_LEVELS: {number} makes {', '.join(made)}, but "
            f"MODEL.FCOS.IN_FEATURES does not use {', '.join(unused)}; lower TOP_LEVELS or add it"
        )


def check_levels(cfg: CfgNode, strides: Mapping[str, int]) -> None:
    """Refuse IN_FEATURES and FPN_STRIDES of MODEL.FCOS that are not those of its backbone.

    Args:
        cfg: the config.
        strides: of each feature that the backbone gives, in pixels.
    """
    check_keys(cfg, "MODEL.FCOS.")
    names, stated = cfg.MODEL.FCOS.IN_FEATURES, list(cfg.MODEL.FCOS.FPN_STRIDES)
    missing = [name for name in names if name not in strides]
    if missing:
        raise UserError(
            f"MODEL.FCOS.IN_FEATURES: the backbone has no {listed(missing)}; it gives "
            f"{', '.join(strides)} (see MODEL.FCOS.TOP_LEVELS and MODEL.FPN.IN_FEATURES)"
        )
    if len(names) != len(stated):
        raise UserError(
            "MODEL.FCOS.FPN_STRIDES: expected one stride for each of MODEL.FCOS.IN_FEATURES, "
            f"{', '.join(names)}, got {stated}"
        )
    actual = [strides[name] for name in names]
    if stated != actual:
        raise UserError(
            f"MODEL.FCOS.FPN_STRIDES: expected {actual}, the strides of {', '.join(names)}, "
            f"got {stated}"
        )


def check_resnet(cfg: CfgNode) -> None:
    """Refuse values of MODEL.RESNETS that no ResNet can have."""
    check_keys(cfg, "MODEL.RESNETS.", "MODEL.BACKBONE.FREEZE_AT")
    node = cfg.MODEL.RESNETS
    channels = [node.STEM_OUT_CHANNELS, node.RES2_OUT_CHANNELS]
    if node.DEPTH < 50:
        _check_without_bottlenecks(node)
    else:
        channels.append(_check_bottlenecks(node))
    for number in channels:
        _check_norm("MODEL.RESNETS.NORM", node.NORM, number)


def _check_without_bottlenecks(node: CfgNode) -> None:
    stages = list(node.DEFORM_ON_PER_STAGE)
    if any(stages):
        raise UserError(
            f"MODEL.RESNETS.DEFORM_ON_PER_STAGE is {stages}, but the blocks of a ResNet of "
            f"{node.DEPTH} layers have no bottleneck; set MODEL.RESNETS.DEPTH to 50 or more."
        )
    for key, value in {"RES2_OUT_CHANNELS": 64, "RES5_DILATION": 1, "NUM_GROUPS": 1}.items():
        if node[key] != value:
            raise UserError(
                f"MODEL.RESNETS.{key} is {node[key]}: set it to {value}, the only value that a "
                f"ResNet of {node.DEPTH} layers can have."
            )


def _check_bottlenecks(node: CfgNode) -> int:
    """Return how many channels the bottlenecks of res2 have."""
    stages, groups = list(node.DEFORM_ON_PER_STAGE), node.DEFORM_NUM_GROUPS
    width: int = node.NUM_GROUPS * node.WIDTH_PER_GROUP
    if width > _MOST_CHANNELS:
        raise UserError(
            f"MODEL.RESNETS.NUM_GROUPS is {node.NUM_GROUPS} and MODEL.RESNETS.WIDTH_PER_GROUP "
            f"{node.WIDTH_PER_GROUP}, which are {width:,} channels in res2: make that at most "
            f"{_MOST_CHANNELS:,}."
        )
    if any(stages) and (width << stages.index(True)) % groups:
        raise UserError(
            f"MODEL.RESNETS.DEFORM_NUM_GROUPS is {groups}, which does not divide the "
            f"{width << stages.index(True)} channels of the first deformable convolutions."
        )
    return width


def _check_norm(key: str, norm: str, channels: int) -> None:
    """Refuse a normalisation that this detectron2 has not, or not for so many channels."""
    try:
        get_norm(norm, channels)
    except (NotImplementedError, ValueError) as error:
        raise UserError(
            f"{key} is {norm!r}, for {channels} channels: {error}; choose another normalisation "
            "or number of channels."
        ) from error


def check_boxes_only(cfg: CfgNode) -> None:
    """Refuse masks, keypoints and proposals from files, of which OneStageDetector has none."""
    if cfg.MODEL.MASK_ON:
        raise UserError(
            "MODEL.MASK_ON is True, but OneStageDetector has boxes only: set "
            "MODEL.META_ARCHITECTURE GeneralizedRCNN and MODEL.ROI_HEADS.NAME "
            "FCOSMaskROIHeads, as configs/Mask_R_50_FPN_1x.yaml does, or MODEL.MASK_ON False."
        )
    for key in ("KEYPOINT_ON", "LOAD_PROPOSALS"):
        if cfg.MODEL[key]:
            raise UserError(
                f"MODEL.{key} is True, but OneStageDetector finds boxes, in images alone: set it "
                "to False."
            )


def check_mask_heads(cfg: CfgNode) -> None:
    """Refuse values of MODEL.ROI_HEADS and MODEL.ROI_MASK_HEAD that masks of FCOS cannot have."""
    check_keys(cfg, "MODEL.ROI_HEADS.", "MODEL.ROI_MASK_HEAD.")
    heads = cfg.MODEL.ROI_HEADS
    of_boxes, of_masks = cfg.MODEL.FCOS.NUM_CLASSES, heads.NUM_CLASSES
    if of_boxes != of_masks:
        raise UserError(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {of_masks}, but MODEL.FCOS.NUM_CLASSES is {of_boxes}: "
            "masks are of the classes that FCOS detects; set both to the number of classes of the "
            "data set."
        )
    per_image = heads.BATCH_SIZE_PER_IMAGE * heads.POSITIVE_FRACTION
    if per_image < 1:
        raise UserError(
            "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE times MODEL.ROI_HEADS.POSITIVE_FRACTION is "
            f"{per_image:g}, the most regions of an image that masks are learnt from: make it at "
            "least 1."
        )
