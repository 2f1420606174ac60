"""Files of torchvision's fcos_resnet50_fpn."""

from fcos.checkpoint.importers.family import HEAD, Family
from fcos.checkpoint.importers.rules import Rule, resnet

FAMILY = Family(
    name="torchvision",
    mark=r"head\.regression_head\.bbox_ctrness\.",
    rules=(
        Rule("backbone.body.conv1.weight", "backbone.bottom_up.stem.conv1.weight"),
        Rule("backbone.body.bn1.{what}", "backbone.bottom_up.stem.conv1.norm.{what}"),
        *resnet("backbone.body."),
        Rule("backbone.fpn.inner_blocks.{i}.0.{what}", "backbone.fpn_lateral{i+3}.{what}"),
        Rule("backbone.fpn.layer_blocks.{i}.0.{what}", "backbone.fpn_output{i+3}.{what}"),
        Rule("backbone.fpn.extra_blocks.{level}.{what}", "backbone.top_block.{level}.{what}"),
        Rule("head.classification_head.conv.{i}.{what}", HEAD + "cls_tower.{i}.{what}"),
        Rule("head.classification_head.cls_logits.{what}", HEAD + "cls_logits.{what}"),
        Rule("head.regression_head.conv.{i}.{what}", HEAD + "bbox_tower.{i}.{what}"),
        Rule("head.regression_head.bbox_reg.{what}", HEAD + "bbox_pred.{what}"),
        Rule("head.regression_head.bbox_ctrness.{what}", HEAD + "ctrness.{what}"),
    ),
    dropped=r".*\.num_batches_tracked",
    has_scales=False,
)

# Its published detector has 91 outputs, for the numbers 0 to 90. 80 of these are COCO's category
# ids; other programs number the categories 0 to 79 in the same order.
_NO_CATEGORIES = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_CATEGORY_IDS = tuple(i for i in range(91) if i not in _NO_CATEGORIES)
