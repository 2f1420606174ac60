"""DefaultTrainer, DefaultPredictor, and the set-up of a job."""

import json
import logging
import os
import random
from unittest import mock

import numpy as np
import pytest
import torch
from engine_toys import Probe, TinyTrainer, tiny_cfg
from torch import nn

from detectron2.data import MetadataCatalog
from detectron2.engine import (
    AMPTrainer,
    DefaultPredictor,
    DefaultTrainer,
    SimpleTrainer,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
    hooks,
)
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter


class Weight(DatasetEvaluator):
    """Finds the weight of the model that was evaluated, in percent."""

    def reset(self):
        self.outputs = []

    def process(self, inputs, outputs):
        self.outputs += outputs

    def evaluate(self):
        return {"bbox": {"AP": 100 * self.outputs[0]["weight"]}}


class EvaluatingTrainer(TinyTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return Weight()


@pytest.fixture(autouse=True)
def _restore_loggers():
    """default_setup and DefaultTrainer add handlers, which would write to folders long gone."""
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def weight(trainer):
    return trainer.model.linear.weight.item()


def test_the_files_of_a_training(tmp_path):
    cfg = tiny_cfg(tmp_path, "DATASETS.TEST", ("a",), "TEST.EVAL_PERIOD", 30)
    default_setup(cfg, default_argument_parser().parse_args([]))
    trainer = EvaluatingTrainer(cfg)
    trainer.resume_or_load(resume=False)
    assert trainer.train() is None

    (events,) = [name for name in os.listdir(tmp_path) if name.startswith("events.out.tfevents.")]
    assert set(os.listdir(tmp_path)) == {
        *("config.yaml", "log.txt", "metrics.json", "last_checkpoint", events),
        *("model_0000019.pth", "model_0000039.pth", "model_final.pth"),
    }
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert (tmp_path / "config.yaml").read_text() == cfg.dump()

    log = (tmp_path / "log.txt").read_text()
    for text in ("d2.engine.train_loop", "Starting training from iteration 0", "Command line"):
        assert text in log
    for text in ("iter: 19 ", "iter: 39 ", "iter: 44 ", "eta: ", "total_loss: ", "lr: "):
        assert text in log
    assert "TinyRegressor(" in log

    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    by_iteration = {line.pop("iteration"): line for line in lines}
    assert sorted(by_iteration) == [19, 29, 39, 44, 45]
    usual = {"data_time", "rank_data_time", "time", "eta_seconds", "lr", "total_loss"}
    assert by_iteration[19].keys() == usual
    assert by_iteration[19]["lr"] == 0.01
    assert by_iteration[39]["lr"] == pytest.approx(0.001)
    assert by_iteration[29].keys() == {"bbox/AP"}
    assert by_iteration[45] == {"bbox/AP": pytest.approx(100 * weight(trainer))}

    saved = torch.load(tmp_path / "model_final.pth")
    assert saved.keys() == {"model", "trainer", "iteration"}
    assert saved["trainer"].keys() == {"iteration", "hooks", "_trainer"}
    assert saved["trainer"]["hooks"].keys() == {"LRScheduler"}
    assert saved["trainer"]["_trainer"].keys() == {"iteration", "optimizer"}
    assert saved["iteration"] == saved["trainer"]["iteration"] == 44


def test_the_default_hooks(tmp_path):
    trainer = TinyTrainer(tiny_cfg(tmp_path))
    kinds = [type(hook) for hook in trainer.build_hooks()]
    assert kinds == [
        hooks.IterationTimer,
        hooks.LRScheduler,
        type(None),  # PreciseBN
        hooks.PeriodicCheckpointer,
        hooks.EvalHook,
        hooks.PeriodicWriter,
    ]


def test_hooks_around_the_steps_of_a_default_trainer(tmp_path):
    log = []
    trainer = TinyTrainer(tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 2))
    trainer.register_hooks([Probe(log)])
    trainer.train()
    assert [(event, i) for _, event, i in log] == [
        ("before_train", 0),
        ("before_step", 0),
        ("after_step", 0),
        ("before_step", 1),
        ("after_step", 1),
        ("after_train", 2),
    ]


