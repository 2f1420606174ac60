"""Write graphs as TorchScript and as programs of ``torch.export``, and load them as functions.

Both run on the device that they were made on.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fcos.utils.errors import UserError

__all__ = [
    "can_write_programs",
    "load_program",
    "load_torchscript",
    "program",
    "quiet",
    "write_program",
    "write_torchscript",
]

#: a loaded file: takes images and perhaps sizes, returns the outputs in the order of their names
Runnable = Callable[..., list[Tensor]]

_METADATA = "metadata.json"


def write_torchscript(graph: nn.Module, inputs: tuple[Tensor, ...], metadata: dict) -> bytes:
    """Write a TorchScript file that takes any batch size, height and width.

    Args:
        graph: in evaluation mode, see :mod:`fcos.export.graph`.
        inputs: an example of its inputs, with at least two images.
        metadata: strings, stored as JSON in the extra file ``metadata.json``.

    Raises:
        UserError: this graph cannot be traced.
    """
    file = io.BytesIO()
    with quiet("torchscript"):
        # The check traces again and compares names, which differ in a list of unknown length.
        script = torch.jit.trace(graph, inputs, check_trace=False)
        torch.jit.save(script, file, _extra_files={_METADATA: json.dumps(metadata)})
    return file.getvalue()


def load_torchscript(content: bytes, device: torch.device | str = "cpu") -> Runnable:
    """Load what :func:`write_torchscript` wrote."""
    script = torch.jit.load(io.BytesIO(content), map_location=device)
    return _without_gradients(script)


def write_program(graph: nn.Module, inputs: tuple[Tensor, ...], metadata: dict) -> bytes:
    """Write a file of ``torch.export``; arguments as of :func:`write_torchscript`.

    Raises:
        UserError: this graph cannot be exported.
    """
    file = io.BytesIO()
    exported = program(graph, inputs, "torch_export")
    with quiet("torch_export"):
        torch.export.save(exported, file, extra_files={_METADATA: json.dumps(metadata)})
    return file.getvalue()


def load_program(content: bytes) -> Runnable:
    """Load what :func:`write_program` wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _without_gradients(torch.export.load(io.BytesIO(content)).module())


def can_write_programs() -> bool:
    """Say whether this torch has what :func:`program` needs; the oldest that work here lack it."""
    import torch.fx.experimental._config as sizes_config

    options = inspect.signature(torch.export.export).parameters
    return (
        hasattr(sizes_config, "backed_size_oblivious")
        and "prefer_deferred_runtime_asserts_over_guards" in options
    )


def program(
    graph: nn.Module, inputs: tuple[Tensor, ...], target: str
) -> torch.export.ExportedProgram:
    """Export a graph by ``torch.export``, for any batch size, height and width.

    Args:
        graph: in evaluation mode, see :mod:`fcos.export.graph`.
        inputs: an example of its inputs, with at least two images.
        target: name of the format, for error messages.

    Raises:
        UserError: this graph cannot be exported, or this torch is too old.
    """
    import torch.fx.experimental._config as sizes_config

    if not can_write_programs():
        raise UserError(
            f"torch {torch.__version__} is too old to write {target} files: it cannot leave all "
            "sizes of an image open. Use torch 2.9 or later, or --format torchscript."
        )
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free}, {0: free})
    # In a small image the coarsest levels are one cell. By default the exporter treats a size of 1
    # as a special case, and its program refuses images below 17 pixels; torch has no public option
    # for this (its own ONNX exporter sets the same one). Its assertions about sizes are guesses of
    # the same kind, so they are erased.
    with quiet(target), sizes_config.patch(backed_size_oblivious=True):
        exported = torch.export.export(
            graph,
            inputs,
            dynamic_shapes=shapes[: len(inputs)],
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        for node in list(exported.graph.nodes):
            if node.target is torch.ops.aten._assert_scalar.default:
                exported.graph.erase_node(node)
        exported.graph.eliminate_dead_code()
        exported.graph_module.recompile()
    return exported


def _without_gradients(call: Callable[..., Any]) -> Runnable:
    def run(*inputs: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(call(*inputs))

    return run


@contextlib.contextmanager
def quiet(target: str) -> Iterator[None]:
    """Switch off gradients and warnings; turn the errors of an exporter into one sentence."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of constants, which are intended
            yield
    except UserError:
        raise
    except Exception as error:  # exporters raise errors of many types
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].split(" For more information")[0] if lines else type(error).__name__
        raise UserError(f"This detector cannot be written as {target}: {reason}") from error
