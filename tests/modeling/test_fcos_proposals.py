"""FCOS as the proposal generator of ROI heads: what they get in training and otherwise."""

import pytest
import torch

from detectron2.modeling import ROIHeads, build_model
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tests.helpers import DEVICE, tiny_cfg, tiny_mask_cfg

SIZE = (64, 96)
TRAINING = {"MODEL.FCOS.SCORE_THRESH_TEST": 0.99, "MODEL.FCOS.SCORE_THRESH_TRAIN": 0.0}


def proposals_of(is_training, bbox_bias=2.5, size=SIZE, **overrides):
    torch.manual_seed(0)
    cfg = tiny_mask_cfg()
    cfg.merge_from_list([x for pair in overrides.items() for x in pair])
    detector = build_model(cfg).train(is_training)
    # Boxes of some 24 pixels, of which some reach past the image.
    detector.proposal_generator.fcos_head.bbox_pred.bias.data.fill_(bbox_bias)
    image = {"image": torch.arange(3 * 64 * 96).view(3, *SIZE).remainder(256).byte()}
    image["image"] = image["image"][:, : size[0], : size[1]]
    images = detector.preprocess_image([image])
    truth = Instances(
        size, gt_boxes=Boxes(torch.tensor([[8.0, 8, 40, 40]])), gt_classes=torch.tensor([1])
    )
    (proposals,), losses = detector.proposal_generator(
        images, detector.backbone(images.tensor), [truth]
    )
    assert (len(losses) == 3) == is_training
    return proposals, truth


def test_in_training_they_are_what_detectron2s_own_generator_gives():
    proposals, _ = proposals_of(True, **TRAINING)
    assert set(proposals.get_fields()) == {"proposal_boxes", "objectness_logits"}
    assert 0 < len(proposals) <= 100
    assert not proposals.proposal_boxes.tensor.requires_grad
    assert (proposals.objectness_logits.diff() <= 0).all()


def test_otherwise_they_are_detections_as_well():
    proposals, _ = proposals_of(False, **{"MODEL.FCOS.SCORE_THRESH_TEST": 0.0})
    detection = {"pred_boxes", "scores", "pred_classes", "locations"}
    assert set(proposals.get_fields()) == {"proposal_boxes", "objectness_logits"} | detection
    assert proposals.proposal_boxes.tensor.equal(proposals.pred_boxes.tensor)
    torch.testing.assert_close(proposals.objectness_logits.sigmoid(), proposals.scores)


@pytest.mark.parametrize("is_training", [True, False])
def test_boxes_are_inside_the_image(is_training):
    settings = {"MODEL.FCOS.SCORE_THRESH_TEST": 0.0, "MODEL.FCOS.NMS_POST_TOPK": 1000}
    settings |= {"MODEL.FCOS.NMS_POST_TOPK_TRAIN": 1000}
    proposals, _ = proposals_of(is_training, **settings)
    boxes = proposals.proposal_boxes.tensor
    assert len(boxes) > 0
    assert boxes.min() == 0  # some had to be clipped
    assert (boxes <= boxes.new_tensor([96, 64, 96, 64])).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize(("bias", "is_normalised"), [("nan", False), ("nan", True), ("inf", True)])
def test_distances_that_are_not_finite_are_left_to_the_guard_of_the_loss(bias, is_normalised):
    """It names the images; an assertion about boxes, before it, would not."""
    settings = TRAINING | {"MODEL.FCOS.NORMALIZE_REG_TARGETS": is_normalised}
    proposals, _ = proposals_of(True, bbox_bias=float(bias), **settings)
    boxes = proposals.proposal_boxes.tensor
    assert len(boxes) == 0 if bias == "nan" else boxes.tolist() == [[0, 0, 96, 64]] * len(boxes)


@pytest.mark.parametrize("is_training", [True, False])
def test_nothing_is_proposed_in_the_padding(is_training):
    """The image is padded to 96 columns; boxes of 2 pixels there have no area in its 70."""
    settings = {"MODEL.FCOS.SCORE_THRESH_TEST": 0.0, "MODEL.FCOS.NMS_POST_TOPK": 1000}
    settings |= {"MODEL.FCOS.NMS_POST_TOPK_TRAIN": 1000}
    proposals, _ = proposals_of(is_training, bbox_bias=0.0, size=(64, 70), **settings)
    boxes = proposals.proposal_boxes.tensor
    assert len(boxes) > 9  # those around x = 4, 12, ... 68
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize(
    ("key", "value", "most"),
    [
        ("MODEL.FCOS.NMS_POST_TOPK_TRAIN", 7, 7),
        ("MODEL.FCOS.SCORE_THRESH_TRAIN", 0.9, 0),
        ("MODEL.FCOS.NMS_PRE_TOPK_TRAIN", 1, 5),  # one of each level
    ],
)
def test_training_has_thresholds_of_its_own(key, value, most):
    proposals, _ = proposals_of(True, **(TRAINING | {key: value}))
    assert len(proposals) <= most
    unlimited, _ = proposals_of(True, **TRAINING)
    assert len(unlimited) > most


