"""What the steps found, as one JSON file and one page of Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["markdown", "write_report"]


def write_report(folder: Path, about: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    """Write ``report.json``, ``report.md`` and what the steps printed, ``log.txt``, anew.

    Args:
        folder: an existing one.
        about: what was asked for.
        records: of all steps, in order; of those still to come, "title" and "state".
    """
    log = [f"==== {r['title']}\n{r['output']}" for r in records if "output" in r]
    plain = [{k: v for k, v in r.items() if k != "output"} for r in records]
    content = json.dumps({"about": about, "steps": plain}, indent=1)
    for name, text in (
        ("report.json", content + "\n"),
        ("report.md", markdown(about, records)),
        ("log.txt", "\n".join(log)),
    ):
        partial = folder / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)


def markdown(about: dict[str, Any], records: Sequence[dict[str, Any]]) -> str:
    """The page.

    Args:
        about, records: see :func:`write_report`.
    """
    head = ", ".join(f"{key} {value}" for key, value in about.items())
    rows = [["step", "state", "seconds"]]
    rows += [[r["title"], _state(r), str(r.get("seconds", ""))] for r in records]
    parts = ["# What the GPU showed", head, _table(rows)]
    for record in records:
        parts += _section(record)
    return "\n\n".join(parts) + "\n"


def _state(record: dict[str, Any]) -> str:
    number = len(record.get("problems") or ())
    if not number:
        return record["state"]
    return f"{record['state']}, {number} problem{'s' * (number > 1)}"


def _section(record: dict[str, Any]) -> list[str]:
    facts, tables = record.get("facts") or [], record.get("tables") or []
    problems, last = record.get("problems") or [], record.get("last_lines") or []
    if not (facts or tables or problems or last):
        return []
    parts = [f"## {record['title']}"]
    if facts:
        parts.append("\n".join(f"- {fact}" for fact in facts))
    if problems:
        parts.append("Problems:\n\n" + "\n".join(f"- {problem}" for problem in problems))
    for table in tables:
        parts += [table["title"], _table(table["rows"])]
    if last:
        parts.append("The last that it said:\n\n" + "\n".join(f"    {line}" for line in last))
    return parts


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)
