"""Graphs as TorchScript and as programs of ``torch.export``.

Both hold the device that they were made on.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fcos.utils.errors import UserError

__all__ = [
    "load_program",
    "load_torchscript",
    "program",
    "quiet",
    "write_program",
    "write_torchscript",
]

#: images and perhaps sizes -> the outputs, in the order of their names
Runnable = Callable[..., list[Tensor]]

_METADATA = "metadata.json"


def write_torchscript(graph: nn.Module, inputs: tuple[Tensor, ...], metadata: dict) -> bytes:
    """A TorchScript file; any batch, height and width goes in.

    Args:
        graph: in evaluation mode, see :mod:`fcos.export.graph`.
        inputs: an example of its inputs, two images or more.
        metadata: strings, stored as JSON in the extra file ``metadata.json``.

    Raises:
        UserError: this graph cannot be traced.
    """
    file = io.BytesIO()
    with quiet("torchscript"):
        # Traced twice, a graph with a list of unknown length differs from itself in names only.
        script = torch.jit.trace(graph, inputs, check_trace=False)
        torch.jit.save(script, file, _extra_files={_METADATA: json.dumps(metadata)})
    return file.getvalue()


def load_torchscript(content: bytes, device: torch.device | str = "cpu") -> Runnable:
    """What :func:`write_torchscript` wrote, ready to be called."""
    script = torch.jit.load(io.BytesIO(content), map_location=device)
    return _without_gradients(script)


def write_program(graph: nn.Module, inputs: tuple[Tensor, ...], metadata: dict) -> bytes:
    """A file of ``torch.export``; see :func:`write_torchscript`, also for ``metadata.json``.

    Raises:
        UserError: this graph cannot be exported.
    """
    file = io.BytesIO()
    exported = program(graph, inputs, "torch_export")
    with quiet("torch_export"):
        torch.export.save(exported, file, extra_files={_METADATA: json.dumps(metadata)})
    return file.getvalue()


def load_program(content: bytes) -> Runnable:
    """What :func:`write_program` wrote, ready to be called."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _without_gradients(torch.export.load(io.BytesIO(content)).module())


def program(
    graph: nn.Module, inputs: tuple[Tensor, ...], target: str
) -> torch.export.ExportedProgram:
    """The graph as ``torch.export`` sees it, for any batch, height and width.

    Args:
        graph: in evaluation mode, see :mod:`fcos.export.graph`.
        inputs: an example of its inputs, two images or more.
        target: name of the format, for the message of an error.

    Raises:
        UserError: this graph cannot be exported.
    """
    import torch.fx.experimental._config as sizes_config

    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free}, {0: free})
    # Of a small image the coarsest levels are one cell, which the exporter otherwise takes for a
    # special case and refuses. What it would assert about sizes while running are such guesses.
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
    """No gradients and warnings; what an exporter cannot do becomes a sentence."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: constants, which are meant to be such
            yield
    except UserError:
        raise
    except Exception as error:  # exporters raise errors of many kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].split(" For more information")[0] if lines else type(error).__name__
        raise UserError(f"This detector cannot be written as {target}: {reason}") from error
