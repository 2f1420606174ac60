"""Read a pickle as data, in time and memory that its length bounds: plain values and arrays.

Python's unpickler, even one that refuses to call functions, is not safe from a file: an index of
its memo alone makes it fill 64 GB, and so does ``bytearray(64 * 10**9)``; keys inside of keys
overflow its stack. This one knows only what files of weights have.
"""

from __future__ import annotations

import ast
import math
import pickletools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

__all__ = ["Forbidden", "Name", "Other", "read_pickle"]


class Forbidden(Exception):
    """A pickle asks for something to be called that is no data; ``str`` is its name."""


class Name(NamedTuple):
    """A class or a function that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Other:
    """Stands for what another reader makes: a tensor, or an object of torch."""


def read_pickle(file: BinaryIO, length: int, persistent: Callable[[Any], Any] | None = None) -> Any:
    """Read a pickle of numpy arrays and plain values, from where a file stands.

    Args:
        file: the file.
        length: how many bytes it has.
        persistent: takes what the pickle says of an object that lies outside of it. With it, the
            pickle is one of torch's, and is only looked at: what is neither plain nor an array is
            an :class:`Other`.

    Returns:
        Its content. Text of Python 2 is decoded as Latin-1.

    Raises:
        Forbidden: it asks for anything else to be called.
        ValueError, LookupError, TypeError, ...: it is no such pickle.
    """
    machine = _Machine(length, persistent)
    for name, argument in _operations(file):
        if name == "STOP":
            break
        machine.run(name, argument)
    return _finished(machine.pop(), {})


def _operations(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    while True:
        code = file.read(1)
        operation = pickletools.code2op.get(code.decode("latin-1"))
        if operation is None:
            raise ValueError("it is no pickle" if code else "its end is missing")
        if operation.name == "STRING":  # of Python 2: bytes between quotes, with escapes
            value = ast.literal_eval("b" + file.readline().strip().decode("latin-1"))
            yield operation.name, value.decode("latin-1")
        else:
            yield operation.name, operation.arg.reader(file) if operation.arg else None


_LONGEST_NAME = 200  # torch needs the square of its length to say that it does not know one


# ---- what is called ------------------------------------------------------------------------------


class _Type:
    """A type of numpy, which is told its byte order after it was made."""

    def __init__(self, code: Any, *_: Any) -> None:
        if isinstance(code, bytes):
            code = code.decode("latin-1")
        if not isinstance(code, str) or len(code) > 10:
            raise ValueError("an array of an unusual type")
        self.value = np.dtype(code)
        if self.value.kind not in "biufcSU" or self.value.itemsize > 1024:
            raise ValueError(f"an array of the type {code[:20]}")

    def build(self, state: Any) -> None:
        order: Any = state[1]
        order = order.decode("latin-1") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise ValueError("an unknown byte order")
        self.value = self.value.newbyteorder(order)


class _Array:
    """An array of numpy, which is told its values after it was made."""

    value: np.ndarray

    def build(self, state: Any) -> None:
        _, shape, kind, is_fortran, raw = state
        self.value = _array(raw, kind, shape, "F" if is_fortran else "C")


def _array(raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(kind, _Type):
        raise ValueError("an array without its bytes")
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int for n in shape):
        raise ValueError("an array without its shape")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.value.itemsize != len(raw):
        raise ValueError("an array with another number of bytes than its shape has")
    values = np.frombuffer(bytearray(raw), kind.value) if raw else np.empty(0, kind.value)
    if not kind.value.isnative:  # torch takes none in another order
        values = values.astype(kind.value.newbyteorder("="))
    return values.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(kind: Any, shape: Any, *_: Any) -> _Array:
    if kind != ("numpy", "ndarray") or shape != (0,):
        raise ValueError("an array that begins with a shape")
    return _Array()


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
    return {_key(key): value for key, value in pairs}


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    if not (isinstance(real, float) and isinstance(imaginary, float)):
        raise ValueError("a complex number without its parts")
    return complex(real, imaginary)


def _plain_of(kind: Callable[[Any], Any], with_keys: bool) -> Callable[..., Any]:
    def make(content: Any = ()) -> Any:
        if not isinstance(content, (list, tuple, set, frozenset)):
            raise ValueError("a container without its content")
        return kind([_key(value) for value in content] if with_keys else content)

    return make


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Type,
}
for _module in ("builtins", "__builtin__"):  # Python 3 and 2
    _CALLS |= {
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
    _CALLS |= {
        (f"{_module}.multiarray", "_reconstruct"): _reconstruct,
        (f"{_module}.multiarray", "scalar"): _scalar,
        (f"{_module}.numeric", "_frombuffer"): lambda raw, kind, shape, order: _array(
            raw, kind, shape, order
        ),
    }
_NAMES = {*_CALLS, ("numpy", "ndarray")}


def _key(value: Any) -> Any:
    """Return what can be a key: flat, because Python's hash of tuples in tuples has no bound."""
    parts = value if isinstance(value, tuple) else (value,)
    plain = (str, int, float, bool, type(None), bytes, Other, Name)
    if type(value) not in (*plain, tuple) or not all(type(part) in plain for part in parts):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value


