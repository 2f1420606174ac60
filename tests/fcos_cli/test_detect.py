"""The program from its arguments to its files, also after it was killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fcos.predict.many import work
from fcos.utils.errors import UserError
from fcos_cli.__main__ import main as fcos
from fcos_cli.detect import LABEL_FORMATS, main, parse_args
from tests.helpers import tiny_cfg, tiny_mask_cfg, write_model
from tests.processes import wait_until_two_import


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), tiny_cfg())


@pytest.fixture(scope="module")
def mask_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("mask_model"), tiny_mask_cfg())


def write_images(folder, number):
    rng = np.random.default_rng(0)
    os.makedirs(f"{folder}/sub")
    for i in range(number):
        height, width = [(48, 64), (64, 48), (40, 80)][i % 3]
        name = f"{folder}/{'sub/' * (i % 4 == 3)}{i:02}.png"
        cv2.imwrite(name, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with ten images, three of them in a subfolder."""
    monkeypatch.chdir(tmp_path)
    write_images("in", 10)
    return tmp_path


@pytest.fixture
def run(model, place, capfd):
    def run(line, opts="", config=model / "config.yaml"):
        argv = ["--config-file", str(config), *line.split(), "--opts", *opts.split()]
        code = main(argv)
        captured = capfd.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def logged(monkeypatch, caplog):
    """What is logged; setting the logger up, once per process, would keep it from caplog."""
    monkeypatch.setattr("fcos.predict.many.running.show_log", lambda *_: None)
    monkeypatch.setattr(logging.getLogger("fcos"), "propagate", True)
    caplog.set_level("INFO", logger="fcos.predict.many")
    return caplog


def load(name):
    return json.loads(Path(name).read_text())


def file_names(output):
    return {image["id"]: image["file_name"] for image in load(f"{output}/images.json")["images"]}


