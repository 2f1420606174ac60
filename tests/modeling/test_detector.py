"""The proposal generator, the backbone and the detector that they make."""

import copy
import json

import numpy as np
import pytest
import torch

from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances
from fcos.config import get_cfg
from fcos.modeling.fcos import FCOS, DetectionRules, FCOSHead, FCOSLosses, FCOSTargets
from tests.helpers import DEVICE, GOLDEN, tiny_cfg

IMAGE_SIZES = [(64, 96), (60, 50)]


def inputs(with_ground_truth=True, boxes=((4.0, 4, 40, 30), (10.0, 20, 90, 60))):
    generator = torch.Generator().manual_seed(0)
    batch = []
    for height, width in IMAGE_SIZES:
        entry = {"image": torch.randint(0, 256, (3, height, width), generator=generator).byte()}
        if with_ground_truth:
            entry["instances"] = Instances(
                (height, width),
                gt_boxes=Boxes(torch.tensor(boxes).view(-1, 4)),
                gt_classes=torch.arange(len(boxes)),
            )
        batch.append(entry)
    return batch


def model(**overrides):
    torch.manual_seed(0)
    cfg = tiny_cfg()
    cfg.merge_from_list([x for pair in overrides.items() for x in pair])
    return build_model(cfg)


def test_training_gives_three_losses_and_a_gradient_for_every_parameter():
    detector = model().train()
    losses = detector(inputs())
    assert sorted(losses) == ["loss_fcos_cls", "loss_fcos_ctr", "loss_fcos_loc"]
    sum(losses.values()).backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name


def test_images_without_objects_train():
    detector = model().train()
    losses = detector(inputs(boxes=()))
    assert losses["loss_fcos_loc"].item() == losses["loss_fcos_ctr"].item() == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "batched_inputs: expected a list with a dict for each image, got no image"),
        ({"image": 1}, "batched_inputs: expected a list with a dict for each image, got dict"),
        (torch.zeros(3, 8, 9), r"with a dict for each image, got Tensor of \(3, 8, 9\)"),
        (
            [{"file": 1}],
            r"\[0\]: expected a dict whose 'image' is a tensor of \(3, H, W\), got dict",
        ),
        ([torch.zeros(3, 8, 9)], r"\(3, H, W\), got Tensor of \(3, 8, 9\)"),
        ([{"image": np.zeros((3, 8, 9))}], r"got ndarray of \(3, 8, 9\)"),
        (
            [{"image": torch.zeros(3, 8, 9)}, {"image": torch.zeros(8, 9, 3)}],
            r"\[1\]: .* \(8, 9, 3",
        ),
        ([{"image": torch.zeros(1, 8, 9)}], r"got Tensor of \(1, 8, 9\)"),  # would become grey
    ],
)
@pytest.mark.cpu
def test_inputs_that_are_none(given, message):
    with pytest.raises(ValueError, match=message):
        model().eval()(given)


@pytest.mark.parametrize("number", [-1, 80, 255])
@pytest.mark.cpu
def test_classes_that_there_are_not(number):
    given = inputs()
    given[1]["instances"].gt_classes[0] = number
    detector = model(**{"MODEL.FCOS.NUM_CLASSES": 80}).train()
    with pytest.raises(ValueError, match=rf"\[1\].*gt_classes: expected 0 to 79 .* {number}"):
        detector(given)


def test_training_without_ground_truth():
    with pytest.raises(ValueError, match="training needs 'instances'"):
        model().train()(inputs(with_ground_truth=False))


def test_inference_gives_instances_in_the_size_that_was_asked_for():
    detector = model(**{"MODEL.FCOS.SCORE_THRESH_TEST": 0.0}).eval()
    batch = inputs(with_ground_truth=False)
    batch[0].update(height=640, width=960)
    with torch.no_grad():
        first, second = (result["instances"] for result in detector(batch))
    assert first.image_size == (640, 960)
    assert second.image_size == (60, 50)
    for result, (height, width) in ((first, (640, 960)), (second, (60, 50))):
        assert 0 < len(result) <= 100
        boxes = result.pred_boxes.tensor
        assert boxes.min() >= 0
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (result.scores.diff() <= 0).all()
        assert result.pred_classes.max() < 3


