"""The oldest versions that are promised are those that "make test-oldest" installs."""

import ast
import re

import pytest

from tests.tiny import ROOT

packaging = pytest.importorskip("packaging.requirements")
# No program needs them at run time.
TOOLS = {"build", "codespell", "ipykernel", "mypy", "nbclient", "pytest", "pytest-xdist", "ruff"}
TOOLS |= {"setuptools", "twine", "wandb", "mlflow", "detectron2-lite"}
# Other people's tools, in recipes, and what makes the site of the documentation.
TOOLS |= {"accelerate", "gradio", "huggingface_hub", "lightning", "nncf", "openvino", "sahi"}
TOOLS |= {"supervision", "mkdocs-jupyter", "mkdocs-material", "mkdocstrings-python"}


def requirements():
    """Of fcos, its extras and detectron2-lite: every string of theirs that begins with a name."""
    strings = [
        node.value
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg in ("install_requires", "extras_require")
        for node in ast.walk(node.value)
        if isinstance(node, ast.Constant)
    ]
    lite = (ROOT / "detectron2-lite/pyproject.toml").read_text()
    strings += re.findall(r'^    "(.+)",$', lite.partition("dependencies = [")[2], re.MULTILINE)
    found = [packaging.Requirement(string) for string in strings]
    extras = {"lite", "demo", "timm", "export", "loggers", "safetensors", "recipes", "dev", "dist"}
    extras |= {"docs"}
    return [r for r in found if r.name not in TOOLS | extras or r.specifier]


def test_the_oldest_versions_are_those_that_are_tested():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    floors = {}
    for requirement in requirements():
        for specifier in requirement.specifier:
            if specifier.operator == ">=" and requirement.name not in TOOLS:
                floors.setdefault(requirement.name.lower(), set()).add(specifier.version)
    assert floors.keys() == pinned.keys()
    for name, versions in floors.items():
        oldest = packaging.Requirement(f"x=={pinned[name]}").specifier
        assert all(oldest.contains(version) for version in versions), name


def test_everything_that_is_required_has_an_oldest_version():
    unbounded = {r.name for r in requirements() if not r.specifier} - TOOLS
    assert not unbounded
