"""Results as text."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from benchmarks.measure import Measured, Result

__all__ = ["HEAD", "cells", "columns", "details", "render", "table"]

HEAD = ("work", "against", "ours", "peer", "ratio", "MB o/p", "IQR o/p", "same")


def columns() -> int:
    """Width to write for: that of the terminal, within 80 and 120."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)


def table(results: Sequence[Result], width: int) -> str:
    """One line for each result; Markdown where there is room for it."""
    return render([HEAD, *(cells(result) for result in results)], width)


def details(results: Sequence[Result], width: int) -> str:
    """What each piece of work is, and how its contestants were found to agree."""
    lines: list[str] = []
    said = ""
    for result in results:
        if result.work != said:
            lines += _wrapped(f"{result.work}: {result.title}", width, "    ")
            said = result.work
        text = f"{result.peer.name}: {result.agreement.text.rstrip('.')}."
        lines += _wrapped(" ".join(filter(None, [text, result.remark])), width, "    ", "  ")
    return "\n".join(lines)


def render(rows: Sequence[Sequence[str]], width: int) -> str:
    """Rows of cells as a Markdown table, or with spaces alone where that would be too wide.

    Args:
        rows: the head first; the first two columns are words, the others numbers.
        width: characters in a line.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    is_markdown = sum(widths) + 3 * len(widths) + 1 <= width
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(size) if column < 2 else cell.rjust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        if not is_markdown:
            lines.append(" ".join(cells).rstrip())
            continue
        lines.append("| " + " | ".join(cells) + " |")
        if number == 0:
            rule = ("-" * s if i < 2 else "-" * (s - 1) + ":" for i, s in enumerate(widths))
            lines.append("| " + " | ".join(rule) + " |")
    return "\n".join(lines)


def seconds_text(seconds: float) -> str:
    """Three digits and a unit: "12.3 ms"."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{_three(seconds * factor)} {unit}"
    return f"{_three(seconds * 1e6)} us"


def _three(number: float) -> str:
    if number >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def memory_text(measured: Measured) -> str:
    """In MB (10^6 bytes); "*" is the resident size of a process."""
    if measured.memory is None:
        return "-"
    mark = "*" if measured.memory_kind == "process" else ""
    megabytes = measured.memory / 1e6
    return f"{megabytes:.0f}{mark}" if megabytes >= 9.95 else f"{megabytes:.1f}{mark}"


def cells(result: Result) -> tuple[str, ...]:
    """A line of the table; its head is ``HEAD``."""
    name = (result.work, result.peer.name)
    if not result.is_timed:
        return (*name, "-", "-", "-", "-", "-", "yes" if result.agreement.same else "NO")
    ours, peer = result.ours, result.peer
    return (
        *name,
        seconds_text(ours.median),
        seconds_text(peer.median),
        f"{'' if result.is_clear else '~'}{_three(result.ratio)}x",
        f"{memory_text(ours)}/{memory_text(peer)}",
        f"{100 * ours.spread:.0f}/{100 * peer.spread:.0f}%",
        "yes",
    )


def _wrapped(text: str, width: int, hang: str, first: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=hang)
