"""The first iterations of the demo in each precision, beside those of the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.running import CPU, ROOT, Table, Work, environment

AMP = ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION")
MODES: dict[str, tuple[str, ...]] = {
    "float32": (),
    "bfloat16": (*AMP, "bfloat16"),
    "float16": (*AMP, "float16"),
    "compiled": ("MODEL.COMPILE", "True"),
}
ON_CPU = ("float32", "bfloat16")  # float16 cannot be had there, and compiling takes minutes
WITH_AP = "float32"
FULL = ("SOLVER.MAX_ITER", "200", "SOLVER.STEPS", "(150,)", "SOLVER.WARMUP_ITERS", "50")
SMOKE = ("SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()", "SOLVER.IMS_PER_BATCH", "2")


def options(mode: str, device: str, is_smoke: bool) -> list[str]:
    """What the demo's config is changed by."""
    given = [*MODES[mode], *(SMOKE if is_smoke else FULL), "MODEL.DEVICE", device]
    return given if mode == WITH_AP else [*given, "DATASETS.TEST", "()"]


def start(folder: Path, config: str, data: str, given: list[str]) -> subprocess.Popen:
    """Start a training that writes into ``folder``.

    Args:
        folder: an existing one.
        config: a file; a relative path starts at the root of the repository.
        data: folder of the data sets.
        given: keys and values.
    """
    own = ["OUTPUT_DIR", str(folder / "output"), "SOLVER.CHECKPOINT_PERIOD", "100000"]
    with open(folder / "log.txt", "w") as log:
        return subprocess.Popen(
            [sys.executable, "train_net.py", "--config-file", config, *given, *own],
            cwd=ROOT,
            env=environment(DETECTRON2_DATASETS=data),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def outcome(process: subprocess.Popen, folder: Path, name: str) -> tuple[list, list[str]]:
    """Wait for a training.

    Returns:
        the lines of its metrics.json, and a problem if it failed.
    """
    code = process.wait()
    log = (folder / "log.txt").read_text(errors="replace").splitlines() or ["nothing"]
    metrics, problems = folder / "output" / "metrics.json", []
    if code:
        print("\n".join([f"---- {name}", *log[-40:]]), flush=True)
        problems = [f"{name}: train_net.py ended with code {code} and said: {log[-1]}"]
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return [json.loads(line) for line in lines], problems


def train(
    modes: list[str], device: str, data: str, is_smoke: bool
) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Train in all modes at once: a demo keeps no GPU busy.

    Yields:
        each mode; its "losses" (iteration -> total loss, the median of up to 20 iterations) and
        "AP" (or None); and its problems.
    """
    with tempfile.TemporaryDirectory() as name:
        folders = {mode: Path(name, mode) for mode in modes}
        started = {}
        for mode, folder in folders.items():
            folder.mkdir()
            given = options(mode, device, is_smoke)
            started[mode] = start(folder, "configs/digits.yaml", data, given)
        for mode, process in started.items():
            lines, problems = outcome(process, folders[mode], mode)
            losses = {str(x["iteration"]): x["total_loss"] for x in lines if "total_loss" in x}
            found = [x["bbox/AP"] for x in lines if "bbox/AP" in x]
            yield mode, {"losses": losses, "AP": found[-1] if found else None}, problems


def beside(results: dict[str, Any], cpu: dict[str, Any]) -> tuple[list[str], list[Table]]:
    """Losses side by side, and sentences on how far they are from the CPU's."""
    iterations = sorted({int(i) for r in [*results.values(), cpu] for i in r["losses"]})
    rows = [["iteration", "CPU", *results]]
    for i in map(str, iterations):
        values = [cpu["losses"].get(i), *(r["losses"].get(i) for r in results.values())]
        rows.append([i, *("-" if v is None else f"{v:.4f}" for v in values)])
    facts = []
    for mode, result in results.items():
        both = result["losses"].keys() & cpu["losses"].keys()
        if both:
            apart = max(abs(result["losses"][i] / cpu["losses"][i] - 1) for i in both)
            facts.append(f"{mode}: the total loss is at most {100 * apart:.2g} % from the CPU's")
        if result["AP"] is not None:
            known = "unknown" if cpu["AP"] is None else f"{cpu['AP']:.2f}"
            facts.append(f"{mode}: AP {result['AP']:.2f}; the CPU's {known}")
    return facts, [{"title": "Total loss, the median of 20 iterations:", "rows": rows}]


def main(work: Work) -> None:
    modes = list(MODES) if work.device == "cuda" else list(ON_CPU)
    cpu = json.loads(Path(work.kit, CPU).read_text())
    if cpu["is_smoke"] != work.is_smoke:  # of another length
        cpu = {"losses": {}, "AP": None}
    results: dict[str, Any] = {}
    problems: list[str] = []
    data = str(Path(work.kit, "data"))
    for mode, result, wrong in train(modes, work.device, data, work.is_smoke):
        results[mode] = result
        problems += wrong
        facts, tables = beside(results, cpu)
        work.write(facts, tables, problems, {"cpu": cpu, **results})


if __name__ == "__main__":
    main(Work.of_this_process())
