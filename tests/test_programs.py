"""Each program that writes files, with files that may not grow, and killed once."""

import random

import pytest

from tests import programs

pytestmark = pytest.mark.cpu

# The others take more than a second; `make torture` has them all, and more cases.
QUICK = ["convert", "show", "import", "demo", "video", "detect", "skeleton"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DETECTRON2_DATASETS", "datasets")
        programs.prepare(root)
        yield root


@pytest.mark.parametrize("name", QUICK)
def test_what_is_found_is_whole_or_absent(place, name, capfd):
    wrong = programs.torture(name, kills=1, limits=1, draw=random.Random(name))
    assert not wrong, capfd.readouterr().out


def test_a_file_that_is_cut_is_noticed():
    whole = {"a.png": b"whole", "b": b"x"}
    assert programs.problems({"a.png": b"who"}, whole, all_of_them=False) == ["a.png differs"]
    assert programs.problems({"c": b""}, whole, all_of_them=False) == ["c is new"]
    assert sorted(programs.problems({}, whole, all_of_them=True)) == [
        "a.png is missing",
        "b is missing",
    ]
