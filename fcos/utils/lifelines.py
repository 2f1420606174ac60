"""Tell all processes of a group when one of them ends before its time.

Every process holds a TCP connection to the first. When a process ends, whatever ends it, the
operating system closes the connection, and the first process tells the others. Nothing has to be
sent while all is well, so a process that computes for minutes, also in code that does not let
Python's threads run, is not taken for dead. Of a machine that vanishes, the operating systems learn
by TCP's keepalive.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import selectors
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from fcos.utils.launched import Place

__all__ = ["Lifelines", "addresses", "main_host", "wait_for_news"]

logger = logging.getLogger(__name__)

_MEET_S = 30  # that the first process waits for the connections of the others
_PART_S = 30  # that a process which has ended waits for the others
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}  # 40 s

_current: Lifelines | None = None


def wait_for_news() -> None:
    """Before an error of this process is shown, let it be known that another one has ended.

    If one has, this process ends here: its error is that it lost the other one.
    """
    if _current is not None:
        _current.wait_for_news()


def main_host() -> str:
    """Return the address at which all processes reach the first one."""
    return _current.host if _current is not None else "127.0.0.1"


def addresses(place: Place) -> tuple[str, str]:
    """Choose the address at which the other processes reach this one.

    Returns:
        The address to listen at, and the one to tell the others.
    """
    if place.local_size == place.world_size:
        return "127.0.0.1", "127.0.0.1"
    family, *_, target = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)  # sends nothing: it only chooses the way
        own: str = probe.getsockname()[0]
    # Some systems call themselves 127.0.1.1, where other machines cannot reach them.
    is_loopback = own.startswith("127.") or own == "::1"
    return ("", place.host) if is_loopback else (own, own)


def _parent(is_ours: bool) -> int | None:
    """Return the process without which this one shall not go on; a shell is none."""
    parent = multiprocessing.parent_process()
    if is_ours and parent is not None:
        return parent.pid
    return os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None


class _Line:
    """A connection, over which go lines of JSON."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def send(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the other one has ended, which is noticed elsewhere
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """Return the messages that have come; ``None`` at the end of the connection."""
        try:
            data = self.socket.recv(4096)
        except OSError:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None


