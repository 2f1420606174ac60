"""What the demo does not import before it needs it, so that it starts soon after torch has."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# torchvision imports torch's compiler, which takes as long as torch; fvcore.nn compiles its losses.
HEAVY = [
    *("torchvision", "torch._dynamo", "torch.onnx", "fvcore.nn", "sympy"),
    *("matplotlib", "cv2", "scipy", "pandas", "skimage", "sklearn", "pycocotools", "hotcoco"),
    *("timm", "safetensors", "onnx", "tensorboard", "torch.utils.tensorboard", "tabulate"),
]

# What detectron2 has imported by itself is not fcos's doing.
SCRIPT = """
import json, sys
import detectron2.checkpoint, detectron2.config, detectron2.data, detectron2.modeling
import detectron2.structures, detectron2.utils.logger
before = set(sys.modules)
import demo, fcos_cli.demo, fcos.predict.demo, fcos.utils.errors
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""


@pytest.fixture(scope="module")
def imported():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", HEAVY)
def test_the_demo_imports_later(imported, name):
    assert name not in imported[1]


def test_the_demo_imports_what_it_works_with(imported):
    assert {"fcos", "fcos.predict.predictor", "fcos.checkpoint.checkpointer"} <= set(imported[1])
    assert {"torch", "numpy"} <= set(imported[0])
    # Its parsing of arguments needs none of them.
    code = "import demo, sys; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "False"


def test_garbage_is_collected_after_the_imports_and_not_searched_for_in_them():
    code = """
import gc, sys
from fcos_cli import demo
demo.main(["--config-file", "missing.yaml", "--input", "missing.png"])
print("torchvision" in sys.modules, gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "missing.yaml" in run.stderr
    assert run.stdout.split() == ["True"] * 3
