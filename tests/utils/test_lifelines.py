"""A process that ends before its time tells the others."""

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import time

import pytest

from fcos.utils.launched import Place
from fcos.utils.lifelines import Lifelines, addresses

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
FORKED = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
REMEDY = "Go on."


class Group:
    """Processes with lifelines, which do what they are told; without torch between them."""

    def __init__(self, folder, local_size, machines=1, has_parent=False, at_once=()):
        self.folder, self.number = folder, local_size * machines
        queues = [FORKED.Queue() for _ in range(self.number)]
        self.pipes, self.processes = [], []
        for rank in range(self.number):
            here, there = FORKED.Pipe()
            place = Place(rank, self.number, rank % local_size, local_size, "127.0.0.1", 9)
            process = FORKED.Process(target=self._run, args=(place, has_parent, queues, there))
            process.start()
            if at_once:
                here.send(at_once)
            self.pipes.append(here)
            self.processes.append(process)
        for pipe in self.pipes:
            assert pipe.recv() == "met"

    def _run(self, place, has_parent, queues, pipe):
        sys.stderr = (self.folder / f"stderr{place.rank}").open("w")

        def share(value):
            if place.rank == 0:
                for queue in queues:
                    queue.put(value)
            return [queues[place.rank].get(timeout=10)]

        lines = Lifelines(place, has_parent, REMEDY)
        lines.meet(share)
        pipe.send("met")
        while True:
            word, *values = pipe.recv()
            if word == "fork":
                pid = os.fork()
                if pid == 0:
                    time.sleep(60)
                    os._exit(0)
                pipe.send(pid)
            elif word == "_tell_left":  # as part() does, which then waits
                lines._tell(left=True)
                pipe.send(word)
            elif word == "hold":  # Python's lock, about a second: no other thread runs
                pipe.send(sum(range(10**7)))
            else:
                getattr(lines, word)(*values)
                pipe.send(word)
            if word == "fail":  # it may take a while to end
                time.sleep(0.3)
            if word in ("part", "fail"):
                os._exit(values[0] if values else 0)

    def tell(self, rank, *words):
        self.pipes[rank].send(words)

    def codes(self, seconds=30):
        """The exit codes; a process that has not ended after that time has none."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def said(self):
        return [(self.folder / f"stderr{rank}").read_text() for rank in range(self.number)]

    def close(self):
        for process in self.processes:
            process.kill()


@pytest.fixture
def group(tmp_path):
    with contextlib.ExitStack() as stack:

        def make(*arguments, **options):
            made = Group(tmp_path, *arguments, **options)
            stack.callback(made.close)
            return made

        yield make


def sentence(rank, number, how="has ended without a word (killed, or its machine is gone)"):
    return f"Rank {rank} of {number} processes {how}, so the others have ended too. Go on.\n"


def test_what_is_said_at_once_is_heard(group, monkeypatch):
    """Also by a first process that is slow to take the connections of the others."""
    accept = Lifelines._accept

    def accept_late(self, *arguments):
        time.sleep(0.5)
        accept(self, *arguments)

    monkeypatch.setattr(Lifelines, "_accept", accept_late)
    assert group(2, at_once=("part",)).codes(10) == [0, 0]


@pytest.mark.parametrize(("killed", "speaker"), [(0, 1), (1, 0), (2, 0)])
def test_a_killed_process_ends_the_others(group, killed, speaker):
    three = group(3)
    three.processes[killed].kill()
    assert three.codes() == [-signal.SIGKILL if rank == killed else 1 for rank in range(3)]
    said = three.said()
    assert said.pop(speaker) == sentence(killed, 3)
    assert said == ["", ""]


def test_each_machine_says_it_once(group):
    four = group(2, machines=2)
    four.processes[2].kill()
    assert four.codes() == [1, 1, -signal.SIGKILL, 1]
    assert four.said() == [sentence(2, 4), "", "", sentence(2, 4)]


def test_a_parent_says_it_itself(group):
    four = group(2, machines=2, has_parent=True)
    four.processes[0].kill()
    assert four.codes() == [-signal.SIGKILL, 1, 1, 1]
    assert four.said() == ["", "", sentence(0, 4), ""]


@pytest.mark.parametrize("failed", [0, 2])
def test_a_process_that_fails_has_said_why_on_its_machine(group, failed):
    four = group(2, machines=2)
    four.tell(failed, "fail", 7)
    assert four.codes() == [7 if rank == failed else 1 for rank in range(4)]
    how = sentence(failed, 4, "ended with exit code 7")
    assert four.said() == ["", "", how, ""] if failed == 0 else [how, "", "", ""]


def test_processes_part_together(group):
    three = group(3)
    three.tell(1, "part")
    three.tell(2, "part")
    assert three.codes(0.3) == [None, None, None]  # they wait for the first one
    three.tell(0, "part")
    assert three.codes() == [0, 0, 0]
    assert three.said() == ["", "", ""]


def test_one_that_has_parted_is_not_missed(group):
    two = group(2)
    two.tell(1, "_tell_left")
    assert two.pipes[1].recv() == "_tell_left"
    two.processes[1].kill()
    two.processes[1].join()
    assert two.codes(0.5) == [None, -signal.SIGKILL]
    two.tell(0, "part")
    assert two.codes() == [0, -signal.SIGKILL]


def test_what_a_killed_process_has_forked_does_not_hide_its_end(group):
    two = group(2)
    two.tell(1, "fork")
    forked = two.pipes[1].recv()
    try:
        two.processes[1].kill()
        two.processes[0].join(10)
        assert [process.exitcode for process in two.processes] == [1, -signal.SIGKILL]
    finally:
        os.kill(forked, signal.SIGKILL)


def test_a_process_that_lets_no_thread_run_is_alive(group):
    two = group(2)
    two.tell(1, "hold")
    assert two.pipes[1].recv() > 0
    os.kill(two.processes[1].pid, signal.SIGSTOP)  # as one that waits for a disk
    assert two.codes(0.5) == [None, None]
    os.kill(two.processes[1].pid, signal.SIGCONT)
    for rank in (0, 1):
        two.tell(rank, "part")
    assert two.codes() == [0, 0]


@pytest.mark.parametrize(
    ("host", "local_size", "listen", "told"),
    [
        ("10.255.0.9", 2, "127.0.0.1", "127.0.0.1"),  # all on one machine
        ("localhost", 1, "", "localhost"),  # a name that only this machine takes for its own
        ("127.0.1.1", 1, "", "127.0.1.1"),
    ],
)
def test_where_the_others_reach_the_first(host, local_size, listen, told):
    assert addresses(Place(0, 2, 0, local_size, host, 9)) == (listen, told)


def test_a_stranger_at_the_port_is_not_heard(tmp_path):
    """It is no process of the group, so the first one waits on for the real one."""
    ports = multiprocessing.SimpleQueue()

    def share(value):
        ports.put(value)
        return [value]

    def first():
        sys.stderr = (tmp_path / "stderr").open("w")
        lines = Lifelines(Place(0, 2, 0, 2, "127.0.0.1", 9), False, REMEDY)
        lines.meet(share)
        time.sleep(20)

    process = FORKED.Process(target=first)
    process.start()
    host, port, token = ports.get()
    connections = []
    for line in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"token": "x", "rank": 1}\n'):
        connections.append(socket.create_connection((host, port)))
        connections[-1].sendall(line)
    with socket.create_connection((host, port)) as real:
        real.sendall(json.dumps({"rank": 1, "token": token}).encode() + b"\n")
        time.sleep(0.2)
        assert process.exitcode is None
    process.join(5)
    assert process.exitcode == 1
    assert (tmp_path / "stderr").read_text() == sentence(1, 2)
    for connection in connections:
        connection.close()