def test_resume(tmp_path):
    cfg = tiny_cfg(tmp_path / "whole")
    whole = TinyTrainer(cfg)
    whole.resume_or_load(resume=True)  # there is nothing to resume
    assert whole.start_iter == 0
    whole.train()

    # Ended after 20 iterations, and gone on with from a file of the whole training.
    cfg = tiny_cfg(tmp_path / "rest")
    os.makedirs(cfg.OUTPUT_DIR)
    os.link(tmp_path / "whole/model_0000019.pth", tmp_path / "rest/model_0000019.pth")
    (tmp_path / "rest/last_checkpoint").write_text("model_0000019.pth")
    rest = TinyTrainer(cfg)
    rest.resume_or_load(resume=True)
    assert (rest.start_iter, rest.iter) == (20, 19)
    assert rest.scheduler.last_epoch == 20
    stream = iter(rest.data_loader)
    for _ in range(20):
        next(stream)
    rest.data_loader = stream
    rest.train()
    assert weight(rest) == weight(whole)

    fresh = TinyTrainer(cfg)
    fresh.resume_or_load(resume=False)
    assert fresh.start_iter == 0
    assert weight(fresh) == 0.5


def test_weights_without_the_rest(tmp_path):
    torch.save({"model": {"linear.weight": torch.full((1, 1), 7.0)}}, tmp_path / "w.pth")
    cfg = tiny_cfg(tmp_path / "out", "MODEL.WEIGHTS", str(tmp_path / "w.pth"))
    trainer = TinyTrainer(cfg)
    trainer.resume_or_load(resume=False)
    assert (trainer.start_iter, weight(trainer)) == (0, 7.0)


def test_a_training_that_was_finished_is_evaluated_and_nothing_more(tmp_path):
    cfg = tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 3, "DATASETS.TEST", ("a",))
    first = EvaluatingTrainer(cfg)
    first.train()
    second = EvaluatingTrainer(cfg)
    second.resume_or_load(resume=True)
    assert second.start_iter == 3
    second.train()
    assert weight(second) == weight(first)
    assert second.storage.latest()["bbox/AP"][0] == pytest.approx(100 * weight(first))


def test_properties_are_those_of_the_trainer_within(tmp_path):
    trainer = TinyTrainer(tiny_cfg(tmp_path))
    other = nn.Linear(1, 1)
    trainer.model = other
    assert trainer.model is other
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert next(iter(trainer.data_loader)).shape == (2,)


@pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler is enabled")
def test_amp_by_the_config(tmp_path):
    trainer = TinyTrainer(tiny_cfg(tmp_path))
    assert type(trainer._trainer) is SimpleTrainer
    trainer = TinyTrainer(tiny_cfg(tmp_path, "SOLVER.AMP.ENABLED", True))
    assert type(trainer._trainer) is AMPTrainer


def test_precise_bn_by_the_config(tmp_path):
    cfg = tiny_cfg(tmp_path, "TEST.PRECISE_BN.ENABLED", True)

    class WithNorm(TinyTrainer):
        @classmethod
        def build_model(cls, cfg):
            return nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))

        @classmethod
        def build_train_loader(cls, cfg):
            workers.append(cfg.DATALOADER.NUM_WORKERS)
            return []

    workers = []
    trainer = WithNorm(cfg)
    assert type(trainer.build_hooks()[2]) is hooks.PreciseBN
    assert workers == [4, 0, 0]


def test_expected_results(tmp_path, caplog):
    options = ["SOLVER.MAX_ITER", 1, "DATASETS.TEST", ("a",)]
    # w = 0.5 before; the rate of the first iteration is BASE_LR / 1000.
    expected = ["TEST.EXPECTED_RESULTS", [["bbox", "AP", 50.0, 0.1]]]
    results = EvaluatingTrainer(tiny_cfg(tmp_path, *options, *expected)).train()
    assert results == {"bbox": {"AP": pytest.approx(50.0, abs=0.1)}}

    expected = ["TEST.EXPECTED_RESULTS", [["bbox", "AP", 90.0, 0.1]]]
    with pytest.raises(SystemExit):
        EvaluatingTrainer(tiny_cfg(tmp_path, *options, *expected)).train()


