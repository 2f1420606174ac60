"""What a pickle of weights may call: numpy's arrays and plain containers, made from what it holds.

Each of them checks what it is given, since numpy and Python would allocate whatever a file says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["CALLS", "NAMES", "ArrayToBe", "Name", "Other", "TypeToBe", "key_of"]


class Name(NamedTuple):
    """A class or a function that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Other:
    """Stands for what another reader makes: a tensor, or an object of torch."""


class TypeToBe:
    """A type of numpy, which is told its byte order after it was made."""

    def __init__(self, code: Any, *as_copy: Any) -> None:
        if isinstance(code, bytes):
            code = code.decode("latin-1")
        if not isinstance(code, str) or len(code) > 10 or as_copy not in ((), (False, True)):
            raise ValueError("an array of an unusual type")
        self.value = np.dtype(code)
        if self.value.kind not in "biufcSU" or self.value.itemsize > 1024:
            raise ValueError(f"an array of the type {code[:20]}")

    def build(self, state: Any) -> None:
        """Take its byte order; the rest has to be as numpy writes it, which crashes on less."""
        written: Any = self.value.__reduce__()[2]
        if not isinstance(state, tuple) or (*state[:1], *state[2:]) != (*written[:1], *written[2:]):
            raise ValueError("a type of numbers that numpy does not write so")
        order: Any = state[1]
        order = order.decode("latin-1") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise ValueError("an unknown byte order")
        self.value = self.value.newbyteorder(order)


class ArrayToBe:
    """An array of numpy, which is told its values after it was made."""

    value: np.ndarray

    def build(self, state: Any) -> None:
        """Take its shape, type and values."""
        _, shape, kind, is_fortran, raw = state
        self.value = _array(raw, kind, shape, "F" if is_fortran else "C")


def _array(raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(kind, TypeToBe):
        raise ValueError("an array without its bytes")
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int for n in shape):
        raise ValueError("an array without its shape")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.value.itemsize != len(raw):
        raise ValueError("an array with another number of bytes than its shape has")
    values = np.frombuffer(bytearray(raw), kind.value) if raw else np.empty(0, kind.value)
    if not kind.value.isnative:  # torch takes none in another order
        values = values.astype(kind.value.newbyteorder("="))
    return values.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(kind: Any, shape: Any, *_: Any) -> ArrayToBe:
    if kind != ("numpy", "ndarray") or shape != (0,):
        raise ValueError("an array that begins with a shape")
    return ArrayToBe()


def _scalar(kind: Any, raw: Any) -> Any:
    return _array(raw, kind, (), "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _bytearray(content: Any = b"", encoding: Any = "latin-1") -> bytearray:
    if isinstance(content, str) and encoding == "latin-1":
        return bytearray(content.encode("latin-1"))
    if not isinstance(content, (bytes, bytearray)):
        raise ValueError("a length instead of bytes")  # which would be allocated
    return bytearray(content)


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return {key_of(key): value for key, value in pairs}


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    if not (isinstance(real, float) and isinstance(imaginary, float)):
        raise ValueError("a complex number without its parts")
    return complex(real, imaginary)


def _plain_of(kind: Callable[[Any], Any], with_keys: bool) -> Callable[..., Any]:
    def make(content: Any = ()) -> Any:
        if not isinstance(content, (list, tuple, set, frozenset)):
            raise ValueError("a container without its content")
        return kind([key_of(value) for value in content] if with_keys else content)

    return make


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): TypeToBe,
}
for _module in ("builtins", "__builtin__"):  # Python 3 and 2
    CALLS |= {
        (_module, "bytes"): lambda content=b"": bytes(_bytearray(content)),
        (_module, "bytearray"): _bytearray,
        (_module, "complex"): _complex,
        (_module, "dict"): _ordered,
        (_module, "list"): _plain_of(list, False),
        (_module, "tuple"): _plain_of(tuple, False),
        (_module, "set"): _plain_of(set, True),
        (_module, "frozenset"): _plain_of(frozenset, True),
    }
for _module in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    CALLS |= {
        (f"{_module}.multiarray", "_reconstruct"): _reconstruct,
        (f"{_module}.multiarray", "scalar"): _scalar,
        (f"{_module}.numeric", "_frombuffer"): _array,
    }
NAMES = {*CALLS, ("numpy", "ndarray")}


def key_of(value: Any) -> Any:
    """Return what can be a key: flat, because Python's hash of tuples in tuples has no bound."""
    parts = value if isinstance(value, tuple) else (value,)
    plain = (str, int, float, bool, type(None), bytes, Other, Name)
    if type(value) not in (*plain, tuple) or not all(type(part) in plain for part in parts):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value
