"""Several views of an image, merged: by hand, with a detector that knows where everything is."""

import logging

import pytest
import torch

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from fcos.modeling import OneStageDetectorWithTTA
from fcos.modeling.fcos import DetectionRules
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg

HEIGHT, WIDTH = 96, 160
# Multiples of 8, so that halving and doubling them is exact.
BOXES = torch.tensor([[8.0, 16, 64, 56], [80, 0, 160, 96]])


class Oracle(torch.nn.Module):
    """Finds ``BOXES`` in any view of a picture whose left half is bright, with given scores.

    It works out by itself how the view was made: scaled, and mirrored when the right is bright.
    """

    def __init__(self, score_of_view=lambda number: 0.5, boxes=BOXES):
        super().__init__()
        self.boxes, self.score_of_view = boxes, score_of_view
        self.calls, self.views = [], []

    def forward(self, batched_inputs):
        self.calls.append([tuple(entry["image"].shape[1:]) for entry in batched_inputs])
        return [{"instances": self.detect(entry)} for entry in batched_inputs]

    def detect(self, entry):
        image = entry["image"].float()
        height, width = image.shape[1:]
        assert (entry["height"], entry["width"]) == (height, width)
        is_mirrored = image[0, :, 0].mean() < image[0, :, -1].mean()
        x1, y1, x2, y2 = (self.boxes * torch.tensor([width / WIDTH, height / HEIGHT] * 2)).T
        if is_mirrored:
            x1, x2 = width - x2, width - x1
        number = len(self.views)
        self.views.append((height, width, bool(is_mirrored)))
        return Instances(
            (height, width),
            pred_boxes=Boxes(torch.stack([x1, y1, x2, y2], dim=1)),
            scores=self.score_of_view(number) - torch.arange(len(x1)) * 0.25,
            pred_classes=torch.arange(len(x1)),
        )


def picture(height=HEIGHT, width=WIDTH, dtype=torch.uint8):
    image = torch.zeros(3, height, width, dtype=dtype)
    image[:, :, : width // 2] = 200
    return image


def augmented(model, min_sizes=(48, 96, 192), max_size=4000, flip=True, mask_on=False, **rules):
    wrapped = OneStageDetectorWithTTA(
        model=model,
        min_sizes=min_sizes,
        max_size=max_size,
        flip=flip,
        mask_on=mask_on,
        rules=DetectionRules(**rules),
    )
    return wrapped.eval()


def detect(model, entry=None, **options):
    (output,) = augmented(model, **options)([entry or {"image": picture()}])
    return output["instances"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_boxes_of_every_view_come_back_to_the_pixel(dtype):
    """Six views of two objects are two objects; nothing is moved by half a pixel."""
    oracle = Oracle()
    found = detect(oracle, {"image": picture(dtype=dtype)})
    assert found.pred_boxes.tensor.equal(BOXES)
    assert found.image_size == (HEIGHT, WIDTH)
    sizes = [(48, 80), (96, 160), (192, 320)]
    assert oracle.views == [(*size, flip) for size in sizes for flip in (False, True)]


def test_one_size_at_a_time():
    oracle = Oracle()
    detect(oracle)
    assert oracle.calls == [[(48, 80)] * 2, [(96, 160)] * 2, [(192, 320)] * 2]


@pytest.mark.parametrize("best", range(6))
def test_the_best_view_gives_the_score(best):
    oracle = Oracle(lambda number: 0.9 if number == best else 0.6)
    found = detect(oracle)
    # The second object has 0.25 less: 0.65.
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.65]))
    assert found.pred_classes.tolist() == [0, 1]
    torch.testing.assert_close(found.pred_boxes.tensor, BOXES)


def test_without_flip():
    oracle = Oracle()
    assert len(detect(oracle, flip=False)) == 2
    assert [mirrored for *_, mirrored in oracle.views] == [False] * 3


def test_boxes_of_different_classes_are_not_merged():
    oracle = Oracle(boxes=BOXES[:1].repeat(3, 1))
    found = detect(oracle)
    assert found.pred_classes.tolist() == [0, 1, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 0.25, 0.0]))


@pytest.mark.parametrize("limit", [1, 2])
def test_the_limit_holds_for_all_views_together(limit):
    assert len(detect(Oracle(), post_nms_topk=limit)) == limit


