"""Files of the FCOS that is built into detectron2 (detectron2.modeling.meta_arch.fcos)."""

from fcos.checkpoint.importers.family import HEAD, Family
from fcos.checkpoint.importers.rules import Rule

FAMILY = Family(
    name="detectron2",
    mark=r"head\.ctrness\.",
    rules=(
        Rule("head.cls_subnet.{i}.{what}", HEAD + "cls_tower.{i}.{what}"),
        Rule("head.bbox_subnet.{i}.{what}", HEAD + "bbox_tower.{i}.{what}"),
        Rule("head.cls_score.{what}", HEAD + "cls_logits.{what}"),
        Rule("head.bbox_pred.{what}", HEAD + "bbox_pred.{what}"),
        Rule("head.ctrness.{what}", HEAD + "ctrness.{what}"),
    ),
    kept=r"backbone\..*",
    dropped=r"pixel_mean|pixel_std|anchor_generator\..*",
    has_scales=False,
)
