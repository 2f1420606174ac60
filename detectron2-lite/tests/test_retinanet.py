"""RetinaNet: names, losses and detections of detectron2, and its steps by hand."""

import math

import numpy as np
import pytest
import torch
from golden_values import fill, golden_json, golden_npz
from torch import nn

import detectron2
from detectron2 import model_zoo
from detectron2.layers import CycleBatchNormList, ShapeSpec
from detectron2.modeling import Backbone, RetinaNet, build_model
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.dense_detector import DenseDetector, permute_to_N_HWA_K
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)
CLASSES = 3


# ---- detectron2's own numbers -------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    return golden_json("rcnn.json")


@pytest.fixture(scope="module")
def filled(golden):
    """RetinaNet with R-50, with the weights that the reference values were computed with."""
    cfg = model_zoo.get_config(golden["models"]["retinanet"]["config"])
    cfg.MODEL.DEVICE = "cpu"
    model = fill(build_model(cfg))
    state = model.state_dict()
    for suffix, rule in golden["models"]["retinanet"]["fill_rules"]:
        for name in state:
            if name.endswith(suffix):
                state[name] = state[name] * rule.get("factor", 1) + rule.get("shift", 0)
    model.load_state_dict(state)
    return model


def image_of_golden():
    rgb = golden_npz("photo.npz")["rgb"]
    return torch.as_tensor(np.ascontiguousarray(rgb[:, :, ::-1].transpose(2, 0, 1)))


def test_names_and_shapes(golden, filled):
    found = [[name, list(value.shape)] for name, value in filled.state_dict().items()]
    assert found == golden["models"]["retinanet"]["state_dict"]