def test_nms_uses_its_threshold():
    """Two views that disagree: [0, 80] and [0, 64] of 96 rows have IoU 64/80 = 0.8."""

    class Disagree(Oracle):
        def detect(self, entry):
            self.boxes = torch.tensor([[0.0, 0, 160, 80 - 16 * len(self.views)]])
            return super().detect(entry)

    options = {"min_sizes": (96,), "flip": True}
    assert len(detect(Disagree(), nms_threshold=0.79, **options)) == 1
    assert len(detect(Disagree(), nms_threshold=0.81, **options)) == 2


def test_the_output_has_the_size_that_was_asked_for():
    found = detect(Oracle(), {"image": picture(), "height": 192, "width": 480})
    assert found.image_size == (192, 480)
    assert found.pred_boxes.tensor.equal(BOXES * torch.tensor([3.0, 2, 3, 2]))


def test_nothing_found():
    found = detect(Oracle(boxes=torch.zeros(0, 4)))
    assert len(found) == 0
    assert found.pred_boxes.tensor.shape == (0, 4)
    assert found.has("scores") and found.has("pred_classes")


def test_sizes_that_max_size_makes_equal_are_looked_at_once():
    oracle = Oracle()
    detect(oracle, min_sizes=(48, 96, 192, 384), max_size=160)
    assert oracle.calls == [[(48, 80)] * 2, [(96, 160)] * 2]


@pytest.mark.parametrize(("height", "width"), [(1, 900), (900, 1)])
def test_a_side_is_a_pixel_at_least(detector, height, width):
    (output,) = augmented(detector, max_size=96)([{"image": picture(height, width)}])
    assert output["instances"].image_size == (height, width)


def test_several_images_do_not_meet():
    oracle = Oracle()
    inputs = [{"image": picture()}, {"image": picture(), "height": 48, "width": 80}]
    first, second = (out["instances"] for out in augmented(oracle, min_sizes=(192,))(inputs))
    assert first.pred_boxes.tensor.equal(BOXES)
    assert second.pred_boxes.tensor.equal(BOXES / 2)
    assert oracle.calls == [[(192, 320)] * 2] * 2


# ---- with a model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    cfg = tiny_cfg()
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.0
    return build_model(cfg).eval()


def cfg_with(**options):
    cfg = tiny_cfg()
    cfg.TEST.AUG.ENABLED = True
    for key, value in options.items():
        cfg.TEST.AUG[key] = value
    return cfg


def test_one_view_of_the_same_size_is_the_detector_itself(detector):
    image = torch.randint(0, 256, (3, 60, 90)).byte()
    # Nothing is merged: the detector's own NMS saw boxes that were not clipped yet.
    wrapped = augmented(detector, min_sizes=(60,), flip=False, nms_threshold=1.0)
    entry = {"image": image, "height": 120, "width": 180}
    (got,) = wrapped([entry])
    with torch.no_grad():
        (want,) = detector([entry])
    assert len(got["instances"]) == len(want["instances"]) > 0
    assert got["instances"].scores.equal(want["instances"].scores)
    torch.testing.assert_close(
        got["instances"].pred_boxes.tensor, want["instances"].pred_boxes.tensor, rtol=0, atol=1e-4
    )


def test_a_mirrored_image_gives_mirrored_detections(detector):
    """With both views in it, the result cannot depend on which of them came in."""
    image = torch.randint(0, 256, (3, 64, 96), generator=torch.manual_seed(1)).byte()
    wrapped = OneStageDetectorWithTTA(cfg_with(MIN_SIZES=(64, 128)), detector)
    (one,), (other,) = wrapped([{"image": image}]), wrapped([{"image": image.flip(2)}])
    one, other = one["instances"], other["instances"]
    torch.testing.assert_close(one.scores, other.scores)
    mirrored = other.pred_boxes.tensor[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1])
    mirrored = mirrored + torch.tensor([96.0, 0, 96, 0])
    torch.testing.assert_close(one.pred_boxes.tensor, mirrored, rtol=0, atol=1e-3)


def test_it_follows_the_mode_of_the_model(detector):
    model = build_model(tiny_cfg()).train()
    wrapped = OneStageDetectorWithTTA(cfg_with(), model)
    assert wrapped.training
    with pytest.raises(ValueError, match=r"not for training: call eval\(\) before"):
        wrapped([{"image": picture()}])
    assert not wrapped.eval().model.training
    assert not OneStageDetectorWithTTA(cfg_with(), detector).training


def test_the_config_says_how(detector):
    cfg = cfg_with(MIN_SIZES=(64, 96), MAX_SIZE=200, FLIP=False)
    cfg.MODEL.FCOS.NMS_THRESH_TEST, cfg.MODEL.FCOS.NMS_POST_TOPK = 0.3, 7
    wrapped = OneStageDetectorWithTTA(cfg, detector)
    assert (wrapped.min_sizes, wrapped.max_size, wrapped.flip) == ((64, 96), 200, False)
    assert (wrapped.rules.nms_threshold, wrapped.rules.post_nms_topk) == (0.3, 7)


