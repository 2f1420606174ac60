"""The evaluation loop, lists of evaluators, and what is made of the results."""

import logging
import math
from collections import OrderedDict

import pytest
import torch

import detectron2
from detectron2.config import get_cfg
from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="differs in detectron2"
)


class Recorder(DatasetEvaluator):
    def __init__(self, result=None):
        self.result = result
        self.calls = ["before reset"]

    def reset(self):
        self.calls = []

    def process(self, inputs, outputs):
        self.calls.append((inputs, outputs))

    def evaluate(self):
        return self.result


class Model(torch.nn.Module):
    def forward(self, inputs):
        return self.training, torch.is_grad_enabled(), inputs


@pytest.mark.parametrize("training", [True, False])
def test_the_loop(training):
    model, recorder = Model().train(training), Recorder({"bbox": {"AP": 1.0}})
    assert inference_on_dataset(model, [[1], [2], [3]], recorder) == {"bbox": {"AP": 1.0}}
    assert recorder.calls == [([i], (False, False, [i])) for i in (1, 2, 3)]
    assert model.training == training and torch.is_grad_enabled()


def test_models_that_are_functions_and_several_evaluators():
    recorders = [Recorder({"a": 1}), Recorder(), Recorder({"b": 2})]
    results = inference_on_dataset(lambda x: x, [[1]], recorders)
    assert results == OrderedDict(a=1, b=2) and list(results) == ["a", "b"]
    assert all(recorder.calls == [([1], [1])] for recorder in recorders)
    assert inference_on_dataset(lambda x: x, [[1]], Recorder()) == {}
    assert inference_on_dataset(lambda x: x, [], Recorder()) == {}
    assert inference_on_dataset(lambda x: x, [[1]] * 12, None) == {}


def test_callbacks():
    called = []
    stages = ("on_start", "before_inference", "after_inference", "on_end")
    callbacks = {stage: lambda stage=stage: called.append(stage) for stage in stages}
    inference_on_dataset(lambda x: x, [[1], [2]], None, callbacks)
    assert called == [stages[0], *stages[1:3], *stages[1:3], stages[3]]


def test_times_are_logged(caplog):
    with caplog.at_level(logging.INFO, logger="detectron2"):
        inference_on_dataset(lambda x: x, [[1]] * 12, None)
    text = caplog.text
    assert "Start inference on 12 batches" in text and "Total inference time: 0:00:00" in text
    assert "s / iter per device, on 1 devices" in text


@lite_only
def test_progress_is_logged(monkeypatch):
    from detectron2.evaluation import evaluator

    now = [100.0]
    monkeypatch.setattr(evaluator.time, "perf_counter", lambda: now[0])
    watch = evaluator._Stopwatch(20)
    for _ in range(10):
        for stage, seconds in (("Dataloading", 0.5), ("Inference", 1.25), ("Eval", 0.25)):
            now[0] += seconds
            watch.lap(stage)
        watch.next_batch()
    # 5 of the 10 were the warm-up; 10 batches of 2 seconds are left.
    assert watch.n_timed == 5
    assert watch.progress() == (
        "Inference done 10/20. Dataloading: 0.5000 s/iter. Inference: 1.2500 s/iter. "
        "Eval: 0.2500 s/iter. Total: 2.0000 s/iter. ETA=0:00:20"
    )


def test_inference_context():
    model = Model()
    with inference_context(model):
        assert not model.training
    assert model.training


@lite_only
def test_inference_context_after_an_error():
    model = Model()
    with pytest.raises(ZeroDivisionError), inference_context(model):
        _ = 1 / 0
    assert model.training


class SomewhereElse:
    device = torch.device("cuda", 0)

    def __len__(self):
        return 3


@lite_only
@pytest.mark.parametrize(
    ("outputs", "waits"),
    [
        (torch.ones(3), 0),
        (SomewhereElse(), 1),
        ([{"instances": Instances((4, 4), scores=torch.ones(3))}], 0),
        ([{"instances": Instances((4, 4), scores=SomewhereElse())}], 1),
        ([{"instances": Instances((4, 4), pred_boxes=Boxes(torch.ones(3, 4)))}, (None, "a")], 0),
        ([{"sem_seg": torch.ones(3)}, {"sem_seg": (torch.ones(3), SomewhereElse())}], 1),
    ],
)
def test_only_results_on_a_gpu_are_waited_for(outputs, waits, monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(1))
    inference_on_dataset(lambda _: outputs, [[1], [2]], None)
    assert len(waited) == 2 * waits


def test_two_evaluators_with_the_same_task():
    with pytest.raises(AssertionError):
        DatasetEvaluators([Recorder({"a": 1}), Recorder({"a": 2})]).evaluate()


def test_only_the_main_process_has_results(monkeypatch):
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    assert DatasetEvaluators([Recorder({"a": 1})]).evaluate() == {}


def test_csv(caplog):
    results = OrderedDict(
        bbox=OrderedDict(AP=1.23456, AP50=math.nan, **{"AP-person": 3.0}), segm={"AP": 2}, other=3
    )
    with caplog.at_level(logging.INFO, logger="detectron2"):
        print_csv_format(results)
    assert [record.getMessage() for record in caplog.records] == [
        "copypaste: Task: bbox",
        "copypaste: AP,AP50",
        "copypaste: 1.2346,nan",
        "copypaste: Task: segm",
        "copypaste: AP",
        "copypaste: 2.0000",
        "copypaste: other=3",
    ]
    with pytest.raises(AssertionError):
        print_csv_format([1.0])


def test_expected_results(caplog):
    cfg = get_cfg()
    assert verify_results(cfg, {})
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 30.0, 1.0]]
    for ap in (29.0, 30.5):
        assert verify_results(cfg, {"bbox": {"AP": ap}})
    for ap in (28.9, 31.1, math.nan, None):
        with pytest.raises(SystemExit) as caught:
            verify_results(cfg, {"bbox": {"AP": ap}})
        assert caught.value.code == 1
    assert "['bbox', 'AP', 30.0, 1.0]" in caplog.text