# ---- the machine ---------------------------------------------------------------------------------


class _Machine:
    def __init__(self, length: int, persistent: Callable[[Any], Any] | None) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._left = 8 * length + 2**16  # bytes that calls may still copy
        self._persistent = persistent

    def pop(self) -> Any:
        if self._marks and self._marks[-1] >= len(self._stack):
            raise ValueError("it takes more than is there")
        return self._stack.pop()

    def _pop_marked(self) -> list[Any]:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def run(self, name: str, argument: Any) -> None:
        """Run one operation of a pickle."""
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name](argument))
        elif name in _MEMO_PUT:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif name in _MEMO_GET:
            self._stack.append(self._memo[argument])
        else:
            step = _STEPS.get(name)
            if step is None:
                raise Forbidden(f"the operation {name}")
            step(self, argument)

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _drop(self, _: Any) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self.pop()

    def _drop_marked(self, _: Any) -> None:
        self._pop_marked()

    def _double(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _put_marked(self, kind: Callable[[list[Any]], Any]) -> None:
        self._stack.append(kind(self._pop_marked()))

    def _tuple_of(self, number: int) -> None:
        self._stack.append(tuple([self.pop() for _ in range(number)][::-1]))

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, (list, Other)):
            raise TypeError("values for something else than a list")
        if isinstance(target, list):
            target.extend(values)

    def _add(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], set):
            raise TypeError("values for something else than a set")
        self._stack[-1].update(map(_key, values))

    def _set(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, (dict, Other)) or len(values) % 2:
            raise TypeError("keys for something else than a mapping")
        if isinstance(target, dict):
            target.update(_pairs(values))

    def _named(self, name: Name) -> None:
        if len(str(name)) > _LONGEST_NAME:
            raise ValueError(f"a name of {len(str(name)):,} characters")
        if self._persistent is None and name not in _NAMES:
            raise Forbidden(str(name))
        self._stack.append(name)

    def _named_on_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise ValueError("a name that is no text")
        self._named(Name(module, name))

    def _call(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise TypeError("arguments that are no tuple")
        self._left -= sum(len(a) for a in arguments if hasattr(a, "__len__"))
        if self._left < 0:
            raise ValueError("it copies more than it holds")
        if isinstance(function, Name) and function in _CALLS:
            self._stack.append(_CALLS[function](*arguments))
        elif self._persistent is None or not isinstance(function, Name):
            raise Forbidden(str(function) if isinstance(function, Name) else "something")
        else:
            self._stack.append(Other())

    def _build(self, _: Any) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, (_Type, _Array)):
            target.build(state)
        elif not isinstance(target, (dict, Other)):  # of a mapping: attributes, such as _metadata
            raise TypeError("a state for something without one")

    def _persist(self, identity: Any) -> None:
        if self._persistent is None:
            raise Forbidden("an object outside of the file")
        self._persistent(identity)
        self._stack.append(Other())


def _pairs(values: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(map(_key, values[0::2]), values[1::2], strict=True)


def _same(value: Any) -> Any:
    return value


_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT".split(), _same),
    **dict.fromkeys("STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE".split(), _same),
    **dict.fromkeys("SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES".split(), _same),
    **dict.fromkeys("BINBYTES8 BYTEARRAY8".split(), _same),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_DICT": lambda _: {},
    "EMPTY_SET": lambda _: set(),
}
_MEMO_PUT = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_MEMO_GET = ("GET", "BINGET", "LONG_BINGET")
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Machine._mark,
    "POP": _Machine._drop,
    "POP_MARK": _Machine._drop_marked,
    "DUP": _Machine._double,
    "LIST": lambda machine, _: machine._put_marked(list),
    "TUPLE": lambda machine, _: machine._put_marked(tuple),
    "DICT": lambda machine, _: machine._put_marked(lambda values: dict(_pairs(values))),
    "FROZENSET": lambda machine, _: machine._put_marked(lambda v: frozenset(map(_key, v))),
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "APPEND": lambda machine, _: machine._extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine._extend(machine._pop_marked()),
    "SETITEM": lambda machine, _: machine._set([machine.pop() for _ in range(2)][::-1]),
    "SETITEMS": lambda machine, _: machine._set(machine._pop_marked()),
    "ADDITEMS": lambda machine, _: machine._add(machine._pop_marked()),
    "GLOBAL": lambda machine, text: machine._named(Name(*text.split(" ", 1))),
    "STACK_GLOBAL": _Machine._named_on_stack,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._call,
    "BUILD": _Machine._build,
    "PERSID": _Machine._persist,
    "BINPERSID": lambda machine, _: machine._persist(machine.pop()),
}


def _finished(value: Any, known: dict[int, Any]) -> Any:
    """Return what was read, with arrays in their places; a list that is in itself is an error."""
    if isinstance(value, (_Array, _Type)):
        return value.value
    if not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) not in known:
        if isinstance(value, dict):
            made: Any = {key: _finished(inner, known) for key, inner in value.items()}
        else:
            made = type(value)(_finished(inner, known) for inner in value)
        known[id(value)] = made
    return known[id(value)]
