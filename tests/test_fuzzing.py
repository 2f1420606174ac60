"""Each reader of files, given some that are damaged at random; ``make fuzz`` gives it many more."""

import os
import subprocess
import sys

from tests.fuzzing.readers import READERS
from tests.tiny import ROOT


def test_every_reader_with_damaged_files():
    """In a process of its own, because its memory is limited, and a crash would end it."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", "--files", "25", "--seed", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr[-3000:]}"
    assert ran.stderr.count(": 25 files") == len(READERS)