def test_results_of_one_and_of_several_datasets(tmp_path):
    model = TinyTrainer.build_model(tiny_cfg(tmp_path))
    one = tiny_cfg(tmp_path, "DATASETS.TEST", ("a",))
    assert EvaluatingTrainer.test(one, model) == {"bbox": {"AP": 50.0}}
    assert EvaluatingTrainer.test(one, model, [Weight()]) == {"bbox": {"AP": 50.0}}
    assert EvaluatingTrainer.test(one, model, Weight()) == {"bbox": {"AP": 50.0}}
    two = tiny_cfg(tmp_path, "DATASETS.TEST", ("a", "b"))
    results = EvaluatingTrainer.test(two, model)
    assert results == {"a": {"bbox": {"AP": 50.0}}, "b": {"bbox": {"AP": 50.0}}}
    assert EvaluatingTrainer.test(tiny_cfg(tmp_path), model) == {}
    with pytest.raises((ValueError, AssertionError)):
        EvaluatingTrainer.test(two, model, [Weight()])


def test_without_an_evaluator_the_training_goes_on(tmp_path, caplog):
    cfg = tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", ("a",))
    with pytest.raises(NotImplementedError, match="build_evaluator"):
        TinyTrainer.build_evaluator(cfg, "a")
    model = TinyTrainer.build_model(cfg)
    with mock.patch.object(logging.getLogger("detectron2.engine.defaults"), "warning") as warning:
        assert TinyTrainer.test(cfg, model) == {}
    assert warning.call_count == 1


def scaled(reference, workers):
    cfg = tiny_cfg("", "SOLVER.REFERENCE_WORLD_SIZE", reference, "TEST.EVAL_PERIOD", 333)
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER = 16, 0.1, 5000
    solver.STEPS, solver.CHECKPOINT_PERIOD, solver.WARMUP_ITERS = (4000, 4501), 1000, 999
    cfg.freeze()
    new = DefaultTrainer.auto_scale_workers(cfg, workers)
    assert new.is_frozen()
    s = new.SOLVER
    return new is cfg, (
        *(s.REFERENCE_WORLD_SIZE, s.IMS_PER_BATCH, s.BASE_LR, s.MAX_ITER, s.STEPS),
        *(s.WARMUP_ITERS, s.CHECKPOINT_PERIOD, new.TEST.EVAL_PERIOD),
    )


def test_auto_scale_workers():
    as_it_is = (16, 0.1, 5000, (4000, 4501), 999, 1000, 333)
    assert scaled(0, 4) == (True, (0, *as_it_is))
    assert scaled(8, 8) == (True, (8, *as_it_is))
    assert scaled(8, 16) == (False, (16, 32, 0.2, 2500, (2000, 2250), 500, 500, 166))
    assert scaled(8, 1) == (False, (1, 2, 0.0125, 40000, (32000, 36008), 7992, 8000, 2664))
    same, (*_, eval_period) = scaled(8, 3)
    assert not same and eval_period == 888
    with pytest.raises((ValueError, AssertionError)):
        scaled(3, 2)  # 16 images do not divide among 3


