"""Write graphs as ONNX files, and load these as functions.

Letters: N images, K candidates of an image, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fcos.export import dense
from fcos.export.torch_files import Runnable, program, quiet
from fcos.utils.errors import UserError, one_line

__all__ = ["OPSET", "load_onnx", "require_onnx", "suppress_by_onnx", "write_onnx"]

#: version of ONNX's operators; RoiAlign is right since 16, and DeformConv exists since 19
OPSET = 19


def require_onnx() -> None:
    """Check that the packages to write and check ONNX files are installed.

    Raises:
        UserError: a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"The format onnx needs the package {error.name}, which is not installed: "
            "pip install -e '.[export]' (that is onnx, onnxscript and onnxruntime)."
        ) from None


@torch.library.custom_op("fcos::suppress", mutates_args=())
def suppress_by_onnx(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    num_classes: int,
    iou_thresh: float,
    most: int,
) -> Tensor:
    """Call :func:`fcos.export.dense.suppress` as one operator, which becomes one of ONNX's.

    ONNX's NonMaxSuppression keeps images and classes apart by itself, without moving boxes.
    """
    return dense.suppress(boxes, scores, classes, num_classes, iou_thresh, most)


@suppress_by_onnx.register_fake
def _shape_of_suppress(boxes, scores, classes, num_classes, iou_thresh, most):
    return torch.empty_like(scores, dtype=torch.bool)


def _suppress_in_onnx(
    boxes: Any, scores: Any, classes: Any, num_classes: int, iou_thresh: float, most: int
) -> Any:
    """Write the operators for :func:`suppress_by_onnx` in the file."""
    import onnx
    from onnxscript import opset19

    op: Any = opset19  # its types are for values, here are their names
    numbers = np.arange(num_classes, dtype=np.int64)[None, :, None]
    is_class = op.Equal(
        op.Unsqueeze(classes, op.Constant(value_ints=[1])),
        op.Constant(value=onnx.numpy_helper.from_array(numbers)),
    )
    none = op.Constant(value_float=dense.NONE)
    # (N, C, K): each candidate has a score only in the row of its class.
    by_class = op.Where(is_class, op.Unsqueeze(scores, op.Constant(value_ints=[1])), none)
    # (number, 3): image, class, candidate. More than `most` per class are never needed.
    chosen = op.NonMaxSuppression(
        boxes,
        by_class,
        op.Constant(value_ints=[most]),
        op.Constant(value_floats=[iou_thresh]),
        op.Constant(value_floats=[dense.NONE / 2]),
    )
    places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
    ones = op.Expand(op.Constant(value_float=1.0), op.Shape(chosen, end=1))
    nowhere = op.Mul(scores, op.Constant(value_float=0.0))
    return op.Greater(op.ScatterND(nowhere, places, ones), op.Constant(value_float=0.5))


def write_onnx(
    graph: nn.Module,
    inputs: tuple[Tensor, ...],
    metadata: dict[str, str],
    input_names: Sequence[str],
    output_names: Sequence[str],
) -> bytes:
    """Write an ONNX file that takes any batch size, height and width.

    Args:
        graph: in evaluation mode, with :func:`suppress_by_onnx`, on the CPU.
        inputs: an example of its inputs, with at least two images.
        metadata: stored as the ``metadata_props`` of the model.
        input_names: one for each input.
        output_names: one for each output of the graph.

    Raises:
        UserError: this graph cannot be written as ONNX.
    """
    import onnx

    exported = program(graph, inputs, "onnx")
    with quiet("onnx"):
        written = torch.onnx.export(
            exported,
            input_names=list(input_names),
            output_names=list(output_names),
            opset_version=OPSET,
            custom_translation_table={torch.ops.fcos.suppress.default: _suppress_in_onnx},
            dynamo=True,
            verbose=False,
        )
        assert written is not None  # it is None only if a file is named
        model = written.model_proto
        _name_dimensions(model, "detections" if "boxes" in output_names else "locations")
        onnx.helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
    return model.SerializeToString()


def load_onnx(content: bytes) -> Runnable:
    """Load what :func:`write_onnx` wrote; call it with tensors on the CPU.

    Raises:
        UserError: this onnxruntime lacks an operator.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoSuchOperator

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except NoSuchOperator as error:
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} cannot run this ONNX file ({one_line(error)}). "
            "Install a newer one, or use another --format. Deformable convolutions need "
            "onnxruntime 1.25 or later, which needs Python 3.11."
        ) from None
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        arrays = (tensor.cpu().numpy() for tensor in inputs)
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(output) for output in outputs]

    return run


def _name_dimensions(model: Any, unknown: str) -> None:
    """Name the dimensions of inputs and outputs; the exporter only numbers them."""
    del model.graph.value_info[:]  # dimensions between the operators, with these numbers
    dims_of = (("batch", "", "height", "width"), ("batch",))
    names: dict[str, str] = {}
    for value, dims in zip(model.graph.input, dims_of, strict=False):
        for dim, name in zip(value.type.tensor_type.shape.dim, dims, strict=False):
            if dim.dim_param:
                names[dim.dim_param] = name
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, unknown)
