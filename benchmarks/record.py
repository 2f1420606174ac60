"""Results as JSON: all samples, the machine and the versions; and two such files compared."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Measured, Result
from benchmarks.settings import Settings
from benchmarks.table import render, seconds_text
from benchmarks.work import Agreement
from fcos.utils.device import usable_cores
from fcos.utils.errors import UserError

__all__ = ["check_writable", "comparison", "machine", "read", "write"]

FORMAT = 1
PACKAGES = ("torch", "torchvision", "detectron2", "fcos-detectron2", "pycocotools", "numpy")


def machine(settings: Settings) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    import detectron2

    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    versions["detectron2"] = detectron2.__version__
    device = torch.device(settings.device)
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def headline(about: dict[str, Any], settings: Settings) -> str:
    """The machine in a line or two."""
    versions = about["versions"]
    return (
        f"{about['gpu'] or about['processor']}, {about['cores']} cores, {settings.threads} "
        f"thread(s), {settings.dtype}, {settings.size} size; torch {versions['torch']}, "
        f"torchvision {versions['torchvision']}, detectron2 {versions['detectron2']}; commit "
        f"{about['commit'] or 'unknown'}, {about['time']}"
    )


def check_writable(path: str) -> None:
    """
    Raises:
        UserError: no file can be written there; better said before ten minutes than after.
    """
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {Path(path).parent}.")
    if Path(path).is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{path} cannot be written.")


def write(
    path: str,
    about: dict[str, Any],
    settings: Settings,
    results: Sequence[Result],
    growth: Sequence[Any] = (),
) -> None:
    """
    Raises:
        UserError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "machine": about,
        "settings": settings.as_dict(),
        "results": [result.as_dict() for result in results],
        "growth": [dataclasses.asdict(line) for line in growth],
    }
    try:
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None


def read(path: str) -> tuple[dict[str, Any], list[Result]]:
    """The content of a file that :func:`write` wrote, and its results.

    Raises:
        UserError: it is missing or something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise KeyError
        return content, [_result(entry) for entry in content["results"]]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a file that python -m benchmarks --json wrote.") from None


def _result(entry: dict[str, Any]) -> Result:
    parts = {"ours": Measured(**entry["ours"]), "peer": Measured(**entry["peer"])}
    return Result(**{**entry, **parts, "agreement": Agreement(**entry["agreement"])})


def comparison(before: Sequence[Result], after: Sequence[Result], width: int) -> str:
    """A table of what both files have, and names of what only one has.

    The peer is the same code in both, so how far it moved is how far the machine did.
    """
    old = {(r.work, r.peer.name): r for r in before}
    new = {(r.work, r.peer.name): r for r in after}
    rows = [("work", "against", "ours old", "new", "gain", "peer old", "new", "gain")]
    for key in (k for k in old if k in new):
        a, b = old[key], new[key]
        if a.is_timed and b.is_timed:
            rows.append((*key, *_gain(a.ours, b.ours), *_gain(a.peer, b.peer)))
        else:
            rows.append((*key, *("-" if a.is_timed else "not timed", "-", "-") * 2))
    lines = [render(rows, width)]
    for name, only in (("old", old.keys() - new.keys()), ("new", new.keys() - old.keys())):
        if only:
            words = sorted({work for work, _ in only})
            lines.append(f"Only in the {name} file: {', '.join(words)}.")
    return "\n".join(lines)


def _gain(old: Measured, new: Measured) -> tuple[str, str, str]:
    gain = old.median / new.median
    mark = "" if abs(gain - 1) > old.spread + new.spread else "~"
    return seconds_text(old.median), seconds_text(new.median), f"{mark}{gain:.2f}x"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    where = Path(__file__).resolve().parent
    words = ["git", "-C", str(where), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
