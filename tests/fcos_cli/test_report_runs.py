"""The runs that a report needs: several at once, each after those that it needs."""

import os
import signal
from pathlib import Path

import pytest

from fcos.evaluation.report import PROFILES, plan_runs
from fcos.evaluation.report.plan import Profile
from fcos_cli import report_runs

CONFIG = Path(__file__).parents[2] / "configs" / "digits.yaml"
ROWS = ("2_p5", "3_nms", "4_gn", "7_giou")


class Begun:
    """Stands for a process: after so many looks it has ended with a code."""

    def __init__(self, looks, code):
        self.looks, self.code, self.returncode, self.was_waited_for = looks, code, None, False

    def poll(self):
        self.looks -= 1
        if self.looks < 0:
            self.returncode = self.code
        return self.returncode

    def wait(self):
        self.was_waited_for = True


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the rows with processes that last so many looks; return the code and what happened."""
    monkeypatch.setitem(PROFILES, "quick", Profile(ROWS, (1,), 50))
    monkeypatch.setattr(report_runs, "_BETWEEN_LOOKS", 0.0)
    begun = {}

    def run(at_once, looks, codes=None, process=Begun):
        def start(run, at_once):
            name = run.name.removesuffix("-seed1")
            running = {other for other, one in begun.items() if one.returncode is None}
            assert len(running) < at_once
            begun[name] = process(looks[name], (codes or {}).get(name, 0))
            begun[name].beside = running
            return begun[name]

        monkeypatch.setattr(report_runs, "_start", start)
        words = ["--config-file", str(CONFIG), "--output", str(tmp_path)]
        words += [word for name in ("masks", "mask-rcnn") for word in (f"--{name}", "")]
        words += ["--at-once", str(at_once)] * bool(at_once)
        return report_runs.main(words), begun

    run.begun = begun
    return run


def test_one_at_a_time(run):
    code, begun = run(1, {"3_nms": 2, "4_gn": 0, "7_giou": 1, "2_p5": 0})
    assert code == 0 and list(begun) == ["3_nms", "4_gn", "7_giou", "2_p5"]
    assert not any(one.beside for one in begun.values())


def test_as_many_as_allowed_and_an_evaluation_after_its_training(run, capsys):
    code, begun = run(3, {"3_nms": 9, "4_gn": 3, "7_giou": 2, "2_p5": 0})
    assert code == 0 and list(begun) == ["3_nms", "4_gn", "7_giou", "2_p5"]
    assert begun["7_giou"].beside == {"3_nms", "4_gn"}
    assert begun["2_p5"].beside == set()  # 3_nms lasted longest; without its weights nothing begins
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("[1/4] 3_nms-seed1: training, from iteration 0; its log is ")
    assert said[3].startswith("[3/4] 7_giou-seed1: ") and said[3].endswith(" minutes")


def test_after_a_failure_nothing_more_begins_and_what_runs_goes_to_its_end(run, capsys):
    code, begun = run(2, {"3_nms": 1, "4_gn": 5, "7_giou": 0, "2_p5": 0}, {"3_nms": 3})
    assert code == 3 and list(begun) == ["3_nms", "4_gn"]
    assert begun["4_gn"].returncode == 0
    shown = capsys.readouterr()
    assert "3_nms-seed1 ended with exit code 3: see" in shown.err
    assert "[2/4] 4_gn-seed1: 0.0 minutes" in shown.out


def test_after_ctrl_c_every_run_may_write_its_checkpoint(run, capsys):
    class Stopped(Begun):
        def poll(self):
            raise KeyboardInterrupt

    code, begun = run(2, dict.fromkeys(("3_nms", "4_gn"), 5), process=Stopped)
    assert code == 130 and list(begun) == ["3_nms", "4_gn"]
    assert all(one.was_waited_for for one in begun.values())


def test_a_signal_to_end_is_passed_on_to_every_run(run):
    class Ended(Begun):
        def poll(self):
            os.kill(os.getpid(), signal.SIGTERM)

        def terminate(self):
            self.was_ended = True

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run(2, dict.fromkeys(("3_nms", "4_gn"), 5), process=Ended)
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert len(run.begun) == 2
    assert all(one.was_ended and one.was_waited_for for one in run.begun.values())


@pytest.mark.parametrize(
    ("device", "cores", "at_once"), [("cpu", 2, 2), ("cpu", 64, 8), ("cuda", 8, 1)]
)
def test_how_many_by_default(tmp_path, monkeypatch, device, cores, at_once):
    monkeypatch.setattr("fcos.utils.device.usable_cores", lambda: cores)
    profile = Profile(ROWS, (1, 2), 50)
    options = ["MODEL.DEVICE", device]
    planned = plan_runs(profile, str(tmp_path), str(CONFIG), {}, options)
    assert report_runs._default_at_once(planned) == at_once


@pytest.mark.parametrize(
    ("at_once", "set_before", "threads"),
    [(1, None, None), (3, None, "2"), (8, None, "1"), (3, "5", "5")],
)
def test_the_cores_are_shared_out(tmp_path, monkeypatch, at_once, set_before, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_before:
        monkeypatch.setenv("OMP_NUM_THREADS", set_before)
    monkeypatch.setattr("fcos.utils.device.usable_cores", lambda: 6)
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **more: started.append(more["env"]))
    (planned,) = plan_runs(Profile(("3_nms",), (1,), 50), str(tmp_path), str(CONFIG), {})
    report_runs._start(planned, at_once)
    assert started[0].get("OMP_NUM_THREADS") == threads


def test_a_folder_of_other_settings_is_refused_before_anything_is_started(run, tmp_path, capsys):
    (tmp_path / "2_p5-seed1").mkdir()
    (tmp_path / "2_p5-seed1" / "config.yaml").write_text("SOLVER: {BASE_LR: 0.5}")
    code, begun = run(2, {})
    assert code == 1 and not begun
    assert "2_p5-seed1 holds a run with other settings: SOLVER.BASE_LR" in capsys.readouterr().err
