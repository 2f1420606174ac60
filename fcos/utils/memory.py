"""Memory of the host: reuse what was freed instead of returning it to the system."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

# From glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
# By which a user may have chosen other settings.
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors in this process for the next tensors.

    By default glibc maps new pages for each large tensor and returns them to the system when the
    tensor is freed. The system clears the new pages of the next tensor at their first use, which
    takes a tenth of a training step on the CPU and a quarter of the time of loading images. The
    price is memory: the process does not shrink between steps, and images of many sizes fragment
    the heap; the peak of a detection grew by a tenth.

    Returns:
        Whether this was set. It is set with glibc only, and not if the environment chooses settings
        of malloc itself: by ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_MAX_``,
        ``MALLOC_MMAP_THRESHOLD_`` or ``GLIBC_TUNABLES``. It has no effect on another allocator
        that replaces glibc's.
    """
    if any(name in os.environ for name in VARIABLES):
        return False
    if "malloc" in os.environ.get("GLIBC_TUNABLES", "") or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # -1: never return memory to the system; 0: never map pages for a single tensor.
    return bool(mallopt and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_MMAP_MAX, 0))
