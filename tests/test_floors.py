"""Which part of the package may import which: the floors, from the ground up."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND, METHOD, FILES, JOBS, PROGRAMS = range(5)
FLOORS = {
    "fcos.utils": GROUND,
    **dict.fromkeys(["fcos.layers", "fcos.config", "fcos.modeling"], METHOD),
    **dict.fromkeys(["fcos.checkpoint", "fcos.data"], FILES),
    **dict.fromkeys(["fcos.engine", "fcos.predict", "fcos.evaluation", "fcos.export"], JOBS),
    "fcos.detect": PROGRAMS,
    "fcos_cli": PROGRAMS,
}
# Modules that only keep the name of a program: python -m fcos.data.digits.
SHIMS = {"fcos.evaluation.compare", "fcos.data.digits"}


def modules_below(root):
    """Name -> path of every module of the packages; a package's name is that of its folder."""
    found = {}
    for package in ("fcos", "fcos_cli"):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path, modules):
    """Modules of ours that a file imports: at its top, later, or for its types alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno} is a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name in modules)


def package_of(module):
    return max((name for name in FLOORS if f"{module}.".startswith(f"{name}.")), default="fcos")


def floor_of(module):
    if module in SHIMS or module.endswith("__main__"):
        return PROGRAMS
    package = package_of(module)
    # The root imports the classes to register, and nothing above them.
    return METHOD if package == "fcos" else FLOORS[package]


def faults(root):
    """Sentences on imports that run up, or into the inside of a neighbour, or in a circle."""
    modules = modules_below(root)
    graph = {name: set(imports_of(path, modules)) - {name} for name, path in modules.items()}
    found = []
    for module, imported in graph.items():
        for name in imported:
            if floor_of(name) > floor_of(module):
                found.append(f"{module} imports {name}, which is on a higher floor")
            is_neighbour = package_of(name) != package_of(module) and name != package_of(name)
            if is_neighbour and floor_of(name) == floor_of(module) in (FILES, JOBS):
                found.append(f"{module} imports {name}, the inside of a neighbour")
    return found + [f"a circle of imports: {' -> '.join(circle)}" for circle in circles(graph)]


def circles(graph):
    """One circle for each module from which the search meets one."""
    found, done = [], set()

    def search(module, way):
        if module in way:
            found.append([*way[way.index(module) :], module])
        elif module not in done:
            for name in sorted(graph[module]):
                search(name, [*way, module])
            done.add(module)

    for module in graph:
        search(module, [])
    return found


def test_imports_run_down():
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("utils/files.py", "import fcos.data", "higher floor"),
        ("modeling/fcos/fcos.py", "def f():\n    from fcos.engine import Trainer", "higher floor"),
        ("data/order.py", "from fcos.checkpoint.reading import local_file", "of a neighbour"),
        ("engine/hooks.py", "from fcos.predict.draw import class_colors", "of a neighbour"),
        ("layers/scale.py", "from fcos.layers import conv", None),
        ("layers/precision.py", "from fcos.layers.deform_conv import DeformConv", "circle"),
    ],
)
def test_a_planted_import_is_found(tmp_path, module, line, fault):
    for path in modules_below(ROOT).values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        copy.write_text(f"{text}\n{line}\n" if copy == tmp_path / "fcos" / module else text)
    found = faults(tmp_path)
    assert (found == []) if fault is None else any(fault in text for text in found)
