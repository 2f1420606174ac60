"""Every switch of MODEL.FCOS with every other that it meets, and the sets of levels."""

import dataclasses
import itertools

import pytest
import torch

from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances
from fcos.checkpoint import AdetCheckpointer
from fcos.modeling.fcos import FCOS
from fcos.modeling.fcos.fcos_assignment import level_limits
from tests.helpers import tiny_cfg


def model(**overrides):
    """The small detector with some keys of MODEL.FCOS (or, with a dot, of MODEL) changed."""
    torch.manual_seed(0)
    cfg = tiny_cfg()
    for key, value in overrides.items():
        prefix = "MODEL." if "." in key else "MODEL.FCOS."
        cfg.merge_from_list([prefix + key, value])
    return build_model(cfg)


def batch(size=64):
    images = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(1))
    return [{"image": image.byte(), "instances": truth(size)} for image in images]


def truth(size=64):
    boxes = Boxes(torch.tensor([[4.0, 4, 40, 30], [10, 20, 60, 60]]))
    return Instances((size, size), gt_boxes=boxes, gt_classes=torch.tensor([0, 2]))


def check_step(module, losses, quality="ctr"):
    assert sorted(losses) == sorted(f"loss_fcos_{name}" for name in ("cls", "loc", quality))
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def step(detector):
    """One step of a training, and one detection."""
    check_step(detector, detector.train()(batch()))
    with torch.no_grad():
        results = [entry["instances"] for entry in detector.eval()(batch())]
    assert all(result.scores.isfinite().all() for result in results)


