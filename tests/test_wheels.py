"""What is installed from a source distribution works by itself, in an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.tiny import ROOT

LEFT_HERE = [".*", "output", "build", "dist", "gpu_kit", "*.egg-info", "__pycache__"]
SMALL = "SOLVER.IMS_PER_BATCH 2 SOLVER.MAX_ITER 2 SOLVER.STEPS (1,) SOLVER.WARMUP_ITERS 1"
DIGITS = "--config-file digits.yaml"
KEEP = "MODEL.FCOS.SCORE_THRESH_TEST 0.0"  # so little training leaves low scores
WEIGHTS = "MODEL.WEIGHTS run/model_final.pth"
COMMANDS = [
    "data digits --train 4 --val 2",
    f"train --config-file configs/digits.yaml OUTPUT_DIR run {SMALL} {KEEP}",
    f"eval {DIGITS} {WEIGHTS} OUTPUT_DIR other {KEEP}",
    f"demo {DIGITS} --dataset digits_val --output out --opts {WEIGHTS}",
    f"detect {DIGITS} --input datasets/digits/val --output found --opts {WEIGHTS}",
    f"export {DIGITS} --format torchscript --output model.ts --opts {WEIGHTS}",
    "compare run other",
    "checkpoint inspect run/model_final.pth",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what pip installs from the source distribution; none of the repository."""
    folder = tmp_path_factory.mktemp("installed")
    copy = shutil.copytree(
        ROOT, folder / "copy", ignore=shutil.ignore_patterns(*LEFT_HERE, "datasets")
    )
    python("-c", "import setuptools.build_meta as b; b.build_sdist('..')", cwd=copy)
    [source] = folder.glob("*.tar.gz")
    pip = "-m", "pip", "--disable-pip-version-check"
    options = "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)
    python(*pip, "wheel", *options, str(source), cwd=folder)
    [wheel] = folder.glob("fcos*.whl")
    packages = folder / "packages"
    python(*pip, "install", "--no-deps", "--no-index", "--target", str(packages), str(wheel))
    shutil.rmtree(copy)
    return packages, wheel


def python(*arguments, cwd=None, **environment):
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_a_wheel_is_whole(installed):
    _, wheel = installed
    names = set(zipfile.ZipFile(wheel).namelist())
    of_configs = {f"fcos/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.yaml")}
    templates = {str(p.relative_to(ROOT)) for p in ROOT.glob("fcos/evaluation/templates/*")}
    code = {str(p.relative_to(ROOT)) for p in ROOT.glob("fcos*/**/*.py")}
    exercise = {
        str(p.relative_to(ROOT))
        for p in ROOT.glob("fcos/evaluation/teaching/exercise/**/*.*")
        if p.suffix in (".md", ".npz")
    }
    assert len(exercise) == 2
    assert of_configs | templates | code | exercise | {"fcos/py.typed"} <= names
    assert not {name for name in names if name.startswith(("tests", "benchmarks", "detectron2"))}


def test_from_data_to_comparison_in_an_empty_folder(installed, tmp_path):
    packages, _ = installed
    where = "import fcos; print(fcos.__file__)"
    found = {"cwd": tmp_path, "PYTHONPATH": str(packages)}
    assert python("-c", where, **found).strip() == str(packages / "fcos" / "__init__.py")
    for command in COMMANDS:
        said = python("-m", "fcos_cli", *command.split(), **found)
    assert "ResNet-18" in said
    for name in ("out", "found", "model.ts", "comparison", "run/model_final.pth"):
        assert (tmp_path / name).exists(), name
