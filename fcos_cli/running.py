"""How every program ends: with an exit code and, after an error, one sentence."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterator

__all__ = ["run_program"]


def run_program(load: Callable[[], Callable[[], int]], debug: bool = False) -> int:
    """Import a program's job, do it, and say in a sentence what a user can put right.

    Args:
        load: imports what the job needs and returns the job, which returns an exit code. The
            import is a step of its own because torch takes seconds, and --help needs none of it.
        debug: raise an error of the user instead, so that Python shows where it was found.

    Returns:
        The exit code: that of the job; 1 after an error that was printed; 130 after Ctrl-C.
    """
    try:
        try:
            with _no_garbage_collection():
                job = load()
        except ImportError as error:  # no detectron2, or a package is not installed
            print(f"Error: {error}", file=sys.stderr)
            return 1
        return _run(job, debug)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT


def _run(job: Callable[[], int], debug: bool) -> int:
    from fcos.utils.errors import UserError  # imported by now

    try:
        return job()
    except UserError as error:
        if debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Do not search for garbage in what is imported: some 200,000 objects, and all of them stay.

    Python would search them again and again while they come, and once more when the program ends:
    a third of the time that the demo takes for a small picture.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