def damage(name):
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[: len(whole) // 2])
    return whole


# ---- images in, detections out --------------------------------------------------------------


def test_a_folder(run):
    result = run("--input in --output out")
    assert result.code == 0, result.err
    names = [f"in/{i:02}.png" for i in range(10) if i % 4 != 3]
    assert file_names("out") == dict(enumerate(names))
    found = load("out/detections.json")
    assert {d["image_id"]: d["file_name"] for d in found} == dict(enumerate(names))
    assert [d["image_id"] for d in found] == sorted(d["image_id"] for d in found)
    assert all(0.5 <= d["score"] <= 1 and d["category_id"] in (0, 1, 2) for d in found)
    categories = load("out/images.json")["categories"]
    assert [c["name"] for c in categories] == ["cat", "dog", "bird"]


def test_the_detections_are_those_of_the_demo(run, model):
    from fcos_cli import demo

    assert run("--input in --output out --batch-size 1").code == 0
    demo.main(["--config-file", str(model / "config.yaml"), "--input", "in", "--json", "demo.json"])
    found = load("out/detections.json")
    assert found == load("demo.json") and len(found) > 50


def test_the_optimized_model_finds_the_same_and_is_another_run(run):
    assert run("--input in --output out").code == 0
    result = run("--input in --output out --optimize float32")
    assert result.code == 1 and "(optimize was None)" in result.err
    assert run("--input in --output fast --optimize float32").code == 0
    plain, fast = load("out/detections.json"), load("fast/detections.json")
    assert len(plain) == len(fast) > 50
    assert sum(d["score"] for d in plain) == pytest.approx(sum(d["score"] for d in fast), rel=1e-4)


def test_subfolders_and_an_output_among_the_images(run):
    assert run("--input in --recursive --output in/out").code == 0
    assert len(file_names("in/out")) == 10
    again = run("--input in --recursive --output in/out")
    assert again.code == 0 and "came" not in again.err


def test_a_list(run):
    Path("list.txt").write_text("in/02.png\n\nin/gone.png\n# a remark\nin/00.png\nin/02.png\n")
    result = run("--list list.txt --output out")
    assert result.code == 3
    assert file_names("out") == {0: "in/02.png", 2: "in/00.png"}
    assert "1 of 3 images could not be read and were left out: in/gone.png. out/left" in result.err
    assert (
        "# Image in/gone.png does not exist.\nin/gone.png\n" in Path("out/left_out.txt").read_text()
    )


def test_one_image_and_two_are_said_in_good_english(run, logged):
    run("--input in/00.png --output one")
    run("--input in/00.png in/01.png --output two")
    done = [text for text in logged.messages if "done: " in text]
    rest = "Lower scores are left out: for an evaluation, use --confidence-threshold 0."
    assert done == [
        f"1 image is done: one/detections.json. {rest}",
        f"2 images are done: two/detections.json. {rest}",
    ]


def test_masks_are_run_lengths(run, mask_model):
    result = run("--input in/00.png in/01.png --output out", config=mask_model / "config.yaml")
    assert result.code == 0, result.err
    sizes = {d["image_id"]: d["segmentation"]["size"] for d in load("out/detections.json")}
    assert sizes == {0: [48, 64], 1: [64, 48]}


@pytest.mark.parametrize("kind", ["yolo", "voc", "cvat", "coco"])
def test_labels_that_are_imported_again(run, kind, logged):
    result = run(f"--input in --recursive --output out --labels {kind}")
    assert result.code == 0, result.err
    found = load("out/detections.json")
    said = "Detections with a score of at least 0.5, to be corrected"
    assert f"{said}: {len(found)} in out/labels_{kind}." in logged.messages
    words = ["data", "import", f"out/labels_{kind}", "--images", "in", "--output", "data"]
    assert fcos(words) == 0
    objects = sum(len(load(path)["annotations"]) for path in Path("data").glob("annotations/*"))
    assert objects == len(found) > 50


def test_labels_of_a_run_that_is_done_or_goes_on(run):
    assert run("--input in --recursive --output out").code == 0
    assert run("--input in --recursive --output out --labels yolo").code == 0
    first = {path: path.read_bytes() for path in Path("out/labels_yolo").rglob("*.txt")}
    assert len(first) == 12 and Path("out/labels_yolo/labels/sub/03.txt") in first
    assert run("--input in --recursive --output out --labels yolo").code == 0
    Path("out/labels_yolo/labels/00.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    result = run("--input in --recursive --output out --labels yolo")
    assert result.code == 1 and "other content (labels/00.txt), perhaps corrected" in result.err
    (shard,) = Path("out/shards").glob("part-00000-*")
    shard.write_bytes(shard.read_bytes()[:-20])  # as if it had been killed while it wrote
    for part in Path("out/shards").glob("part-0000[1-9]-*"):
        part.unlink()
    result = run("--input in --recursive --output out --labels yolo")
    assert (
        result.code == 1 and "out/labels_yolo is there already, and images are left" in result.err
    )
    os.rename("out/labels_yolo", "corrected")
    result = run("--input in --recursive --output out --labels yolo --num-gpus 2")
    assert result.code == 0, result.err
    again = {path: path.read_bytes() for path in Path("out/labels_yolo").rglob("*.txt")}
    assert again == first


def test_labels_with_masks(run, mask_model, logged):
    line = "--input in/00.png in/01.png --output out --labels"
    assert run(f"{line} cvat", config=mask_model / "config.yaml").code == 0
    assert "<mask label=" in Path("out/labels_cvat/annotations.xml").read_text()
    assert run(f"{line} voc", config=mask_model / "config.yaml").code == 0
    assert "--labels voc writes boxes, not masks; cvat and coco have both." in logged.messages


def test_labels_that_would_share_a_file(run):
    cv2.imwrite("in/00.jpg", np.zeros((8, 8, 3), np.uint8))
    result = run("--input in --output out --labels voc")
    assert result.code == 1 and "in/00.jpg and in/00.png would have the same label" in result.err
    assert not os.path.exists("out/detections.json")


def test_the_formats_of_labels_are_those_that_are_written():
    from fcos.data.label_files import LABEL_FORMATS as KNOWN

    assert tuple(KNOWN) == LABEL_FORMATS


@pytest.mark.parametrize(
    "line, message",
    [
        ("--input gone --output o", "The input gone does not exist."),
        ("--input empty --output o", "The folder empty holds no image ("),
        ("--list gone.txt --output o", "The list gone.txt cannot be read: No such file"),
        ("--list empty.txt --output o", "The list empty.txt names no image"),
        ("--list broken.txt --output o", "None of the 2 images can be read, such as empty.txt."),
        ("--input in --output empty.txt", "Nothing can be written to empty.txt/shards: Not a dir"),
        ("--input in --output o --dist-url env://", "--dist-url is env://: expected tcp://"),
        ("--input in --output o --num-machines 2", "Several machines need an address to meet"),
        ("--input in --output o --machine-rank 1", "--machine-rank 1 is not one of 0 to 0."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, line, message):
    os.mkdir("empty")
    Path("empty.txt").touch()
    Path("broken.txt").write_text("empty.txt\ngone.png\n")
    result = run(line)
    assert result.code == 1 and f"Error: {message}" in result.err
    assert result.err.count("\n") == 1 and "Traceback" not in result.err


def test_debug_shows_where_it_was_found(run):
    for line in ("--input gone --output o", "--input in --output o --num-machines 2"):
        with pytest.raises(UserError):
            run(f"{line} --debug")


@pytest.mark.parametrize(
    "line, message",
    [
        ("--input a --list b --output o", "argument --list: not allowed with argument --input"),
        ("--output o", "name the images, behind the weights or by --input or --list"),
        ("m.pth a --list l --output o", "name the images, behind the weights or by --input or"),
        ("--input a", "the following arguments are required: --output"),
        ("--list a --recursive --output o", "--recursive belongs to --input"),
        ("--input a --output o --fresh --retry", "--retry: not allowed with argument --fresh"),
        ("--input a --output o --batch-size 0", "'0' is not a whole number of at least 1"),
        ("--input a --output o --compile", "--compile belongs to --optimize"),
        ("--input a --output o --optimize fast", "--optimize: invalid choice: 'fast'"),
        ("--input a --output o --confidence-threshold 2", "'2' is not a score between 0 and 1"),
        ("--input a --output o --labels via", "argument --labels: invalid choice: 'via'"),
        ("--input a --output o --opts A b --fresh", "put --fresh before it"),
    ],
)
def test_wrong_arguments(line, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_args(["--config-file", "c", *line.split()])
    assert ended.value.code == 2 and message in capsys.readouterr().err


# ---- again ----------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(run, monkeypatch):
    assert run("--input in --output out").code == 0
    first = Path("out/detections.json").read_bytes()
    os.remove("out/detections.json")
    monkeypatch.setattr(work.LineMaker, "__call__", None)
    assert run("--input in --output out").code == 0
    assert Path("out/detections.json").read_bytes() == first


def test_other_settings_or_weights_are_refused(run, model):
    assert run("--input in --output out").code == 0
    result = run("--input in --output out", "MODEL.FCOS.NMS_THRESH_TEST 0.3")
    assert result.code == 1
    assert "out has a run with other settings (MODEL.FCOS.NMS_THRESH_TEST was 0.6)" in result.err
    other = f"MODEL.WEIGHTS {model / 'nameless.pth'}"
    result = run("--input in --output out", other)
    assert result.code == 1 and "(other weights" in result.err
    assert run("--input in --output out --fresh", other).code == 0


def test_images_left_out_are_tried_again_when_asked(run):
    whole = damage("in/04.png")
    Path("list.txt").write_text("".join(f"in/{i:02}.png\n" for i in (0, 1, 4, 6)))
    line = "--list list.txt --batch-size 1 --output"
    assert run(f"{line} out").code == 3
    assert file_names("out") == {0: "in/00.png", 1: "in/01.png", 3: "in/06.png"}
    Path("in/04.png").write_bytes(whole)
    assert run(f"{line} out").code == 3
    result = run(f"{line} out --retry")
    assert result.code == 0 and "left out" not in result.err
    assert run(f"{line} whole").code == 0
    for name in ("detections.json", "images.json"):
        assert Path(f"out/{name}").read_bytes() == Path(f"whole/{name}").read_bytes()
    assert not os.path.exists("out/left_out.txt")


def test_a_full_disk_is_one_sentence_and_the_rest_is_kept(run, monkeypatch):
    assert run("--input in --output whole --batch-size 2").code == 0
    write, written = os.write, []

    def write_some(file, data):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(1)
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr("fcos.predict.many.shards.os.write", write_some)
        result = run("--input in --output out --batch-size 2")
    assert result.code == 1
    assert "part-00000-00000.jsonl cannot be written: No space left on device. When" in result.err
    assert not os.path.exists("out/detections.json")
    assert run("--input in --output out --batch-size 2").code == 0
    assert Path("out/detections.json").read_bytes() == Path("whole/detections.json").read_bytes()


# ---- processes ------------------------------------------------------------------------------


def lines_in(folder):
    return sum(path.read_bytes().count(b"\n") for path in Path(folder).glob("shards/part-*"))


def kill_after(lines, output, command):
    """Start the program in a process of its own and kill it when it has written some lines."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "fcos.detect", *command], env=environment)
    until = time.monotonic() + 60
    while lines_in(output) < lines and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_an_interrupt_while_it_imports(run, monkeypatch):
    class Interrupt:
        def find_spec(self, *_):
            raise KeyboardInterrupt

    for name in ("fcos.predict.many", "fcos.predict.many.running"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupt()])
    result = run("--input in --output out")
    assert (result.code, result.err) == (128 + signal.SIGINT, "Stopped.\n")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is imported")
@pytest.mark.parametrize("of_all", [True, False], ids=["Ctrl-C", "the first process alone"])
def test_an_interrupt_while_several_processes_import(model, place, of_all):
    """A terminal sends it to all of them, and a traceback of each would be all that is seen."""
    line = f"--config-file {model / 'config.yaml'} --input in --output out --num-gpus 2"
    process = subprocess.Popen(
        [sys.executable, "-m", "fcos.detect", *line.split()],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until_two_import(process)
    (os.killpg if of_all else os.kill)(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 128 + signal.SIGINT


def test_killed_and_ended_by_two_processes_is_as_never_killed(run, model):
    write_images("many", 60)
    damage("many/sub/07.png")
    line = "--input many --recursive --batch-size 2"
    config = ["--config-file", str(model / "config.yaml")]
    kill_after(6, "out", [*config, *line.split(), "--output", "out"])
    before = lines_in("out")
    assert 6 <= before < 60 and not os.path.exists("out/detections.json")
    (shard,) = Path("out/shards").glob("part-*")
    whole_lines = shard.read_bytes()
    shard.write_bytes(whole_lines[:-20])  # as if it had been killed while it wrote
    result = run(f"{line} --output out --num-gpus 2")
    assert result.code == 3, result.err
    assert "Traceback" not in result.err
    assert result.err.count("1 of 60 images could not be read and were left out: many/sub/07") == 1
    assert len(list(Path("out/shards").glob("part-00001-*"))) == 2
    assert lines_in("out") == 60  # nothing twice
    assert run(f"{line} --output whole").code == 3
    for name in ("detections.json", "images.json", "left_out.txt"):
        assert Path(f"out/{name}").read_bytes() == Path(f"whole/{name}").read_bytes()