# ---- masks -----------------------------------------------------------------------------------


class MaskOracle(Oracle):
    """Masks of 2x2 cells: the left column is 1 in the picture, so the right one when mirrored.

    The right column has the number of the view, over 8.
    """

    def __init__(self):
        super().__init__()
        self.roi_heads = torch.nn.Module()
        self.roi_heads.mask_on = True
        self.given = []

    def detect(self, entry):
        assert not self.roi_heads.mask_on  # nobody needs masks of boxes that are not merged
        return super().detect(entry)

    def inference(self, batched_inputs, detected_instances, do_postprocess):
        assert self.roi_heads.mask_on and not do_postprocess
        outputs = []
        for entry, given in zip(batched_inputs, detected_instances, strict=True):
            is_mirrored = entry["image"][0, 0, 0] < entry["image"][0, 0, -1]
            mask = torch.tensor([1, len(self.given) / 8])
            mask = (mask.flip(0) if is_mirrored else mask).expand(len(given), 1, 2, 2)
            self.given.append((given.image_size, given.pred_boxes.tensor[0].tolist()))
            outputs.append(Instances(given.image_size, pred_masks=mask))
        return outputs


@pytest.fixture
def pasted(monkeypatch):
    """What is left to be pasted into the picture, in place of the pasting."""
    results = []

    def note(result, height, width):
        results.append(result)
        return result

    monkeypatch.setattr("fcos.modeling.test_time_augmentation.detector_postprocess", note)
    return results


def test_masks_are_predicted_for_the_merged_boxes_and_averaged(pasted):
    oracle = MaskOracle()
    detect(oracle, mask_on=True, min_sizes=(48, 96))
    # The first of BOXES, [8, 16, 64, 56] of 160x96, at half the size and mirrored by hand.
    assert oracle.given == [
        ((48, 80), [4, 8, 32, 28]),
        ((48, 80), [80 - 32, 8, 80 - 4, 28]),
        ((96, 160), [8, 16, 64, 56]),
        ((96, 160), [160 - 64, 16, 160 - 8, 56]),
    ]
    (result,) = pasted
    # Left 1; right (0 + 1 + 2 + 3) / 8 / 4.
    cells = torch.tensor([1, 0.1875]).expand(2, 1, 2, 2)
    assert result.pred_masks.equal(cells)
    assert oracle.roi_heads.mask_on and result.pred_boxes.tensor.equal(BOXES)


def test_the_switch_of_masks_is_put_back_after_a_failure():
    oracle = MaskOracle()
    oracle.score_of_view = None
    with pytest.raises(TypeError):
        detect(oracle, mask_on=True)
    assert oracle.roi_heads.mask_on


@pytest.mark.parametrize("has_masks", [False, True])
def test_a_detector_without_regions_has_no_masks(detector, has_masks):
    cfg = cfg_with()
    cfg.MODEL.MASK_ON = True
    model = MaskOracle() if has_masks else detector
    assert OneStageDetectorWithTTA(cfg, model).mask_on == has_masks


MASK_RCNN = """
MODEL.META_ARCHITECTURE GeneralizedRCNN
MODEL.MASK_ON True
MODEL.PROPOSAL_GENERATOR.NAME RPN
MODEL.BACKBONE.NAME build_resnet_fpn_backbone
MODEL.RESNETS.OUT_FEATURES ['res2','res3','res4','res5']
MODEL.FPN.IN_FEATURES ['res2','res3','res4','res5']
MODEL.RPN.IN_FEATURES ['p2','p3','p4','p5','p6']
MODEL.ANCHOR_GENERATOR.SIZES [[32],[64],[128],[256],[512]]
MODEL.ROI_HEADS.NAME StandardROIHeads
MODEL.ROI_HEADS.IN_FEATURES ['p2','p3','p4','p5']
MODEL.ROI_HEADS.NUM_CLASSES 3
MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead
MODEL.ROI_BOX_HEAD.NUM_FC 1
MODEL.ROI_BOX_HEAD.FC_DIM 16
MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 7
MODEL.ROI_MASK_HEAD.NAME MaskRCNNConvUpsampleHead
MODEL.ROI_MASK_HEAD.NUM_CONV 1
MODEL.ROI_MASK_HEAD.CONV_DIM 16
"""