def test_the_arguments():
    parser = default_argument_parser()
    port = 49152 + os.getuid() % 16384
    assert vars(parser.parse_args([])) == {
        "config_file": "",
        "resume": False,
        "eval_only": False,
        "num_gpus": 1,
        "num_machines": 1,
        "machine_rank": 0,
        "dist_url": f"tcp://127.0.0.1:{port}",
        "opts": [],
    }
    args = parser.parse_args(
        "--config-file c.yaml --resume --eval-only --num-gpus 2 --num-machines 3 --machine-rank 1 "
        "--dist-url auto SOLVER.BASE_LR 0.1 --not-an-option".split()
    )
    assert vars(args) == {
        "config_file": "c.yaml",
        "resume": True,
        "eval_only": True,
        "num_gpus": 2,
        "num_machines": 3,
        "machine_rank": 1,
        "dist_url": "auto",
        "opts": ["SOLVER.BASE_LR", "0.1", "--not-an-option"],
    }
    assert default_argument_parser("The end.").format_help().endswith("The end.\n")


def draws():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_the_seed(tmp_path):
    drawn = []
    for seed in (5, 5, 0, -1, -1):
        default_setup(tiny_cfg(tmp_path, "SEED", seed), {})
        drawn.append(draws())
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("flags, benchmark", [([], True), (["--eval-only"], False)])
def test_cudnn_benchmark_is_not_for_evaluation(flags, benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    cfg = tiny_cfg(tmp_path, "CUDNN_BENCHMARK", True)
    default_setup(cfg, default_argument_parser().parse_args(flags))
    assert torch.backends.cudnn.benchmark is benchmark


def test_the_config_file_is_logged(tmp_path):
    (tmp_path / "my.yaml").write_text("SEED: 12\n")
    args = default_argument_parser().parse_args(["--config-file", str(tmp_path / "my.yaml")])
    default_setup(tiny_cfg(tmp_path / "out"), args)
    assert (
        f"Contents of args.config_file={args.config_file}:"
        in (tmp_path / "out/log.txt").read_text()
    )


def test_default_writers(tmp_path):
    writers = default_writers(str(tmp_path / "new"), 100)
    assert [type(w) for w in writers] == [CommonMetricPrinter, JSONWriter, TensorboardXWriter]
    assert (tmp_path / "new/metrics.json").exists()


def test_one_process_needs_no_ddp():
    model = nn.Linear(1, 1)
    assert create_ddp_model(model, broadcast_buffers=False) is model


def predictor_cfg(*options):
    return tiny_cfg("", "INPUT.MIN_SIZE_TEST", 20, "INPUT.MAX_SIZE_TEST", 30, *options)


def test_predictor_resizes_and_passes_the_size_on():
    MetadataCatalog.get("predictor_test").thing_classes = ["a"]
    predictor = DefaultPredictor(predictor_cfg("DATASETS.TEST", ("predictor_test", "other")))
    assert predictor.metadata.thing_classes == ["a"]
    assert predictor.input_format == "BGR"
    assert not predictor.model.training
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :, 0] = 200
    with mock.patch.object(predictor.model, "forward", wraps=predictor.model.forward):
        given = predictor(image)["input"]
    # 40 x 80 -> 20 x 40, but no side above 30
    assert (given["height"], given["width"]) == (40, 80)
    assert given["image"].shape == (3, 15, 30)
    assert given["image"].dtype == torch.float32
    assert given["image"][:, 3, 3].tolist() == [200, 0, 0]


def test_predictor_in_rgb():
    predictor = DefaultPredictor(predictor_cfg("INPUT.FORMAT", "RGB"))
    image = np.full((20, 20, 3), [1, 2, 3], np.uint8)
    assert predictor(image)["input"]["image"][:, 0, 0].tolist() == [3, 2, 1]
    assert image[0, 0].tolist() == [1, 2, 3]


def test_predictor_loads_the_weights(tmp_path):
    torch.save({"model": {"linear.weight": torch.full((1, 1), 7.0)}}, tmp_path / "w.pth")
    predictor = DefaultPredictor(predictor_cfg("MODEL.WEIGHTS", str(tmp_path / "w.pth")))
    assert predictor.model.linear.weight.item() == 7.0


def test_predictor_does_not_record_gradients():
    predictor = DefaultPredictor(predictor_cfg())
    predictor.model.forward = lambda batch: [torch.is_grad_enabled()]
    assert predictor(np.zeros((20, 20, 3), np.uint8)) is False
