"""Signals are held back; and what only POSIX systems have is not needed by one process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.utils import signals
from tests.tiny import ROOT, write_project

# Runs a module as a program where what only POSIX systems have is missing for our packages.
HIDDEN = """
import builtins, os, runpy, signal, sys

for name in ("pthread_sigmask", "SIG_BLOCK", "SIG_SETMASK", "SIGCHLD", "SIGHUP", "SIGUSR1"):
    delattr(signal, name)
OURS, POSIX = ("fcos", "fcos_cli", "detectron2"), ("fcntl", "resource", "termios", "pwd", "grp")
import_any = builtins.__import__

def import_checked(name, globals=None, locals=None, fromlist=(), level=0):
    if name in POSIX and (globals or {}).get("__name__", "").partition(".")[0] in OURS:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return import_any(name, globals, locals, fromlist, level)

builtins.__import__ = import_checked
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run_hidden(folder, module, *arguments):
    return subprocess.run(
        [sys.executable, "-c", HIDDEN, module, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_one_process_needs_nothing_of_posix(tmp_path):
    write_project(tmp_path)
    config = ("--config-file", "tiny.yaml")
    done = run_hidden(tmp_path, "fcos_cli", "train", *config, "SOLVER.MAX_ITER", "2")
    assert done.returncode == 0, done.stderr
    weights, picture = "output/model_final.pth", "datasets/tiny/images/0.png"
    model = (*config, "--opts", "MODEL.WEIGHTS", weights)
    done = run_hidden(
        tmp_path, "fcos_cli", "detect", "--input", picture, "--output", "found", *model
    )
    assert done.returncode == 0, done.stderr
    done = run_hidden(tmp_path, "fcos_cli", "demo", "--input", picture, "--output", "drawn", *model)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def interrupts():
    """SIGINT does what it does in a new process, whatever earlier tests have left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system holds none back")
def test_a_blocked_signal_comes_when_it_is_let_through():
    before = signals.block([signal.SIGINT])
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signals.restore(before)
    signals.restore(before)
    assert signal.SIGINT not in signals.block([])


@pytest.mark.usefixtures("interrupts")
def test_where_no_signal_can_be_held_back(monkeypatch):
    monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    signals.restore(signals.block([signal.SIGINT]))
    signals.unblock([signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def blocked_signals(pid):
    """As Linux tells: a hexadecimal mask, whose lowest bit is signal 1."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigBlk:")[2].split()[0], 16)
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


# In a process of its own: the first to start any.
STARTER = """
import multiprocessing, signal, sys, time
from fcos.utils import signals

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=time.sleep, args=(60,)) for _ in range(2)]
    with signals.blocked_in_children({signal.SIGINT}):
        for child in children:
            child.start()
    print(*[child.pid for child in children], flush=True)
    sys.stdin.read()
    for child in children:
        child.kill()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux what is blocked")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_holds_signals_back_from_its_first_moment_on(method):
    """The first that multiprocessing spawns too, before which it starts a process of its own."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", STARTER, method], **pipes) as starter:
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == 2
        assert [signal.SIGINT in blocked_signals(pid) for pid in pids] == [True, True]
        assert signal.SIGINT not in blocked_signals(starter.pid)
        starter.stdin.close()
