"""The reference page of keys, docs/CONFIG.md."""

from __future__ import annotations

from collections.abc import Iterator

from fcos.config.keys.key import Group, Key
from fcos.config.keys.table import GROUPS, default_of

__all__ = ["reference_page"]

_HEAD = """\
# Configuration keys

What each key of a config may be, its default and what it does. `make docs` writes this page from
the table in [fcos/config/keys](../fcos/config/keys), by which every value is checked when a config
is read: one that no training can want is refused in one sentence before anything starts.

Set a key in a YAML file, or behind the options of a command: `SOLVER.BASE_LR 0.005`. Keys that are
not here (`MODEL.RPN`, `MODEL.ROI_HEADS`, ...) belong to other detectors, and are as detectron2 has
them. `[a, b)` stands for the numbers from a to b without b: round brackets leave an end out.
"""


def reference_page() -> str:
    """Return the page as Markdown."""
    return "".join([_HEAD, *(line for group in GROUPS for line in _section(group))])


def _section(group: Group) -> Iterator[str]:
    yield f"\n## {group.title}\n\n| key | default | values | meaning |\n|---|---|---|---|\n"
    yield from map(_row, group.keys)


def _row(key: Key) -> str:
    with_key = f" Read with {key.read_with} True only." if key.read_with else ""
    cells = (f"`{key.name}`", f"`{default_of(key.name)!r}`", key.kind.words, key.meaning + with_key)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
