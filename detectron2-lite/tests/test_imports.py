"""No module of detectron2-lite imports itself by way of others: at its top, later or for types."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def module_of(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources():
    """Module name -> source text."""
    files = (ROOT / "detectron2").rglob("*.py")
    return {module_of(path.relative_to(ROOT)): path.read_text() for path in files}


def imports_of(source, modules):
    """The modules among ``modules`` that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name in modules)


def check(modules):
    graph = {name: {*imports_of(text, modules)} - {name} for name, text in modules.items()}
    TopologicalSorter(graph).prepare()


def test_there_is_no_circle():
    check(sources())


@pytest.mark.parametrize(
    "line",
    [
        "from detectron2.structures import Boxes",
        "def f():\n    import detectron2.structures.masks",
        "if TYPE_CHECKING:\n    from detectron2.structures.masks import ROIMasks",
    ],
)
def test_a_planted_circle_is_found(line):
    modules = sources()
    modules["detectron2.layers.mask_ops"] += f"\n{line}\n"
    with pytest.raises(CycleError, match=r"detectron2\.layers\.mask_ops"):
        check(modules)
