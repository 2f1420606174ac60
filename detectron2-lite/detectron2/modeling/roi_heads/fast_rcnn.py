"""The last layers of Fast R-CNN and their losses (arXiv:1504.08083).

Letters: R regions of all images, one image after the other; C classes, background is class C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2._missing import missing, missing_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat, cross_entropy
from detectron2.modeling._box_losses import box_regression_loss
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads._fast_rcnn_inference import (
    fast_rcnn_inference,
    fast_rcnn_inference_single_image,
)
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage

__all__ = [
    "FastRCNNOutputLayers",
    "fast_rcnn_inference",
    "fast_rcnn_inference_single_image",
]

__getattr__ = missing_names(__name__)

_Predictions = tuple[Tensor, Tensor]


def _log_accuracy(logits: Tensor, gt_classes: Tensor) -> None:
    """How many regions are classified well, into the event storage."""
    if gt_classes.numel() == 0:
        return
    predicted, background = logits.argmax(dim=1), logits.shape[1] - 1
    is_object = (gt_classes >= 0) & (gt_classes < background)
    is_right, is_missed = predicted == gt_classes, is_object & (predicted == background)
    counts = torch.stack([each.sum() for each in (is_right, is_object, is_right & is_object)])
    right, objects, right_objects = counts.tolist()
    storage = get_event_storage()
    storage.put_scalar("fast_rcnn/cls_accuracy", right / gt_classes.numel())
    if objects > 0:
        storage.put_scalar("fast_rcnn/fg_cls_accuracy", right_objects / objects)
        storage.put_scalar("fast_rcnn/false_negative", is_missed.sum().item() / objects)


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers, for the class and the box of a region.

    In the state dict they are ``cls_score`` and ``bbox_pred``.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec | int,
        *,
        box2box_transform: Any,
        num_classes: int,
        cls_agnostic_bbox_reg: bool = False,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        test_topk_per_image: int = 100,
        test_nms_thresh: float = 0.5,
        test_score_thresh: float = 0.0,
        loss_weight: float | dict[str, float] = 1.0,
        use_fed_loss: bool = False,
        use_sigmoid_ce: bool = False,
        get_fed_loss_cls_weights: Callable[[], Tensor] | None = None,
        fed_loss_num_classes: int = 50,
    ):
        """
        Args:
            input_shape: of one region's features, or their number.
            box2box_transform: what deltas mean, from a proposal to a box.
            num_classes: C.
            test_score_thresh, test_nms_thresh, test_topk_per_image: see
                :func:`fast_rcnn_inference`.
            cls_agnostic_bbox_reg: predict one box for all classes, not one for each.
            smooth_l1_beta: below this difference of deltas the loss is quadratic; 0: L1.
            box_reg_loss_type: "smooth_l1", "giou", "diou" or "ciou".
            loss_weight: of both losses, or of each by its name.
            use_sigmoid_ce: learn each class by itself, not all together with background.
            use_fed_loss, get_fed_loss_cls_weights, fed_loss_num_classes: not here.

        Raises:
            NotImplementedError: ``use_fed_loss``.
        """
        super().__init__()
        if use_fed_loss:
            raise missing("MODEL.ROI_BOX_HEAD.USE_FED_LOSS (federated loss)")
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        size = input_shape.channels * (input_shape.height or 1) * (input_shape.width or 1)
        num_boxes = 1 if cls_agnostic_bbox_reg else num_classes
        self.cls_score = nn.Linear(size, num_classes + 1)
        self.bbox_pred = nn.Linear(size, num_boxes * len(box2box_transform.weights))
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        self.num_classes = num_classes
        self.box2box_transform = box2box_transform
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        if not isinstance(loss_weight, dict):
            loss_weight = {"loss_cls": loss_weight, "loss_box_reg": loss_weight}
        self.loss_weight = loss_weight
        self.use_sigmoid_ce = use_sigmoid_ce

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The arguments by MODEL.ROI_BOX_HEAD, MODEL.ROI_HEADS and TEST.DETECTIONS_PER_IMAGE."""
        options, heads = cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_HEADS
        return {
            "input_shape": input_shape,
            "box2box_transform": Box2BoxTransform(weights=options.BBOX_REG_WEIGHTS),
            "num_classes": heads.NUM_CLASSES,
            "cls_agnostic_bbox_reg": options.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": options.SMOOTH_L1_BETA,
            "test_score_thresh": heads.SCORE_THRESH_TEST,
            "test_nms_thresh": heads.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "box_reg_loss_type": options.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_box_reg": options.BBOX_REG_LOSS_WEIGHT},
            "use_fed_loss": options.USE_FED_LOSS,
            "use_sigmoid_ce": options.USE_SIGMOID_CE,
        }

    def forward(self, x: Tensor) -> _Predictions:
        """(R, ...) features to (R, C + 1) logits and (R, C * 4) deltas, (R, 4) if agnostic."""
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(self, predictions: _Predictions, proposals: list[Instances]) -> dict[str, Tensor]:
        """The losses; also puts accuracies into the event storage.

        Args:
            predictions: see :meth:`forward`.
            proposals: of each image, with ``proposal_boxes``, ``gt_classes`` and, unless all of
                them are background, ``gt_boxes``.

        Returns:
            ``loss_cls``, mean cross-entropy, and ``loss_box_reg``, of the boxes of objects: their
            sum, divided by all R regions, so that an object counts the same however many there
            are. Both are 0, with a gradient path, if there are no regions.
        """
        logits, deltas = predictions
        if proposals:
            gt_classes = cat([one.gt_classes for one in proposals])
            source = cat([one.proposal_boxes.tensor for one in proposals])
            assert not source.requires_grad, "proposals must not pass on a gradient"
            names = ["gt_boxes" if one.has("gt_boxes") else "proposal_boxes" for one in proposals]
            target = cat([one.get(name).tensor for one, name in zip(proposals, names, strict=True)])
        else:
            gt_classes = torch.zeros(0, dtype=torch.int64, device=logits.device)
            source = target = deltas.new_zeros((0, 4))
        _log_accuracy(logits.detach(), gt_classes)
        classify = self.sigmoid_cross_entropy_loss if self.use_sigmoid_ce else cross_entropy
        losses = {
            "loss_cls": classify(logits, gt_classes),
            "loss_box_reg": self.box_reg_loss(source, target, deltas, gt_classes),
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def sigmoid_cross_entropy_loss(self, pred_class_logits: Tensor, gt_classes: Tensor) -> Tensor:
        """Binary cross-entropy, summed over classes without background, averaged over regions."""
        if pred_class_logits.numel() == 0:
            return pred_class_logits.sum() * 0.0
        logits = pred_class_logits[:, :-1]
        is_class = F.one_hot(gt_classes, pred_class_logits.shape[1])[:, :-1].to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, is_class, reduction="sum")
        return loss / len(logits)

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        """See :meth:`losses`.

        Args:
            proposal_boxes, gt_boxes: (R, 4).
            pred_deltas: (R, C * 4) or (R, 4).
            gt_classes: (R,).
        """
        (which,) = ((gt_classes >= 0) & (gt_classes < self.num_classes)).nonzero(as_tuple=True)
        if pred_deltas.shape[1] == 4:
            deltas = pred_deltas[which]
        else:
            of_class = pred_deltas.view(-1, self.num_classes, 4)
            deltas = of_class[which, gt_classes[which]]
        transform, kind = self.box2box_transform, self.box_reg_loss_type
        loss = box_regression_loss(
            *(deltas, proposal_boxes[which], gt_boxes[which]), transform, kind, self.smooth_l1_beta
        )
        return loss / max(gt_classes.numel(), 1)

    def inference(
        self, predictions: _Predictions, proposals: list[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections; see :func:`fast_rcnn_inference` and :meth:`predict_boxes`."""
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [one.image_size for one in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )

    def predict_boxes(self, predictions: _Predictions, proposals: list[Instances]) -> list[Tensor]:
        """Of each image (R, C * 4), or (R, 4) if class-agnostic: the boxes of its regions."""
        if not proposals:
            return []
        source = cat([one.proposal_boxes.tensor for one in proposals])
        moved = self.box2box_transform.apply_deltas(predictions[1], source)
        return list(moved.split([len(one) for one in proposals]))

    def predict_boxes_for_gt_classes(
        self, predictions: _Predictions, proposals: list[Instances]
    ) -> list[Tensor]:
        """Of each image (R, 4): of each region the box of its class, by ``gt_classes``.

        Of background and of what is ignored it is the box of the last and of the first class.
        """
        of_image = self.predict_boxes(predictions, proposals)
        boxes = []
        for own, one in zip(of_image, proposals, strict=True):
            per_class = own.view(len(one), own.shape[1] // 4, 4)
            classes = one.gt_classes.clamp(0, per_class.shape[1] - 1)
            boxes.append(per_class[torch.arange(len(one), device=own.device), classes])
        return boxes

    def predict_probs(self, predictions: _Predictions, proposals: list[Instances]) -> list[Tensor]:
        """Of each image (R, C + 1) probabilities, background last."""
        logits, _ = predictions
        probabilities = logits.sigmoid() if self.use_sigmoid_ce else logits.softmax(dim=-1)
        return list(probabilities.split([len(one) for one in proposals]))