@pytest.fixture(scope="module")
def mask_rcnn():
    """A Mask R-CNN of random weights, where there is one."""
    cfg = tiny_cfg()
    cfg.merge_from_list(MASK_RCNN.split())
    cfg.TEST.AUG.ENABLED = True
    cfg.TEST.AUG.MIN_SIZES = (64, 96)
    torch.manual_seed(0)
    try:
        return cfg, build_model(cfg).eval()
    except (KeyError, NotImplementedError) as error:
        pytest.skip(f"this detectron2 has no Mask R-CNN: {error}")


def test_masks_of_one_view_are_those_of_the_model(mask_rcnn):
    cfg, model = mask_rcnn
    wrapped = OneStageDetectorWithTTA(cfg, model)
    wrapped.min_sizes, wrapped.flip = (64,), False
    entry = {"image": torch.randint(0, 256, (3, 64, 96)).byte(), "height": 128, "width": 192}
    (got,) = wrapped([entry])
    got = got["instances"]
    given = Instances((64, 96), pred_boxes=Boxes(got.pred_boxes.tensor / 2))
    given.pred_classes = got.pred_classes
    with torch.no_grad():
        (want,) = model.inference([entry], [given])
    assert len(got) > 0 and got.pred_masks.shape == (len(got), 128, 192)
    assert got.pred_masks.equal(want["instances"].pred_masks)


def test_it_gives_what_detectron2s_own_does(mask_rcnn):
    cfg, model = mask_rcnn
    import detectron2.modeling

    try:
        # One view at a time: theirs pads the views of a batch to one size.
        theirs = detectron2.modeling.GeneralizedRCNNWithTTA(cfg, model, batch_size=1)
    except (AttributeError, NotImplementedError) as error:
        pytest.skip(f"this detectron2 has none of its own: {error}")
    image = torch.randint(0, 256, (3, 64, 96), generator=torch.manual_seed(3)).byte()
    entry = {"image": image, "height": 128, "width": 192}
    with torch.no_grad():
        want = theirs([dict(entry)])[0]["instances"]
    got = OneStageDetectorWithTTA(cfg, model)([entry])[0]["instances"]
    assert len(got) == len(want) > 10
    torch.testing.assert_close(got.scores, want.scores, rtol=0, atol=1e-4)
    boxes = got.pred_boxes.tensor, want.pred_boxes.tensor
    torch.testing.assert_close(*boxes, rtol=0, atol=0.01)
    assert got.pred_classes.equal(want.pred_classes)
    assert overlap(got.pred_masks, want.pred_masks) > 0.99


def test_masks_of_a_mirrored_image_are_mirrored(mask_rcnn):
    wrapped = OneStageDetectorWithTTA(*mask_rcnn)
    image = torch.randint(0, 256, (3, 64, 96), generator=torch.manual_seed(2)).byte()
    (one,), (other,) = wrapped([{"image": image}]), wrapped([{"image": image.flip(2)}])
    one, other = one["instances"], other["instances"]
    torch.testing.assert_close(one.scores, other.scores)
    assert len(one) > 0
    assert overlap(one.pred_masks, other.pred_masks.flip(2)) > 0.99


def overlap(a, b):
    """IoU of all masks together: most of their pixels are empty, and equal without any merit."""
    return ((a & b).sum() / (a | b).sum()).item()


# ---- settings that do not fit ----------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"MIN_SIZES": ()}, r"MIN_SIZES is \(\): set it to a list of 1 to 1000, each a whole num"),
        ({"MIN_SIZES": (400, 0)}, r"^TEST.AUG.MIN_SIZES is \(400, 0\): set it to"),
        ({"MIN_SIZES": (400.5,)}, r"TEST.AUG.MIN_SIZES is \(400.5,\): set it to"),
        ({"MAX_SIZE": 0}, "TEST.AUG.MAX_SIZE is 0: set it to 8 or more"),
    ],
)
def test_sizes_that_make_no_view(detector, options, message):
    with pytest.raises(UserError, match=message):
        OneStageDetectorWithTTA(cfg_with(**options), detector)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("trained", ["horizontal", "none"])
def test_mirroring_what_was_never_mirrored_is_said(detector, caplog, flip, trained):
    cfg = cfg_with(FLIP=flip)
    cfg.INPUT.RANDOM_FLIP = trained
    with caplog.at_level(logging.WARNING, logger="fcos"):
        OneStageDetectorWithTTA(cfg, detector)
    is_said = "so set TEST.AUG.FLIP False" in caplog.text
    assert is_said == (flip and trained == "none")
