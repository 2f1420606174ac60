"""Install with ``pip install -e .``, and one of the two detectron2s (README.md) beside it."""

from setuptools import find_packages, setup

setup(
    # "fcos" is another project on PyPI; only the import name is fcos.
    name="fcos-detectron2",
    version="0.1.0",
    description="FCOS, the anchor-free one-stage detector, as a detectron2 plugin",
    license="Apache-2.0",
    entry_points={"console_scripts": ["fcos=fcos_cli.__main__:main"]},
    python_requires=">=3.10",
    packages=find_packages(include=["fcos", "fcos.*", "fcos_cli"]),
    package_data={
        "fcos.evaluation": ["templates/*"],
        "fcos.evaluation.teaching": ["exercise/*", "exercise/tests/*"],
    },
    # detectron2 is not listed: no package index has it (README.md says how to get it).
    install_requires=[
        "filelock>=3.29.7,<5",
        "fvcore>=0.1.5",
        # Elsewhere there is no wheel, and pycocotools evaluates: the same figures, more slowly.
        "hotcoco>=1.3,<2; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
        "jinja2>=3.1,<4",
        "numpy",
        "opencv-python",
        "pycocotools>=2.0.7",
        "tabulate",
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm",
        "yacs>=0.1.8",
    ],
    extras_require={
        # The pictures and digits of the demo dataset.
        "demo": ["scikit-image>=0.22", "scikit-learn>=1.3"],
        # Backbones (MODEL.BACKBONE.NAME build_fcos_timm_fpn_backbone).
        "timm": ["timm>=1.0.31"],
        # python -m fcos.export --format onnx, and running such a file.
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
        # What LOGGERS may name.
        "loggers": ["mlflow", "wandb"],
        # Weights files that end in .safetensors.
        "safetensors": ["safetensors"],
        "dev": ["codespell", "mypy", "pytest", "pytest-xdist", "ruff", "safetensors"],
    },
)
