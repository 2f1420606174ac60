"""The graph in PyTorch itself, beside the detector; and what has none."""

import pytest
import torch
from torch import nn

from detectron2.modeling import ROI_MASK_HEAD_REGISTRY, BaseMaskRCNNHead, build_model
from detectron2.modeling.poolers import ROIPooler
from fcos.export import build_graph
from fcos.export.checking import Differences, _detections, _inputs, check
from fcos.export.masks import level_of_box
from fcos.utils.errors import UserError
from tests.export.small import noise, small_cfg, small_model
from tests.helpers import tiny_cfg

IMAGES = [noise(3, 64, 96), noise(3, 100, 75, seed=1), noise(3, 17, 20, seed=2)]


def flat_difference(model, images):
    """That of boxes, scores, classes and masks, in the order of the detector."""
    graph = build_graph(model)
    with torch.no_grad():
        outputs = graph(*_inputs(images))
        for index, want in enumerate(_detections(model, images)):
            got = [x[outputs[3] == index] for x in outputs]
            assert len(want) == len(got[0]) > 0
            yield float((got[0] - want.pred_boxes.tensor).abs().max())
            yield float((got[1] - want.scores).abs().max())
            assert got[2].equal(want.pred_classes)
            if len(got) > 4:
                assert got[4].std() > 0.05  # or equality would mean little
                yield float((got[4] - want.pred_masks[:, 0]).abs().max())


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("masks",),
        ("masks", "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", "True"),
        ("masks", "MODEL.ROI_HEADS.IN_FEATURES", "['p3']"),
        ("masks", "MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlign"),
        ("MODEL.FCOS.NORM", "BN"),
        ("MODEL.FCOS.NORMALIZE_REG_TARGETS", "False"),
        ("MODEL.FCOS.CTR_ON_REG", "True"),
        ("MODEL.FCOS.USE_DEFORMABLE", "True"),
        ("MODEL.FCOS.LOCATION", "corner", "MODEL.FCOS.CLIP_BEFORE_NMS", "True"),
        ("MODEL.FCOS.DROP_EMPTY", "never", "MODEL.FCOS.INCLUSIVE_PIXELS", "True"),
        ("MODEL.FCOS.DROP_EMPTY", "before", "MODEL.FCOS.SQRT_SCORE", "False"),
        ("MODEL.FCOS.RANK_BY_CLASS", "True", "MODEL.FCOS.THRESH_WITH_CTR", "True"),
    ],
    ids=" ".join,
)
def test_a_batch_of_three_sizes(options):
    model = small_model(small_cfg(*options))
    assert max(flat_difference(model, IMAGES)) < 1e-5


def test_without_sizes_the_images_fill_the_batch():
    model = small_model(small_cfg())
    images = torch.stack([IMAGES[1], IMAGES[1].flip(2)])
    graph = build_graph(model)
    with torch.no_grad():
        a, b = graph(images), graph(images, torch.tensor([[100, 75]] * 2))
    assert all(x.equal(y) for x, y in zip(a, b, strict=True))
    assert check(graph, model, graph, [list(images)]).boxes < 1e-5


def test_what_the_caller_pads_with_does_not_matter():
    graph = build_graph(small_model(small_cfg()))
    sizes = torch.tensor([[64, 96]])
    black, white = (torch.full((1, 3, 80, 100), value, dtype=torch.uint8) for value in (0, 255))
    black[0, :, :64, :96] = white[0, :, :64, :96] = IMAGES[0]
    with torch.no_grad():
        a, b = graph(black, sizes), graph(white, sizes)
        assert len(a[0]) > 0 and all(x.equal(y) for x, y in zip(a, b, strict=True))
        assert not graph(black)[1].equal(graph(white)[1])


def test_an_image_of_mean_pixels_has_no_detections():
    model = small_model(small_cfg("masks"))
    gray = model.pixel_mean.expand(2, 3, 50, 70)
    with torch.no_grad():
        shapes = [tuple(x.shape) for x in build_graph(model)(gray)]
    assert shapes == [(0, 4), (0,), (0,), (0,), (0, 14, 14)]


def test_raw_outputs_decode_to_the_detections():
    model = small_model(small_cfg())
    with torch.no_grad():
        cls, ltrb, ctr, locations, level = build_graph(model, raw=True)(IMAGES[0][None])
    assert level.bincount().tolist() == [8 * 12, 4 * 6]
    assert locations[[0, 1, 12, 96, 97]].tolist() == [[4, 4], [12, 4], [4, 12], [8, 8], [24, 8]]
    # By plain loops, from docs/EXPORT.md: the best pair of location and class has its box in front.
    score = (cls[0].sigmoid() * ctr[0, :, None].sigmoid()).sqrt()
    best = int(score.masked_fill(cls[0].sigmoid() <= 0.05, 0).max(1)[0].argmax())
    x, y = locations[best]
    left, top, right, bottom = ltrb[0, best]
    box = torch.stack((x - left, y - top, x + right, y + bottom)).clamp(min=0)
    (want,) = _detections(model, IMAGES[:1])
    torch.testing.assert_close(
        box.minimum(torch.tensor([96.0, 64, 96, 64])), want.pred_boxes.tensor[0].detach()
    )


