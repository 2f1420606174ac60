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
    """Requirements by the file that states the oldest versions of them."""
    arguments = {
        node.arg: ast.literal_eval(node.value)
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg in ("install_requires", "extras_require")
    }
    extras = arguments["extras_require"]
    export = extras.pop("export")
    lite = (ROOT / "detectron2-lite/pyproject.toml").read_text()
    plain = re.findall(r'^    "(.+)",$', lite.partition("dependencies = [")[2], re.MULTILINE)
    plain += arguments["install_requires"] + [name for names in extras.values() for name in names]
    return {
        name: [packaging.Requirement(string) for string in strings]
        for name, strings in [
            ("constraints-oldest.txt", plain),
            ("constraints-oldest-export.txt", export),
        ]
    }


@pytest.mark.parametrize("file", requirements())
def test_the_oldest_versions_are_those_that_are_tested(file):
    lines = (ROOT / file).read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    floors = {}
    for requirement in requirements()[file]:
        for specifier in requirement.specifier:
            if specifier.operator == ">=" and requirement.name not in TOOLS:
                floors.setdefault(requirement.name.lower(), set()).add(specifier.version)
    assert floors.keys() == pinned.keys()
    for name, versions in floors.items():
        oldest = packaging.Requirement(f"x=={pinned[name]}").specifier
        assert all(oldest.contains(version) for version in versions), name


def test_everything_that_is_required_has_an_oldest_version():
    every = [r for required in requirements().values() for r in required]
    assert {r.name for r in every if not r.specifier} <= TOOLS
