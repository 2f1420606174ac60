"""What is wrong with what is installed, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fcos_cli.health import OK, WARN, WRONG, Finding, Machine, look
from fcos_cli.requirements import is_in, version_findings

__all__ = ["examine"]

DETECTRON2 = "detectron2 itself: https://detectron2.readthedocs.io/en/latest/tutorials/install.html"
PYTORCH = "https://pytorch.org/get-started"
_ROOM = 2**30  # bytes: a few weights files


def examine(machine: Machine | None = None) -> list[Finding]:
    """Examine a machine: this one, by default."""
    machine = look() if machine is None else machine
    return [finding for examiner in EXAMINERS for finding in examiner(machine)]


def _python(machine: Machine) -> Iterator[Finding]:
    where = f"{machine.python}, {sys.executable}"
    if machine.requires_python and not is_in(machine.python, machine.requires_python):
        mend = f"install Python {machine.requires_python}"
        yield Finding("Python", WRONG, f"{where}: fcos needs {machine.requires_python}", mend)
    else:
        yield Finding("Python", OK, where)


def _torch(machine: Machine) -> Iterator[Finding]:
    torch = machine.probed["torch"]
    if "error" in torch:
        yield _broken(
            "torch",
            torch,
            "pip install torch torchvision",
            "pip install --force-reinstall torch torchvision",
        )
        return
    yield Finding("torch", OK, torch["version"])
    yield _gpu(machine, torch)


def _gpu(machine: Machine, torch: Mapping[str, Any]) -> Finding:
    if torch["gpus"]:
        names = ", ".join(torch["gpus"])
        strange = [kind for kind in torch["kinds"] if not _is_built_for(kind, torch["built_for"])]
        if strange:
            text = f"{names}: this torch has no code for {', '.join(strange)}"
            return Finding("GPU", WRONG, text, f"choose a torch for it: {PYTORCH}")
        return Finding("GPU", OK, f"{names}; CUDA {torch['cuda']}")
    visible = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if not torch["cuda"]:
        text = "none: this torch is built for the CPU alone"
        if machine.has_nvidia:
            mend = f"choose a torch with CUDA: {PYTORCH}"
            return Finding("GPU", WARN, f"{text}, but there is an NVIDIA driver", mend)
        return Finding("GPU", OK, f"{text}; MODEL.DEVICE cpu runs there")
    if visible is not None and visible.strip() in ("", "-1"):
        text = f"none: CUDA_VISIBLE_DEVICES is {visible!r}, which hides all"
        return Finding("GPU", WARN, text, "unset CUDA_VISIBLE_DEVICES")
    if not machine.has_nvidia:
        return Finding("GPU", OK, "none: there is no NVIDIA driver; MODEL.DEVICE cpu runs here")
    why = torch["warnings"][0] if torch["warnings"] else "torch does not say why"
    return Finding(
        "GPU",
        WARN,
        f"none that torch can use: {why}",
        "nvidia-smi, then update the driver or choose another torch",
    )


def _is_built_for(kind: str, built_for: Sequence[str]) -> bool:
    """Whether code for a GPU is there: of its own generation, or to be compiled for it."""
    number = int("".join(c for c in kind if c.isdigit()))
    for other in built_for:
        known = int("".join(c for c in other if c.isdigit()) or 0)
        same = known // 10 == number // 10 and known <= number
        if same or (other.startswith("compute") and known <= number):
            return True
    return not built_for


def _torchvision(machine: Machine) -> Iterator[Finding]:
    vision = machine.probed["torchvision"]
    if "error" not in machine.probed["torch"]:
        again = "pip install --force-reinstall torch torchvision"
        yield (
            _broken("torchvision", vision, "pip install torchvision", again)
            if "error" in vision
            else Finding("torchvision", OK, vision["version"])
        )


def _detectron2(machine: Machine) -> Iterator[Finding]:
    there = [name for name in ("detectron2", "detectron2-lite") if name in machine.versions]
    found = machine.probed["detectron2"]
    lite = "pip install 'fcos-detectron2[lite]'"
    if len(there) == 2:
        mend = f"pip uninstall -y detectron2 detectron2-lite, then {lite}, or {DETECTRON2}"
        yield Finding(
            "detectron2",
            WRONG,
            "detectron2 and detectron2-lite are both installed, and their files mix",
            mend,
        )
        return
    if found.get("is_missing"):
        yield Finding(
            "detectron2",
            WRONG,
            "neither detectron2 nor detectron2-lite is installed",
            f"{lite}, or {DETECTRON2}",
        )
        return
    if "error" in found:
        if "error" not in machine.probed["torch"]:
            yield _broken(
                "detectron2",
                found,
                lite,
                f"pip install --force-reinstall {there[0] if there else 'detectron2-lite'}",
            )
        return
    name = there[0] if there else "detectron2, not by pip"
    yield Finding("detectron2", OK, f"{name} {found['version']}")
    compiled = machine.probed["detectron2._C"]
    if "error" not in compiled:
        yield Finding("detectron2._C", OK, "compiled")
    elif name == "detectron2-lite":
        yield Finding("detectron2._C", OK, "not needed: detectron2-lite is pure Python")
    else:
        text = "was not compiled" if compiled["is_missing"] else compiled["error"]
        mend = f"build detectron2 again, with the torch that is here: {DETECTRON2}"
        yield Finding("detectron2._C", WRONG, text, mend)


def _opencv(machine: Machine) -> Iterator[Finding]:
    both = [
        name for name in ("opencv-python", "opencv-python-headless") if name in machine.versions
    ]
    found = machine.probed["cv2"]
    headless = (
        "pip uninstall -y opencv-python && pip install --force-reinstall opencv-python-headless"
    )
    if "error" in found and "lib" in found["error"] and ".so" in found["error"]:
        text = f"{found['error']}; opencv-python-headless does without libraries of windows"
        yield Finding("OpenCV", WRONG, text, headless)
    elif "error" in found:
        yield _broken("OpenCV", found, "pip install opencv-python", headless)
    elif len(both) == 2:
        yield Finding(
            "OpenCV",
            WARN,
            f"{' and '.join(both)} are both installed, and their files mix",
            headless,
        )
    else:
        yield Finding("OpenCV", OK, found["version"])


def _evaluation(machine: Machine) -> Iterator[Finding]:
    fast, slow = machine.probed["hotcoco"], machine.probed["pycocotools"]
    if "error" not in fast:
        yield Finding("hotcoco", OK, fast["version"] or "installed")
    elif "error" not in slow:
        text = "cannot be imported: pycocotools evaluates, with the same figures, more slowly"
        yield Finding("hotcoco", WARN, text, "pip install hotcoco")
    if "error" in slow:
        yield _broken(
            "pycocotools",
            slow,
            "pip install pycocotools",
            "pip install --force-reinstall pycocotools",
        )
    else:
        yield Finding("pycocotools", OK, machine.versions.get("pycocotools", "installed"))


def _fcos(machine: Machine) -> Iterator[Finding]:
    found = machine.probed["fcos"]
    first = [
        name for name in ("torch", "torchvision", "detectron2") if "error" in machine.probed[name]
    ]
    if "error" in found and not first:
        yield _broken(
            "fcos",
            found,
            "pip install 'fcos-detectron2[lite]'",
            "pip install --force-reinstall --no-deps fcos-detectron2",
        )
    elif "error" not in found:
        yield Finding("fcos", OK, found["version"])
    if machine.requirements is None:
        yield Finding(
            "versions",
            WARN,
            "fcos is not installed by pip, so its requirements are not known",
            "pip install -e .",
        )
        return
    yield from version_findings(machine, machine.requirements)


def _pdf(machine: Machine) -> Iterator[Finding]:
    if machine.browser:
        yield Finding("Chromium", OK, machine.browser)
    else:
        yield Finding(
            "Chromium", WARN, "none: fcos report writes no PDF (optional)", "apt install chromium"
        )


def _cache(machine: Machine) -> Iterator[Finding]:
    folder = machine.cache
    there = folder
    while there and not os.path.isdir(there):
        there = os.path.dirname(there)
    mend = "export FVCORE_CACHE=<a folder with room>"
    try:
        with tempfile.TemporaryFile(dir=there or os.curdir):
            pass
        free = shutil.disk_usage(there or os.curdir).free
    except OSError as error:
        yield Finding(
            "downloads", WRONG, f"nothing can be written to {folder}: {error.strerror}", mend
        )
        return
    text = f"{folder}, {free / 2**30:.1f} GiB free"
    yield Finding("downloads", WARN, text, mend) if free < _ROOM else Finding("downloads", OK, text)


EXAMINERS = (_python, _torch, _torchvision, _detectron2, _opencv, _evaluation, _fcos, _pdf, _cache)


def _broken(name: str, found: Mapping[str, Any], install: str, again: str) -> Finding:
    if found.get("is_missing"):
        return Finding(name, WRONG, "is not installed", install)
    return Finding(name, WRONG, f"cannot be imported: {found['error']}", again)
