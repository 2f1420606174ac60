"""How several processes end; training and detection in several are tested at their own places."""

import argparse
import atexit
import threading
import time

import pytest
import torch

from detectron2.utils import comm
from fcos.utils.errors import UserError
from fcos.utils.processes import check_processes, run_processes

TWO = {"num_gpus": 2, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}


def compute_for_ever():
    square = torch.ones(200, 200)
    while True:
        square.mm(square)


def leave_a_thread_in_torch(args):
    """A thread that returns from C++ to a Python that has ended makes the process abort."""
    threading.Thread(target=compute_for_ever, daemon=True).start()
    time.sleep(0.1)
    rank = comm.get_rank()
    atexit.register((args.folder / f"handler{rank}").touch)
    print(f"process {rank} says goodbye")
    return args.codes[rank]


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 3), 3), ((3, 3), 3)])
def test_a_thread_in_torch_does_not_abort_a_process_that_ends(tmp_path, capfd, codes, expected):
    args = argparse.Namespace(**TWO, folder=tmp_path, codes=codes)
    assert run_processes(leave_a_thread_in_torch, args) == expected
    said = capfd.readouterr()
    assert "terminate" not in said.err
    if expected == 0:  # otherwise one may be ended by the other's end
        assert {path.name for path in tmp_path.iterdir()} == {"handler0", "handler1"}
        assert sorted(said.out.splitlines()) == [f"process {i} says goodbye" for i in (0, 1)]


def test_one_process_is_this_one():
    args = argparse.Namespace(**{**TWO, "num_gpus": 1})
    assert run_processes(lambda args: args.num_gpus + 4, args) == 5


def test_one_gpu_for_several_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_processes(argparse.Namespace(**TWO), "cuda")
    check_processes(argparse.Namespace(**{**TWO, "num_gpus": 1}), "cuda:1")
    with pytest.raises(
        UserError, match=r"^MODEL\.DEVICE is cuda:1, but there are to be 2 processes"
    ):
        check_processes(argparse.Namespace(**TWO), "cuda:1")
