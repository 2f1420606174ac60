"""launch, and training in two processes; gloo on the CPU."""

import atexit
import os
import sys
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from engine_toys import Numbers, TinyTrainer, tiny_cfg

import detectron2
from detectron2.engine import create_ddp_model, launch
from detectron2.utils import comm

# detectron2 itself trains in several processes on GPUs only, and states its errors otherwise.
lite_only = pytest.mark.skipif(not detectron2.__version__.endswith("+lite"), reason="lite only")
SOON = timedelta(seconds=60)


def test_one_process_is_this_one():
    calls = []
    launch(lambda *args: calls.append((*args, comm.get_world_size())), 1, args=(1, 2))
    assert calls == [(1, 2, 1)]


class Share:
    """Of each batch of ``Numbers``, the elements of this process."""

    def __iter__(self):
        for batch in Numbers():
            yield batch[comm.get_rank() :: comm.get_world_size()]


class SharingTrainer(TinyTrainer):
    @classmethod
    def build_train_loader(cls, cfg):
        return Share()


def train(output_dir):
    trainer = SharingTrainer(tiny_cfg(output_dir, "SOLVER.MAX_ITER", 20))
    trainer.train()
    return trainer


def worker(folder):
    assert (comm.get_world_size(), comm.get_local_size()) == (2, 2)
    assert comm.get_rank() == comm.get_local_rank() == dist.get_rank()
    assert dist.get_backend() == "gloo"
    torch.set_num_threads(1)
    trainer = train(folder)
    assert isinstance(trainer.model, torch.nn.parallel.DistributedDataParallel)
    assert trainer.model.broadcast_buffers is False
    compressed = create_ddp_model(torch.nn.Linear(1, 1), fp16_compression=True)
    compressed(torch.ones(1, 1)).sum().backward()
    assert compressed.module.weight.grad.item() == 1.0
    state = {
        "weights": trainer.model.module.state_dict(),
        "losses": trainer.storage.histories().get("total_loss"),
        "hooks": [type(hook).__name__ for hook in trainer._hooks],
    }
    torch.save(state, os.path.join(folder, f"rank{comm.get_rank()}.pt"))


@lite_only
@pytest.mark.skipif(torch.cuda.is_available(), reason="would use NCCL and two GPUs")
def test_two_processes_train_as_one_with_the_whole_batch(tmp_path):
    launch(worker, 2, dist_url="auto", args=(str(tmp_path),), timeout=SOON)
    first, second = (torch.load(tmp_path / f"rank{i}.pt", weights_only=False) for i in range(2))
    alone = train(tmp_path / "alone")
    expected = alone.model.state_dict()
    for name in ("linear.weight", "linear.bias"):
        torch.testing.assert_close(first["weights"][name], second["weights"][name], rtol=0, atol=0)
        torch.testing.assert_close(first["weights"][name], expected[name], rtol=1e-6, atol=1e-6)
    # The main process has the averages over both; it alone saves and writes.
    losses = [loss for loss, _ in first["losses"].values()]
    expected = [loss for loss, _ in alone.storage.history("total_loss").values()]
    assert losses == pytest.approx(expected, rel=1e-5)
    assert second["losses"] is None
    assert first["hooks"][2:] == ["PeriodicCheckpointer", "EvalHook", "PeriodicWriter"]
    assert second["hooks"][2:] == ["EvalHook"]
    # Files do not say that there was more than one process.
    saved = torch.load(tmp_path / "model_final.pth")
    assert saved["model"].keys() == {"linear.weight", "linear.bias"}


def fail_in_rank_1():
    if comm.get_rank() == 1:
        raise ValueError("rank 1 has had enough")
    comm.synchronize()


@pytest.mark.skipif(torch.cuda.is_available(), reason="would use NCCL and two GPUs")
def test_the_failure_of_one_process_ends_all():
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="has had enough"):
        launch(fail_in_rank_1, 2, dist_url="auto", timeout=SOON)


@lite_only
def test_more_processes_than_gpus():
    with (
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.device_count", return_value=1),
        pytest.raises(ValueError, match=r"2 GPUs per machine .*--num-gpus.* this machine has 1"),
    ):
        launch(print, 2, dist_url="auto")


@lite_only
def test_several_machines_need_an_address():
    with pytest.raises(ValueError, match=r'"auto" works on one machine only.*tcp://'):
        launch(print, 1, num_machines=2, dist_url="auto")


@lite_only
def test_several_processes_need_a_meeting_point(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ValueError, match=r'need a dist_url: "auto"'):
        launch(print, 2)


def note_threads_at_the_end(folder):
    """Which threads are left when Python ends."""
    rank = comm.get_rank()
    comm.all_gather(rank)

    def note():
        threads = [
            (task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()
        ]
        (folder / str(rank)).write_text("\n".join(threads))

    atexit.register(note)


@lite_only
@pytest.mark.skipif(sys.platform != "linux", reason="the names of threads are read from /proc")
def test_no_thread_of_gloo_is_left(tmp_path):
    """It would abort a process that ends while a collective's tensors are let go of."""
    launch(note_threads_at_the_end, 2, dist_url="auto", args=(tmp_path,))
    for rank in ("0", "1"):
        threads = (tmp_path / rank).read_text().split("\n")
        assert threads and not [name for name in threads if "gloo" in name]
