"""The rows of the benchmark that a GPU decides, in float32 and bfloat16, for 1 and 16 images."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from typing import Any

from benchmarks.gpu.running import ROOT, Table, Work, environment
from benchmarks.measure import Result
from benchmarks.record import read
from benchmarks.table import HEAD, cells
from fcos.utils.errors import UserError

BATCHES = (16, 1)
DTYPES = ("float32", "bfloat16")
# The parts that decide come first, in both precisions and for both numbers of images.
PARTS = (("training", "inference"), ("losses", "postprocess", "targets"))
# Name of the work, the dtype in which ours has to be so many times as fast as the peer in float32.
GOALS = (("inference", 3.0), ("training", 2.0))
Results = dict[tuple[str, int], list[Result]]


def measure(
    work: Work, dtype: str, batch: int, works: Sequence[str]
) -> tuple[list[Result], list[str]]:
    """Run ``python -m benchmarks`` for one precision and number of images.

    Returns:
        its results, and problems.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.json")
        words = [sys.executable, "-m", "benchmarks", "--device", work.device, "--dtype", dtype]
        words += ["--batch", str(batch), "--json", path]
        words += ["--smoke", "--repeats", "1"] if work.is_smoke else ["--repeats", "7"]
        words += ["--only", *works]
        done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
        print(f"---- {dtype}, batch {batch}\n{done.stdout}{done.stderr}", flush=True)
        try:
            results = read(path)[1]
        except UserError:
            last = (done.stderr.strip() or "nothing").splitlines()[-1]
            return [], [f"{dtype}, batch {batch}: ended with code {done.returncode}: {last}"]
    return results, [
        f"{dtype}, batch {batch}: {r.work} against {r.peer.name}: {r.agreement.text}"
        for r in results
        if not r.agreement.same
    ]


def goals(found: Results) -> list[str]:
    """How far ours in bfloat16 is ahead of torchvision in float32, beside what is wanted."""
    facts = []
    for batch in BATCHES:
        by_name = {
            (dtype, result.work): result
            for (dtype, number), results in found.items()
            if number == batch
            for result in results
            if result.is_timed and result.peer.name == "torchvision"
        }
        for work, wanted in GOALS:
            name = f"{work}-{batch}"
            full, half = by_name.get(("float32", name)), by_name.get(("bfloat16", name))
            if full and half:
                ratio = full.peer.median / half.ours.median
                facts.append(
                    f"{name}: torchvision in float32 takes {ratio:.2f} times as long as ours in "
                    f"bfloat16 (wanted: {wanted:g})"
                )
    return facts


def tables(found: Results) -> list[Table]:
    return [
        {"title": f"{dtype}, batch {batch}:", "rows": [list(HEAD), *map(list, map(cells, results))]}
        for (dtype, batch), results in found.items()
        if results
    ]


def main(work: Work) -> None:
    found: Results = {}
    problems: list[str] = []
    smoke = [(("inference-1",), 1, "float32")]
    for works, batch, dtype in smoke if work.is_smoke else product(PARTS, BATCHES, DTYPES):
        results, wrong = measure(work, dtype, batch, works)
        found.setdefault((dtype, batch), []).extend(results)
        problems += wrong
        data: Any = {
            f"{d}, batch {b}": [r.as_dict() for r in results] for (d, b), results in found.items()
        }
        work.write(goals(found), tables(found), problems, data)


if __name__ == "__main__":
    main(Work.of_this_process())
