"""Freed memory is kept: seen by the pages that the system has to clear."""

import os
import subprocess
import sys

import pytest

# 64 MiB are 16,384 pages of 4 KiB.
PROGRAM = """
import ctypes, resource, sys
import torch
from fcos.utils.memory import keep_freed_memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages, of which there would be fewer
if sys.argv[1] == "keep":
    print(keep_freed_memory())
for _ in range(8):  # until the heap does not grow any more
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
ALLOCATION = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "THP_")

glibc_only = pytest.mark.skipif(
    not sys.platform.startswith("linux") or "glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")),
    reason="a setting of glibc",
)


def said(what, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ALLOCATION)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@glibc_only
def test_freed_memory_is_kept():
    (pages,) = said("leave")
    assert int(pages) > 40_000
    is_so, pages = said("keep")
    assert is_so == "True"
    assert int(pages) < 1_000


@glibc_only
@pytest.mark.parametrize(
    "variable, value",
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=100")],
)
def test_the_environment_decides(variable, value):
    is_so, pages = said("keep", **{variable: value})
    assert is_so == "False"
    assert int(pages) > 40_000
