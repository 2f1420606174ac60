"""Masks from the frames of boxes into the image: detectron2's own values, by hand, the limits."""

import importlib

import numpy as np
import pytest
import torch
from golden_values import golden_npz

import detectron2
from detectron2.layers import paste_masks_in_image
from detectron2.layers.mask_ops import paste_masks_in_image as same_function
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances, ROIMasks

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="what detectron2-lite alone does"
)
devices = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
        ),
    ],
)


@pytest.fixture(scope="module")
def golden():
    values = golden_npz("host_masks.npz")
    return {name: torch.from_numpy(values[name]) for name in values.files}


def paste(box, *, mask=None, size=(6, 7), threshold=0.5, device="cpu"):
    mask = torch.ones(4, 4) if mask is None else mask
    boxes = torch.tensor([box], dtype=torch.float32, device=device)
    return paste_masks_in_image(mask[None].to(device), boxes, size, threshold)[0].cpu()


@pytest.mark.parametrize(
    ("name", "threshold"), [("threshold0.5", 0.5), ("threshold0.3", 0.3), ("soft_uint8", -1)]
)
def test_pasting_equals_detectron2(golden, name, threshold):
    pasted = paste_masks_in_image(
        golden["paste/masks"], golden["paste/boxes"], (96, 128), threshold
    )
    assert pasted.dtype == golden[f"paste/{name}"].dtype
    assert torch.equal(pasted, golden[f"paste/{name}"])


@pytest.mark.parametrize("size", [(48, 64), (150, 300)])
@pytest.mark.parametrize("kind", ["tensor", "ROIMasks"])
def test_postprocess_equals_detectron2(golden, size, kind):
    masks = golden["paste/masks"]
    found = Instances(
        (96, 128),
        pred_boxes=Boxes(golden["paste/boxes"].clone()),  # detectron2 scales in place
        scores=torch.linspace(1, 0.5, 6),
        pred_masks=masks[:, None] if kind == "tensor" else ROIMasks(masks),
    )
    out = detector_postprocess(found, *size)
    prefix = "postprocess_{}x{}/".format(*size)
    torch.testing.assert_close(out.pred_boxes.tensor, golden[prefix + "boxes"])
    torch.testing.assert_close(out.scores, golden[prefix + "scores"])
    assert out.pred_masks.dtype == torch.bool
    assert list(out.pred_masks.shape) == golden[prefix + "mask_shape"].tolist()
    packed = np.packbits(out.pred_masks.numpy(), axis=-1)
    assert (packed == golden[prefix + "masks_packed"].numpy()).all()
    assert out.pred_masks.sum(dim=(1, 2)).tolist() == golden[prefix + "mask_area"].tolist()


@devices
def test_a_full_mask_fills_its_box(device):
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[2:5, 1:6] = True
    assert torch.equal(paste([1, 2, 6, 5], device=device), expected)
    assert paste([-1e9, -1e9, 1e9, 1e9], device=device).all()


@devices
def test_values_are_interpolated(device):
    # Two cells, 0 and 1, over four pixels: 1/4 and 3/4 between their middles, at x = 1 and 3; the
    # outer pixels lie a quarter of a cell outside of the middles, where 0 begins to mix in.
    mask = torch.tensor([[0, 1.0], [0, 1]])
    pasted = paste([0, 0, 4, 4], mask=mask, size=(4, 4), threshold=-1, device=device)
    assert pasted[1].tolist() == [0, 63, 191, 191]
    inside = paste([0, 0, 4, 4], mask=mask, size=(4, 4), threshold=0.75, device=device)
    assert inside[1].tolist() == [False, False, True, True]


@devices
@pytest.mark.parametrize("threshold", [0.5, 0.1])
def test_a_box_without_size_shows_nothing(device, threshold):
    for box in ([2, 2, 2, 4], [2, 2, 2, 2], [2.5, 2.5, 2.5, 2.5], [2.5, 0, 2.5, 6]):
        assert not paste(box, threshold=threshold, device=device).any()


@lite_only
@devices
def test_a_box_outside_of_the_image_shows_nothing(device):
    for box in ([20, 20, 30, 30], [-30, -30, -20, -20], [0, 50, 7, 60]):
        assert not paste(box, device=device).any()
    assert not paste([float("nan"), 0, 3, 3], device=device).any()


@devices
def test_input_types(device):
    expected = paste([1, 2, 6, 5])
    for dtype in (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float64):
        assert torch.equal(paste([1, 2, 6, 5], mask=torch.ones(4, 4).to(dtype)), expected)
    masks = torch.ones(1, 4, 4, requires_grad=True, device=device)
    boxes = Boxes(torch.tensor([[1, 2, 6, 5.0]], device=device))
    pasted = paste_masks_in_image(masks, boxes, (torch.tensor(6), torch.tensor(7)))
    assert torch.equal(pasted[0].cpu(), expected) and not pasted.requires_grad
    assert pasted.device.type == device


def test_no_masks():
    assert paste_masks_in_image(torch.zeros(0, 4, 4), torch.zeros(0, 4), (6, 7)).shape == (0, 6, 7)
    nothing = Instances((6, 7), pred_boxes=Boxes(torch.zeros(0, 4)))
    nothing.pred_masks = torch.zeros(0, 1, 28, 28)
    assert detector_postprocess(nothing, 12, 14).pred_masks.shape == (0, 12, 14)
    assert same_function is paste_masks_in_image


@lite_only
def test_the_way_of_a_gpu_gives_the_same(golden):
    many = importlib.import_module("detectron2.layers.mask_ops")._paste_many
    pasted = torch.zeros(6, 96, 128, dtype=torch.bool)
    many(golden["paste/masks"], golden["paste/boxes"], 0.5, pasted)
    assert torch.equal(pasted, golden["paste/threshold0.5"])
    many(torch.ones(1, 4, 4), torch.tensor([[500, 500, 600, 600.0]]), 0.5, pasted[:1])
    many(torch.ones(1, 4, 4), torch.tensor([[9.5, 0, 9.5, 90]]), 0.1, pasted[1:2])
    assert not pasted[:2].any()


@lite_only
@pytest.mark.parametrize("device", ["meta", *(["cuda"] if torch.cuda.is_available() else [])])
def test_a_gpu_pastes_a_limited_number_at_a_time(golden, monkeypatch, device):
    monkeypatch.setattr("detectron2.layers.mask_ops.GPU_MEM_LIMIT", 2 * 96 * 128 * 12)
    asked = []
    sample = torch.nn.functional.grid_sample

    def counted(masks, grid, **options):
        asked.append(len(grid))
        return sample(masks, grid, **options)

    monkeypatch.setattr("torch.nn.functional.grid_sample", counted)
    pasted = paste_masks_in_image(
        golden["paste/masks"].to(device), golden["paste/boxes"].to(device), (96, 128)
    )
    assert pasted.shape == (6, 96, 128) and asked == [2, 2, 2]
    if device == "cuda":
        assert torch.equal(pasted.cpu(), golden["paste/threshold0.5"])


@lite_only
@pytest.mark.parametrize(
    ("masks", "boxes", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 4), r"masks: expected \(N, M, M\), got \(2, 1, 4"),
        (torch.zeros(2, 4, 5), torch.zeros(2, 4), r"masks: expected \(N, M, M\), got \(2, 4, 5\)"),
        (torch.zeros(2, 4, 4), torch.zeros(1, 4), r"boxes: expected \(2, 4\), got \(1, 4\)"),
    ],
)
def test_messages(masks, boxes, message):
    with pytest.raises(ValueError, match=message):
        paste_masks_in_image(masks, boxes, (6, 7))
