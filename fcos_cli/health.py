"""What is installed here, as far as it can be found out.

Nothing is imported in this process that could be missing or broken: packages are imported in
another one (:mod:`fcos_cli.probing`), which may crash.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["OK", "WARN", "WRONG", "Finding", "Machine", "look", "plain", "probe"]

OK, WARN, WRONG = "ok", "warn", "wrong"

PROBED = (
    "torch",
    "torchvision",
    "detectron2",
    "detectron2._C",
    "cv2",
    "hotcoco",
    "pycocotools",
    "fcos",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_LONGEST_S = 180


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        name: of the thing.
        status: "ok", "warn" or "wrong".
        text: what it is.
        mend: the command, or the words, that mend it; "" for ok.
    """

    name: str
    status: str
    text: str
    mend: str = ""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What was looked up, once, for all findings.

    Attributes:
        probed: package -> what :mod:`fcos_cli.probing` found of it.
        versions: name of a distribution -> its version.
        requirements: of this package, as its metadata state them; None: it is not installed.
        python: version and the range that is supported.
        environment: variables.
        has_nvidia: there is the driver of a GPU.
        cache: folder of downloads.
    """

    probed: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    requirements: Sequence[str] | None
    requires_python: str = ""
    python: str = platform.python_version()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    has_nvidia: bool = False
    cache: str = ""
    browser: str | None = None


def look() -> Machine:
    """Look at this machine."""
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(plain(name), distribution.version)
    requirements, requires_python = None, ""
    try:
        own = metadata.distribution("fcos-detectron2")
        requirements, requires_python = own.requires or [], own.metadata["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        pass
    cache = os.environ.get("FVCORE_CACHE") or os.path.expanduser("~/.torch/iopath_cache")
    return Machine(
        probe(PROBED),
        versions,
        requirements,
        requires_python,
        environment=dict(os.environ),
        has_nvidia=os.path.exists("/proc/driver/nvidia/version")
        or bool(shutil.which("nvidia-smi")),
        cache=cache,
        browser=next(filter(None, map(shutil.which, BROWSERS)), None),
    )


def probe(names: Sequence[str], python: str = sys.executable) -> dict[str, dict[str, Any]]:
    """Import packages in another process; start it again behind one that ends it.

    Args:
        names: of the packages, in order.
        python: the program.
    """
    found: dict[str, dict[str, Any]] = {}
    left = list(names)
    script = Path(__file__).with_name("probing.py").read_text("utf-8")
    while left:
        try:
            done = subprocess.run(
                [python, "-W", "ignore", "-c", script, *left],
                capture_output=True,
                text=True,
                timeout=_LONGEST_S,
                check=False,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            out, how = done.stdout, _how_it_ended(done.returncode)
        except subprocess.TimeoutExpired as error:
            out = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
            how = f"importing it takes more than {_LONGEST_S} s"
        begun = ""
        for line in out.splitlines():
            try:
                said = json.loads(line)
            except ValueError:  # what a package prints
                continue
            begun = said.get("begun", begun)
            if "name" in said:
                found[said["name"]] = said
        if begun and begun not in found:
            found[begun] = {"name": begun, "error": how, "is_missing": False}
        elif not begun:
            found.update({n: {"name": n, "error": how, "is_missing": False} for n in left})
        left = [name for name in left if name not in found]
    return found


def _how_it_ended(code: int) -> str:
    return f"importing it ends Python, by signal {-code}" if code < 0 else f"exit code {code}"


def plain(name: str) -> str:
    """Return the name of a distribution in its one spelling."""
    return name.lower().replace("_", "-").replace(".", "-")
