"""What runs on a lent GPU: rehearsed on the CPU, and what it does when a part of it fails."""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import demo, prepare, profiles, rows, suite
from benchmarks.gpu.kit import check_kit, check_size
from benchmarks.gpu.report import markdown, write_report
from benchmarks.gpu.running import CPU, ROOT, Step, environment, run_step
from benchmarks.measure import Measured, Result
from benchmarks.work import Agreement
from fcos.utils.errors import UserError
from tests.imagined_gpu import can_be_imagined

HEAD = """\
from pathlib import Path
from benchmarks.gpu.running import Work
work = Work.of_this_process()
"""


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Makes a step of a few lines."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, text, seconds=60):
        (tmp_path / f"{name}.py").write_text(HEAD + text)
        return Step(name, f"Step {name}", seconds)

    return make


# ---- the rehearsal -----------------------------------------------------------------------------


@pytest.mark.skipif(not can_be_imagined(), reason="a GPU can be imagined from torch 2.10 on")
def test_the_whole_of_it_on_the_cpu(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    kit, output = tmp_path / "kit", tmp_path / "report"
    assert prepare.main(["--output", str(kit), "--smoke", "--no-wheels"]) == 0
    words = ["--device", "cpu", "--smoke", "--kit", str(kit), "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words, "--budget", "1200"],
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    report = (output / "report.md").read_text()
    assert done.returncode == 0, report
    steps = json.loads((output / "report.json").read_text())["steps"]
    assert [s["title"] for s in steps] == [s.title for s in program.STEPS]
    assert [(s["state"], s["problems"] or []) for s in steps] == [("done", [])] * len(steps)
    assert "on an imagined GPU: 32 tests passed, 0 failed" in report
    assert "float32: the total loss is at most 0 % from the CPU's" in report  # it is the CPU's
    assert "| inference-1 | torchvision |" in report
    for words in ("training step, 1 image of 96x128", "ms, share |", "s per iteration"):
        assert words in report.replace("| ms | ", "| ms, ")
    assert "==== The benchmark" in (output / "log.txt").read_text()


# ---- steps that fail ---------------------------------------------------------------------------


def run(made, limit=60.0):
    return run_step(made, "cpu", "kit", True, limit)


def test_what_a_step_writes_down_is_kept(step):
    record = run(step("good", "work.write(['a fact'], data=[work.device, work.is_smoke])"))
    assert (record["state"], record["facts"]) == ("done", ["a fact"])
    assert record["data"] == ["cpu", True] and "last_lines" not in record


def test_a_step_that_raises(step):
    record = run(step("bad", "work.write(['half'])\nraise RuntimeError('no such kernel')"))
    assert (record["state"], record["facts"]) == ("failed", ["half"])
    assert record["last_lines"][-1] == "RuntimeError: no such kernel"


def test_a_step_that_writes_nothing_has_failed(step):
    assert run(step("silent", ""))["state"] == "failed"


def test_a_step_that_takes_too_long_is_ended_with_its_processes(step, tmp_path):
    text = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
work.write(["begun"], data=child.pid)
print("waiting", flush=True)
time.sleep(600)
"""
    record = run(step("slow", text), limit=8.0)
    assert (record["state"], record["facts"]) == ("timed out", ["begun"])
    assert record["last_lines"] == ["waiting"] and record["seconds"] < 60
    until = time.monotonic() + 20  # a signal takes its time to be delivered
    while is_alive(record["data"]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(record["data"])


def is_alive(pid):
    try:
        return "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def arguments(tmp_path, *words):
    (tmp_path / CPU).write_text('{"commit": "abc"}')
    given = ["--device", "cpu", "--output", str(tmp_path), "--kit", str(tmp_path)]
    return program.parse_args([*given, *words])


def test_a_failed_step_does_not_end_the_others(step, tmp_path):
    steps = [step("bad", "raise SystemExit('broken')"), step("good", "work.write(['fine'])")]
    records = program.run(steps, arguments(tmp_path))
    assert [r["state"] for r in records] == ["failed", "done"]
    report = (tmp_path / "report.md").read_text()
    assert "    broken" in report and "- fine" in report
    assert "output" not in json.loads((tmp_path / "report.json").read_text())["steps"][0]


def test_what_the_budget_has_no_time_for_is_not_run(step, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "LEAST", 3.0)
    steps = [step("slow", "import time\ntime.sleep(600)"), step("good", "work.write(['fine'])")]
    records = program.run(steps, arguments(tmp_path, "--budget", "4"))
    assert [r["state"] for r in records] == ["timed out", "not run: the 4 seconds were used up"]
    assert (
        "| Step good | not run: the 4 seconds were used up |"
        in (tmp_path / "report.md").read_text()
    )


def test_the_report_is_there_after_the_first_step(step, tmp_path):
    text = f"work.write([Path(r'{tmp_path}/report.md').read_text()])"
    steps = [step("first", "work.write(['early'])"), step("second", text)]
    (seen,) = program.run(steps, arguments(tmp_path))[1]["facts"]
    assert "- early" in seen and "| Step second | not run yet |  |" in seen


# ---- the report --------------------------------------------------------------------------------


def test_the_page(tmp_path):
    table = {"title": "Each:", "rows": [["file", "passed"], ["a|b", "3"]]}
    done = {"title": "A", "state": "done", "seconds": 1.5, "facts": ["x"], "tables": [table]}
    record = {**done, "problems": ["p went wrong"], "output": "said"}
    page = markdown({"device": "cpu"}, [record, {"title": "B", "state": "not run yet"}])
    assert "| A | done, 1 problem | 1.5 |\n| B | not run yet |  |" in page
    assert "## A\n\n- x\n\nProblems:\n\n- p went wrong\n\nEach:\n\n| file | passed |" in page
    assert "| a\\|b | 3 |" in page and "## B" not in page
    write_report(tmp_path, {"device": "cpu"}, [record])
    assert (tmp_path / "log.txt").read_text() == "==== A\nsaid"


# ---- the prepared folder -----------------------------------------------------------------------


def test_a_folder_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "large.whl").write_bytes(bytes(2_000_000))
    assert check_size(tmp_path, 2_000_000).endswith("of at most 2.0 MB (wheels 2.0 MB)")
    message = r"has 2\.0 MB, more than 1\.5 MB; the largest: wheels/large\.whl 2\.0 MB\."
    with pytest.raises(UserError, match=message):
        check_size(tmp_path, 1_500_000)


def test_a_folder_that_was_not_prepared(tmp_path, capsys):
    assert program.main(["--kit", str(tmp_path), "--output", str(tmp_path / "report")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"Error: {tmp_path} has no data/digits: make the folder by python -m")
    assert not (tmp_path / "report").exists()
    with pytest.raises(UserError):
        check_kit(tmp_path)


def test_a_folder_of_something_else_is_not_replaced(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("three years")
    assert prepare.main(["--output", str(tmp_path)]) == 1
    assert "exists and is no prepared folder: choose another --output." in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()


# ---- tests on the GPU --------------------------------------------------------------------------


def test_files_with_something_to_say_of_a_gpu():
    found = suite.files()
    assert "tests/layers/test_focal_loss.py" in found
    assert "tests/modeling/test_training_step.py" in found  # has tests marked gpu
    assert "tests/modeling/test_on_gpu.py" not in found  # imagines one itself
    assert "tests/config/test_config.py" not in found


def test_failed_tests_are_named(tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text("import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2, 'not so'\n")
    result = suite.run_file(str(path), "cpu")
    assert (result["passed"], result["failed"], result["skipped"]) == (1, 1, 0)
    assert result["failures"] == [f"{path}::test_b: AssertionError: not so"]


@pytest.mark.parametrize(
    "text, seconds, message",
    [
        ("import os\nos._exit(9)\n", 60, "pytest ended with code 9"),
        ("import time\ntime.sleep(600)\n", 5, "not done after 5 s"),
    ],
)
def test_files_whose_process_does_not_report(tmp_path, text, seconds, message):
    path = tmp_path / "test_it.py"
    path.write_text(text)
    result = suite.run_file(str(path), "cpu", seconds)
    assert result["failures"] == [f"{path}: {message}"]


# ---- figures -----------------------------------------------------------------------------------


def test_losses_side_by_side():
    cpu = {"losses": {"19": 2.0, "39": 1.0}, "AP": 30.0}
    results = {"float32": {"losses": {"19": 2.0, "39": 1.02}, "AP": 29.5}}
    results["compiled"] = {"losses": {"19": 3.0}, "AP": None}
    facts, (table,) = demo.beside(results, cpu)
    assert facts == [
        "float32: the total loss is at most 2 % from the CPU's",
        "float32: AP 29.50; the CPU's 30.00",
        "compiled: the total loss is at most 50 % from the CPU's",
    ]
    assert table["rows"] == [
        ["iteration", "CPU", "float32", "compiled"],
        ["19", "2.0000", "2.0000", "3.0000"],
        ["39", "1.0000", "1.0200", "-"],
    ]


def test_a_training_that_fails_is_a_problem(tmp_path):
    ((mode, result, problems),) = demo.train(["float32"], "nowhere", str(tmp_path), True)
    assert (mode, result) == ("float32", {"losses": {}, "AP": None})
    assert problems[0].startswith("float32: train_net.py ended with code 1 and said: Error: MODEL")


def test_what_is_wanted_of_the_benchmark():
    def result(ours, peer):
        times = Measured("fcos", [ours]), Measured("torchvision", [peer])
        return Result("inference-16", "", *times, Agreement(True, ""))

    found = {("float32", 16): [result(0.5, 0.6)], ("bfloat16", 16): [result(0.2, 0.3)]}
    sentence = "torchvision in float32 takes 3.00 times as long as ours in bfloat16 (wanted: 3)"
    assert rows.goals(found) == [f"inference-16: {sentence}"]
    assert rows.goals({("float32", 16): [result(0.5, 0.6)]}) == []


def test_waits_are_counted_by_place():
    def read():
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    with profiles.noted_waits("cpu") as waits:
        for _ in range(3):
            read()
        warnings.warn("something else", stacklevel=1)
    ((place, number),) = waits.items()
    assert place.startswith("tests/benchmarks/test_gpu.py:") and number == 3
