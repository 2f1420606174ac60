"""Boxes, BoxMode and ImageList: detectron2's own values, and the limits."""

import json

import numpy as np
import pytest
import torch
from golden_values import golden_npz

from detectron2.structures import (
    Boxes,
    BoxMode,
    ImageList,
    pairwise_ioa,
    pairwise_iou,
)
from detectron2.structures.boxes import pairwise_intersection


@pytest.fixture(scope="module")
def golden():
    values = golden_npz("host_structures.npz")
    return {name: torch.from_numpy(values[name]) for name in values.files}


def same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def boxes(*rows):
    return Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))


def test_pairs_equal_detectron2(golden):
    a, b = Boxes(golden["a"]), Boxes(golden["b"])
    same(pairwise_iou(a, b), golden["pairwise_iou"])
    same(pairwise_intersection(a, b), golden["pairwise_intersection"])


def test_boxes_equal_detectron2(golden):
    a, b = Boxes(golden["a"]), Boxes(golden["b"])
    same(a.area(), golden["area"])
    same(a.get_centers(), golden["centers"])
    same(a.nonempty(), golden["nonempty"])
    same(a.nonempty(threshold=60), golden["nonempty_threshold60"])
    same(b.inside_box((100, 120)), golden["inside_100x120_border0"])
    same(b.inside_box((100, 120), boundary_threshold=25), golden["inside_100x120_border25"])
    same(Boxes.cat([a, b]).tensor, golden["cat"])
    clipped, scaled = b.clone(), b.clone()
    clipped.clip((100, 120))
    scaled.scale(1.5, 0.25)
    same(clipped.tensor, golden["clip_100x120"])
    same(scaled.tensor, golden["scale_x1.5_y0.25"])


@pytest.mark.parametrize(
    ("source", "from_mode", "to_mode"),
    [
        ("a", "XYXY_ABS", "XYWH_ABS"),
        ("a", "XYWH_ABS", "XYXY_ABS"),
        ("xywha", "XYWHA_ABS", "XYXY_ABS"),
    ],
)
def test_box_mode_equals_detectron2(golden, source, from_mode, to_mode):
    converted = BoxMode.convert(golden[source], BoxMode[from_mode], BoxMode[to_mode])
    same(converted, golden[f"convert_{from_mode}_to_{to_mode}"])


@pytest.mark.parametrize(
    ("case", "images", "arguments"),
    [
        ("div0", 3, {}),
        ("div32", 3, {"size_divisibility": 32}),
        ("div32_pad2.5", 3, {"size_divisibility": 32, "pad_value": 2.5}),
        ("square64", 3, {"padding_constraints": {"square_size": 64}}),
        ("div16_constraint", 3, {"padding_constraints": {"size_divisibility": 16}}),
        ("one_div32", 1, {"size_divisibility": 32}),
    ],
)
def test_image_list_equals_detectron2(golden, case, images, arguments):
    batch = ImageList.from_tensors([golden[f"image{i}"] for i in range(images)], **arguments)
    assert list(batch.tensor.shape) == golden[f"imagelist_{case}/shape"].tolist()
    if f"imagelist_{case}/sizes" not in golden:
        return
    assert [list(size) for size in batch.image_sizes] == golden[f"imagelist_{case}/sizes"].tolist()
    same(batch.tensor[:, 0, -8:, -8:], golden[f"imagelist_{case}/corner"])
    sums = batch.tensor.double().sum(dim=(1, 2, 3))
    torch.testing.assert_close(sums, golden[f"imagelist_{case}/sum"])


