"""Read a pickle as data, in time and memory that its length bounds: plain values and arrays.

Python's unpickler, even one that refuses to call functions, is not safe from a file: an index of
its memo alone makes it fill 64 GB, and so does ``bytearray(64 * 10**9)``; keys inside of keys
overflow its stack. This one knows only what files of weights have.
"""

from __future__ import annotations

import ast
import pickletools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from fcos.checkpoint.pickle_calls import CALLS, NAMES, ArrayToBe, Name, Other, TypeToBe, key_of

__all__ = ["Forbidden", "read_pickle"]


_LONGEST_NAME = 200  # torch needs the square of its length to say that it does not know one


class Forbidden(Exception):
    """A pickle asks for something to be called that is no data; ``str`` is its name."""


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
        self._stack[-1].update(map(key_of, values))

    def _set(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, (dict, Other)) or len(values) % 2:
            raise TypeError("keys for something else than a mapping")
        if isinstance(target, dict):
            target.update(_pairs(values))

    def _named(self, name: Name) -> None:
        if len(str(name)) > _LONGEST_NAME:
            raise ValueError(f"a name of {len(str(name)):,} characters")
        if self._persistent is None and name not in NAMES:
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
        if isinstance(function, Name) and function in CALLS:
            self._stack.append(CALLS[function](*arguments))
        elif self._persistent is None or not isinstance(function, Name):
            raise Forbidden(str(function) if isinstance(function, Name) else "something")
        else:
            self._stack.append(Other())

    def _build(self, _: Any) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, (TypeToBe, ArrayToBe)):
            target.build(state)
        elif not isinstance(target, (dict, Other)):  # of a mapping: attributes, such as _metadata
            raise TypeError("a state for something without one")

    def _persist(self, identity: Any) -> None:
        if self._persistent is None:
            raise Forbidden("an object outside of the file")
        self._persistent(identity)
        self._stack.append(Other())


def _pairs(values: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(map(key_of, values[0::2]), values[1::2], strict=True)


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
    "FROZENSET": lambda machine, _: machine._put_marked(lambda v: frozenset(map(key_of, v))),
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
    if isinstance(value, (ArrayToBe, TypeToBe)):
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
