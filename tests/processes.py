"""Two processes for a test."""

import contextlib
import time
from pathlib import Path

from detectron2.engine import launch
from fcos.utils.processes import run_and_exit


def run_in_two(function, *args):
    """Call the function, of a module's top level, in two processes that share gloo.

    What it returns is the exit code of its process; None is 0.
    """
    launch(_call_and_exit, 2, dist_url="auto", args=(function, args))


def _call_and_exit(function, args):
    run_and_exit(lambda: function(*args) or 0)


def wait_until_two_import(process):
    """Until both processes that a program has started are importing torch; Linux tells."""
    deadline = time.monotonic() + 60
    while len(children := _started_by(process.pid)) < 2 or not all(map(_has_torch, children)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def _started_by(parent):
    """Without multiprocessing's own."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            state = (path / "stat").read_text().rpartition(")")[2].split()
            if int(state[1]) == parent and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(path)
    return found


def _has_torch(process):
    try:
        return "libtorch" in (process / "maps").read_text()
    except OSError:
        return False
