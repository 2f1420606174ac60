"""The command: its arguments, its page, its exit code."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.evaluation.rendering import signed, verdict
from fcos.evaluation.resampling import Interval
from fcos_cli.compare import main, parse_args

ROOT = Path(__file__).parents[2]
TEMPLATES = {
    f"{page}.html" for page in ("base", "comparison", "curves", "dataset", "diagnosis", "drawing")
} | {"macros.html", "page.css", "report.html", "report_parts.html", "report_steps.html"}


class Checker(html.parser.HTMLParser):
    """Reads a page; fails on tags that do not match, keeps its text and what it refers to."""

    VOID = {"meta", "img", "input", "br"}  # those that these pages have

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.sources, self.tags = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def pair(data):
    a, b = data.root / "baseline", data.root / "improved"
    data.evaluate(a, noise=0.12, seed=1)
    data.evaluate(b, noise=0.02, seed=2)
    return str(a), str(b)


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_page_stands_alone_and_shows_the_figures(data, pair, capsys):
    output = data.root / "out"
    code, out, err = run(capsys, *pair, "--output", output, "--num-images", 2)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(output)) == ["comparison.html", "comparison.json"]
    text = (output / "comparison.html").read_text(encoding="utf-8")
    page = Checker(text)
    assert page.tags.count("img") == 2 + 2 * 3  # curves of boxes and masks, rows of three
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", s) for s in page.sources)
    assert "script" not in page.tags and "link" not in page.tags
    assert "url(" not in text and "@import" not in text and "://" not in text
    numbers = json.loads((output / "comparison.json").read_text(encoding="utf-8"))
    for task in ("box", "mask"):
        ap = [numbers[task]["figures"][label]["AP"] for label in ("baseline", "improved")]
        change = f"baseline {ap[0]:.1f}, improved {ap[1]:.1f} ( +{ap[1] - ap[0]:.1f} )"
        ends = numbers[task]["interval_of_difference"]["improved"]["AP"]
        assert 0 < ends["lower"] < ap[1] - ap[0] < ends["upper"]
        interval = f"improved \N{MINUS SIGN} baseline: 95 % interval +{ends['lower']:.1f} to "
        interval += f"+{ends['upper']:.1f}, more than the choice of the images explains."
        assert interval in page.text and interval in out
        assert f"{task.capitalize()} AP : {change}" in page.text
        assert f"{task} AP: {change.replace('( ', '(').replace(' )', ')')}" in out
    shown = numbers["images"]["shown"]
    assert len(shown) == 2 and all(image["file_name"] in page.text for image in shown)
    assert "improved \N{MINUS SIGN} baseline" in page.text


def test_one_run_is_shown_and_points_to_its_diagnosis(data, pair, capsys):
    code, out, _ = run(capsys, pair[0], "--output", data.root / "out")
    want = f"baseline is compared with nothing. To see where it fails: fcos diagnose {pair[0]}"
    assert code == 0 and want in out and "interval" not in out
    page = Checker((data.root / "out" / "comparison.html").read_text(encoding="utf-8"))
    assert want in page.text and "Where they differ" not in page.text
    assert page.tags.count("img") == 2  # curves of boxes and of masks


def test_the_same_command_writes_the_same_bytes(data, pair, capsys):
    pages = []
    for _ in range(2):
        assert run(capsys, *pair, "--output", data.root / "out", "--num-images", 1)[0] == 0
        pages.append((data.root / "out" / "comparison.html").read_bytes())
    assert pages[0] == pages[1]


def test_names_are_escaped(data, pair, capsys):
    for category in data.annotations[:1]:
        category["iscrowd"] = 0
    text = data.json_file.read_text().replace('"cat"', '"<script>cat & $x$"')
    (data.root / "other <b>.json").write_text(text)
    arguments = ["--annotations", data.root / "other <b>.json", "--images", data.image_root]
    labels = [f"a <i>&\"'$={pair[0]}", f"$x^$={pair[1]}"]
    assert run(capsys, *labels, *arguments, "--output", data.root / "out")[0] == 0
    page = Checker((data.root / "out" / "comparison.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "<script>cat & $x$" in page.text and "a <i>&\"'$" in page.text
    assert "other <b>" in page.text


def test_without_pictures_none_are_needed(data, pair, capsys):
    arguments = ["--annotations", data.json_file, "--num-images", 0, "--output", data.root / "out"]
    assert run(capsys, *pair, *arguments)[0] == 0
    assert "No image is shown." in (data.root / "out" / "comparison.html").read_text("utf-8")


def test_equal_results_have_no_image_to_show(data, pair, capsys):
    assert run(capsys, pair[0], f"again={pair[0]}", "--output", data.root / "out")[0] == 0
    page = Checker((data.root / "out" / "comparison.html").read_text("utf-8"))
    assert "on 6 no detector is ahead. No image is shown." in page.text
    assert "(0.0)" in page.text.replace("( ", "(").replace(" )", ")")


def test_the_note_on_masks_and_the_settings_are_on_the_page(data, pair, capsys):
    folder = data.root / "boxes"
    data.evaluate(folder, with_masks=False, config={"SOLVER": {"BASE_LR": 0.02}})
    assert run(capsys, pair[0], folder, "--output", data.root / "out", "--num-images", 0)[0] == 0
    page = Checker((data.root / "out" / "comparison.html").read_text("utf-8"))
    assert "boxes has no masks" in page.text
    assert "1 setting differs" in page.text and "SOLVER.BASE_LR" in page.text


def test_without_hotcoco_the_page_is_the_same(data, pair, capsys, caplog, monkeypatch):
    pages = []
    for library in ("hotcoco", "pycocotools"):
        if library == "pycocotools":
            monkeypatch.setitem(sys.modules, "hotcoco", None)
        assert run(capsys, *pair, "--output", data.root / "out", "--num-images", 1)[0] == 0
        numbers = json.loads((data.root / "out" / "comparison.json").read_text(encoding="utf-8"))
        page = Checker((data.root / "out" / "comparison.html").read_text("utf-8"))
        pages.append((numbers["images"], numbers["box"]["figures"], page.text))
    assert pages[0][0] == pages[1][0] and pages[0][2] == pages[1][2]
    for label, figures in pages[0][1].items():
        assert pages[1][1][label] == pytest.approx(figures, rel=0, abs=1e-9)
    assert [m for m in caplog.messages if "pycocotools evaluates" in m] == caplog.messages != []


def test_the_templates_are_installed(tmp_path):
    pytest.importorskip("setuptools")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    built = tmp_path / "fcos" / "evaluation" / "templates"
    assert {path.name for path in built.iterdir()} == TEMPLATES


def test_a_config_file_registers_the_data_set(data, pair, capsys):
    for folder in pair:
        os.remove(os.path.join(folder, "config.yaml"))
    config = data.root / "pets.yaml"
    entry = f"{{JSON: {data.json_file}, IMAGES: {data.image_root}}}"
    config.write_text(f"DATASETS: {{CUSTOM: {{animals: {entry}}}}}\nVERSION: 2\n")
    arguments = ["--dataset", "animals", "--config-file", config, "--num-images", 0]
    assert run(capsys, *pair, *arguments, "--output", data.root / "out")[0] == 0
    code, _, err = run(capsys, *pair, "--dataset", "birds", "--output", data.root / "out")
    assert code == 1 and "Data set 'birds' is not registered" in err


def test_a_mistake_is_one_sentence_and_exit_code_1(data, pair, capsys):
    code, out, err = run(capsys, pair[0], data.root, "--output", data.root / "out")
    assert (code, out) == (1, "") and err.startswith("Error: ") and err.count("\n") == 1
    assert "has no results: expected" in err


def test_an_output_that_cannot_be_written(data, pair, capsys):
    (data.root / "file").write_text("")
    code, _, err = run(capsys, *pair, "--output", data.root / "file")
    assert code == 1 and re.match(r"Error: Nothing can be written to .*file: .+\.\n$", err)
    (data.root / "out" / "comparison.html").mkdir(parents=True)
    code, _, err = run(capsys, *pair, "--output", data.root / "out", "--num-images", 0)
    assert code == 1 and re.match(r"Error: .*comparison.html cannot be written: .+\.\n$", err)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--annotations", "a.json"], "--annotations needs --images FOLDER, or --num-images 0"),
        (["--images", "b"], "--images belongs to --annotations"),
        (["--score", "2"], "'2' is not a score between 0 and 1"),
        (["--num-images", "-1"], "'-1' is not a whole number of at least 0"),
        (["--dataset", "a", "--annotations", "b"], "not allowed with"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        parse_args(["a", "b", *arguments])
    assert left.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    "value, text",
    [
        (1.25, "+1.2"),
        (-0.06, "\N{MINUS SIGN}0.1"),
        (-0.04, "0.0"),
        (0.0, "0.0"),
        (float("nan"), "\N{EN DASH}"),
    ],
)
def test_signed(value, text):
    assert signed(value) == text


def test_ctrl_c_needs_no_traceback(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fcos.evaluation.comparing.open_folders", interrupt)
    assert main(["a", "b"]) == 130
    assert capsys.readouterr().err == "Stopped.\n"


@pytest.mark.parametrize(
    "interval, text",
    [
        (Interval(0.4, 4.1), "95 % interval +0.4 to +4.1, more than the choice of the images"),
        (Interval(-3.0, -0.4), "95 % interval \N{MINUS SIGN}3.0 to \N{MINUS SIGN}0.4, more than"),
        (Interval(-1.0, 2.0), "+2.0, so the images do not tell which is better."),
        (None, "b \N{MINUS SIGN} a: too little to measure an interval on."),
    ],
)
def test_what_an_interval_says(interval, text):
    assert text in verdict("a", "b", interval)
