"""What is handed in."""

import json
import zipfile
from types import SimpleNamespace

import pytest

from fcos.evaluation.report import pack, submission
from fcos.utils.errors import UserError


@pytest.fixture
def report(tmp_path):
    """A report on three runs, as far as packing reads it."""
    folder = tmp_path / "report"
    folder.mkdir()
    runs = []
    for label, kind, ap in (
        ("base", "3_nms", 30.0),
        ("all", "8_normalization", 41.0),
        ("nothing", "4_gn", None),
        ("rcnn", "mask_rcnn", 50.0),
        ("faster", "other", 60.0),
    ):
        weights = tmp_path / f"{label}.pth"
        weights.write_bytes(f"weights of {label}".encode())
        runs.append(
            {"label": label, "kind": kind, "title": f"title of {label}", "seed": 1}
            | {"figures": {"box": {"AP": ap}}, "budget": {"iterations": 40}}
            | {"weights": str(weights), "proposal_generator": "RPN" if ap == 60 else "FCOS"}
        )
    runs.append({**runs[0], "label": "unfinished", "figures": {}})
    (folder / "report.json").write_text(json.dumps({"data_set": {"name": "pets"}, "runs": runs}))
    (folder / "report.html").write_text("<p>report</p>")
    return folder


@pytest.fixture(autouse=True)
def no_browser(monkeypatch):
    monkeypatch.setattr(submission, "find_browser", lambda: None)


def test_the_best_weights_of_ours_are_packed_with_what_they_are(report, tmp_path):
    done = pack("jane", str(report), str(tmp_path / "out"), 1000)
    assert done.path == str(tmp_path / "out" / "jane.zip")
    with zipfile.ZipFile(done.path) as archive:
        names = archive.namelist()
        assert archive.read("jane/model_best.pth") == b"weights of all"
        line = archive.read("jane/README.txt").decode()
        assert archive.read("jane/report.html") == (report / "report.html").read_bytes()
        assert json.loads(archive.read("jane/report.json"))["runs"]
    assert line.startswith(
        "model_best.pth belongs to title of all (all, seed 1): box AP 41.0 on pets after 40 "
        "iterations. It is"
    )
    assert "jane/code/fcos/modeling/fcos/fcos_targets.py" in names
    assert "jane/code/fcos/evaluation/templates/report.html" in names
    assert not any("datasets/" in name and name.endswith((".png", ".json")) for name in names)
    assert any("HTML page, because no Chromium is installed" in line for line in done.lines)


def runs_of(report):
    return json.loads((report / "report.json").read_text())["runs"]


def rewrite(report, runs):
    numbers = json.loads((report / "report.json").read_text())
    (report / "report.json").write_text(json.dumps({**numbers, "runs": runs}))


def test_a_detector_of_ours_may_be_no_row_of_the_paper(report, tmp_path):
    rewrite(report, [{**run, "kind": "other"} for run in runs_of(report)])
    done = pack("jane", str(report), str(tmp_path), 1000)
    assert done.lines[-1].startswith("model_best.pth belongs to title of rcnn")  # now an FCOS


def test_an_ap_of_0_is_an_ap(report, tmp_path):
    rewrite(report, [{**runs_of(report)[0], "figures": {"box": {"AP": 0.0}}}])
    done = pack("jane", str(report), str(tmp_path), 1000)
    assert "box AP 0.0 on pets" in done.lines[-1]


def test_with_a_browser_the_report_is_a_pdf(report, tmp_path, monkeypatch):
    def print_pdf(browser, page, pdf):
        assert (browser, page) == ("chromium", str(report / "report.html"))
        with open(pdf, "wb") as file:
            file.write(b"%PDF")

    monkeypatch.setattr(submission, "find_browser", lambda: "chromium")
    monkeypatch.setattr(submission, "print_pdf", print_pdf)
    done = pack("jane", str(report), str(tmp_path), 1000)
    with zipfile.ZipFile(done.path) as archive:
        assert archive.read("jane/report.pdf") == b"%PDF"
        assert "jane/report.html" not in archive.namelist()
    assert "The report is a PDF." in done.lines


def no_git(*arguments, **options):
    raise FileNotFoundError("git")


def of_git(*arguments, **options):
    """A folder in a checkout that git ignores has no files for it."""
    return SimpleNamespace(stdout=b"")


@pytest.mark.parametrize("run", [no_git, of_git])
def test_code_that_git_does_not_know_is_the_package_and_its_tests(run, monkeypatch):
    monkeypatch.setattr(submission.subprocess, "run", run)
    names = submission._code()
    assert "fcos/layers/iou_loss.py" in names and "configs/R_50_1x.yaml" in names
    exercise = "fcos/evaluation/teaching/exercise/tests"
    assert {f"{exercise}/test_step1_head.py", f"{exercise}/values.npz"} <= set(names)
    assert "tests/evaluation/report/test_submission.py" in names
    assert not any("__pycache__" in name for name in names)


def test_a_missing_piece_is_one_sentence(report, tmp_path):
    def refused(message, **changes):
        arguments = {"name": "jane", "report": str(report), "output": str(tmp_path)}
        with pytest.raises(UserError, match=message):
            pack(**{**arguments, "most_megabytes": 1000, **changes})

    refused("cannot be the name of a file", name="a/b")
    refused("does not exist: write the report first", report=str(tmp_path))
    refused("would have .* more than 0.01; the largest piece is", most_megabytes=0.01)
    (tmp_path / "all.pth").unlink()
    refused("do not exist any more")
    rewrite(report, [run for run in runs_of(report) if run["kind"] == "mask_rcnn"])
    refused("has no finished run of FCOS")


def test_a_browser_that_prints_nothing_is_named(tmp_path):
    from fcos.evaluation.report.pdf import print_pdf

    page = tmp_path / "page.html"
    page.write_text("<p>text")
    with pytest.raises(UserError, match="false did not print .*page.html: it ended with exit code"):
        print_pdf("false", str(page), str(tmp_path / "page.pdf"))
