"""The keys of MODEL.FCOS that decide which candidates become detections."""

from __future__ import annotations

from fcos.config.keys.key import Group, Key, group
from fcos.config.keys.kinds import Choice, Number, Switch, Whole

__all__ = ["GROUPS"]

_SCORE = Number(0, 1, is_open=True)
_CANDIDATES = Whole(1, 100_000_000)

_INFERENCE = group(
    "MODEL.FCOS",
    "inference",
    Key(
        "SCORE_THRESH_TEST",
        _SCORE,
        "A class counts at a location when its probability is above this; with THRESH_WITH_CTR, "
        "when probability times centerness is.",
        default=0.05,
    ),
    Key("THRESH_WITH_CTR", Switch(), "See SCORE_THRESH_TEST.", default=False),
    Key(
        "RANK_BY_CLASS",
        Switch(),
        "Which candidates of a level enter NMS is decided by class probability alone, not by the "
        "product (mmdetection).",
        default=False,
    ),
    Key(
        "CLIP_BEFORE_NMS",
        Switch(),
        "Clip boxes to the image before NMS, not after it (torchvision, mmdetection).",
        default=False,
    ),
    Key(
        "DROP_EMPTY",
        Choice("before", "after", "never"),
        'Boxes without width or height are left out "after" NMS, as by every detector of '
        'detectron2, or "before" it (mmdetection), or "never" (the original, torchvision).',
        default="after",
    ),
    Key(
        "SQRT_SCORE",
        Switch(),
        "The score is the square root of probability times centerness, or the product "
        "(mmdetection).",
        default=True,
    ),
    Key(
        "NMS_THRESH_TEST",
        _SCORE,
        "IoU above which the lower-scored of two boxes of one class is dropped.",
        default=0.6,
    ),
    Key("NMS_PRE_TOPK", _CANDIDATES, "Candidates per level that enter NMS.", default=1000),
    Key(
        "NMS_POST_TOPK",
        _CANDIDATES,
        "Detections per image that leave NMS (detectron2's TEST.DETECTIONS_PER_IMAGE is not read).",
        default=100,
    ),
)

_REGIONS = group(
    "MODEL.FCOS",
    "regions for ROI heads, and weights",
    Key(
        "SCORE_THRESH_TRAIN",
        _SCORE,
        "SCORE_THRESH_TEST for the detections that ROI heads, such as a mask head, are trained on "
        '(MODEL.META_ARCHITECTURE "GeneralizedRCNN"). A detector that has just begun has none '
        "above this threshold: its ROI heads start with the ground-truth boxes.",
        default=0.05,
    ),
    Key("NMS_THRESH_TRAIN", _SCORE, "NMS_THRESH_TEST for the same detections.", default=0.6),
    Key("NMS_PRE_TOPK_TRAIN", _CANDIDATES, "NMS_PRE_TOPK for them.", default=1000),
    Key("NMS_POST_TOPK_TRAIN", _CANDIDATES, "NMS_POST_TOPK for them.", default=100),
    Key(
        "REINIT_CLS_LOGITS",
        Switch(),
        "Accept weights for another number of classes: their class-logit layer is left out and "
        "starts from its initialisation.",
        default=False,
    ),
)

GROUPS: tuple[Group, ...] = (_INFERENCE, _REGIONS)