def step_of_the_head(quality="ctr", **options):
    """The same for FCOS alone, on features of 64 x 64 pixels: milliseconds."""
    torch.manual_seed(0)
    cfg = tiny_cfg()
    for key, value in options.items():
        cfg.merge_from_list([f"MODEL.FCOS.{key}", value])
    strides = {f"p{level}": 2**level for level in range(3, 8)}
    fcos = FCOS(cfg, {name: ShapeSpec(channels=32, stride=s) for name, s in strides.items()})
    features = {
        name: torch.randn(2, 32, *[max(64 // stride, 1)] * 2) for name, stride in strides.items()
    }
    images = ImageList(torch.zeros(2, 3, 64, 64), [(64, 64)] * 2)
    _, losses = fcos.train()(images, features, [truth(), truth()])
    check_step(fcos, losses, quality)
    fcos.rules = dataclasses.replace(fcos.rules, score_threshold=0.0)
    results, _ = fcos.eval()(images, features)
    for result in results:
        assert 0 < len(result) <= 100
        assert result.scores.isfinite().all()
        assert result.pred_boxes.tensor.isfinite().all()


# Table 3 of the paper: 48 combinations.
TABLE_3 = list(
    itertools.product(
        ("none", "GN"), (False, True), (False, True), ("iou", "linear_iou", "giou"), (False, True)
    )
)


@pytest.mark.parametrize("norm, on_reg, center, loss, normalize", TABLE_3)
def test_the_switches_of_table_3_together(norm, on_reg, center, loss, normalize):
    step_of_the_head(
        NORM=norm,
        CTR_ON_REG=on_reg,
        CENTER_SAMPLE=center,
        LOC_LOSS_TYPE=loss,
        NORMALIZE_REG_TARGETS=normalize,
    )


LATER = {
    "BOX_QUALITY": ("ctrness", "iou"),
    "LOSS_NORMALIZER": ("fg", "moving_fg", "all"),
    "NORM": ("GN", "BN"),
    "NUM_SHARED_CONVS": (0, 1),
    "THRESH_WITH_CTR": (False, True),
}
DEFORM = (
    {},
    {"USE_DEFORMABLE": True},
    {"USE_DEFORMABLE": True, "DEFORM_MODULATED": False, "USE_SCALE": False},
)


@pytest.mark.parametrize("deform", DEFORM, ids=["plain", "v2", "v1"])
@pytest.mark.parametrize("values", itertools.product(*LATER.values()), ids=str)
def test_later_switches_together(values, deform):
    options = dict(zip(LATER, values, strict=True)) | deform
    quality = "iou" if options["BOX_QUALITY"] == "iou" else "ctr"
    step_of_the_head(quality, CTR_ON_REG=True, NORMALIZE_REG_TARGETS=True, **options)


def test_shared_towers_alone():
    """The form of the fast models: both branches end in their outputs directly."""
    detector = model(NUM_SHARED_CONVS=2, NUM_STACKED_CONVS=0, NORM="BN")
    assert len(detector.proposal_generator.fcos_head.cls_tower) == 0
    step(detector)


def test_a_stopped_training_goes_on_with_its_moving_average():
    whole = model(LOSS_NORMALIZER="moving_fg").train()
    for _ in range(3):
        whole(batch())
    weights = {name: value.clone() for name, value in whole.state_dict().items()}
    assert weights["proposal_generator.losses.normalizer.moving_num_fg"] < 99
    resumed = model(LOSS_NORMALIZER="moving_fg").train()
    resumed.load_state_dict(weights)
    for a, b in zip(whole(batch()).values(), resumed(batch()).values(), strict=True):
        assert a == b


def test_weights_of_another_normalizer_are_whole(tmp_path):
    """Published weights have no moving average; one may evaluate and go on training with them."""
    AdetCheckpointer(model(), str(tmp_path)).save("weights")
    detector = model(LOSS_NORMALIZER="moving_fg")
    checkpointer = AdetCheckpointer(detector)
    checkpointer.load(str(tmp_path / "weights.pth"))
    checkpointer.coverage.require_all("Evaluation")
    assert detector.proposal_generator.losses.normalizer.moving_num_fg == 100


# --- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strides, want",
    [
        ([8, 16, 32, 64, 128], [64, 128, 256, 512]),  # the paper's
        ([4, 8, 16, 32, 64], [32, 64, 128, 256]),
        ([8, 16, 32], [64, 128]),
        ([16], []),
    ],
)
def test_limits_from_strides(strides, want):
    assert level_limits(strides) == [0, *want, float("inf")]


SETS = {
    "p2-p6": (["res2", "res3", "res4", "res5"], 1, [4, 8, 16, 32, 64]),
    "p2-p5": (["res2", "res3", "res4", "res5"], 0, [4, 8, 16, 32]),
    "p3-p7": (["res3", "res4", "res5"], 2, [8, 16, 32, 64, 128]),
    "p3-p6": (["res3", "res4", "res5"], 1, [8, 16, 32, 64]),
    "p3-p5": (["res3", "res4", "res5"], 0, [8, 16, 32]),
    "p4-p6": (["res4", "res5"], 1, [16, 32, 64]),
    "p3-p4": (["res3", "res4"], 0, [8, 16]),
    "p4-p4": (["res4"], 0, [16]),
}


def levels(bottom, top, strides):
    names = [f"p{stride.bit_length() - 1}" for stride in strides]
    return {
        "RESNETS.OUT_FEATURES": bottom,
        "FPN.IN_FEATURES": bottom,
        "TOP_LEVELS": top,
        "IN_FEATURES": names,
        "FPN_STRIDES": strides,
        "SIZES_OF_INTEREST": [],
    }


@pytest.mark.parametrize("name", SETS)
def test_any_set_of_levels_trains_and_detects(name):
    bottom, top, strides = SETS[name]
    detector = model(**levels(bottom, top, strides), NORM="BN")
    assert detector.proposal_generator.targets.limits[1:-1] == [8.0 * s for s in strides[:-1]]
    step(detector)


@pytest.mark.parametrize("source", ["p5", "res5"])
def test_levels_on_top_of_p2_to_p5(source):
    detector = model(**levels(*SETS["p2-p6"]), TOP_IN_FEATURE=source)
    step(detector)


# --- contradictions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"IN_FEATURES": ["p3", "p4", "p5", "p6"], "FPN_STRIDES": [8, 16, 32, 64]},
            "TOP_LEVELS: 2 makes p6, p7, but MODEL.FCOS.IN_FEATURES does not use p7; lower",
        ),
        (
            {"TOP_LEVELS": 1},
            "IN_FEATURES: the backbone has no p7; it gives p3, p4, p5, p6 .see MODEL.FCOS.TOP_L",
        ),
        (
            {"FPN.IN_FEATURES": ["res3", "res4"]},
            "TOP_LEVELS: P6 is computed from p5, so MODEL.FPN.IN_FEATURES needs res5, got res3, r",
        ),
        (
            {"FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"]},
            r"FPN.IN_FEATURES: the backbone has no res2; it gives res3, res4, res5 \(a ResNet th",
        ),
        (
            {"FPN_STRIDES": [8, 16, 32]},
            "FPN_STRIDES: expected one stride for each of MODEL.FCOS.IN_FEATURES, p3, p4, p5, p6, "
            r"p7, got \[8, 16, 32\]",
        ),
        (
            {"SIZES_OF_INTEREST": [64]},
            r"MODEL.FCOS.SIZES_OF_INTEREST has 1 limits: expected one fewer than there are "
            r"IN_FEATURES \(5\), or none to derive them from FPN_STRIDES",
        ),
        (
            {"SIZES_OF_INTEREST": [64, 32, 256, 512]},
            r"MODEL.FCOS.SIZES_OF_INTEREST is \[64, .*\]: set it to .*, increasing; the default",
        ),
        (
            {"CENTER_SAMPLE": True, "POS_RADIUS": 0.0},
            r"MODEL.FCOS.POS_RADIUS is 0.0: set it to a number within \[0.1, 1,000\]",
        ),
        (
            {"CENTER_SAMPLE": True, "POS_RADIUS": -1.5},
            r"POS_RADIUS is -1.5: set it to a number within \[0.1, ",
        ),
        ({"FPN.OUT_CHANNELS": 48, "NORM": "GN"}, "NORM: GN has 32 groups, .*not divide 48"),
        ({"NORM": "LN"}, "FCOS.NORM is 'LN': set it to one of 'none', 'GN', 'BN', 'SyncBN'"),
        ({"BOX_QUALITY": "giou"}, "BOX_QUALITY is 'giou': set it to one of 'ctrness', 'iou'"),
        (
            {"LOSS_NORMALIZER": "none"},
            "LOSS_NORMALIZER is 'none': set it to one of 'fg', 'moving_fg', 'all'",
        ),
        (
            {"USE_DEFORMABLE": True, "NUM_STACKED_CONVS": 0},
            "USE_DEFORMABLE is True, .*_CONVS is 0: set",
        ),
        ({"LOSS_ALPHA": 1.5}, r"LOSS_ALPHA is 1.5: set it to a number within \[0.001, 0.999\]"),
        ({"FPN.OUT_CHANNELS": 0}, "MODEL.FPN.OUT_CHANNELS is 0: set it to 1 or more"),
        ({"FPN.OUT_CHANNELS": -4}, "MODEL.FPN.OUT_CHANNELS is -4: set it to 1 or more"),
        ({"CENTER_SAMPLE": True, "POS_RADIUS": float("nan")}, "POS_RADIUS is nan: set it to a"),
        ({"LOSS_GAMMA": -1.0}, r"LOSS_GAMMA is -1.0: set it to a number within \[0, 10\]"),
        (
            {"RESNETS.DEFORM_ON_PER_STAGE": [False, False, True, True]},
            "PER_STAGE is .*, but the blocks of a ResNet of 18 layers have no bottleneck; set",
        ),
        (
            {"RESNETS.DEFORM_ON_PER_STAGE": [True]},
            r"PER_STAGE is \[True\]: set it to a list of 4, each True or False",
        ),
    ],
)
def test_contradictions_are_refused_with_the_reason(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)
