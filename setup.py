"""Install with ``pip install -e .``, and one of the two detectron2s (README.md) beside it."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

HERE = Path(__file__).parent
# In a wheel, configs/ lies in fcos/: fcos.config.get_config_file finds it in both places.
CONFIGS = ["fcos.configs", *(f"fcos.configs.{name}" for name in find_namespace_packages("configs"))]
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "fcos/__init__.py").read_text("utf-8"))

setup(
    # "fcos" is another project on PyPI; only the import name is fcos.
    name="fcos-detectron2",
    version=VERSION[1],
    description="FCOS, the anchor-free one-stage detector, as a detectron2 plugin",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["object detection", "instance segmentation", "FCOS", "detectron2", "anchor-free"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    entry_points={"console_scripts": ["fcos=fcos_cli.__main__:main"]},
    python_requires=">=3.10",
    packages=[*find_packages(include=["fcos", "fcos.*", "fcos_cli"]), *CONFIGS],
    package_dir={"fcos.configs": "configs"},
    package_data={
        "fcos": ["py.typed"],
        "fcos.evaluation": ["templates/*"],
        "fcos.evaluation.teaching": ["exercise/*", "exercise/tests/*"],
        **{name: ["*.yaml"] for name in CONFIGS},
    },
    # detectron2 itself is on no package index; detectron2-lite is the extra "lite" (README.md).
    install_requires=[
        "filelock>=3.29.7,<5",
        "fvcore>=0.1.5.post20221221",
        # Elsewhere there is no wheel, and pycocotools evaluates: the same figures, more slowly.
        "hotcoco>=1.3,<2; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
        "jinja2>=3.1,<4",
        "numpy>=1.26",
        "opencv-python>=4.8.1.78",
        # Before 10.1, a TIFF with an orientation is not turned upright.
        "pillow>=10.1",
        "pycocotools>=2.0.7",
        "pyyaml>=6.0.1",
        "tabulate>=0.9",
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm>=4.66",
        "yacs>=0.1.8",
    ],
    extras_require={
        # The part of detectron2 that is needed, in pure Python.
        "lite": ["detectron2-lite"],
        # The pictures and digits of the demo dataset.
        "demo": ["scikit-image>=0.22", "scikit-learn>=1.3"],
        # Backbones (MODEL.BACKBONE.NAME build_fcos_timm_fpn_backbone).
        "timm": ["timm>=1.0.31"],
        # python -m fcos.export --format onnx or torch_export, and running an ONNX file. Before 2.9,
        # torch.export cannot leave all sizes of an image open.
        "export": ["onnx>=1.17", "onnxruntime>=1.19", "onnxscript>=0.7.1", "torch>=2.9"],
        # What LOGGERS may name.
        "loggers": ["mlflow", "wandb"],
        # Weights files that end in .safetensors.
        "safetensors": ["safetensors>=0.4.3"],
        "dev": [
            "codespell",
            "ipykernel",  # with nbclient: docs/fcos_step_by_step.ipynb is a test
            "mypy",
            "nbclient",
            "pytest",
            "pytest-xdist",
            "ruff",
            "safetensors>=0.4.3",
            "setuptools>=77",  # builds the wheels that a test installs
        ],
        "dist": ["build", "twine"],
        # What docs/RECIPES.md shows, and tests/test_recipes.py runs.
        "recipes": [
            "accelerate",
            "gradio",
            "huggingface_hub",
            "lightning",
            "nncf",
            "openvino",
            "sahi",
            "supervision",
        ],
        # make site
        "docs": ["mkdocs-jupyter", "mkdocs-material", "mkdocstrings-python"],
    },
)
