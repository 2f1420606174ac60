"""fcos report, from the command line: its arguments, and a report on two rows that are trained."""

import argparse
import json

import pytest

from fcos.evaluation.report import PROFILES
from fcos.evaluation.report.plan import Profile
from fcos_cli import report, report_runs, submission
from tests.tiny import write_project


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name the runs, or --config-file and --weights"),
        (["run", "--weights", "a.pth"], "--config-file and --weights belong together"),
        (["run", "--opts", "A", "1"], "--opts belongs to --weights"),
        (["run", "--num-images", "0"], "not a whole number of at least 1"),
    ],
)
def test_mistakes_in_the_arguments(capsys, words, sentence):
    with pytest.raises(SystemExit):
        report.parse_args(words)
    assert sentence in capsys.readouterr().err


def test_a_run_that_does_not_exist_is_one_sentence(capsys, tmp_path):
    assert report.main([str(tmp_path / "missing"), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("missing does not exist.\n")


def test_runs_of_each_profile_have_a_folder_of_their_own():
    assert report_runs.parse_args([]).output == "output/report/quick"
    assert report_runs.parse_args(["--profile", "full"]).output == "output/report/full"
    assert report_runs.parse_args(["--profile", "full", "--output", "a"]).output == "a"


@pytest.mark.parametrize("program", [report, report_runs, submission])
def test_every_option_says_what_it_is(program, monkeypatch):
    parsers = []
    monkeypatch.setattr(
        argparse.ArgumentParser, "print_help", lambda parser: parsers.append(parser)
    )
    with pytest.raises(SystemExit):
        program.parse_args(["--help"])
    (parser,) = parsers
    said = [action.help.replace("(%(default)s)", "").strip() for action in parser._actions]
    assert all(said) and len(set(said)) == len(said)


def test_a_submission_without_a_name_is_one_sentence(capsys):
    assert submission.main([""]) == 1
    assert "NAME '' cannot be the name of a file" in capsys.readouterr().err


def test_two_rows_are_trained_reported_and_not_trained_again(tmp_path, monkeypatch, capsys):
    config = write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", "datasets")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setitem(PROFILES, "quick", Profile(("2_p5", "3_nms"), (1,), 4))
    monkeypatch.setattr("fcos.evaluation.report.reporting.show_steps", lambda study: (None, ""))
    words = ["--config-file", str(config), "--masks", "", "--mask-rcnn", "", "--output", "runs"]
    words += ["--opts", "MODEL.FCOS.SCORE_THRESH_TEST", "0.0"]
    assert report_runs.main(words) == 0
    shown = capsys.readouterr().out
    assert "[1/2] 3_nms-seed1: training, from iteration 0" in shown
    assert "[2/2] 2_p5-seed1: evaluating" in shown

    assert report.main(["runs/3_nms-seed1", "runs/2_p5-seed1", "--num-images", "1"]) == 0
    numbers = json.loads((tmp_path / "report" / "report.json").read_text())
    rows = {row["name"]: row for row in numbers["table3"]["rows"] if row["runs"]}
    assert {name: row["runs"] for name, row in rows.items()} == {
        "2_p5": ["2_p5-seed1"],
        "3_nms": ["3_nms-seed1"],
    }
    log = (tmp_path / "runs" / "3_nms-seed1" / "metrics.json").read_text().splitlines()
    last = json.loads(log[-1])
    figures = rows["3_nms"]["figures"]["box"]
    assert (figures["AP"]["mean"], figures["AP50"]["mean"]) == (last["bbox/AP"], last["bbox/AP50"])
    assert figures["APl"]["mean"] is None  # no large objects
    text = (tmp_path / "report" / "report.html").read_text()
    assert "Trained on tiny_train (12 images) for 4 iterations of 4 images" in text

    capsys.readouterr()
    assert report_runs.main(words) == 0
    assert capsys.readouterr().out == (
        "[1/2] 3_nms-seed1: finished before\n[2/2] 2_p5-seed1: finished before\n"
    )
