"""The exercise: its tests fail on the skeleton and pass on the package."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import fcos
from fcos.evaluation.teaching.skeleton import STEPS, without_bodies, write_skeleton
from fcos.utils.errors import UserError
from fcos_cli.__main__ import main
from tests.evaluation.teaching.exercise_values import FILE, values

PACKAGE = Path(fcos.__file__).parent


def run_tests(folder):
    """Run them as the exercise says; {test: whether it passed}."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "tests", f"--junitxml={report}"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert report.exists(), done.stdout + done.stderr
    cases = ElementTree.parse(report).iter("testcase")
    return {
        f"{case.get('classname')}.{case.get('name')}": case.find("failure") is None
        and case.find("error") is None
        for case in cases
    }


def test_the_tests_fail_on_the_skeleton_and_pass_on_the_package(tmp_path, capsys):
    folder = tmp_path / "exercise"
    assert main(["skeleton", "--output", str(folder)]) == 0
    assert f"Written: {folder}" in capsys.readouterr().out
    passed = run_tests(folder)
    assert len(passed) > 40 and not any(passed.values()), passed
    solved = {f"tests.test_step{step}" for step in range(1, 5)}
    assert {name.split("_")[0] + "_" + name.split("_")[1] for name in passed} == solved
    for files in STEPS.values():
        for name in files:
            shutil.copy(PACKAGE / name, folder / "fcos" / name)
    again = run_tests(folder)
    assert again.keys() == passed.keys() and all(again.values()), again


def test_a_copy_is_tested_and_not_the_installed_package(tmp_path):
    folder = write_skeleton(tmp_path / "exercise")
    conftest = runpy.run_path(str(folder / "tests" / "conftest.py"))
    with pytest.raises(pytest.UsageError, match=re.escape(f"on the fcos of {PACKAGE.parent}: ")):
        conftest["pytest_configure"](None)


def test_only_the_steps_differ(tmp_path):
    folder = write_skeleton(tmp_path / "exercise")
    with_holes = {f"fcos/{name}" for files in STEPS.values() for name in files}
    for package in ("fcos", "fcos_cli"):
        for path in (folder / package).rglob("*"):
            if path.is_file():
                name = path.relative_to(folder)
                is_same = path.read_bytes() == (PACKAGE.parent / name).read_bytes()
                assert is_same != (str(name) in with_holes), name
    assert (folder / "configs" / "digits.yaml").is_file()


def test_who_needs_more_than_the_methods_of_the_exercise():
    """The report, training and evaluation do not; docs/EXERCISES.md names those that do."""
    emptied = {
        name: set(functions) for files in STEPS.values() for name, functions in files.items()
    }
    helpers = {function for functions in emptied.values() for function in functions}
    users = set()
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        if name in emptied or {"exercise", "export"} & set(path.relative_to(PACKAGE).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fcos."):
                imported = {alias.name for alias in node.names} & helpers
                users |= {name} if imported else set()
    assert users == {"evaluation/dataset/assignment.py"}


@pytest.mark.parametrize("name", [name for files in STEPS.values() for name in files])
def test_signatures_and_docstrings_stay(name, tmp_path):
    (step, functions) = next((s, files[name]) for s, files in STEPS.items() if name in files)
    source = (PACKAGE / name).read_text()
    before, after = (ast.parse(text) for text in (source, without_bodies(source, functions, step)))
    emptied = set()
    for old, new in zip(everything_in(before), everything_in(after), strict=True):
        assert old.name == new.name and ast.get_docstring(old) == ast.get_docstring(new)
        if isinstance(old, ast.FunctionDef):
            assert ast.dump(old.args) == ast.dump(new.args)
            if "NotImplementedError" in ast.dump(new):
                emptied.add(new.name)
                assert ast.get_docstring(new), f"nothing says what {new.name} does"
                assert len(new.body) == 2
    assert emptied == {function.rpartition(".")[2] for function in functions}


def everything_in(tree):
    """Classes and functions, but those inside of functions."""
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from (inner for inner in node.body if isinstance(inner, ast.FunctionDef))


def test_bodies_by_hand():
    source = '''\
class A:
    @staticmethod
    def f(
        x: int,
    ) -> int:
        """Say so.

        At length.
        """

        # The answer.
        y = x + 1
        return y  # here


def g():
    # Too.
    return 1


def h():
    return 2
'''
    assert (
        without_bodies(source, ["A.f", "g"], "Step 9")
        == '''\
class A:
    @staticmethod
    def f(
        x: int,
    ) -> int:
        """Say so.

        At length.
        """
        raise NotImplementedError("Step 9: f")


def g():
    raise NotImplementedError("Step 9: g")


def h():
    return 2
'''
    )
    with pytest.raises(ValueError, match=r"the module has no A\.g"):
        without_bodies(source, ["A.g"], "Step 9")


def test_a_folder_with_something_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    assert main(["skeleton", "--output", str(tmp_path)]) == 1
    assert "exists and is not empty: choose another --output" in capsys.readouterr().err
    with pytest.raises(UserError):
        write_skeleton(tmp_path / "mine")


def test_the_values_are_those_of_the_reference_files():
    stored, want = np.load(FILE), values()
    assert set(stored.files) == set(want)
    for name in want:
        np.testing.assert_array_equal(stored[name], want[name], err_msg=name)
    assert FILE.stat().st_size < 350_000