def test_golden_losses(golden, filled):
    truth, image = golden["truth"], image_of_golden()
    instances = Instances(
        tuple(image.shape[1:]),
        gt_boxes=Boxes(torch.tensor(truth["boxes"], dtype=torch.float32)),
        gt_classes=torch.tensor(truth["classes"]),
    )
    with EventStorage(), torch.no_grad():
        losses = filled.train()([{"image": image, "instances": instances}])
    expected = golden["models"]["retinanet"]["losses"]
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_golden_detections(filled):
    image, arrays = image_of_golden(), golden_npz("rcnn.npz")
    height, width = image.shape[1:]
    with torch.no_grad():
        (output,) = filled.eval()([{"image": image, "height": 2 * height, "width": 2 * width}])
    found = output["instances"]
    np.testing.assert_allclose(found.scores, arrays["retinanet/det/scores"], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(found.pred_classes, arrays["retinanet/det/classes"])
    boxes = arrays["retinanet/det/boxes"]
    np.testing.assert_allclose(found.pred_boxes.tensor, boxes, atol=0.01, rtol=0)


# ---- its steps ----------------------------------------------------------------------------------


class Stem(Backbone):
    """Two levels of ones."""

    def __init__(self):
        super().__init__()
        self._out_features = ["b", "a"]
        self._out_feature_channels = {"a": 4, "b": 4}
        self._out_feature_strides = {"a": 8, "b": 16}

    def forward(self, images):
        rows, columns = images.shape[2] // 16, images.shape[3] // 16
        ones = images.new_ones
        size = (len(images), 4)
        return {"b": ones(*size, rows, columns), "a": ones(*size, 2 * rows, 2 * columns)}

    @property
    def size_divisibility(self):
        return 16


def small(**options):
    """A RetinaNet with square anchors of 16 and 32 pixels, one at each location."""
    shapes = [ShapeSpec(channels=4, stride=8), ShapeSpec(channels=4, stride=16)]
    head = RetinaNetHead(input_shape=shapes, num_classes=CLASSES, num_anchors=1, conv_dims=[4])
    settings = {
        "backbone": Stem(),
        "head": head,
        "head_in_features": ["a", "b"],
        "anchor_generator": DefaultAnchorGenerator(
            sizes=[[16], [32]], aspect_ratios=[[1.0]], strides=[8, 16]
        ),
        "box2box_transform": Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        "anchor_matcher": Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
        "num_classes": CLASSES,
        "pixel_mean": [0.0, 0.0, 0.0],
        "pixel_std": [1.0, 1.0, 1.0],
    }
    return RetinaNet(**{**settings, **options})


def truth_of(boxes, classes, size=(32, 32)):
    return Instances(
        size,
        gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
    )


def anchors_of(model, size=32):
    features = [torch.zeros(1, 4, size // stride, size // stride) for stride in (8, 16)]
    return model.anchor_generator(features)


def test_anchors_learn_the_object_they_overlap_with():
    model = small()
    anchors = anchors_of(model)
    # exactly the anchor of row 1 and column 1 of the first level, whose middle is (12, 12)
    (labels,), (boxes,) = model.label_anchors(anchors, [truth_of([[4, 4, 20, 20]], [2])])
    # shifted by 8 of 16 pixels: IoU 1/3; both ways: 1/7. Anchors of 32 pixels: at most 16^2 / 32^2.
    assert labels.tolist() == [CLASSES] * 5 + [2] + [CLASSES] * (16 + 4 - 6)
    assert boxes[5].tolist() == [4, 4, 20, 20]

    # 16 x 24 around the same middle, IoU 16/24; the two above and below have 12/28
    (labels,), _ = model.label_anchors(anchors, [truth_of([[4, 0, 20, 24]], [0])])
    assert labels[[1, 5, 9]].tolist() == [-1, 0, -1]


def test_an_object_that_nothing_fits_gets_its_best_anchor():
    model = small()
    (labels,), _ = model.label_anchors(anchors_of(model), [truth_of([[11, 11, 13, 13]], [1])])
    assert labels[5] == 1
    assert (labels == CLASSES).sum() == len(labels) - 1


def test_without_objects_all_is_background():
    model = small()
    (labels,), (boxes,) = model.label_anchors(anchors_of(model), [truth_of([], [])])
    assert (labels == CLASSES).all()
    assert boxes.shape == (20, 4)


def test_losses_by_hand():
    """One location of the first level has an object; logits are 0, so every probability is 1/2."""
    model = small(focal_loss_alpha=0.25, focal_loss_gamma=2.0)
    anchors = anchors_of(model)
    labels, boxes = model.label_anchors(anchors, [truth_of([[4, 4, 20, 20]], [2])])
    logits = [torch.zeros(1, 16, CLASSES), torch.zeros(1, 4, CLASSES)]
    deltas = [torch.zeros(1, 16, 4), torch.zeros(1, 4, 4)]
    deltas[0][0, 5] = torch.tensor([0.5, 0.0, 0.0, -0.25])  # the box is its anchor: all should be 0
    with EventStorage() as storage:
        losses = model.losses(anchors, logits, labels, deltas, boxes)
    normalizer = 0.9 * 100 + 0.1 * 1
    focal = (0.25 * 1 + 0.75 * (20 * CLASSES - 1)) * 0.5**2 * math.log(2)
    assert losses["loss_cls"].item() == pytest.approx(focal / normalizer)
    assert losses["loss_box_reg"].item() == pytest.approx(0.75 / normalizer)
    assert storage.latest()["num_pos_anchors"][0] == 1


def test_the_normalizer_is_a_moving_mean_of_positive_anchors():
    model = small()
    anchors = anchors_of(model)
    logits = [torch.zeros(2, 16, CLASSES), torch.zeros(2, 4, CLASSES)]
    deltas = [torch.zeros(2, 16, 4), torch.zeros(2, 4, 4)]
    expected = 100.0
    with EventStorage() as storage:
        for truth, number in (([[4, 4, 20, 20]], 2), ([], 0)):
            pair = [truth_of(truth, [0] * len(truth))] * 2
            losses = model.losses(anchors, logits, *_order(model, anchors, pair, deltas))
            expected = 0.9 * expected + 0.1 * max(number, 1)
            assert model.loss_normalizer == pytest.approx(expected)
            assert storage.latest()["num_pos_anchors"][0] == number / 2
            assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_box_reg"] == 0


def _order(model, anchors, truth, deltas):
    labels, boxes = model.label_anchors(anchors, truth)
    return labels, deltas, boxes


def test_ignored_anchors_have_no_loss():
    model = small()
    anchors = anchors_of(model)
    labels, boxes = model.label_anchors(anchors, [truth_of([[4, 0, 20, 24]], [0])])
    assert (labels[0] == -1).sum() == 2
    logits = [torch.zeros(1, 16, CLASSES), torch.zeros(1, 4, CLASSES)]
    deltas = [torch.zeros(1, 16, 4), torch.zeros(1, 4, 4)]
    with EventStorage():
        before = model.losses(anchors, logits, labels, deltas, boxes)
        logits[0][0, labels[0][:16] == -1] = 50.0
        model.loss_normalizer = 100
        after = model.losses(anchors, logits, labels, deltas, boxes)
    torch.testing.assert_close(after, before)


def test_detections_of_one_image():
    model = small(test_score_thresh=0.3, test_topk_candidates=2, max_detections_per_image=2)
    anchors = anchors_of(model)
    scores = [torch.zeros(16, CLASSES), torch.zeros(4, CLASSES)]
    deltas = [torch.zeros(16, 4), torch.zeros(4, 4)]
    scores[0][5, 1] = 0.9
    deltas[0][5] = torch.tensor([0.25, 0, math.log(2), 0])  # 4 to the right, twice as wide
    scores[0][6, 1] = 0.5  # 8 to the right of the first anchor
    scores[0][10, 1] = 0.4  # the third of its level, beyond the 2 candidates
    scores[1][0, 0] = 0.3  # equal to the threshold
    scores[1][3, 2] = 0.31
    found = model.inference_single_image(anchors, scores, deltas, (32, 32))
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.pred_classes.tolist() == [1, 1]
    torch.testing.assert_close(
        found.pred_boxes.tensor, torch.tensor([[0.0, 4, 32, 20], [12, 4, 28, 20]])
    )
    model.max_detections_per_image = 3
    found = model.inference_single_image(anchors, scores, deltas, (32, 32))
    assert found.pred_classes.tolist() == [1, 1, 2]
    model.test_nms_thresh = 0.4  # the IoU of the first two is 1/2
    found = model.inference_single_image(anchors, scores, deltas, (32, 32))
    assert found.pred_classes.tolist() == [1, 2]


def test_training_and_detection_of_whole_images():
    torch.manual_seed(0)
    model = small(test_score_thresh=0.0)
    records = [
        {"image": torch.rand(3, 30, 32), "instances": truth_of([[4, 4, 20, 20]], [1], (30, 32))},
        {"image": torch.rand(3, 32, 28), "instances": truth_of([], [], (32, 28))},
    ]
    with EventStorage():
        losses = model(records)
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.head.parameters())
    outputs = model.eval()([{**records[0], "height": 60, "width": 64}, records[1]])
    assert [output["instances"].image_size for output in outputs] == [(60, 64), (32, 28)]
    assert all(len(output["instances"]) > 0 for output in outputs)
    assert set(outputs[0]["instances"].get_fields()) == {"pred_boxes", "scores", "pred_classes"}


def test_training_needs_the_ground_truth():
    with pytest.raises(AssertionError, match="nst?ance"), EventStorage():
        small()([{"image": torch.rand(3, 32, 32)}])


def test_visualize_training():
    model = small()
    record = {
        "image": torch.full((3, 32, 48), 90.0),
        "instances": truth_of([[4, 4, 20, 20]], [1], (32, 48)),
    }
    found = Instances((32, 48), pred_boxes=Boxes(torch.tensor([[1.0, 2, 30, 30]])))
    with EventStorage() as storage:
        shown = []
        storage.put_image = lambda name, picture: shown.append((name, picture))
        model.visualize_training([record], [found])
    ((name, picture),) = shown
    assert name == "Top: GT bounding boxes; Bottom: 20 Highest Scoring Results"
    assert picture.shape == (3, 64, 48)


# ---- head ---------------------------------------------------------------------------------------


def test_the_head_starts_at_the_prior():
    shapes = [ShapeSpec(channels=8, stride=8)]
    head = RetinaNetHead(
        input_shape=shapes, num_classes=2, num_anchors=3, conv_dims=[8, 16], prior_prob=0.02
    )
    logits, deltas = head([torch.zeros(2, 8, 4, 5)])
    assert (logits[0].shape, deltas[0].shape) == ((2, 6, 4, 5), (2, 12, 4, 5))
    torch.testing.assert_close(logits[0].sigmoid(), torch.full((2, 6, 4, 5), 0.02))
    assert (deltas[0] == 0).all()
    stds = [p.std().item() for name, p in head.named_parameters() if name.endswith("weight")]
    assert stds == pytest.approx([0.01] * 6, rel=0.15)


def test_batch_norm_of_the_head_keeps_levels_apart():
    shapes = [ShapeSpec(channels=4, stride=8), ShapeSpec(channels=4, stride=16)]
    head = RetinaNetHead(input_shape=shapes, num_classes=2, num_anchors=1, conv_dims=[4], norm="BN")
    assert isinstance(head.cls_subnet[1], CycleBatchNormList)
    assert [type(layer) for layer in head.bbox_subnet] == [nn.Conv2d, CycleBatchNormList, nn.ReLU]
    names = {
        f"cls_subnet.1.{name}" for name in ("weight", "bias", "0.running_mean", "1.running_var")
    }
    assert names <= set(head.state_dict())
    head([torch.rand(2, 4, 8, 8), torch.rand(2, 4, 4, 4) + 5])
    first, second = (layer.running_mean for layer in head.cls_subnet[1])
    assert not torch.allclose(first, second)


def test_cycle_of_norms():
    norms = CycleBatchNormList(2, num_features=3)
    torch.manual_seed(0)
    with torch.no_grad():
        norms.weight.copy_(torch.tensor([1.0, 2, 3]))
        norms.bias.fill_(0.5)
    inputs = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5) * 3 + 2
    for given in inputs:
        mean, std = given.mean((0, 2, 3), keepdim=True), given.var((0, 2, 3), keepdim=True) ** 0.5
        weight = norms.weight.detach().view(1, 3, 1, 1)
        torch.testing.assert_close(
            norms(given), (given - mean) / std * weight + 0.5, rtol=0.02, atol=0.02
        )
    assert norms[1].running_mean.mean() > norms[0].running_mean.mean() + 0.1
    plain = CycleBatchNormList(2, num_features=3, affine=False)
    assert not list(plain.parameters())
    assert plain(inputs[0]).mean().abs() < 1e-5


@lite_only
def test_levels_need_equal_numbers_of_anchors():
    cfg = model_zoo.get_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32, 64]]
    shapes = [ShapeSpec(channels=4, stride=8), ShapeSpec(channels=4, stride=16)]
    with pytest.raises(ValueError, match=r"MODEL.ANCHOR_GENERATOR: .* these are \[3, 6\]"):
        RetinaNetHead(cfg, shapes)