def test_training_has_an_overlap_of_its_own():
    strict, _ = proposals_of(True, **(TRAINING | {"MODEL.FCOS.NMS_THRESH_TRAIN": 0.0}))
    loose, _ = proposals_of(True, **(TRAINING | {"MODEL.FCOS.NMS_THRESH_TRAIN": 0.9}))
    assert len(strict) < len(loose)


@pytest.mark.parametrize("key", ["SCORE_THRESH_TRAIN", "NMS_THRESH_TRAIN"])
def test_settings_that_do_not_fit(key):
    with pytest.raises(
        ValueError, match=rf"MODEL\.FCOS\.{key} is 1\.0: set it to a number within \[0, 1\)"
    ):
        proposals_of(True, **{f"MODEL.FCOS.{key}": 1.0})


@pytest.mark.parametrize("key", ["NMS_PRE_TOPK_TRAIN", "NMS_POST_TOPK_TRAIN"])
def test_limits_that_do_not_fit(key):
    with pytest.raises(ValueError, match=rf"MODEL\.FCOS\.{key} is 0: set it to 1 or more"):
        proposals_of(True, **{f"MODEL.FCOS.{key}": 0})


def test_detectron2s_own_sampling_takes_them():
    """It adds the ground truth, and refuses proposals with fields that the truth lacks."""
    proposals, truth = proposals_of(True, **TRAINING)
    heads = ROIHeads(
        num_classes=3,
        batch_size_per_image=64,
        positive_fraction=0.5,
        proposal_matcher=Matcher([0.5], [0, 1]),
    )
    with EventStorage(0):
        (sampled,) = heads.label_and_sample_proposals([proposals], [truth])
    assert (sampled.gt_classes == 1).any()
    assert truth.gt_boxes.tensor[0].tolist() in sampled.proposal_boxes.tensor.tolist()


def test_without_roi_heads_nothing_is_detected_in_training():
    torch.manual_seed(0)
    detector = build_model(tiny_cfg()).train()
    assert not detector.proposal_generator.feeds_roi_heads
    found = []
    detector.proposal_generator.register_forward_hook(lambda *args: found.append(args[2][0]))
    truth = Instances(
        SIZE, gt_boxes=Boxes(torch.tensor([[8.0, 8, 40, 40]])), gt_classes=torch.tensor([1])
    )
    detector([{"image": torch.zeros(3, *SIZE), "instances": truth}] * 2)
    assert found == [[]]


def test_one_image_alone_has_the_detections_that_it_has_in_a_batch():
    torch.manual_seed(0)
    cfg = tiny_cfg()
    cfg.MODEL.FCOS.NORMALIZE_REG_TARGETS = False  # distances in pixels, as one image takes them
    generator = build_model(cfg).eval().proposal_generator
    sizes = [(64, 64), (32, 32)]  # the second image is padded
    levels = [(-(-64 // s), -(-64 // s)) for s in generator.strides]
    number = sum(rows * columns for rows, columns in levels)
    cls, ctr = torch.randn(2, number, cfg.MODEL.FCOS.NUM_CLASSES), torch.randn(2, number)
    ltrb = torch.rand(2, number, 4) * 20
    batch = generator.predict_proposals(cls, ltrb, ctr, levels, sizes)
    points = torch.cat(generator.targets.get_points(levels, device=DEVICE))
    counts = [rows * columns for rows, columns in levels]
    for i, wanted in enumerate(batch):
        found = generator.predict_proposals_single_image(
            points, cls[i], ltrb[i], ctr[i], counts, sizes[i]
        )
        assert len(found) == len(wanted) > 10 and found.image_size == sizes[i]
        for name, value in wanted.get_fields().items():
            other = found.get(name)
            if isinstance(value, Boxes):
                value, other = value.tensor, other.tensor
            torch.testing.assert_close(other, value)
