"""With DATALOADER.SKIP_UNREADABLE, a training is the one of a data set without what is broken."""

import json

import pytest
import torch

from tests.tiny import train_net, write_project

pytestmark = pytest.mark.cpu

BROKEN = [1, 5, 7]  # truncated (in the validation set, too), missing, and of another size
OPTIONS = ["SOLVER.MAX_ITER", "6", "TEST.EVAL_PERIOD", "3", "MODEL.FCOS.SCORE_THRESH_TEST", "0.0"]


def edit(project, change):
    for name in ("train.json", "val.json"):
        path = project / "datasets" / "tiny" / name
        contents = json.loads(path.read_text())
        change(contents)
        path.write_text(json.dumps(contents))


def write_broken(root):
    write_project(root, number=14)
    images = root / "datasets" / "tiny" / "images"
    (images / "1.png").write_bytes((images / "1.png").read_bytes()[:2000])
    (images / "5.png").unlink()

    def give_another_size(contents):
        for image in contents["images"]:
            if image["file_name"] == "7.png":
                image["width"] = 65

    edit(root, give_another_size)


def write_sound(root):
    write_project(root, number=14)
    ids = {number + 1 for number in BROKEN}

    def take_out(contents):
        contents["images"] = [i for i in contents["images"] if i["id"] not in ids]
        contents["annotations"] = [a for a in contents["annotations"] if a["image_id"] not in ids]

    edit(root, take_out)


def results_of(root):
    weights = torch.load(root / "output" / "model_final.pth", weights_only=True)["model"]
    lines = (root / "output" / "metrics.json").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    detections = json.loads((root / "output/inference/coco_instances_results.json").read_text())
    return weights, [m["bbox/AP"] for m in metrics if "bbox/AP" in m], detections


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_same_weights_and_figures(tmp_path, processes):
    found = []
    for write, is_set in ((write_broken, "True"), (write_sound, "False")):
        root = tmp_path / write.__name__
        write(root)
        skip = ["DATALOADER.SKIP_UNREADABLE", is_set]
        run = train_net(root, "--num-gpus", processes, *OPTIONS, *skip)
        assert run.returncode == 0, run.stderr
        found.append(results_of(root))
    ours, theirs = found
    for name, value in theirs[0].items():
        assert ours[0][name].equal(value), name
    assert ours[1] == theirs[1] and len(ours[1]) == 2
    assert ours[2] == theirs[2] and {d["image_id"] for d in ours[2]} == {1, 3}
    log = (tmp_path / "write_broken" / "output" / "log.txt").read_text()
    assert "'tiny_train': 11 images, 11 objects" in log
    assert "3 of 14 images cannot be used (1.png, 5.png, 7.png) and are left out of train" in log
    assert "1 of 3 images cannot be used (1.png) and are left out with their objects" in log
    evaluated = tmp_path / "write_broken/output/inference/tiny_val_evaluated.json"
    assert "The figures of 'tiny_val' are of 2 images: 1 that cannot be used" in log
    assert [image["id"] for image in json.loads(evaluated.read_text())["images"]] == [1, 3]


def test_without_the_flag_the_training_does_not_begin(tmp_path):
    write_broken(tmp_path)
    run = train_net(tmp_path, *OPTIONS)
    assert run.returncode == 1
    assert "Data set 'tiny_train': 3 of 14 images cannot be used." in run.stderr
    assert not (tmp_path / "output" / "metrics.json").exists()
