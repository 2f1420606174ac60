"""What to put into a bug report: versions, GPUs, paths."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections import defaultdict

from detectron2._missing import missing_names

__all__ = ["collect_env_info"]

__getattr__ = missing_names(__name__)

_PACKAGES = ("numpy", "torchvision", "fvcore", "iopath", "pycocotools", "PIL", "cv2")
_VARIABLES = (
    "DETECTRON2_DATASETS",
    "DETECTRON2_ENV_MODULE",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "FVCORE_CACHE",
    "OMP_NUM_THREADS",
)


def collect_env_info() -> str:
    """A table of what this process runs on, and torch's own description of its build."""
    import torch
    from tabulate import tabulate

    import detectron2

    rows = [
        ("sys.platform", f"{sys.platform} ({platform.platform()})"),
        ("Python", sys.version.replace("\n", "")),
        ("detectron2", _described(detectron2)),
        ("PyTorch", _described(torch)),
        ("PyTorch debug build", torch.version.debug),
        ("PyTorch CUDA", torch.version.cuda or "built without"),
        *_gpus(),
        *((name, _version(name)) for name in _PACKAGES),
        *((f"${name}", os.environ[name]) for name in _VARIABLES if name in os.environ),
    ]
    return f"{tabulate(rows, disable_numparse=True)}\n{torch.__config__.show()}"


def _gpus() -> list[tuple[str, str]]:
    import torch

    if not torch.cuda.is_available():
        return [("GPU", "none available")]
    indices = defaultdict(list)
    for i in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(i)
        indices[f"{torch.cuda.get_device_name(i)} (arch {major}.{minor})"].append(str(i))
    rows = [(f"GPU {','.join(numbers)}", name) for name, numbers in indices.items()]
    return [*rows, ("cuDNN", str(torch.backends.cudnn.version()))]


def _version(name: str) -> str:
    try:
        return _described(importlib.import_module(name))
    except ImportError as error:
        return f"cannot be imported: {error}"


def _described(module: object) -> str:
    folder = os.path.dirname(getattr(module, "__file__", None) or "?")
    return f"{getattr(module, '__version__', 'unknown version')} @{folder}"


if __name__ == "__main__":
    print(collect_env_info())