@pytest.mark.parametrize("drop, kept", [("after", 1), ("never", 2)])
def test_boxes_without_area_are_left_out_or_not(drop, kept, monkeypatch):
    detector = model(**{"MODEL.FCOS.DROP_EMPTY": drop}).eval()
    found = Instances(
        (64, 96),
        pred_boxes=Boxes(torch.tensor([[8.0, 8, 60, 70], [10.0, 20, 10, 40]])),
        scores=torch.tensor([0.9, 0.8]),
    )
    monkeypatch.setattr(detector.proposal_generator, "forward", lambda *_: ([found], {}))
    (result,) = detector([{"image": torch.zeros(3, 64, 96), "height": 128, "width": 288}])
    boxes = result["instances"].pred_boxes.tensor.tolist()
    # Twice as high, three times as wide, and clipped to the image.
    assert boxes == [[24, 16, 180, 128], [30, 40, 30, 80]][:kept]


def test_a_batch_gives_what_its_images_give_alone():
    detector = model(**{"MODEL.FCOS.SCORE_THRESH_TEST": 0.0}).eval()
    batch = inputs(with_ground_truth=False)
    batch[1]["image"] = batch[0]["image"].flip(2)  # the same size: the same padding
    with torch.no_grad():
        together = [result["instances"] for result in detector(copy.deepcopy(batch))]
        alone = [detector([entry])[0]["instances"] for entry in batch]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)


