"""Features of regions from a pyramid: detectron2's own values, the limits, and the messages."""

import pytest
import torch
from golden_values import golden_npz

import detectron2
from detectron2.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from detectron2.structures import Boxes

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="what detectron2-lite alone does"
)
SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


@pytest.fixture(scope="module")
def golden():
    values = golden_npz("host_pooler.npz")
    return {name: torch.from_numpy(values[name]) for name in values.files}


@pytest.fixture
def features(golden):
    return [golden[f"feature/p{level}"] for level in (2, 3, 4, 5)]


@pytest.fixture
def boxes(golden):
    return [Boxes(golden["boxes/0"]), Boxes(golden["boxes/1"])]


@pytest.mark.parametrize("kind", ["ROIAlignV2", "ROIAlign", "ROIPool"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_pooling_equals_detectron2(golden, features, boxes, kind, ratio):
    if kind == "ROIPool" and ratio:
        pytest.skip("it has no samples")
    pooled = ROIPooler((7, 7), SCALES, ratio, kind)(features, boxes)
    torch.testing.assert_close(
        pooled, golden[f"{kind}_ratio{ratio}_7x7"][:, :2], rtol=1e-5, atol=1e-6
    )


def test_one_level_equals_detectron2(golden, features, boxes):
    pooled = ROIPooler(14, [1 / 8], 0, "ROIAlignV2")([features[1]], boxes)
    expected = golden["ROIAlignV2_ratio0_14x14_single_level"]
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-6)


def test_levels_equal_detectron2(golden, boxes):
    levels = assign_boxes_to_levels(boxes, 2, 5, 224, 4)
    assert (levels + 2).tolist() == golden["levels"].tolist()


@pytest.mark.parametrize(
    ("side", "level"),
    [
        (112, 3),  # log2(112 / 224) = -1: one below the canonical level, 4
        (111.9, 2),
        (223.9, 3),
        (224, 4),
        (447.9, 4),
        (448, 5),
        (1e6, 5),  # the last there is
        (1, 2),  # the first
        (0, 2),
    ],
)
def test_levels_by_hand(side, level):
    boxes = Boxes(torch.tensor([[10, 10, 10 + side, 10 + side]]))
    assert assign_boxes_to_levels([boxes], 2, 5, 224, 4).tolist() == [level - 2]


@lite_only
def test_a_box_inside_out_has_the_lowest_level(features):
    boxes = Boxes(torch.tensor([[5.0, 5, 1, 9], [0, 0, 400, 400]]))
    assert assign_boxes_to_levels([boxes], 2, 5, 224, 4).tolist() == [0, 2]


def test_another_canonical_size():
    boxes = Boxes(torch.tensor([[0, 0, 100.0, 100]]))
    assert assign_boxes_to_levels([boxes], 3, 5, 100, 4).tolist() == [1]
    pooler = ROIPooler(7, [1 / 8, 1 / 16, 1 / 32], 0, "ROIAlign", 100, 4)
    assert (pooler.min_level, pooler.max_level) == (3, 5)
    # The middle of three maps, which is the only one that is not zero.
    maps = [torch.full((1, 1, 8, 8), value) for value in (0.0, 1.0, 0.0)]
    assert pooler(maps, [boxes]).sum() > 0


def test_pooler_format():
    boxes = [Boxes(torch.ones(2, 4)), Boxes(torch.zeros(0, 4)), Boxes(torch.zeros(1, 4))]
    assert convert_boxes_to_pooler_format(boxes).tolist() == [
        [0, 1, 1, 1, 1],
        [0, 1, 1, 1, 1],
        [2, 0, 0, 0, 0],
    ]


def test_no_boxes(features):
    nothing = [Boxes(torch.zeros(0, 4))] * 2
    for scales, maps in ((SCALES, features), (SCALES[:1], features[:1])):
        maps = [one.clone().requires_grad_() for one in maps]
        pooled = ROIPooler(7, scales, 0, "ROIAlignV2")(maps, nothing)
        assert pooled.shape == (0, 2, 7, 7)
        # Every map stays part of the graph: a process without boxes must not wait for others.
        pooled.sum().backward()
        assert all(one.grad is not None for one in maps)
    no_images = ROIPooler(7, SCALES, 0, "ROIAlignV2")([one[:0] for one in features], [])
    assert no_images.shape == (0, 2, 7, 7)


def test_gradients_reach_the_level_of_a_box(features):
    maps = [one.clone().requires_grad_() for one in features]
    boxes = [Boxes(torch.tensor([[0, 0, 224.0, 224]])), Boxes(torch.zeros(0, 4))]
    ROIPooler(7, SCALES, 2, "ROIAlignV2")(maps, boxes).sum().backward()
    assert [one.grad.any().item() for one in maps] == [False, False, True, False]
    assert not maps[2].grad[1].any()


def test_output_size_and_half_precision(features, boxes):
    wide = ROIPooler((3, 5), SCALES[:1], 0, "ROIAlignV2")
    assert wide(features[:1], boxes).shape == (14, 2, 3, 5)
    pooler = ROIPooler(7, SCALES, 0, "ROIAlignV2")
    assert pooler([one.half() for one in features], boxes).dtype == torch.float16


@pytest.mark.filterwarnings("ignore")
def test_a_traced_pooler_takes_other_boxes(features, boxes):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pooler = ROIPooler(7, SCALES, 2, "ROIAlignV2")

        def forward(self, maps, first, second):
            return self.pooler(maps, [Boxes(first), Boxes(second)])

    module = Module()
    traced = torch.jit.trace(module, (features, boxes[0].tensor, boxes[1].tensor))
    other = features, boxes[1].tensor, boxes[0].tensor[:2]
    torch.testing.assert_close(traced(*other), module(*other))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7, SCALES, 0, "ROIMax"), "'ROIAlignV2', 'ROIAlign' or 'ROIPool', got 'ROIMax'"),
        ((7, [1 / 4, 1 / 16], 0, "ROIAlign"), "powers of two .* double from level to level"),
        ((7, [1 / 5], 0, "ROIAlign"), r"powers of two .* got \[0.2\]"),
        ((7, [2.0], 0, "ROIAlign"), r"powers of two .* got \[2.0\]"),
        ((7, [], 0, "ROIAlign"), r"powers of two .* got \[\]"),
        (((7, 7, 7), SCALES, 0, "ROIAlign"), r"output_size: expected \(height, width\)"),
        ((7, SCALES, 0, "ROIAlign", 0), "canonical_box_size: expected a size, got 0"),
    ],
)
@lite_only
def test_messages(arguments, message):
    with pytest.raises(ValueError, match=message):
        ROIPooler(*arguments)


@lite_only
def test_messages_of_forward(features, boxes):
    pooler = ROIPooler(7, SCALES, 0, "ROIAlign")
    with pytest.raises(ValueError, match="expected 4 feature maps, got 3"):
        pooler(features[:3], boxes)
    with pytest.raises(ValueError, match="got boxes of 1 images, but features of 2"):
        pooler(features, boxes[:1])
    with pytest.raises(NotImplementedError, match="ROIAlignRotated is not part of detectron2-lite"):
        ROIPooler(7, SCALES, 0, "ROIAlignRotated")
