"""How long demo.py takes for one small picture, beside what it cannot do without."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.agreement import always
from benchmarks.fresh import ROOT, environment
from benchmarks.memory import resident_bytes
from benchmarks.settings import Settings
from benchmarks.work import Match, Row, Sample

__all__ = ["ROW"]


class Command:
    """A command from its start to its end; memory is the largest resident size of its process."""

    memory_kind = "process"
    first_counts = False

    def __init__(self, name: str, words: list[str], settings: Settings) -> None:
        self.name = name
        self._words = words
        self._threads = settings.threads

    def sample(self, with_outcome: bool = False) -> Sample:
        with tempfile.TemporaryFile() as said:
            start = time.perf_counter()
            process = subprocess.Popen(
                self._words, cwd=ROOT, env=environment(self._threads), stdout=said, stderr=said
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"{self._words[1]} failed: {''.join(last)}")
        # It starts as a copy of this process: below the peak of this one, its own is not known.
        known = usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Sample(seconds, None, resident_bytes(usage.ru_maxrss) if known else None)

    def memory(self) -> None:
        return None


def matches(settings: Settings, work: str) -> Iterator[Match]:
    title = "demo.py on one picture of 64x64 with a ResNet-18, in a fresh process, to its end"
    with tempfile.TemporaryDirectory() as folder:
        own = Command("fcos", demo(folder), settings)
        for module in ("torch", "torchvision"):
            yardstick = Command(
                f"import {module}", [sys.executable, "-c", f"import {module}"], settings
            )
            yield Match(work, title, own, yardstick, always)


def demo(folder: str) -> list[str]:
    """The command, with its picture and its weights written to ``folder``."""
    import torch
    from PIL import Image

    from benchmarks.scenes import pictures
    from detectron2.modeling import build_model
    from fcos.config import get_cfg

    config = str(ROOT / "configs/digits.yaml")
    cfg = get_cfg()
    cfg.merge_from_file(config)
    cfg.MODEL.DEVICE = "cpu"
    weights, picture = Path(folder, "model.pth"), Path(folder, "picture.png")
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    Image.fromarray(pictures(1, (64, 64))[0].permute(1, 2, 0).numpy()).save(picture)
    words = [sys.executable, str(ROOT / "demo.py"), "--config-file", config]
    words += ["--input", str(picture), "--output", str(Path(folder, "drawn"))]
    return [*words, "--opts", "MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", "cpu"]


ROW = Row("demo.py from nothing to one picture", lambda _: ["startup"], matches)
