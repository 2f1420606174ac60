"""The command: its arguments, its page, its numbers, its exit code."""

import json
import os
import re
import sys

import pytest
import yaml

from fcos.evaluation.diagnosis.library import require_hotcoco
from fcos.utils.errors import UserError
from fcos_cli.diagnose import main, parse_args
from tests.evaluation.test_compare import Checker

pytest.importorskip("hotcoco")


@pytest.fixture
def trained(data):
    """The folder of a made-up detector with masks."""
    folder = data.root / "run"
    measured = data.evaluate(folder, noise=0.08, seed=1)
    return folder, measured


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_page_stands_alone_and_shows_the_figures(data, trained, capsys):
    folder, measured = trained
    output = data.root / "out"
    code, out, err = run(capsys, folder, "--output", output, "--num-images", 3)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(output)) == ["diagnosis.html", "diagnosis.json"]
    text = (output / "diagnosis.html").read_text(encoding="utf-8")
    page = Checker(text)
    # All that is referred to is inside: data, or the pixels that two drawings share.
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,|#picture\d", s) for s in page.sources)
    assert "script" not in page.tags and "link" not in page.tags
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {"#hatch"}
    assert "@import" not in text and "://" not in text
    assert page.tags.count("use") == 3
    numbers = json.loads((output / "diagnosis.json").read_text(encoding="utf-8"))
    for name, task in (("box", "bbox"), ("mask", "segm")):
        figures, ends = numbers[name]["figures"], numbers[name]["intervals"]["AP"]
        for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
            assert figures[metric] == pytest.approx(measured[task][metric], abs=1e-9)
        interval = f"95 % interval {ends[0]:.1f} to {ends[1]:.1f}"
        assert ends[0] < figures["AP"] < ends[1]
        assert f"{name} AP: {figures['AP']:.1f} ({interval})" in out
        assert f"{name.capitalize()} AP : {figures['AP']:.1f} ({interval})" in page.text
        assert numbers[name]["errors"]["AP50"] == pytest.approx(figures["AP50"])
    for heading in ("What each kind of error costs", "Which class is taken for which"):
        assert heading in page.text
    for image in numbers["worst_images"]:
        assert image["file_name"] in page.text
    assert "AP by level of the pyramid is left out" in page.text and numbers["levels"] is None
    assert f"Labels that are probably wrong: {numbers['suspicious_labels']['total']}." in out


def test_the_same_command_writes_the_same_bytes(data, trained, capsys):
    pages = []
    for _ in range(2):
        assert run(capsys, trained[0], "--output", data.root / "out", "--num-images", 1)[0] == 0
        pages.append((data.root / "out" / "diagnosis.html").read_bytes())
    assert pages[0] == pages[1]


def test_levels_of_an_fcos(data, capsys):
    fcos = {"FPN_STRIDES": [8, 16], "SIZES_OF_INTEREST": [64], "IN_FEATURES": ["p3", "p4"]}
    config = {
        "MODEL": {"PROPOSAL_GENERATOR": {"NAME": "FCOS"}, "FCOS": fcos},
        "INPUT": {"MIN_SIZE_TEST": 320, "MAX_SIZE_TEST": 640},
    }
    data.evaluate(data.root / "run", config=config)
    assert run(capsys, data.root / "run", "--output", data.root / "out")[0] == 0
    numbers = json.loads((data.root / "out" / "diagnosis.json").read_text())
    # Sides of 20, 60 and 150 are 40, 120 and 300 in the network; half of them, 20, 60 and 150.
    assert [(g["name"], g["objects"]) for g in numbers["box"]["by_level"]] == [
        ("P3", sum(a["bbox"][2] < 150 and not a["iscrowd"] for a in data.annotations)),
        ("P4", sum(a["bbox"][2] == 150 for a in data.annotations)),
    ]
    page = Checker((data.root / "out" / "diagnosis.html").read_text(encoding="utf-8"))
    assert "Box AP by level of the pyramid" in page.text and "is left out" not in page.text


def test_a_results_file_of_any_model_and_annotations(data, trained, capsys):
    file = trained[0] / "inference" / "coco_instances_results.json"
    results = [
        {k: v for k, v in r.items() if k != "segmentation"} for r in json.loads(file.read_text())
    ]
    (data.root / "results.json").write_text(json.dumps(results))
    arguments = ["--annotations", data.json_file, "--num-images", 0, "--score", 0.25]
    code, out, _ = run(
        capsys, data.root / "results.json", *arguments, "--output", data.root / "out"
    )
    assert code == 0 and "mask AP" not in out
    page = Checker((data.root / "out" / "diagnosis.html").read_text(encoding="utf-8"))
    assert "None is shown." in page.text and "image" not in page.tags
    assert "there is none" in page.text  # no config.yaml
    assert json.loads((data.root / "out" / "diagnosis.json").read_text())["score_threshold"] == 0.25


