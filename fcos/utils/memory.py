"""Memory of the host: what a tensor or an image leaves, the next one takes."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
# What a user may have set them by.
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for the next ones.

    By default glibc gives a large tensor pages of its own and returns them to the system with the
    tensor. The next one gets new pages, which the system clears one by one as they are touched: a
    tenth of a training step on the CPU, a quarter of the loading of images. Kept, the process stays
    as large as it was between steps, and images of many sizes leave gaps: in detection its peak
    grew by a tenth.

    Returns:
        Whether it is so now: only with glibc, and not if the environment says how it shall be
        (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_MAX_``, ``MALLOC_MMAP_THRESHOLD_``,
        ``GLIBC_TUNABLES`` with malloc). Another allocator, loaded in its place, has its own way.
    """
    if any(name in os.environ for name in VARIABLES):
        return False
    if "malloc" in os.environ.get("GLIBC_TUNABLES", "") or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # -1: nothing is ever returned; 0: no tensor has pages of its own.
    return bool(mallopt and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_MMAP_MAX, 0))
