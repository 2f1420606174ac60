"""Programs that write files, with files that may not grow, and killed once."""

import subprocess
import sys

import pytest

from tests import programs
from tests.tiny import ROOT

pytestmark = pytest.mark.cpu

# `make torture` has all programs, and more cases.
QUICK = ["convert", "import", "detect"]


def test_what_is_found_is_whole_or_absent():
    command = [sys.executable, "-m", "tests.programs", "--kills", "1", "--limits", "1"]
    done = subprocess.run(
        [*command, "--only", *QUICK], capture_output=True, text=True, cwd=ROOT, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_is_cut_is_noticed():
    whole = {"a.png": b"whole", "b": b"x"}
    assert programs.problems({"a.png": b"who"}, whole, all_of_them=False) == ["a.png differs"]
    assert programs.problems({"a.pt": b"PK"}, {"a.pt": b"PK"}, all_of_them=False) == [
        "a.pt differs"
    ]
    assert programs.problems({"c": b""}, whole, all_of_them=False) == ["c is new"]
    assert sorted(programs.problems({}, whole, all_of_them=True)) == [
        "a.png is missing",
        "b is missing",
    ]