def test_normalised_targets_train_and_detect_in_pixels():
    """Twice the stride in the network's unit is 16 px on P3 and 256 px on P7."""
    strides = [8, 16, 32, 64, 128]

    class TwoStrides(torch.nn.Module):
        def forward(self, features):
            sizes = [feature.shape[-2:] for feature in features]
            cls = [torch.full((1, 2, *size), 3.0) for size in sizes]
            return cls, [torch.full((1, 4, *size), 2.0) for size in sizes], [c[:, :1] for c in cls]

    fcos = FCOS(
        head=TwoStrides(),
        targets=FCOSTargets(num_classes=2),
        losses=FCOSLosses(),
        in_features=["p3", "p4", "p5", "p6", "p7"],
        strides=strides,
        normalize_reg_targets=True,
        rules=DetectionRules(nms_threshold=0.99),
    )
    features = {f"p{i + 3}": torch.zeros(1, 1, 256 // s, 256 // s) for i, s in enumerate(strides)}
    images = ImageList(torch.zeros(1, 3, 256, 256), [(256, 256)])
    (result,), losses = fcos.eval()(images, features)
    assert losses == {}
    widths = result.pred_boxes.tensor[:, 2] - result.pred_boxes.tensor[:, 0]
    assert set(widths.tolist()) <= {4.0 * s for s in strides}
    # In training: a location of P3 exactly 16 px from all sides has nothing left to learn.
    truth = Instances(
        (256, 256),
        gt_boxes=Boxes(torch.tensor([[12.0 - 8, 12 - 8, 12 + 24, 12 + 24]])),
        gt_classes=torch.tensor([1]),
    )
    _, losses = fcos.train()(images, features, [truth])
    labels, ltrb = fcos.targets.fcos_target_single_image(
        [(32, 32), (16, 16)] + [(8, 8), (4, 4), (2, 2)], truth
    )
    positive = labels < 2
    weight = fcos.targets.compute_centerness_targets(ltrb[positive])
    inter = torch.minimum(ltrb[positive] / 8, torch.tensor(2.0))
    area = (inter[:, 0] + inter[:, 2]) * (inter[:, 1] + inter[:, 3])
    iou = (area + 1) / (16.0 + 16.0 - area + 1)
    want = (-iou.log() * weight).sum() / weight.sum()
    torch.testing.assert_close(losses["loss_fcos_loc"], want)


# --- names and numbers that published checkpoints imply ------------------------------------------


def r50_cfg():
    cfg = get_cfg()
    cfg.merge_from_file("configs/R_50_1x.yaml")
    cfg.MODEL.DEVICE = DEVICE
    return cfg


def test_r50_has_the_parameters_of_published_checkpoints():
    """AdelaiDet's R_50_1x has GN in its towers; with it, names and shapes are equal one by one."""
    cfg = r50_cfg()
    cfg.MODEL.FCOS.NORM = "GN"
    got = {name: list(value.shape) for name, value in build_model(cfg).state_dict().items()}
    want = dict(json.loads((GOLDEN / "names_adet_R_50_1x.json").read_text())["adet_R_50_1x"])
    assert got == want


def test_r50_baseline_has_the_same_without_group_norm():
    detector = build_model(r50_cfg())
    names = json.loads((GOLDEN / "names_adet_R_50_1x.json").read_text())["adet_R_50_1x"]
    # Without GN the convolutions of a tower are the modules 0, 2, 4, 6 instead of 0, 3, 6, 9.
    want = {}
    for name, shape in names:
        parts = name.split(".")
        if "tower" in name:
            if int(parts[3]) % 3:
                continue
            parts[3] = str(int(parts[3]) // 3 * 2)
        want[".".join(parts)] = shape
    assert {name: list(value.shape) for name, value in detector.state_dict().items()} == want
    head = sum(p.numel() for p in detector.proposal_generator.parameters())
    # 8 tower convolutions of 256 * 256 * 9 + 256, outputs of 80 + 4 + 1 channels, 5 scales.
    assert head == 8 * (256 * 256 * 9 + 256) + 85 * (256 * 9 + 1) + 5


# --- settings that do not fit --------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.FCOS.IN_FEATURES", "['p2', 'p3']", "the backbone has no p2; it gives p3, p4, p5"),
        ("MODEL.FCOS.FPN_STRIDES", "[4, 16, 32, 64, 128]", r"expected \[8, 16, 32, 64, 128\]"),
        (
            "MODEL.FCOS.SCORE_THRESH_TEST",
            "1.0",
            r"SCORE_THRESH_TEST is 1\.0: set it to a number within \[0, 1\)",
        ),
        (
            "MODEL.FCOS.NMS_THRESH_TEST",
            "-0.1",
            r"NMS_THRESH_TEST is -0\.1: set it to a number within \[0, 1\)",
        ),
        ("MODEL.FCOS.NMS_PRE_TOPK", "0", "NMS_PRE_TOPK is 0: set it to 1 or more"),
        ("MODEL.FCOS.NUM_CLASSES", "0", "NUM_CLASSES is 0: set it to 1 or more"),
        ("MODEL.FCOS.LOC_LOSS_TYPE", "diou", "LOC_LOSS_TYPE is 'diou': set it to one of .*'giou'"),
        ("MODEL.FCOS.LOCATION", "edge", "LOCATION is 'edge': set it to one of .*'corner'"),
        ("MODEL.FCOS.DROP_EMPTY", "no", "DROP_EMPTY is 'no': set it to one of 'before'"),
        ("MODEL.FCOS.TOP_LEVELS", "3", "TOP_LEVELS is 3: set it to one of 0, 1, 2"),
        (
            "MODEL.FCOS.TOP_IN_FEATURE",
            "c5",
            "TOP_IN_FEATURE is 'c5': set it to one of 'p5', 'res5'",
        ),
    ],
)
def test_settings_that_do_not_fit(key, value, message):
    with pytest.raises(ValueError, match=message):
        model(**{key: value})


@pytest.mark.parametrize("source, channels", [("p5", 32), ("res5", 512)])
def test_p6_comes_from_p5_or_c5(source, channels):
    backbone = model(**{"MODEL.FCOS.TOP_IN_FEATURE": source}).backbone
    assert backbone.top_block.p6.in_channels == channels
    assert sorted(backbone(torch.zeros(1, 3, 64, 64))) == ["p3", "p4", "p5", "p6", "p7"]


def with_top_levels(levels):
    strides = [8, 16, 32, 64, 128][: 3 + levels]
    return model(
        **{
            "MODEL.FCOS.TOP_LEVELS": str(levels),
            "MODEL.FCOS.IN_FEATURES": str([f"p{i + 3}" for i in range(len(strides))]),
            "MODEL.FCOS.FPN_STRIDES": str(strides),
            "MODEL.FCOS.SIZES_OF_INTEREST": "[]",
        }
    )


@pytest.mark.parametrize("levels", [1, 2])
def test_levels_on_top_start_as_the_fpn_does(levels):
    """Uniform within sqrt(3 / fan-in), bias 0, as in AdelaiDet; torch's own start is a third."""
    layers = list(with_top_levels(levels).backbone.top_block.children())
    assert len(layers) == levels
    for layer in layers:
        limit = (3 / layer.weight[0].numel()) ** 0.5
        assert 0.99 * limit < layer.weight.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("levels", [0, 1])
def test_fewer_top_levels(levels):
    detector = with_top_levels(levels)
    assert len(detector.train()(inputs())) == 3


def test_every_part_builds_without_a_config():
    fcos = FCOS(
        head=FCOSHead(in_channels=8, num_classes=2, num_levels=1),
        targets=FCOSTargets(strides=[8], sizes_of_interest=[], num_classes=2),
        losses=FCOSLosses(),
        in_features=["p3"],
        strides=[8],
    )
    images = ImageList(torch.zeros(1, 3, 16, 16), [(16, 16)])
    features = {"p3": torch.zeros(1, 8, 2, 2)}
    with pytest.raises(ValueError, match="training needs the ground truth"):
        fcos.train()(images, features)
    (result,), _ = fcos.eval()(images, features)
    assert result.image_size == (16, 16)