class Lifelines:
    """The connections of one process, and the thread that waits at them.

    When another process ends before its time, a sentence is printed and this process ends, with
    exit code 1, wherever it is: most likely it waits for the one that has ended.

    Args:
        place: of this process, with its ``local_size``.
        has_parent: a process of ours started the processes of this machine; it says itself how one
            of them has ended.
        remedy: the sentence that says how to go on.

    Attributes:
        host: address at which all processes reach the first one; set by :meth:`meet`.
    """

    host: str

    def __init__(self, place: Place, has_parent: bool, remedy: str) -> None:
        self._place = place
        self._has_parent = has_parent
        self._remedy = remedy
        self._lines: dict[int, _Line] = {}
        self._left: set[int] = set()
        self._all_left = threading.Event()
        self._has_failed = False
        self._lock = threading.Lock()
        self._parent = _parent(has_parent)

    def meet(self, share: Callable[[Any], list[Any]]) -> None:
        """Connect to the others; every process must call this.

        Args:
            share: gives its argument to all processes and returns those of all, by rank.
        """
        global _current
        token = uuid.uuid4().hex
        if self._place.rank == 0:
            listen, told = addresses(self._place)
            family = socket.AF_INET6 if ":" in listen else socket.AF_INET
            with socket.create_server((listen, 0), family=family) as server:
                self.host, *_ = share((told, server.getsockname()[1], token))[0]
                self._accept(server, token)
        else:
            self.host, port, token = share(None)[0]
            try:
                line = _Line(socket.create_connection((self.host, port), _MEET_S))
                line.socket.settimeout(None)
                line.send(rank=self._place.rank, token=token)
                self._lines[0] = line
            except OSError as error:
                logger.warning(
                    f"Rank {self._place.rank} cannot reach rank 0 at {self.host}:{port} "
                    f"({error}): when one of the two is killed, the other one will not notice."
                )
        # No process goes on before the first has taken all connections: there it reads greetings
        # alone, and a message that came with one would be lost.
        share(None)
        # A process that is forked, to load data say, would hold the connections open.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._close)
        _current = self
        threading.Thread(target=self._watch, name="lifelines", daemon=True).start()

    def _accept(self, server: socket.socket, token: str) -> None:
        deadline = time.monotonic() + _MEET_S
        with contextlib.suppress(TimeoutError):
            while len(self._lines) < self._place.world_size - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                line = _Line(server.accept()[0])
                line.socket.settimeout(5)
                with contextlib.suppress(ValueError, TypeError, LookupError):  # of a stranger
                    for hello in line.receive() or []:
                        if hello["token"] == token:
                            self._lines[hello["rank"]] = line
                line.socket.settimeout(None)

    def _close(self) -> None:
        for line in self._lines.values():
            line.socket.close()

    # ---- the thread --------------------------------------------------------------------------

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, line in self._lines.items():
                selector.register(line.socket, selectors.EVENT_READ, (rank, line))
            while True:
                for key, _ in selector.select(1):
                    rank, line = key.data
                    messages = line.receive()
                    if messages is None:
                        selector.unregister(line.socket)
                        self._end_of(rank)
                    for message in messages or []:
                        self._take(rank, message)
                self._look_for_parent()

    def _look_for_parent(self) -> None:
        """Stop as after Ctrl-C when what started this process was killed."""
        if self._parent is not None and os.getppid() != self._parent:
            self._parent = None
            os.kill(os.getpid(), signal.SIGINT)

    def _take(self, rank: int, message: dict[str, Any]) -> None:
        if "lost" in message:
            self._lose(message["lost"], message["how"], message["is_told"])
        elif "failed" in message:
            self._lose(rank, f"ended with exit code {message['failed']}", is_told=True)
        elif "all_left" in message:
            self._all_left.set()
        elif "left" in message:
            self._leave(rank)

    def _leave(self, rank: int) -> None:
        with self._lock:
            self._left.add(rank)
            are_all = len(self._left) == len(self._lines) + 1
        if self._place.rank == 0 and are_all:
            self._tell(all_left=True)
            self._all_left.set()

    def _end_of(self, rank: int) -> None:
        if rank not in self._left and not self._all_left.is_set():
            self._lose(rank, "has ended without a word (killed, or its machine is gone)", False)

    def _lose(self, rank: int, how: str, is_told: bool) -> None:
        """End this process, since another one has ended."""
        if self._has_failed:  # they have ended because of this one
            return
        if self._place.rank == 0:
            self._tell(lost=rank, how=how, is_told=is_told)
        if self._speaks(rank, is_told):
            print(
                f"Rank {rank} of {self._place.world_size} processes {how}, so the others have "
                f"ended too. {self._remedy}",
                file=sys.stderr,
                flush=True,
            )
        os._exit(1)

    def _speaks(self, lost: int, is_told: bool) -> bool:
        """Whether this process is the one that prints the sentence on its machine."""
        place = self._place
        assert place.local_size is not None
        is_of_this_machine = lost // place.local_size == place.rank // place.local_size
        if is_of_this_machine and (is_told or self._has_parent):
            return False
        first_alive = int(is_of_this_machine and lost % place.local_size == 0)
        return place.local_rank == first_alive

    def _tell(self, **message: Any) -> None:
        for line in self._lines.values():
            line.send(**message)

    # ---- the end -----------------------------------------------------------------------------

    def wait_for_news(self, seconds: float = 3) -> None:
        """Give the thread time to end this process."""
        if self._lines:
            time.sleep(seconds)

    def fail(self, code: int) -> None:
        """Tell the others that this process ends by an error that is its own."""
        self._has_failed = True
        if self._place.rank == 0:
            self._tell(lost=0, how=f"ended with exit code {code}", is_told=True)
        else:
            self._tell(failed=code)

    def part(self) -> None:
        """Tell the others that this process ends as it should, and wait for them, but not long."""
        self._tell(left=True)
        if self._place.rank == 0:
            self._leave(0)
        if self._lines:
            self._all_left.wait(_PART_S)
