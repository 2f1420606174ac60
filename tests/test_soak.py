"""A short soak: nothing grows from image to image."""

import subprocess
import sys

import pytest

from tests import soak

pytestmark = pytest.mark.cpu


def test_memory_files_and_threads_stay():
    command = [sys.executable, "-m", "tests.soak", "--number", "40"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=soak.ROOT, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": flat") == len(soak.JOBS)


def test_what_grows_is_found():
    mib = 2**20
    flat = [soak.Sample(200 * mib, 20, 5)] * 40
    assert soak.verdict("loader", 1000, flat)[1] == []
    memory = [soak.Sample((200 + 3 * i) * mib, 20, 5) for i in range(40)]
    assert soak.verdict("loader", 1000, memory)[1] == ["memory grew by 90.0 MiB"]
    files = [soak.Sample(200 * mib, 20 + i, 5 + i // 2) for i in range(40)]
    assert [text.split(":")[0] for text in soak.verdict("loader", 9, files)[1]] == [
        "files",
        "threads",
    ]
