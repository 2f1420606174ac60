"""fcos doctor: each finding by its cause, and packages that are missing, broken or crash."""

import dataclasses
import json
import subprocess
import sys

import pytest

from fcos.utils.distributions import NAMES
from fcos_cli import doctor, findings, health
from fcos_cli.findings import examine

GOOD = {
    "torch": {"version": "2.11.0", "cuda": "13.0", "gpus": ["H200"], "kinds": ["sm_90"]}
    | {"built_for": ["sm_80", "sm_90"], "warnings": []},
    "torchvision": {"version": "0.26.0"},
    "detectron2": {"version": "0.6"},
    "detectron2._C": {"version": ""},
    "cv2": {"version": "5.0.0"},
    "hotcoco": {"version": "1.3.0"},
    "pycocotools": {"version": ""},
    "fcos": {"version": "0.1.0"},
}
MACHINE = health.Machine(
    GOOD,
    {"torch": "2.11.0", "detectron2": "0.6", "opencv-python": "5.0.0", "pycocotools": "2.0.11"},
    ["torch>=2.6", "opencv-python", "pycocotools>=2.0.7", 'onnx>=1.16; extra == "export"'],
    ">=3.10",
    python="3.12.1",
    has_nvidia=True,
    browser="/usr/bin/chromium",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(health.Machine, "cache", str(tmp_path / "cache"), raising=False)
    return tmp_path


def machine(probed=None, versions=None, **changes):
    """The good machine with changes; a package or version that is None is not there."""
    found = {**GOOD, **(probed or {})}
    known = {name: v for name, v in {**MACHINE.versions, **(versions or {})}.items() if v}
    changes = {"cache": health.Machine.cache, **changes}
    return dataclasses.replace(MACHINE, probed=found, versions=known, **changes)


def found(machine_):
    return {finding.name: finding for finding in examine(machine_)}


MISSING = {"error": "ModuleNotFoundError: No module named 'it'", "is_missing": True}


def broken(text):
    return {"error": text, "is_missing": False}


def torch(**changes):
    return {"torch": {**GOOD["torch"], **changes}}


NO_GPU = {"gpus": [], "kinds": [], "built_for": []}


def test_nothing_is_wrong():
    assert {f.status for f in examine(machine())} == {"ok"}
    assert not any(f.mend for f in examine(machine()))
    assert found(machine())["GPU"].text == "H200; CUDA 13.0"


@pytest.mark.parametrize(
    ("name", "changes", "status", "text", "mend"),
    [
        ("Python", {"python": "3.9.1"}, "wrong", "fcos needs >=3.10", "install Python >=3.10"),
        ("torch", {"probed": {"torch": MISSING}}, "wrong", "is not installed", "pip install torch"),
        (
            "torch",
            {"probed": {"torch": broken("OSError: libtorch.so")}},
            *("wrong", "cannot be imported: OSError: libtorch.so", "pip install --force-reinstall"),
        ),
        (
            "GPU",
            {"probed": torch(kinds=["sm_120"])},
            *("wrong", "H200: this torch has no code for sm_120", "choose a torch for it: https"),
        ),
        (
            "GPU",
            {"probed": torch(cuda=None, **NO_GPU)},
            *("warn", "built for the CPU alone, but there is an NVIDIA driver", "torch with CUDA"),
        ),
        (
            "GPU",
            {"probed": torch(cuda=None, **NO_GPU), "has_nvidia": False},
            *("ok", "none: this torch is built for the CPU alone; MODEL.DEVICE cpu runs", ""),
        ),
        (
            "GPU",
            {"probed": torch(**NO_GPU), "environment": {"CUDA_VISIBLE_DEVICES": ""}},
            *("warn", "CUDA_VISIBLE_DEVICES is '', which hides all", "unset CUDA_VISIBLE_DEVICES"),
        ),
        (
            "GPU",
            {"probed": torch(**NO_GPU), "has_nvidia": False},
            *("ok", "none: there is no NVIDIA driver", ""),
        ),
        (
            "GPU",
            {"probed": torch(**NO_GPU, warnings=["The NVIDIA driver is too old"])},
            *("warn", "none that torch can use: The NVIDIA driver is too old", "nvidia-smi"),
        ),
        (
            "torchvision",
            {"probed": {"torchvision": broken("RuntimeError: operator torchvision::nms does")}},
            *("wrong", "operator torchvision::nms", "--force-reinstall torch torchvision"),
        ),
        (
            "detectron2",
            {"probed": {"detectron2": MISSING}, "versions": {"detectron2": None}},
            *(
                "wrong",
                "neither detectron2 nor detectron2-lite is installed",
                "fcos-detectron2[lite]",
            ),
        ),
        (
            "detectron2",
            {"versions": {"detectron2-lite": "0.6+lite"}},
            *(
                "wrong",
                "both installed, and their files mix",
                "pip uninstall -y detectron2 detectro",
            ),
        ),
        (
            "detectron2",
            {"probed": {"detectron2": broken("ImportError: fvcore")}},
            *("wrong", "cannot be imported: ImportError: fvcore", "--force-reinstall detectron2"),
        ),
        (
            "detectron2._C",
            {"probed": {"detectron2._C": broken("ImportError: undefined symbol: _ZN3c10")}},
            *("wrong", "undefined symbol", "build detectron2 again, with the torch that is here"),
        ),
        (
            "detectron2._C",
            {"probed": {"detectron2._C": MISSING}},
            *("wrong", "was not compiled", "build detectron2 again"),
        ),
        (
            "detectron2._C",
            {
                "probed": {"detectron2._C": MISSING},
                "versions": {"detectron2": None, "detectron2-lite": "0.6+lite"},
            },
            *("ok", "not needed: detectron2-lite is pure Python", ""),
        ),
        (
            "OpenCV",
            {"probed": {"cv2": broken("ImportError: libGL.so.1: cannot open shared object file")}},
            *("wrong", "libGL.so.1", "pip install --force-reinstall opencv-python-headless"),
        ),
        ("OpenCV", {"probed": {"cv2": MISSING}}, "wrong", "is not installed", "pip install opencv"),
        (
            "OpenCV",
            {"versions": {"opencv-python-headless": "5.0.0"}},
            *("warn", "are both installed, and their files mix", "pip uninstall -y opencv-python"),
        ),
        (
            "hotcoco",
            {"probed": {"hotcoco": MISSING}},
            *("warn", "pycocotools evaluates, with the same figures", "pip install hotcoco"),
        ),
        (
            "pycocotools",
            {"probed": {"pycocotools": MISSING}},
            *("wrong", "is not installed", "pip install pycocotools"),
        ),
        (
            "fcos",
            {"probed": {"fcos": broken("ImportError: yacs")}},
            *("wrong", "cannot be imported: ImportError: yacs", "pip install --force-reinstall"),
        ),
        (
            "torch",
            {"versions": {"torch": "2.5.1"}},
            *("wrong", "2.5.1 is here, but fcos asks for torch>=2.6", "pip install 'torch>=2.6'"),
        ),
        (
            "onnx",
            {"versions": {"onnx": "1.10"}},
            *(
                "warn",
                "1.10 is here, but the extra export asks for onnx>=1.16",
                "pip install 'onnx>=1.16'",
            ),
        ),
        (
            "tqdm",
            {"requirements": ["tqdm>=4"]},
            *("wrong", "is required, but not installed", "pip install 'tqdm>=4'"),
        ),
        (
            "versions",
            {"requirements": None},
            *("warn", "fcos is not installed by pip", "pip install -e ."),
        ),
        ("Chromium", {"browser": None}, "warn", "writes no PDF (optional)", "apt install chromium"),
    ],
)
def test_a_finding_and_what_mends_it(name, changes, status, text, mend):
    finding = found(machine(**changes))[name]
    assert finding.status == status, finding
    assert text in finding.text and mend in finding.mend
    assert bool(finding.mend) == (status != "ok")


def test_versions_that_cannot_be_compared(monkeypatch):
    def missing(part):
        raise ImportError(part)

    monkeypatch.setattr("fcos_cli.requirements._packaging", missing)
    finding = found(machine(python="3.9.1"))["versions"]
    assert (finding.status, finding.mend) == ("warn", "pip install packaging")


def test_the_headless_opencv_is_opencv():
    versions = {"opencv-python": None, "opencv-python-headless": "5.0.0"}
    assert {f.status for f in examine(machine(versions=versions))} == {"ok"}


def test_what_torch_breaks_is_said_once():
    no = broken("ImportError: torch")
    of_torch = dict.fromkeys(["torch", "torchvision", "detectron2", "detectron2._C", "fcos"], no)
    wrong = [f.name for f in examine(machine(probed=of_torch)) if f.status == "wrong"]
    assert wrong == ["torch"]


def test_a_cache_that_cannot_be_written_or_has_no_room(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file, not a folder")
    assert found(machine())["downloads"].status == "ok"  # its folder can be written to
    monkeypatch.setattr(findings, "_ROOM", 2**90)
    finding = found(machine())["downloads"]
    assert finding.status == "warn" and finding.mend.startswith("export FVCORE_CACHE=")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = found(machine())["downloads"]
    assert finding.status == "wrong" and "nothing can be written to" in finding.text


def test_the_two_names_of_detectron2():
    assert set(NAMES) == {"detectron2", "detectron2-lite"}


# ---- the other process -------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in {
        "a_fine_one": "print('hello')\n__version__ = '3'",
        "a_crash": "import os\nos.abort()",
        "an_exit": "import os\nos._exit(4)",
        "a_library": "raise ImportError('libGL.so.1: cannot open shared object file')",
    }.items():
        (tmp_path / f"{name}.py").write_text(f"{text}\n")


def test_packages_that_crash_do_not_hide_the_others(packages):
    names = ["a_crash", "a_fine_one", "not_there_at_all", "an_exit", "a_library"]
    probed = health.probe(names)
    assert list(probed) == names
    assert probed["a_crash"]["error"] == "importing it ends Python, by signal 6"
    assert probed["a_fine_one"]["version"] == "3"
    assert probed["not_there_at_all"]["is_missing"]
    assert probed["an_exit"]["error"] == "exit code 4"
    assert probed["a_library"]["error"].startswith("ImportError: libGL.so.1")


def test_a_package_that_hangs(packages, tmp_path, monkeypatch):
    (tmp_path / "a_wait.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(health, "_LONGEST_S", 2)
    probed = health.probe(["a_wait", "a_fine_one"])
    assert probed["a_wait"]["error"] == "importing it takes more than 2 s"
    assert probed["a_fine_one"]["version"] == "3"


def test_a_python_that_does_not_start():
    probed = health.probe(["a", "b"], python="/bin/false")
    assert [p["error"] for p in probed.values()] == ["exit code 1"] * 2


# ---- the command -------------------------------------------------------------------------------


def test_where_torch_is_broken(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')\n")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from fcos_cli.__main__ import main; sys.exit(main())"]
        + ["doctor", "--json"],
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)
    wrong = next(finding for finding in findings if finding["name"] == "torch")
    assert wrong["status"] == "wrong" and "libcudart.so.13" in wrong["text"]
    assert {"Python", "OpenCV", "pycocotools", "downloads"} <= {one["name"] for one in findings}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_exit_code_and_lines(number, monkeypatch, capsys):
    wrong = [health.Finding("cv2", "wrong", "is broken", "mend it")] * number
    found = [health.Finding("torch", "ok", "2.11"), *wrong]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    assert doctor.main([]) == (1 if number else 0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok    torch         2.11"
    assert lines[-1] == ["Nothing is wrong.", "1 thing is wrong", "2 things are wrong"][number]
    if number:
        assert lines[1:3] == ["wrong cv2           is broken", " " * 20 + "-> mend it"]
