"""What a config key may be: each kind says it in words, and of a value whether it is that."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

from fcos.utils.values import LONGEST_NAME, is_name, is_text

__all__ = [
    "Choice",
    "Either",
    "Fields",
    "Kind",
    "Mappings",
    "Number",
    "Several",
    "Switch",
    "Text",
    "Whole",
]

# The most values in a list that nothing else limits.
MOST_VALUES = 10_000
_LONGEST_PATH = 4096  # characters, as of Linux

# A terminal and a log would do what they say, such as write backwards.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Kind:
    """One kind of value."""

    @property
    def words(self) -> str:
        """What is allowed, such as "a whole number from 0 to 9"."""
        raise NotImplementedError

    def accepts(self, value: Any) -> bool:
        """Return whether a value, of whatever type, is allowed."""
        raise NotImplementedError

    def instead(self, value: Any) -> str:
        """Return what to set instead of a value that is not allowed: the nearest, or any."""
        return self.words


@dataclasses.dataclass(frozen=True)
class Switch(Kind):
    """True or False."""

    @property
    def words(self) -> str:
        return "True or False"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class Whole(Kind):
    """A whole number from ``least`` to ``most``, both included."""

    least: int
    most: int

    @property
    def words(self) -> str:
        return f"a whole number from {_figure(self.least)} to {_figure(self.most)}"

    def accepts(self, value: Any) -> bool:
        return _is_real(value) and isinstance(value, int) and self.least <= value <= self.most

    def instead(self, value: Any) -> str:
        if not _is_real(value) or value != value:  # NaN
            return self.words
        if value < self.least:
            return f"{_figure(self.least)} or more"
        if value > self.most:
            return f"{_figure(self.most)} or less"
        return f"{self.words}; the nearest is {round(value)}"


@dataclasses.dataclass(frozen=True)
class Number(Kind):
    """A number from ``least`` to ``most``; ``is_open`` leaves out the latter."""

    least: float
    most: float
    is_open: bool = False

    @property
    def words(self) -> str:
        return f"a number within [{_figure(self.least)}, {_figure(self.most)}{'])'[self.is_open]}"

    def accepts(self, value: Any) -> bool:
        is_within = _is_real(value) and self.least <= value <= self.most
        return is_within and not (self.is_open and value == self.most)

    def instead(self, value: Any) -> str:
        if not _is_real(value) or value != value:  # NaN
            return self.words
        is_above = value >= self.most
        # The least that has an effect is allowed, and is no advice.
        is_advice = not self.is_open if is_above else self.least <= 0
        nearest = _figure(self.most if is_above else self.least)
        return self.words + (f"; the nearest is {nearest}" if is_advice else "")


@dataclasses.dataclass(frozen=True, init=False)
class Choice(Kind):
    """One of several values."""

    choices: tuple[Any, ...]

    def __init__(self, *choices: Any) -> None:
        object.__setattr__(self, "choices", choices)

    @property
    def words(self) -> str:
        listed = ", ".join(map(repr, self.choices))
        return f"one of {listed}" if len(self.choices) > 1 else listed

    def accepts(self, value: Any) -> bool:
        return any(type(value) is type(choice) and value == choice for choice in self.choices)

    def instead(self, value: Any) -> str:
        if not isinstance(value, str):
            return self.words
        lower = {str(choice).lower(): choice for choice in self.choices}
        near = difflib.get_close_matches(value[:100].lower(), lower, n=1)
        return self.words + (f"; the nearest is {lower[near[0]]!r}" if near else "")


@dataclasses.dataclass(frozen=True)
class Text(Kind):
    """A name or a path that files and logs can hold; ``what`` it is, and if it may be empty."""

    what: str
    may_be_empty: bool = False
    is_path: bool = False

    @property
    def words(self) -> str:
        return f"{self.what}, or ''" if self.may_be_empty else self.what

    def accepts(self, value: Any) -> bool:
        if value == "":
            return self.may_be_empty
        if not self.is_path:
            return is_name(value) and not value.isspace()
        return is_text(value) and len(value) <= _LONGEST_PATH and not _CONTROL.search(value)

    def instead(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            return self.words
        most = _LONGEST_PATH if self.is_path else LONGEST_NAME
        return f"{self.words}, of at most {most:,} characters that can be shown"


@dataclasses.dataclass(frozen=True)
class Several(Kind):
    """A list (or tuple) of values of one kind."""

    item: Kind
    least: int = 0
    most: int = MOST_VALUES
    rule: str = ""  # "increasing" or "without repetition"

    @property
    def words(self) -> str:
        if self.most < MOST_VALUES:
            number = f"{self.least}" + (f" to {self.most}" if self.least < self.most else "")
        else:
            number = f"at least {self.least}" if self.least else "any length"
        rule = f", {self.rule}" if self.rule else ""
        return f"a list of {number}, each {self.item.words}{rule}"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, (list, tuple)) or not self.least <= len(value) <= self.most:
            return False
        if not all(map(self.item.accepts, value)):
            return False
        if self.rule == "increasing":
            return all(low < high for low, high in itertools.pairwise(value))
        return self.rule != "without repetition" or len({*value}) == len(value)


@dataclasses.dataclass(frozen=True)
class Fields(Kind):
    """A list of one value of each of several kinds; ``words`` say which."""

    what: str
    items: tuple[Kind, ...]

    @property
    def words(self) -> str:
        return self.what

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, (list, tuple)) or len(value) != len(self.items):
            return False
        return all(item.accepts(part) for item, part in zip(self.items, value, strict=True))


@dataclasses.dataclass(frozen=True)
class Mappings(Kind):
    """A mapping of names, which can be those of files, to mappings; ``what`` it holds."""

    what: str

    @property
    def words(self) -> str:
        return self.what

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, Mapping) or len(value) > MOST_VALUES:
            return False
        return all(_is_file_name(key) and isinstance(part, Mapping) for key, part in value.items())


@dataclasses.dataclass(frozen=True)
class Either(Kind):
    """A value of one of two kinds."""

    first: Kind
    second: Kind

    @property
    def words(self) -> str:
        return f"{self.first.words}, or {self.second.words}"

    def accepts(self, value: Any) -> bool:
        return self.first.accepts(value) or self.second.accepts(value)

    def instead(self, value: Any) -> str:
        return f"{self.first.instead(value)}, or {self.second.words}"


def _is_real(value: Any) -> bool:
    """Return whether a value is a number, and no bool; it may be infinite or NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_file_name(value: Any) -> bool:
    return is_name(value) and value not in ("", ".", "..") and not {"/", "\\"} & {*value}


def _figure(value: float) -> str:
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
