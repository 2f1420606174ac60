"""Warnings of steps that wait for data or are cut short."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fcos.config import get_cfg
from fcos.engine.watch_steps import ClippingWatch, DataWatch

pytestmark = pytest.mark.cpu


# ---- data ------------------------------------------------------------------------------------


def waited(iterations, data, whole=1.0, workers=0, start=0):
    """Run a watch beside a training whose iterations take so many seconds."""
    watch = DataWatch(workers)
    with EventStorage(start) as storage:
        watch.trainer = SimpleNamespace(storage=storage, start_iter=start)
        for watch.trainer.iter in range(start, start + iterations):
            storage.put_scalars(data_time=data(watch.trainer.iter - start))
            if watch.trainer.iter - start > 2:  # detectron2's timer leaves the first ones out
                storage.put_scalars(time=whole)
            watch.after_step()
            storage.step()


@pytest.mark.parametrize(
    ("workers", "words"), [(0, "some, which load images meanwhile, help"), (4, "more of them help")]
)
@pytest.mark.parametrize("start", [0, 1234])
def test_waiting_is_told_once(workers, words, start, caplog):
    waited(199, lambda _: 0.51, workers=workers, start=start)
    assert not caplog.records
    waited(1000, lambda _: 0.51, workers=workers, start=start)
    (record,) = caplog.records
    assert record.message.startswith(
        "Training waits for its images: 0.51 of 1 seconds of an iteration (median of 100)."
    )
    assert f"DATALOADER.NUM_WORKERS is {workers}; {words}" in record.message


@pytest.mark.parametrize(
    "data",
    [
        lambda _: 0.49,
        lambda i: 9.0 if i < 100 else 0.1,  # the beginning: workers start, files are not cached
        lambda i: 9.0 if i % 3 == 0 else 0.1,  # now and then
    ],
)
def test_short_or_rare_waiting_is_not(data, caplog):
    waited(1000, data)
    assert not caplog.records


def test_a_training_without_a_timer(caplog):
    watch = DataWatch(0)
    with EventStorage() as storage:
        watch.trainer = SimpleNamespace(storage=storage, start_iter=0, iter=199)
        watch.after_step()
    assert not caplog.records


# ---- clipping --------------------------------------------------------------------------------


def clipping(kind, limit, norm_type=2.0, enabled=True):
    cfg = get_cfg()
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE = enabled, kind, limit, norm_type
    return cfg


def clipped(cfg, iterations, scale=1.0):
    """Run a watch beside a training whose gradients are 3 and 4 of one parameter, 12 of another."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad = torch.tensor([3.0, 4.0]) * scale
    parameters[1].grad = torch.tensor([12.0]) * scale
    watch = ClippingWatch(cfg)
    watch.trainer = SimpleNamespace(
        optimizer=SimpleNamespace(param_groups=[{"params": parameters}]),
        grad_scaler=SimpleNamespace(get_scale=lambda: scale),
    )
    for watch.trainer.iter in range(iterations):
        watch.after_backward()
    return watch


@pytest.mark.parametrize(
    ("kind", "limit", "norm_type", "left"),
    [
        ("value", 2.0, 2.0, (8 + 4) ** 0.5),  # 2, 2 and 2
        ("norm", 2.0, 2.0, (4 + 4) ** 0.5),  # lengths 5 and 12 become 2
        ("norm", 2.0, math.inf, ((5 / 2) ** 2 + 4) ** 0.5),  # the larger of 3 and 4 becomes 2
        ("norm", 20.0, 2.0, 13.0),
    ],
)
def test_what_is_left_by_hand(kind, limit, norm_type, left):
    watch = clipped(clipping(kind, limit, norm_type), 0)
    torch.testing.assert_close(watch.lengths(), torch.tensor([13.0, left]))
    watch = clipped(clipping(kind, limit, norm_type), 0, scale=8.0)  # float16's gradients
    torch.testing.assert_close(watch.lengths(), 8 * torch.tensor([13.0, left]))


def test_clipping_of_more_than_half_is_told_once(caplog):
    clipped(clipping("norm", 5.0), 400)  # 5 and 5 of 13: 7.1 is more than half
    clipped(clipping("norm", 4.0), 319)  # 5.7 is less
    assert not caplog.records
    clipped(clipping("norm", 4.0), 700)
    (record,) = caplog.records
    assert "cut off more than half of the gradient in every iteration" in record.message
    assert "for about 300 iterations" in record.message
    assert "SOLVER.CLIP_GRADIENTS.CLIP_VALUE (4)" in record.message


def test_other_processes_and_trainings_without_clipping_are_silent(monkeypatch, caplog):
    clipped(clipping("norm", 4.0, enabled=False), 400)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    clipped(clipping("norm", 4.0), 400)
    assert not caplog.records
