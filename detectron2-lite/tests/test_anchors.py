"""Anchors, by hand."""

import pytest
import torch

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_anchor_generator
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)


def generator(sizes=((8,),), ratios=((1.0,),), strides=(4,), **options):
    return DefaultAnchorGenerator(sizes=sizes, aspect_ratios=ratios, strides=strides, **options)


def test_shapes_have_the_area_of_the_square():
    anchors = generator().generate_cell_anchors(sizes=(8, 16), aspect_ratios=(0.25, 1, 4))
    # Half sides: width = size / sqrt(ratio), height = size * sqrt(ratio).
    halves = [(8, 2), (4, 4), (2, 8), (16, 4), (8, 8), (4, 16)]
    assert anchors.tolist() == [[-x, -y, x, y] for x, y in halves]
    assert len(generator().generate_cell_anchors()) == 15


def test_anchors_go_row_by_row():
    module = generator(sizes=((8, 16),))
    (boxes,) = module([torch.zeros(1, 3, 2, 3)])
    assert isinstance(boxes, Boxes)
    centers = [(x, y) for y in (2, 6) for x in (2, 6, 10)]  # half a stride, and whole ones
    expected = [[x - h, y - h, x + h, y + h] for x, y in centers for h in (4, 8)]
    assert boxes.tensor.tolist() == expected
    assert module.num_anchors == module.num_cell_anchors == [2] and module.box_dim == 4


def test_every_feature_map_has_its_own_stride_and_sizes():
    module = generator(sizes=((8,), (32,)), strides=(4, 16), offset=0.0)
    fine, coarse = module([torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 1)])
    assert fine.tensor.tolist() == [[-4, -4, 4, 4], [0, -4, 8, 4]]
    assert coarse.tensor.tolist() == [[-16, -16, 16, 16], [-16, 0, 16, 32]]


@pytest.mark.parametrize("sizes", [[8, 16], [[8, 16]], [(8, 16), (8, 16)]])
def test_one_list_is_for_all_feature_maps(sizes):
    module = generator(sizes=sizes, strides=(4, 8))
    assert module.num_anchors == [2, 2]
    first, second = module([torch.zeros(1, 1, 1, 1)] * 2)
    assert (second.tensor - first.tensor == 2).all()  # from centre (2, 2) to centre (4, 4)


@lite_only
def test_an_empty_feature_map():
    (boxes,) = generator()([torch.zeros(1, 1, 0, 3)])
    assert boxes.tensor.shape == (0, 4)


def test_anchors_are_no_part_of_a_checkpoint():
    module = generator()
    assert not module.state_dict() and not list(module.parameters())
    assert module.double()([torch.zeros(1, 1, 1, 1)])[0].tensor.dtype == torch.float32
    assert [anchors.tolist() for anchors in module.cell_anchors] == [[[-4, -4, 4, 4]]]


def test_by_config():
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[1.0]]
    cfg.MODEL.ANCHOR_GENERATOR.OFFSET = 0.5
    module = build_anchor_generator(cfg, [ShapeSpec(stride=4), ShapeSpec(stride=8)])
    assert isinstance(module, DefaultAnchorGenerator)
    _, boxes = module([torch.zeros(1, 1, 1, 1)] * 2)
    assert boxes.tensor.tolist() == [[-4, -4, 12, 12]]
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "Missing"
    with pytest.raises(KeyError, match="Missing"):
        build_anchor_generator(cfg, [ShapeSpec(stride=4)])


@lite_only
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [[8], [16]]}, r"SIZES\) has 2 lists, but there are 1 feature maps"),
        ({"sizes": []}, r"SIZES\): expected a list of numbers or of such lists, got \[\]"),
        ({"ratios": 1.0}, r"ASPECT_RATIOS\): expected a list .* got 1.0"),
        ({"offset": 1.0}, r"OFFSET\) is 1.0, not in \[0, 1\)"),
    ],
)
def test_messages(options, message):
    with pytest.raises(ValueError, match=message):
        generator(**options)


@lite_only
def test_what_is_left_out():
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    with pytest.raises(NotImplementedError, match="^RotatedAnchorGenerator .* is not part of"):
        build_anchor_generator(cfg, [ShapeSpec(stride=4)])