def test_box_mode_keeps_the_container():
    # 10 + 3 = 13, 20 + 4 = 24
    for box in ([10, 20, 3, 4], (10.0, 20.0, 3.0, 4.0)):
        converted = BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        assert type(converted) is type(box)
        assert type(converted[0]) is type(box[0])
        assert list(converted) == [10, 20, 13, 24]
    array = np.array([[10, 20, 3, 4]], dtype=np.int32)
    converted = BoxMode.convert(array, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert converted.dtype == np.int32
    assert converted.tolist() == [[10, 20, 13, 24]]
    assert array.tolist() == [[10, 20, 3, 4]]  # the argument is not written into
    assert BoxMode.convert(array, 0, 0) is array


def test_box_mode_refuses():
    with pytest.raises(AssertionError):
        BoxMode.convert([1, 2, 3], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    with pytest.raises(AssertionError):
        BoxMode.convert([1, 2, 3, 4], BoxMode.XYWH_ABS, BoxMode.XYXY_REL)
    with pytest.raises(NotImplementedError):
        BoxMode.convert([1, 2, 3, 4], BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS)


def test_box_mode_goes_through_json():
    assert json.loads(json.dumps({"mode": BoxMode.XYWH_ABS})) == {"mode": 1}


def test_iou_by_hand():
    # 2x2 boxes shifted by one: overlap 1, union 7; an empty box overlaps nothing.
    a, b = boxes([0, 0, 2, 2]), boxes([1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [1, 1, 1, 1])
    same(pairwise_iou(a, b), torch.tensor([[1 / 7, 1, 0, 0]]))
    same(pairwise_ioa(a, b), torch.tensor([[1 / 4, 1, 0, 0]]))
    assert pairwise_iou(boxes(), b).shape == (0, 4)
    assert pairwise_iou(boxes([0, 0, 0, 0]), boxes([0, 0, 0, 0])).tolist() == [[0.0]]


def test_boxes_are_float32_rows_of_four():
    assert Boxes([[1, 2, 3, 4]]).tensor.dtype == torch.float32
    assert Boxes(torch.zeros(2, 4, dtype=torch.float64)).tensor.dtype == torch.float32
    for empty in ([], torch.zeros(0), torch.zeros(0, 4)):
        assert Boxes(empty).tensor.shape == (0, 4)
    assert Boxes.cat([]).tensor.shape == (0, 4)
    with pytest.raises(AssertionError):
        Boxes(torch.zeros(3, 5))


def test_no_boxes_keep_the_gradient_path():
    source = torch.zeros(3, 4, requires_grad=True)
    Boxes(source[:0]).area().sum().backward()
    assert source.grad.abs().sum() == 0


def test_boxes_indexing():
    three = boxes([0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3])
    for index, expected in [
        (1, [2]),
        (-1, [3]),
        (slice(0, 2), [1, 2]),
        ([2, 0], [3, 1]),
        (torch.tensor([True, False, True]), [1, 3]),
    ]:
        assert three[index].tensor[:, 2].tolist() == expected
    assert [row.tolist() for row in three][2] == [0, 0, 3, 3]
    with pytest.raises(IndexError):
        three[3]
    with pytest.raises(AssertionError):
        three[torch.tensor([[0]])]


def test_clip_refuses_nan():
    with pytest.raises(AssertionError):
        boxes([float("nan"), 0, 1, 1]).clip((10, 10))


def test_image_list_returns_images_without_padding():
    first, second = torch.rand(3, 5, 7), torch.rand(3, 6, 4)
    batch = ImageList.from_tensors([first, second], size_divisibility=4, pad_value=9)
    assert (len(batch), batch.tensor.shape) == (2, (2, 3, 8, 8))
    assert batch.image_sizes == [(5, 7), (6, 4)]
    same(batch[0], first)
    same(batch[1], second)
    assert (batch.tensor[0, :, 5:] == 9).all()
    assert batch.to(torch.float64).tensor.dtype == torch.float64
    assert batch.device == torch.device("cpu")


def test_image_list_refuses():
    with pytest.raises(AssertionError):
        ImageList.from_tensors([])
    with pytest.raises(AssertionError):
        ImageList.from_tensors([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)])


@pytest.mark.filterwarnings("ignore")
def test_image_list_can_be_traced_for_other_sizes():
    def pad(images):
        batch = ImageList.from_tensors(images, 4)
        return batch.tensor, batch.image_sizes[1]

    traced = torch.jit.trace(pad, ([torch.ones(3, 10, 11), torch.ones(3, 12, 9)],))
    tensor, size = traced([torch.ones(3, 5, 17), torch.ones(3, 6, 3)])
    assert (tuple(tensor.shape), size.tolist()) == ((2, 3, 8, 20), [6, 3])
