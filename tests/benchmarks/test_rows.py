"""The pieces of work in tiny sizes: contestants agree, and a broken one is found out."""

import functools
import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import peer_torchvision
from benchmarks.fresh import Fresh, command
from benchmarks.measure import measure
from benchmarks.rows import ROWS, inference, losses, postprocess, targets, training
from benchmarks.rows.evaluation import summary
from benchmarks.rows.loader import write_dataset
from benchmarks.scenes import feature_sizes, outputs, truths
from benchmarks.settings import Settings
from tests.imagined_gpu import ImaginedGpu, pretend

SETTINGS = Settings(repeats=1, size="smoke")


def results(row, work):
    return [measure(match, SETTINGS) for match in row.matches(SETTINGS, work)]


@pytest.mark.parametrize(
    "row, work",
    [
        (targets.ROW, "targets-3"),
        (targets.ROW, "targets-20"),
        (losses.ROW, "losses"),
        (losses.ROW, "losses-targets"),
        (postprocess.ROW, "postprocess-2"),
        (postprocess.ROW, "postprocess-dense-1"),
        (inference.ROW, "inference-1"),
    ],
)
def test_contestants_agree(row, work):
    found = results(row, work)
    assert found
    for result in found:
        assert result.agreement.same, result.agreement.text
        assert result.is_timed
        assert result.ours.memory > 0 and result.peer.memory > 0


def here(module, name, function, settings, **arguments):
    return getattr(module, function.split(":")[1])(settings, **arguments)


@pytest.mark.parametrize(
    "row, work",
    [
        (targets.ROW, "targets-3"),
        (postprocess.ROW, "postprocess-2"),
        (inference.ROW, "inference-1"),
        (training.ROW, "training-2"),
    ],
)
def test_on_a_gpu(row, work, monkeypatch):
    """One that is only imagined, and without gradients, which only a real one computes."""
    pretend(monkeypatch)
    for module in (inference, training):
        # Not detectron2's own, which would compile code for the GPU; and in this process.
        monkeypatch.delitem(module.PEERS, "detectron2", raising=False)
        monkeypatch.setattr(module, "Apart", functools.partial(here, module))
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: None)
    for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 0)
    settings = Settings(device="cuda", repeats=1, size="smoke")
    with ImaginedGpu():
        for result in [measure(match, settings) for match in row.matches(settings, work)]:
            assert result.agreement.same, result.agreement.text
            assert result.is_timed


def broken_match(self, truth, match=peer_torchvision.Parts.match):
    matched = match(self, truth)
    matched[0][0] = 0  # the first location of the first image learns the first box
    return matched


def broken_losses(self, *args, losses=peer_torchvision.Parts.losses):
    values = losses(self, *args)
    return {name: loss * (1.01 if "reg" in name else 1) for name, loss in values.items()}


def broken_detections(self, *args, detections=peer_torchvision.Parts.detections):
    return [{**found, "boxes": found["boxes"] + 1} for found in detections(self, *args)]


@pytest.mark.parametrize(
    "row, work, method, broken",
    [
        (targets.ROW, "targets-3", "match", broken_match),
        (losses.ROW, "losses", "losses", broken_losses),
        (postprocess.ROW, "postprocess-1", "detections", broken_detections),
    ],
)
def test_a_broken_contestant_is_not_timed(monkeypatch, row, work, method, broken):
    monkeypatch.setattr(peer_torchvision.Parts, method, broken)
    result = next(r for r in results(row, work) if r.peer.name == "torchvision")
    assert not result.agreement.same
    assert not result.is_timed


def test_names_of_works_are_unique():
    works = [work for row in ROWS for work in row.works(Settings())]
    assert len(works) == len(set(works))
    assert {"targets-1000", "postprocess-8", "postprocess-dense-1", "evaluation"} <= set(works)
    only = [work for row in ROWS for work in row.works(Settings(batch=3))]
    assert {"inference-3", "postprocess-3", "training-3"} <= set(only)
    assert "inference-8" not in only


def test_areas_of_boxes_are_apart():
    for truth in truths(2, 200, (800, 1333)):
        wide_high = truth.boxes[:, 2:] - truth.boxes[:, :2]
        areas = wide_high.prod(dim=1).sort().values
        assert (areas[1:] - areas[:-1]).min() >= 15.9
        assert (truth.boxes >= 0).all()
        assert (truth.boxes <= torch.tensor([1333.0, 800.0, 1333.0, 800.0])).all()


def test_feature_sizes_by_hand():
    # 800x1333 is padded to 800x1344
    assert feature_sizes((800, 1333)) == [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)]


def test_a_few_hundred_candidates_per_image():
    size = (800, 1333)
    cls, _, ctr = outputs(truths(1, 40, size), size).flat()
    product = cls.sigmoid() * ctr.sigmoid()[..., None]
    assert 150 <= int((product > 0.04).sum()) <= 500


def test_twelve_figures_are_read_from_the_summary():
    line = " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.123\n"
    other = " Average Recall     (AR) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000\n"
    assert summary(line + "Done\n" + other) == {
        "Precision (1 of the summary)": 0.123,
        "Recall (2 of the summary)": -1.0,
    }


def test_a_fresh_process_brings_time_memory_and_outcome(tmp_path):
    write_dataset(str(tmp_path), 4, (48, 64))
    arguments = {"folder": str(tmp_path), "workers": 0}
    contestant = Fresh("fcos", "benchmarks.rows.loader:ours", SETTINGS, **arguments)
    sample = contestant.sample(with_outcome=True)
    content = json.loads(Path(tmp_path, "train.json").read_text())
    assert sorted(sample.outcome) == sorted(image["file_name"] for image in content["images"])
    assert sample.seconds > 0 and sample.memory >= 0


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="ended with code 1 and said: no such thing"):
        command([sys.executable, "-c", "raise SystemExit('first\\nno such thing')"], SETTINGS)
