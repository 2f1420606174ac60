"""Limits of the operating system, as full disks and small quotas have them."""

from __future__ import annotations

import contextlib
import os
import resource
import traceback
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def limited_files(most: int) -> Iterator[None]:
    """Let no file grow above ``most`` bytes; a process that is started inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def in_child(action: Callable[[], object]) -> None:
    """Do something in a process of its own, so that this one has no threads and can fork.

    Raises:
        RuntimeError: it failed.
    """
    process, code = os.fork(), 1
    if not process:
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    if status:
        raise RuntimeError(f"a process ended with {os.waitstatus_to_exitcode(status)}")
