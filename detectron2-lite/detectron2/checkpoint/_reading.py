"""Reading checkpoint files as data: nothing that a file says is ever called.

A pickle can name any function and have it called.  Here it can name only what arrays, tensors and
containers are rebuilt with; anything else is an error before it is even imported.
"""

from __future__ import annotations

import pickle
import re
from typing import IO, Any

import numpy as np
import torch

_NUMPY_TYPES = np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"

# What pickled arrays and numpy numbers name. Asked of numpy, whose private modules move.
_REBUILD_ARRAY = np.empty(0).__reduce__()[0]
_REBUILD_NUMBER = np.float64(0).__reduce__()[0]
_FOR_TORCH = [
    _REBUILD_ARRAY,
    _REBUILD_NUMBER,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in _NUMPY_TYPES},
]

_FOR_PICKLE = {
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # bytes written by Python 2, or by protocol 2
}


def read_file(filename: str) -> Any:
    """The content of a ``.pkl`` file (a pickle), or of any other (written by ``torch.save``).

    Tensors come on the CPU.

    Raises:
        ValueError: the file is truncated, of another format, or holds more than tensors, arrays,
            numbers, strings and containers of them.
    """
    try:
        if filename.endswith(".pkl"):
            with open(filename, "rb") as file:
                return _Unpickler(file).load()
        with torch.serialization.safe_globals(_FOR_TORCH):
            return torch.load(filename, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file fails in any way
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and named:
            raise ValueError(
                f"Checkpoint '{filename}' was refused and nothing in it was run: it names "
                f"'{named[1]}', and only tensors, arrays, numbers, strings and containers of "
                "them are loaded"
            ) from None
        raise ValueError(
            f"Checkpoint '{filename}' cannot be read; it is truncated, or no checkpoint file"
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="latin1")  # how numpy's bytes come out of Python 2

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _FOR_PICKLE:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return super().find_class(module, name)
