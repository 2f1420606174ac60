"""Loader processes and the signals that a job scheduler or a terminal sends to all of a job."""

import os
import platform
import resource
import signal
import subprocess
import sys
from itertools import count, islice
from multiprocessing import active_children

import pytest
from torch.utils.data import DataLoader

from fcos.data.workers import start_iterating

LOADER = {"batch_size": 2, "num_workers": 2}


@pytest.mark.parametrize(
    ("number", "method"),
    [(signal.SIGINT, None), (signal.SIGTERM, None), (signal.SIGINT, "forkserver")],
)
def test_workers_outlive_a_signal_to_the_whole_job(number, method):
    others = set(active_children())
    loader = DataLoader(range(20), multiprocessing_context=method, **LOADER)
    batches = start_iterating(loader)
    workers = set(active_children()) - others
    assert len(workers) == 2
    # Those that are not forked have to begin before they can block anything.
    first = [next(batches) for _ in workers if method]
    for worker in workers:
        os.kill(worker.pid, number)
    found = [batch.tolist() for batch in (*first, *batches)]
    assert found == [[i, i + 1] for i in range(0, 20, 2)]
    del batches
    assert not workers & set(active_children())


def test_the_parent_still_gets_the_signals():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    list(start_iterating(DataLoader(range(2), **LOADER)))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


class Endless:
    def __iter__(self):
        return ([i] for i in count())


class Numbers:
    def __getitem__(self, index):
        return index


def leave_with_live_workers():
    """Ends while an iterator, kept alive by the traceback that holds it, still has its workers."""
    loader = DataLoader(Numbers(), batch_sampler=Endless(), num_workers=2)
    sys.batches = start_iterating(loader)
    print(*(batch.item() for batch in islice(sys.batches, 3)), flush=True)


@pytest.mark.parametrize(
    "call",
    [
        "leave_with_live_workers()",
        "import torch; torch.multiprocessing.spawn(leave, nprocs=1)",  # as in training on GPUs
    ],
)
def test_python_exits_while_workers_live(call, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.data.test_workers import leave_with_live_workers\n"
        "def leave(_rank): leave_with_live_workers()\n"
        f"if __name__ == '__main__': {call}\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 1 2\n", "")


def say_hello(number):
    print("hello of", number, flush=True)


def test_a_loader_keeps_what_its_workers_begin_with(capfd):
    loader = DataLoader(range(4), worker_init_fn=say_hello, **LOADER)
    for _ in range(2):
        assert len(list(start_iterating(loader))) == 2
        assert sorted(capfd.readouterr().out.splitlines()) == ["hello of 0", "hello of 1"]
    assert loader.worker_init_fn is say_hello


class PageFaults:
    """How many pages of memory ten batches of four images cost, after one before them."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.make_batch()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            self.make_batch()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def make_batch(self):
        return [bytes([1]) * 2**22 for _ in range(4)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do as they do")
@pytest.mark.parametrize(
    "options",
    ["", "num_workers=1", "num_workers=1, multiprocessing_context='forkserver'"],
)
def test_a_batch_takes_the_memory_of_the_one_before(options):
    code = (  # in a process in which nothing large has been freed yet
        "from torch.utils.data import DataLoader\n"
        "from fcos.data.workers import start_iterating\n"
        "from tests.data.test_workers import PageFaults\n"
        f"loader = DataLoader(PageFaults(), batch_size=None, {options})\n"
        "print(*start_iterating(loader))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=180,
    )
    assert int(done.stdout) < 1024  # the pages of one image
