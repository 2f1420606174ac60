"""The tests of the method on the GPU: those marked ``gpu``, and all of modeling, layers, engine.

Each file has a process of its own: an error inside a kernel makes every later one of its process
fail. Without a GPU they run on an imagined one (tests/on_device.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.gpu.running import ROOT, Work, environment
from fcos.utils.device import usable_cores

FOLDERS = ("tests/modeling", "tests/layers", "tests/engine")
SMOKE = ("tests/layers/test_focal_loss.py",)
SECONDS = 140.0  # for one file


def files() -> list[str]:
    """Test files with something to say of a GPU; the longest first, as far as text can tell."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        is_meant = name.startswith(FOLDERS) or "pytest.mark.gpu\n" in text
        if is_meant and "pytestmark = pytest.mark.cpu" not in text:
            found.append((-len(text), name))
    return [name for _, name in sorted(found)]


def run_file(name: str, device: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Run one test file.

    Returns:
        "file", "seconds", numbers of "passed", "failed" and "skipped" tests, and "failures": a
        line for each failed test, or one that says why none was counted.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.xml")
        words = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
        where = "cuda" if device == "cuda" else "imagined"
        result: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
        try:
            done = subprocess.run(
                [*words, f"--junitxml={report}", name],
                cwd=ROOT,
                env=environment(FCOS_TEST_DEVICE=where, OMP_NUM_THREADS="1"),
                timeout=seconds,
                capture_output=True,
                text=True,
            )
            print(f"---- {name}\n{done.stdout}{done.stderr}", flush=True)
            result.update(counted(name, Path(report)))
        except subprocess.TimeoutExpired:
            result["failures"] = [f"{name}: not done after {seconds:.0f} s"]
        except (OSError, ElementTree.ParseError):  # it ended before it could report
            result["failures"] = [f"{name}: pytest ended with code {done.returncode}"]
    return {"file": name, "seconds": round(time.monotonic() - start, 1), **result}


def counted(name: str, report: Path) -> dict[str, Any]:
    """What pytest's report of a file says.

    Raises:
        OSError, ElementTree.ParseError: there is none, or half of one.
    """
    failures, skipped, cases = [], 0, list(ElementTree.parse(report).iter("testcase"))
    for case in cases:
        bad = [child for child in case if child.tag in ("failure", "error")]
        skipped += any(child.tag == "skipped" for child in case)
        if bad:
            said = (bad[0].get("message") or "").splitlines() or ["?"]
            failures.append(f"{name}::{case.get('name')}: {said[0][:160]}")
    passed = len(cases) - len(failures) - skipped
    return {"passed": passed, "failed": len(failures), "skipped": skipped, "failures": failures}


def write(work: Work, results: list[dict[str, Any]], number: int) -> None:
    """Write down what the files run so far showed, of ``number`` in all."""
    columns = ("file", "passed", "failed", "skipped", "seconds")
    rows = [list(columns)]
    rows += [[str(r[c]) for c in columns] for r in sorted(results, key=lambda r: r["file"])]
    total = {c: sum(r[c] for r in results) for c in columns[1:4]}
    where = "the GPU" if work.device == "cuda" else "an imagined GPU"
    work.write(
        facts=[
            f"{len(results)} of {number} files, on {where}: {total['passed']} tests passed, "
            f"{total['failed']} failed, {total['skipped']} skipped"
        ],
        tables=[{"title": "Each file:", "rows": rows}],
        problems=[line for r in results for line in r["failures"]],
        data=results,
    )


def main(work: Work) -> None:
    chosen, results = SMOKE if work.is_smoke else files(), []
    seconds = 10 * SECONDS if work.is_smoke else SECONDS  # a rehearsal is not for the time
    workers = max(1, min(8, usable_cores() // 2))
    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed(
            pool.submit(run_file, name, work.device, seconds) for name in chosen
        ):
            results.append(future.result())
            write(work, results, len(chosen))


if __name__ == "__main__":
    main(Work.of_this_process())