@pytest.mark.parametrize(
    ("side", "level"), [(111.9, 0), (112.0, 0), (223.9, 0), (224.0, 1), (448.0, 2), (5000.0, 2)]
)
def test_level_of_box_by_hand(side, level):
    """A box of 224 x 224 belongs to P4; the levels here are P3 to P5."""
    boxes = torch.tensor([[10.0, 20, 10 + 2 * side, 20 + side / 2]])
    assert level_of_box(boxes, 3, 5, 224, 4).tolist() == [level]


# ---- what is refused -------------------------------------------------------------------------


@ROI_MASK_HEAD_REGISTRY.register()
class HeadWithIdeasOfItsOwn(BaseMaskRCNNHead):
    def __init__(self, cfg, input_shape):
        super().__init__()

    def forward(self, x, instances):
        return instances


@pytest.mark.parametrize(
    ("options", "raw", "message"),
    [
        (("masks",), True, r"--raw leaves the boxes to another program, .* MODEL\.MASK_ON False"),
        (
            ("masks", "MODEL.ROI_HEADS.NAME", "StandardROIHeads"),
            False,
            r"MODEL\.ROI_HEADS\.NAME StandardROIHeads cannot be exported, only FCOSMaskROIHeads",
        ),
        (
            ("masks", "MODEL.ROI_MASK_HEAD.NAME", "HeadWithIdeasOfItsOwn"),
            False,
            r"MODEL\.ROI_MASK_HEAD\.NAME HeadWithIdeasOfItsOwn cannot be exported: it does more",
        ),
        (
            ("masks", "MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIPool"),
            False,
            r"POOLER_TYPE cannot be exported unless it is ROIAlign or ROIAlignV2",
        ),
    ],
)
def test_regions_that_have_no_graph(options, raw, message):
    model = build_or_fake(small_cfg(*options))
    with pytest.raises(UserError, match=message):
        build_graph(model, raw)


def build_or_fake(cfg):
    """The model; with detectron2's other heads in name only, which take long and need more keys."""
    if cfg.MODEL.ROI_HEADS.NAME != "StandardROIHeads":
        return build_model(cfg)
    model = build_model(small_cfg("masks"))
    model.roi_heads = type("StandardROIHeads", (nn.Module,), {})()
    return model


def test_other_things_that_have_no_graph():
    with pytest.raises(UserError, match=r"^Linear cannot be exported: it is no detector whose MOD"):
        build_graph(nn.Linear(1, 1))


def test_square_images():
    model = build_model(small_cfg())
    type(model.backbone).padding_constraints, old = (
        property(lambda self: {"square_size": 64}),
        type(model.backbone).padding_constraints,
    )
    try:
        with pytest.raises(UserError, match=r"^This backbone wants square images"):
            build_graph(model)
    finally:
        type(model.backbone).padding_constraints = old


# ---- how far apart things are ------------------------------------------------------------------


def test_differences_are_found():
    model = small_model(small_cfg("masks"))
    graph = build_graph(model)

    def changed(index, value):
        def run(*inputs):
            outputs = list(graph(*inputs))
            outputs[index] = value(outputs[index])
            return outputs

        return check(run, model, graph, [IMAGES])

    assert changed(0, lambda x: x).is_small
    assert changed(0, lambda x: x + 0.5).boxes == pytest.approx(0.5, abs=1e-3)
    assert changed(1, lambda x: x + 5e-4).scores == pytest.approx(5e-4, abs=1e-6)
    assert changed(4, lambda x: x + 0.25).masks == pytest.approx(0.25, abs=1e-3)
    for index, by in ((0, 0.5), (0, 30.0), (1, 0.1), (2, 1), (4, 0.25)):
        assert not changed(index, lambda x, by=by: x + by).is_small
    every = changed(2, lambda x: x + 1)
    assert every.unmatched > every.expected > 50


@pytest.mark.parametrize(
    ("unmatched", "is_small"), [(0, True), (1, False), (2, False)], ids=["none", "one", "two"]
)
def test_of_few_detections_none_may_be_missing(unmatched, is_small):
    assert Differences(expected=49, unmatched=unmatched).is_small == is_small
    assert Differences(expected=100, unmatched=unmatched).is_small


def test_a_pooler_of_several_levels_is_used():
    model = small_model(small_cfg("masks"))
    assert isinstance(model.roi_heads.mask_pooler, ROIPooler)
    (found,) = _detections(model, IMAGES[:1])
    pooler = model.roi_heads.mask_pooler
    levels = level_of_box(
        found.pred_boxes.tensor, 3, 4, pooler.canonical_box_size, pooler.canonical_level
    )
    assert 0 < levels.sum() < len(levels)


def test_tiny_model_with_all_levels():
    """P6 and P7 of an image that is smaller than their strides are one cell."""
    cfg = tiny_cfg()
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    nn.init.normal_(model.proposal_generator.fcos_head.cls_logits.weight, std=0.1)
    nn.init.constant_(model.proposal_generator.fcos_head.cls_logits.bias, -2.0)
    found = check(build_graph(model), model, build_graph(model), [[IMAGES[0], IMAGES[2]]])
    assert found.expected > 20 and found.unmatched == 0 and found.boxes < 1e-3
