"""A contestant that does its work in a process of its own, which stays for all samples.

Large tensors make a process's time depend on what it did before: which memory the allocator has
kept, and how cut up that is. So no whole model runs in a process in which another one ran.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.settings import Settings
from benchmarks.work import InProcess, Sample

__all__ = ["Apart"]


class Apart:
    """An :class:`InProcess` that is made and asked in another process.

    Args:
        name: in the table.
        function: ``module:name``; called with the settings and ``arguments``, it makes the
            contestant.
        settings: also says how many threads the process has.
        arguments: whatever pickles.

    Raises:
        RuntimeError: making it failed, or one of its calls.
    """

    memory_kind = InProcess.memory_kind
    first_counts = InProcess.first_counts

    def __init__(self, name: str, function: str, settings: Settings, **arguments: Any) -> None:
        self.name = name
        # It forks from a process that has imported what is needed and computed nothing yet.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.rows"])
        self._end, other_end = context.Pipe()
        process = context.Process(
            target=_serve, args=(other_end, function, settings, arguments), daemon=True
        )
        process.start()
        other_end.close()
        self._answer()

    def sample(self, with_outcome: bool = False) -> Sample:
        return self._ask("sample", with_outcome)

    def memory(self) -> int:
        return self._ask("memory")

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._end.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            succeeded, answer = pickle.loads(self._end.recv_bytes())
        except EOFError:
            raise RuntimeError("its process ended") from None
        if not succeeded:
            raise RuntimeError(answer)
        return answer


def _serve(end: Connection, function: str, settings: Settings, arguments: dict[str, Any]) -> None:
    """The process: makes the contestant and answers until nobody asks any more."""
    torch.set_num_threads(settings.threads)
    module, _, name = function.partition(":")
    made: list[InProcess] = []

    def make() -> None:
        made.append(getattr(importlib.import_module(module), name)(settings, **arguments))

    _answer(end, make)
    while True:
        try:
            method, given = end.recv()
        except EOFError:
            return
        _answer(end, functools.partial(getattr(made[0], method), *given))


def _answer(end: Connection, call: Callable[[], Any]) -> None:
    try:
        said = True, call()
    except Exception as error:  # whatever a peer raises is its result
        said = False, f"{type(error).__name__}: {error}"
    # Not Connection.send, which shares the memory of tensors: it ends with this process.
    end.send_bytes(pickle.dumps(said))
