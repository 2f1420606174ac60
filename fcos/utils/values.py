"""Values of a user's files: what they are, and how a message lists several."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from fcos.utils.errors import printable

__all__ = [
    "LONGEST_NAME",
    "NAMED",
    "in_words",
    "is_name",
    "is_number",
    "is_size",
    "is_text",
    "listed",
]

# Half of a character; JSON can hold it, and UTF-8 cannot.
_SURROGATE = re.compile("[\ud800-\udfff]")

NAMED = 5  # how many of several things a message names
LONGEST_NAME = 500  # characters of the name of a class


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite int or float, and no bool."""
    try:
        return type(value) is not bool and isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # an int of more than 308 digits
        return False


def is_size(value: Any) -> bool:
    """Return whether ``value`` is a number of pixels: positive and whole, such as 64 or 64.0."""
    return is_number(value) and value > 0 and value == int(value)


def is_text(value: Any) -> bool:
    """Return whether ``value`` is a string that a file, a log and a file's name can hold."""
    return isinstance(value, str) and "\0" not in value and not _SURROGATE.search(value)


def is_name(value: Any) -> bool:
    """Return whether ``value`` can be the name of a class: a text that tables and logs can show.

    A name of thousands of characters, or with those that move the cursor of a terminal, is none.
    """
    return is_text(value) and value.isprintable() and len(value) <= LONGEST_NAME


def listed(things: Sequence[object]) -> str:
    """Return the first five things in words and, if there are more, how many in all."""
    named = printable(", ".join(map(str, itertools.islice(things, NAMED))))
    return f"{named}, ... ({len(things)} in all)" if len(things) > NAMED else named


def in_words(names: Sequence[str]) -> str:
    """Join names: ``"A"``, ``"A and B"``, ``"A, B and C"``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
