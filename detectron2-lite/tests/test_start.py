"""Importing detectron2 brings little more than torch: the rest comes where it is used."""

import json
import subprocess
import sys

import pytest

import detectron2

# The full detectron2 imports most of these.
pytestmark = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a promise of detectron2-lite's own"
)

# torchvision imports torch's compiler, which takes as long as torch; fvcore.nn compiles its losses.
HEAVY = [
    *("torchvision", "torch._dynamo", "torch.onnx", "fvcore.nn", "sympy"),
    *("matplotlib", "cv2", "scipy", "pycocotools", "tensorboard", "torch.utils.tensorboard"),
]

SCRIPT = """
import json, sys
import detectron2.checkpoint, detectron2.config, detectron2.data, detectron2.modeling
import detectron2.structures, detectron2.utils.logger
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def imported():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_imported_later(imported, name):
    assert name not in imported and "torch" in imported
