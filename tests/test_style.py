"""The rules of this repository that a program can check."""

import ast
import re
from pathlib import Path

import pytest

from fcos.config import get_cfg

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fcos"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = [path for path in (ROOT / "train_net.py", ROOT / "demo.py") if path.exists()]
STEPS = sorted((PACKAGE / "modeling" / "fcos").glob("fcos_[!h]*.py"))


def relative(path):
    return str(path.relative_to(ROOT))


def imports_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def functions_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", STEPS, ids=relative)
def test_the_steps_are_the_paper_and_need_torch_alone(path):
    allowed = (
        "__future__",
        "collections",
        "dataclasses",
        "math",
        "typing",
        "torch",
        "torchvision",
        "fvcore",
    )
    for name in imports_of(ast.parse(path.read_text())):
        assert name.split(".")[0] in allowed or name.startswith(
            ("fcos.layers", "fcos.modeling.fcos.fcos_")
        ), f"{relative(path)} imports {name}"
    assert len(path.read_text().splitlines()) <= 250


def test_there_are_steps_to_check():
    assert len(STEPS) == 4


@pytest.mark.parametrize("path", SOURCES + SCRIPTS, ids=relative)
def test_code_does_not_know_which_detectron2_it_runs_on(path):
    text = path.read_text()
    # Private names, and the name of the subset, except where its folder is an install hint.
    assert not re.search(r"detectron2[\w.]*\._\w", text)
    assert not re.search(r"from detectron2[\w.]* import [^\n]*\b_\w", text)
    assert "+lite" not in text
    assert "HAS_LITE" not in text.upper()
    # The one place may look at what is installed; the other says what to install.
    if path not in (PACKAGE / "__init__.py", PACKAGE / "utils" / "distributions.py"):
        assert "detectron2-lite" not in text
    assert "detectron2.__version__" not in text


@pytest.mark.parametrize("path", SOURCES + SCRIPTS, ids=relative)
def test_functions_fit_on_a_screen(path):
    for node in functions_of(ast.parse(path.read_text())):
        body = node.body
        if ast.get_docstring(node):
            body = body[1:]
        lines = node.end_lineno - body[0].lineno + 1 if body else 0
        assert lines <= 40, f"{relative(path)}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", STEPS + sorted((PACKAGE / "layers").glob("*.py")), ids=relative)
def test_public_functions_state_arguments_results_and_errors(path):
    for node in functions_of(ast.parse(path.read_text())):
        if node.name.startswith("_"):
            continue
        text = ast.get_docstring(node)
        assert text, f"{relative(path)}: {node.name} has no docstring"
        if (
            re.search(r":(func|meth):`", text.splitlines()[0])
            or "see :func:" in text.split("\n")[0]
        ):
            continue  # a fixed name that hands on to a documented function
        takes = [a for a in node.args.args + node.args.kwonlyargs if a.arg not in ("self", "x")]
        if takes:
            assert "Args:" in text, f"{relative(path)}: {node.name}"
            assert "Returns:" in text or node.name == "normal_init", (
                f"{relative(path)}: {node.name}"
            )
        if any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
            assert "Raises:" in text, f"{relative(path)}: {node.name}"
        for argument in takes:
            assert argument.annotation is not None, f"{relative(path)}: {node.name}"


@pytest.mark.parametrize(
    "key", [f"MODEL.{part}.{key}" for part in ("FCOS", "TIMM") for key in get_cfg().MODEL[part]]
)
def test_every_key_is_read(key):
    name = key.split(".")[-1]
    pattern = rf"(MODEL\.FCOS|MODEL\.TIMM|node)\.{name}\b|\"{name}\""
    readers = [p for p in SOURCES if "config" not in p.parts and re.search(pattern, p.read_text())]
    assert readers, f"{key} is read nowhere"


def test_every_step_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for path in STEPS:
        assert relative(path).removeprefix("fcos/modeling/") in readme