def test_names_are_escaped(data, trained, capsys):
    text = data.json_file.read_text().replace('"cat"', '"<script>cat & $x$"')
    (data.root / "other <b>.json").write_text(text)
    arguments = ["--annotations", data.root / "other <b>.json", "--images", data.image_root]
    label = f"a <i>&\"'$={trained[0]}"
    assert run(capsys, label, *arguments, "--output", data.root / "out")[0] == 0
    page = Checker((data.root / "out" / "diagnosis.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags and "i" not in set(page.tags) - {"i"}
    assert "<script>cat & $x$" in page.text and "a <i>&\"'$" in page.text


def test_results_that_were_cut_at_a_high_score(data, trained, capsys):
    file = trained[0] / "inference" / "coco_instances_results.json"
    results = [r for r in json.loads(file.read_text()) if r["score"] >= 0.5]
    file.write_text(json.dumps(results))
    _, out, _ = run(capsys, trained[0], "--output", data.root / "out", "--num-images", 0)
    lowest = min(r["score"] for r in results)
    want = f"No detection has a score below {lowest:.2f}: detections were left out, which lowers AP"
    assert want in out
    assert want in Checker((data.root / "out" / "diagnosis.html").read_text("utf-8")).text


@pytest.mark.parametrize(
    ("limit", "threshold", "want"),
    [
        (
            2,
            0.05,
            ": 2 of 2 images have 2 detections, the most that an image can have "
            "(MODEL.FCOS.NMS_POST_TOPK), so those with lower scores were left out, which lowers "
            "AP.",
        ),
        (3, 0.05, None),  # the detector found no more
        (
            3,
            0.3,
            ": detections were left out, which lowers AP and recall. Evaluate with MODEL.FCOS",
        ),
    ],
)
def test_the_limit_of_an_image_is_told_from_the_threshold(data, capsys, limit, threshold, want):
    found = [([image, 0, 0, 20, 20], score) for image in (10, 11) for score in (0.4, 0.2)]
    folder = data.write_results("run", data.detections(*found))
    fcos = {"NMS_POST_TOPK": limit, "SCORE_THRESH_TEST": threshold}
    config = data.config(folder) | {"MODEL": {"FCOS": fcos}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    data.register()
    _, out, _ = run(capsys, folder, "--output", data.root / "out", "--num-images", 0)
    assert "box AP" in out
    said = "No detection has a score below 0.20"
    assert f"{said}{want}" in out if want else said not in out


def test_images_that_are_missing(data, trained, capsys):
    for file in data.image_root.iterdir():
        file.unlink()
    code, out, _ = run(capsys, trained[0], "--output", data.root / "out")
    assert code == 0 and re.search(r"Not all images can be drawn: .*\.png does not exist\.", out)
    page = Checker((data.root / "out" / "diagnosis.html").read_text("utf-8"))
    assert "image" not in page.tags and "Not all images can be drawn" in page.text


@pytest.mark.parametrize(
    "results, message",
    [
        (None, "has no results: expected"),
        ([], "has no detection: the model found nothing"),
        ('{"images": []}', "is not a list of detections in COCO's results format but"),
        ("[{", ": evaluate again with train_net.py"),
        ([{"image_id": 99, "category_id": 2}], "is of another data set than pets"),
        ([{"image_id": 10, "category_id": 4}], "are of classes that pets does not have"),
    ],
)
def test_results_that_cannot_be_used(data, capsys, results, message):
    if isinstance(results, list):
        results = [{**r, "bbox": [0, 0, 9, 9], "score": 0.5} for r in results]
    folder = data.write_results("run", [] if results is None else results)
    if results is None:
        (folder / "inference" / "coco_instances_results.json").unlink()
    code, out, err = run(capsys, folder, "--output", data.root / "out")
    assert (code, out) == (1, "") and err.startswith("Error: ") and err.count("\n") == 1
    assert message in err
    assert not (data.root / "out" / "diagnosis.html").exists()


def test_other_mistakes(data, trained, capsys, monkeypatch):
    code, _, err = run(capsys, data.root / "nowhere")
    assert code == 1 and "nowhere does not exist" in err
    (data.root / "file").write_text("")
    code, _, err = run(capsys, trained[0], "--output", data.root / "file")
    assert code == 1 and re.match(r"Error: Nothing can be written to .*file: .+\.\n$", err)
    file = trained[0] / "inference" / "coco_instances_results.json"
    code, _, err = run(capsys, file, "--output", data.root / "out")
    assert code == 1 and "No config.yaml says which data set the results are of" in err
    results = data.root / "out" / "diagnosis.json"
    results.write_text(file.read_text())
    arguments = ["--annotations", data.json_file, "--num-images", 0, "--output", data.root / "out"]
    code, _, err = run(capsys, results, *arguments)
    assert code == 1 and "would overwrite" in err
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    code, _, err = run(capsys, trained[0], "--output", data.root / "out")
    assert code == 1 and re.search(r"needs hotcoco.*: pip install 'hotcoco>=1\.3'\n$", err)


def test_an_old_hotcoco(monkeypatch):
    for version, is_old in (("1.0.1", True), ("0.4.0", True), ("1.3.0", False), ("1.10.0", False)):
        monkeypatch.setattr("importlib.metadata.version", lambda _, version=version: version)
        if is_old:
            with pytest.raises(UserError, match=rf"hotcoco 1\.3 or later, and {version} is inst"):
                require_hotcoco()
        else:
            require_hotcoco()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--annotations", "a.json"], "--annotations needs --images FOLDER, or --num-images 0"),
        (["--images", "b"], "--images belongs to --annotations"),
        (["--score", "2"], "'2' is not a score between 0 and 1"),
        (["b"], "unrecognized arguments: b"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        parse_args(["a", *arguments])
    assert left.value.code == 2 and message in capsys.readouterr().err
