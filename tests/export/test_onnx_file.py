"""ONNX files in onnxruntime, beside the detector."""

import pytest
import torch

from fcos.export import build_graph, dense
from fcos.export.checking import _detections, _inputs, check
from fcos.export.onnx_file import OPSET, load_onnx, suppress_by_onnx, write_onnx
from fcos.export.torch_files import can_write_programs
from fcos.utils.errors import UserError
from tests.export.small import noise, small_cfg, small_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
if not can_write_programs():
    pytest.skip("this torch is too old", allow_module_level=True)

EXAMPLE = (torch.zeros(2, 3, 130, 200), torch.tensor([[130, 200]] * 2))


def written(options, raw, number_of_inputs, dtype):
    model = small_model(small_cfg(*options))
    graph = build_graph(model, raw, suppress_by_onnx)
    example = (EXAMPLE[0].to(dtype), EXAMPLE[1])[:number_of_inputs]
    names = ("images", "sizes")[:number_of_inputs]
    return model, graph, write_onnx(graph, example, {"a": "b"}, names, graph.output_names)


@pytest.fixture(scope="module")
def with_masks():
    """Masks, group normalisation and the second input, of float pixels."""
    return written(("masks",), False, 2, torch.float32)


@pytest.fixture(scope="module")
def raw():
    """One input of uint8 pixels; per-level batch normalisation, and a deformable convolution."""
    options = ("MODEL.FCOS.NORM", "BN", "MODEL.FCOS.USE_DEFORMABLE", "True")
    return written(options, True, 1, torch.uint8)


def assert_equal_detections(run, model, images):
    """All of them, in order: within 0.01 px, 1e-4 of scores and 1e-3 of masks."""
    outputs = run(*_inputs(images))
    assert outputs[3].tolist() == sorted(outputs[3].tolist())
    for index, want in enumerate(_detections(model, images)):
        boxes, scores, classes, _, masks = (x[outputs[3] == index] for x in outputs)
        assert len(boxes) == len(want) > 5
        torch.testing.assert_close(boxes, want.pred_boxes.tensor, atol=0.01, rtol=0)
        torch.testing.assert_close(scores, want.scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(masks, want.pred_masks[:, 0], atol=1e-3, rtol=0)
        assert classes.equal(want.pred_classes)


@torch.no_grad()
def test_three_sizes_alone_and_in_a_batch(with_masks):
    model, _, content = with_masks
    run = load_onnx(content)
    images = [
        noise(3, *size, seed=i).float() for i, size in enumerate([(64, 96), (100, 75), (33, 210)])
    ]
    for image in images:
        assert_equal_detections(run, model, [image])
    assert_equal_detections(run, model, images)


@torch.no_grad()
def test_smaller_than_a_stride(with_masks):
    model, graph, content = with_masks
    found = check(load_onnx(content), model, graph, [[noise(3, 5, 3).float()]])
    assert found.expected > 0 and found.unmatched == 0 and found.boxes < 0.01


def test_no_detections(with_masks):
    model, _, content = with_masks
    gray = model.pixel_mean.expand(2, 3, 50, 70)
    outputs = load_onnx(content)(gray, torch.tensor([[50, 70], [20, 30]]))
    assert [tuple(x.shape) for x in outputs] == [(0, 4), (0,), (0,), (0,), (0, 14, 14)]
    one = load_onnx(content)(
        torch.stack([gray[0], noise(3, 50, 70).float()]), torch.tensor([[50, 70]] * 2)
    )
    assert {*one[3].tolist()} == {1}


def test_names_types_sizes_and_metadata(with_masks):
    model = onnx.load_from_string(with_masks[2])
    described = {
        value.name: (
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    }
    assert described == {
        "images": ("float32", ["batch", 3, "height", "width"]),
        "sizes": ("int64", ["batch", 2]),
        "boxes": ("float32", ["detections", 4]),
        "scores": ("float32", ["detections"]),
        "classes": ("int64", ["detections"]),
        "image_index": ("int64", ["detections"]),
        "masks": ("float32", ["detections", 14, 14]),
    }
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert {p.key: p.value for p in model.metadata_props} == {"a": "b"}


def test_an_operator_that_is_not_there(monkeypatch):
    def fail(*_, **__):
        kinds = onnxruntime.capi.onnxruntime_pybind11_state
        raise kinds.NotImplemented("Could not find an implementation for DeformConv(19)")

    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    with pytest.raises(UserError) as error:
        load_onnx(b"")
    assert str(error.value).startswith(
        f"onnxruntime {onnxruntime.__version__} cannot run this ONNX file (Could not find an "
        "implementation for DeformConv(19)). Install a newer one, or use another --format."
    )


def loaded(content):
    """The function of a file, if this onnxruntime has deformable convolutions."""
    try:
        return load_onnx(content)
    except UserError as error:
        if "for DeformConv" in str(error):
            pytest.skip("needs onnxruntime 1.25")
        raise


@torch.no_grad()
def test_raw_outputs(raw):
    model, graph, content = raw
    run = loaded(content)
    images = torch.stack([noise(3, 64, 90), noise(3, 64, 90, seed=1)])
    got, want = run(images), graph(images)
    assert check(run_of_one(run), model, graph, [list(images), [noise(3, 40, 133)]]).raw < 1e-4
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    described = onnx.load_from_string(content).graph.output
    dims = [[d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in described]
    assert dims == [
        ["batch", "locations", 3],
        ["batch", "locations", 4],
        ["batch", "locations"],
        ["locations", 2],
        ["locations"],
    ]


def run_of_one(run):
    return lambda *inputs: run(inputs[0])


class Suppression(torch.nn.Module):
    """Boxes, scores and classes packed into what looks like images."""

    def forward(self, images):
        boxes, scores, classes = images[:, 0, :, :4], images[:, 1, :, 0], images[:, 2, :, 0]
        keep = torch.ops.fcos.suppress(boxes, scores, classes.to(torch.int64), 2, 0.6, 100)
        return (keep.to(torch.uint8),)


def test_suppression_by_image_and_class():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [0, 0, 10, 5]]] * 2)
    scores = torch.tensor([[0.0, 0.9, 0.5, 0.4], [0.8, 0.9, -1, -1]])
    classes = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0]])
    # Box 0 overlaps with box 1 by 0.9; box 2 is of another class or no candidate; box 3 overlaps
    # with box 1 by 5/9.
    want = [[False, True, True, True], [False, True, False, False]]
    arguments = (boxes, scores, classes, 2, 0.6, 100)
    assert dense.suppress(*arguments).tolist() == want
    assert suppress_by_onnx(*arguments).tolist() == want
    wide = (x[..., None].expand(2, 4, 4).float() for x in (scores, classes))
    images = torch.stack([boxes, *wide], dim=1)
    example = (torch.zeros(3, 3, 7, 5),)
    content = write_onnx(Suppression(), example, {}, ["images"], ["keep"])
    assert load_onnx(content)(images)[0].bool().tolist() == want
