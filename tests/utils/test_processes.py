"""How several processes end; training and detection in several are tested at their own places."""

import atexit
import functools
import os
import signal
import socket
import sys
import threading
import time

import pytest
import torch

from detectron2.utils import comm
from fcos.utils.errors import UserError
from fcos.utils.joining import join
from fcos.utils.launched import Place
from fcos.utils.processes import Ending, Processes, check_processes, run_processes

TWO = Processes(num_gpus=2)


def compute_for_ever():
    square = torch.ones(200, 200)
    while True:
        square.mm(square)


def leave_a_thread_in_torch(folder, codes):
    """A thread that returns from C++ to a Python that has ended makes the process abort."""
    threading.Thread(target=compute_for_ever, daemon=True).start()
    time.sleep(0.1)
    rank = comm.get_rank()
    atexit.register((folder / f"handler{rank}").touch)
    # In one piece: where Python does not buffer, print writes the end of a line on its own.
    sys.stdout.write(f"process {rank} says goodbye\n")
    return Ending(codes[rank])


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 3), 3), ((3, 3), 3)])
def test_a_thread_in_torch_does_not_abort_a_process_that_ends(tmp_path, capfd, codes, expected):
    run, environment = functools.partial(leave_a_thread_in_torch, tmp_path, codes), dict(os.environ)
    assert run_processes(run, TWO) == expected
    assert dict(os.environ) == environment
    said = capfd.readouterr()
    assert "terminate" not in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"handler0", "handler1"}
    assert sorted(said.out.splitlines()) == [f"process {i} says goodbye" for i in (0, 1)]


def end_with_a_text(is_shared, delay):
    atexit.register(sys.stdout.write, f"{comm.get_rank()} has tidied up\n")  # in one piece
    if comm.get_rank() == 0:
        time.sleep(delay)
    text = "of all" if is_shared else f"of {comm.get_rank()}"
    return Ending(7, text, is_shared)


@pytest.mark.parametrize("delay", [0, 1])
def test_what_all_have_to_say_is_said_once_by_the_first(capfd, delay):
    assert run_processes(functools.partial(end_with_a_text, True, delay), TWO) == 7
    said = capfd.readouterr()
    assert said.err == "of all\n"
    assert sorted(said.out.splitlines()) == ["0 has tidied up", "1 has tidied up"]


def test_the_first_failure_ends_the_others(capfd):
    assert run_processes(functools.partial(end_with_a_text, False, 60), TWO) == 7
    said = capfd.readouterr()
    assert said.err == "of 1\n"
    assert said.out == "1 has tidied up\n"


def be_killed(number, mark):
    if comm.get_rank() == 1:
        mark.touch()
        os.kill(os.getpid(), number)
    comm.synchronize()
    raise AssertionError("the other process has been waited for in vain")


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGKILL, ", perhaps because the memory was full"), (signal.SIGABRT, "")],
)
def test_a_killed_process_is_named_and_ends_the_others(tmp_path, capfd, number, why):
    mark = tmp_path / "killed"
    assert run_processes(functools.partial(be_killed, number, mark), TWO, "Go on.") == 128 + number
    assert time.time() - mark.stat().st_mtime < 15
    assert capfd.readouterr().err == (
        f"Rank 1 of 2 processes was ended by {number.name}{why}, so the others have ended too. "
        "Go on.\n"
    )


@pytest.mark.parametrize(("by", "option"), [("", "--dist-url"), ("torchrun", "MASTER_ADDR and")])
def test_a_port_that_is_in_use(by, option):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = Place(0, 2, 0, 2, "127.0.0.1", server.getsockname()[1], by)
        message = rf"^Port {place.port} of this machine, .*, is in use: choose another \({option}"
        with pytest.raises(UserError, match=message):
            join(place, has_parent=False, remedy="")


def be_interrupted_twice():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return Ending(9, "tidied up")
    return Ending()


def test_a_ctrl_c_that_is_told_twice_is_one(capfd):
    assert run_processes(be_interrupted_twice, TWO) == 9
    assert capfd.readouterr().err == "tidied up\n"


def test_one_process_is_this_one(capfd):
    pid = os.getpid()
    assert run_processes(lambda: Ending(5 if os.getpid() == pid else 6, "what"), Processes()) == 5
    assert capfd.readouterr().err == "what\n"


def test_one_gpu_for_several_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_processes(TWO, "cuda")
    check_processes(Processes(), "cuda:1")
    with pytest.raises(
        UserError, match=r"^MODEL\.DEVICE is cuda:1, but there are to be 2 processes"
    ):
        check_processes(TWO, "cuda:1")


@pytest.mark.parametrize("number", [513, 10**400])
def test_more_processes_than_any_machine_has(number):
    for name, asked in (("gpus", number), ("machines", 10 * number**2)):
        with pytest.raises(UserError, match=rf"^--num-{name} is \d+(\.\.\.)?: ask for at most"):
            check_processes(Processes(**{f"num_{name}": asked}), "cpu")
