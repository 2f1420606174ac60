"""What wrong input gets, in detectron2-lite's words."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from engine_toys import Parabola, simple_trainer, tiny_cfg
from fvcore.common.checkpoint import Checkpointer
from test_engine_default_trainer import EvaluatingTrainer, TinyTrainer, Weight
from test_engine_loop import Explodes

import detectron2
from detectron2.engine import DefaultPredictor, TrainerBase, default_setup, hooks
from detectron2.engine.defaults import DefaultTrainer

pytestmark = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="detectron2 has other words"
)


def test_not_a_hook():
    with pytest.raises(TypeError, match="3 is not a HookBase"):
        simple_trainer().register_hooks([3])


def test_not_a_writer():
    with pytest.raises(TypeError, match="3 is not an EventWriter"):
        hooks.PeriodicWriter([3])


def test_a_trainer_without_a_step():
    with pytest.raises(NotImplementedError, match=r"TrainerBase does not define run_step\(\)"):
        TrainerBase().train(0, 1)


def test_no_checkpoint_period(tmp_path):
    trainer = simple_trainer()
    checkpointer = Checkpointer(Parabola(), str(tmp_path))
    trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, 0)])
    with pytest.raises(ValueError, match=r"SOLVER.CHECKPOINT_PERIOD\) is 0"):
        trainer.train(0, 1)


def test_best_of_what():
    with pytest.raises(ValueError, match="mode is 'best', not 'max' or 'min'"):
        hooks.BestCheckpointer(1, None, "bbox/AP", mode="best")


def test_results_that_are_no_dict():
    trainer = simple_trainer()
    trainer.register_hooks([hooks.EvalHook(0, lambda: [1])])
    with pytest.raises(TypeError, match=r"returned \[1\], not a dict"):
        trainer.train(0, 1)


def test_a_loss_that_is_not_finite_in_a_thread():
    trainer = simple_trainer(Explodes(), async_write_metrics=True)
    with pytest.raises(FloatingPointError, match="iteration=0"):
        trainer.train(0, 5)
    # Also where it is the last iteration that goes wrong.
    trainer = simple_trainer(Explodes(), async_write_metrics=True)
    with pytest.raises(FloatingPointError, match="iteration=0"):
        trainer.train(0, 1)


def test_precise_bn_without_bn(caplog):
    caplog.set_level(logging.INFO)
    trainer = simple_trainer()
    trainer.register_hooks([hooks.PreciseBN(1, trainer.model, [], 1)])
    trainer.train(0, 1)
    assert "PreciseBN is off" in caplog.text


def test_no_output_folder():
    with pytest.raises(ValueError, match="OUTPUT_DIR is empty"):
        default_setup(tiny_cfg(""), {})


def test_an_unknown_precision(tmp_path):
    with pytest.raises(ValueError, match="FLOAT32_PRECISION is 'tf32'"):
        default_setup(tiny_cfg(tmp_path, "FLOAT32_PRECISION", "tf32"), {})


@pytest.mark.parametrize("precision, tf32", [("highest", False), ("high", True), ("medium", True)])
def test_precision_of_float32_on_a_gpu(precision, tf32, monkeypatch):
    from detectron2.engine import _setup

    chosen = []
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not tf32)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _setup._set_float32_precision(precision)
    assert chosen == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    _setup._set_float32_precision("")
    assert chosen == []
    _setup._set_float32_precision(precision)
    assert chosen == [precision]
    assert torch.backends.cudnn.allow_tf32 is tf32


def test_no_escape_codes_in_the_log_file(tmp_path):
    default_setup(tiny_cfg(tmp_path), {})
    assert "\033" not in (tmp_path / "log.txt").read_text()


def test_which_method_evaluation_needs(tmp_path, caplog):
    with pytest.raises(NotImplementedError, match=r"TinyTrainer does not define build_evaluator"):
        TinyTrainer.build_evaluator(tiny_cfg(tmp_path), "a")


def test_one_evaluator_for_two_datasets(tmp_path):
    cfg = tiny_cfg(tmp_path, "DATASETS.TEST", ("a", "b"))
    with pytest.raises(ValueError, match="1 evaluators for 2 datasets"):
        EvaluatingTrainer.test(cfg, Parabola(), [Weight()])


def test_a_reference_that_does_not_divide_the_batch():
    cfg = tiny_cfg("", "SOLVER.REFERENCE_WORLD_SIZE", 3)
    with pytest.raises(ValueError, match="IMS_PER_BATCH 16 is not a multiple of .* 3"):
        DefaultTrainer.auto_scale_workers(cfg, 2)


def test_expected_results_without_an_evaluation(tmp_path):
    expected = [["bbox", "AP", 1.0, 1.0]]
    cfg = tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 1, "TEST.EXPECTED_RESULTS", expected)
    with pytest.raises(SystemExit):  # there is no dataset, hence no bbox/AP
        TinyTrainer(cfg).train()


@pytest.mark.parametrize("image", [None, np.zeros((20, 20), np.uint8), np.zeros((20, 20, 4))])
def test_not_an_image(image):
    predictor = DefaultPredictor(tiny_cfg(""))
    with pytest.raises(ValueError, match=r"expected an image of shape \(H, W, 3\), got"):
        predictor(image)


def test_an_image_format_that_is_not_of_three_channels():
    with pytest.raises(ValueError, match="INPUT.FORMAT is 'L'"):
        DefaultPredictor(tiny_cfg("", "INPUT.FORMAT", "L"))


def test_what_is_left_out():
    with pytest.raises(
        NotImplementedError, match="AutogradProfiler is not part of detectron2-lite"
    ):
        hooks.AutogradProfiler  # noqa: B018


def test_the_engine_starts_without_what_only_drawing_and_writing_need():
    heavy = ["matplotlib", "tensorboard", "cv2", "pycocotools"]
    code = f"import sys, detectron2.engine; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
