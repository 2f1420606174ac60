"""Seconds per iteration of the paper's baseline on photographs: short side 800, with its loader."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.demo import AMP, outcome, start
from benchmarks.gpu.running import ROOT, Work

CONFIG = f"""\
_BASE_: {ROOT}/configs/R_50_1x.yaml
MODEL:
  WEIGHTS: ""
  FCOS: {{NUM_CLASSES: 10}}
DATASETS:
  CUSTOM:
    photographs: {{JSON: photographs/annotations.json, IMAGES: photographs/images}}
  TRAIN: [photographs]
  TEST: []
SOLVER:
  BASE_LR: 0.000001  # random weights with frozen normalisation stay what they are
  STEPS: []
SEED: 1
"""
FULL = ("SOLVER.MAX_ITER", "40", "DATALOADER.NUM_WORKERS", "8")
SMOKE = (
    # detectron2 times no iteration before the fourth.
    *("SOLVER.MAX_ITER", "5", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2"),
    *("INPUT.MIN_SIZE_TRAIN", "(96,)"),
)
MODES: dict[str, tuple[str, ...]] = {"bfloat16": (*AMP, "bfloat16"), "float32": ()}


def train(work: Work, mode: str) -> tuple[dict[str, float], list[str]]:
    """Train for a while.

    Returns:
        seconds of an iteration and, of these, of waiting for data: the medians of those from the
        21st on, if there are so many; and problems.
    """
    given = [*(SMOKE if work.is_smoke else FULL), *MODES[mode], "MODEL.DEVICE", work.device]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "photographs.yaml"
        config.write_text(CONFIG)
        process = start(folder, str(config), str(Path(work.kit, "data")), given)
        lines, problems = outcome(process, folder, mode)
    timed = [x for x in lines if "time" in x]
    timed = timed[1:] or timed
    if not timed and not problems:
        problems = [f"{mode}: no times in metrics.json"]
    found = {}
    for key in ("time", "data_time", "max_mem"):
        values = [x[key] for x in timed if key in x]
        if values:
            found[key] = statistics.median(values)
    return found, problems


def main(work: Work) -> None:
    facts: list[str] = []
    problems: list[str] = []
    data: dict[str, Any] = {}
    for mode in ["float32"] if work.is_smoke else MODES:
        data[mode], wrong = train(work, mode)
        problems += wrong
        if "time" in data[mode]:
            facts.append(
                f"{mode}: {data[mode]['time']:.3f} s per iteration, of which it waits "
                f"{data[mode]['data_time']:.3f} s for data"
            )
        work.write(facts, problems=problems, data=data)


if __name__ == "__main__":
    main(Work.of_this_process())