# ---- what any dense detector has ----------------------------------------------------------------


def test_values_of_an_anchor_stay_together():
    # channel = 3 * anchor + value, at two locations
    given = torch.arange(6.0).view(1, 6, 1, 1) + torch.tensor([0.0, 10]).view(1, 1, 1, 2)
    assert permute_to_N_HWA_K(given, 3).tolist() == [
        [[0, 1, 2], [3, 4, 5], [10, 11, 12], [13, 14, 15]]
    ]


class Mean(DenseDetector):
    """Detects the mean of each level."""

    def forward_training(self, images, features, predictions, gt_instances):
        return {"loss": predictions[0] + len(gt_instances)}

    def forward_inference(self, images, features, predictions):
        assert isinstance(images, ImageList)
        return [Instances(size, pred_boxes=Boxes(torch.ones(0, 4))) for size in images.image_sizes]


def test_a_dense_detector_of_ones_own():
    sizes = []

    class Head(nn.Module):
        def forward(self, features):
            sizes.append([feature.shape[-1] for feature in features])
            return [feature.mean() for feature in features]

    model = Mean(Stem(), Head(), pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3)
    assert list(model.head_in_features) == ["a", "b"]  # finest first
    record = {"image": torch.rand(3, 32, 32), "instances": truth_of([], [])}
    assert model([record, record]) == {"loss": 3}
    assert model.eval()([record])[0]["instances"].image_size == (32, 32)
    assert sizes == [[4, 2], [4, 2]]
    assert model.device == torch.device("cpu")
