"""Write this package without the bodies of the four steps of the paper, and tests for them."""

from __future__ import annotations

import ast
import functools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import fcos
from fcos.config.files import configs_folder
from fcos.utils.errors import UserError
from fcos.utils.files import copy_file, write_text
from fcos.utils.folders import made_folder

__all__ = ["STEPS", "write_skeleton"]

# Step -> file of the package -> functions whose bodies are removed: the methods of the exercise,
# and the functions that do their work, which would give it away. Given are the settings
# (``levels``, ``location_grids``, ``DetectionRules``), and all of ``layers/``: the focal and the
# IoU loss, what they are divided by, and NMS.
STEPS: dict[str, dict[str, tuple[str, ...]]] = {
    "Step 1, the head": {
        "modeling/fcos/fcos_head.py": (
            "FCOSHead._init_layers",
            "FCOSHead._init_weights",
            "FCOSHead.forward",
            "FCOSHead._tower",
            "FCOSHead._distances",
        ),
    },
    "Step 2, the targets": {
        "modeling/fcos/fcos_targets.py": (
            "FCOSTargets.get_points",
            "FCOSTargets.get_points_single",
            "FCOSTargets.fcos_target",
            "FCOSTargets.fcos_target_single_image",
            "FCOSTargets.compute_centerness_targets",
            "FCOSTargets._gather",
            "level_points",
            "ltrb_distances",
            "centerness",
        ),
        "modeling/fcos/fcos_assignment.py": (
            "assign_boxes",
            "smallest_boxes",
            "candidate_cells",
            "_candidate_region",
            "_window",
        ),
    },
    "Step 3, the losses": {
        "modeling/fcos/fcos_losses.py": (
            "FCOSLosses.forward",
            "FCOSLosses.counts",
            "FCOSLosses.divisors",
            "FCOSLosses._divisors_of_batch",
            "_counts",
        ),
    },
    "Step 4, inference": {
        "modeling/fcos/fcos.py": (
            "FCOS.predict_proposals",
            "FCOS.predict_proposals_single_image",
            "FCOS._detect",
        ),
        "modeling/fcos/fcos_inference.py": (
            "decode_boxes",
            "rank_candidates",
            "detect_batch",
            "_per_image",
            "_least_logits",
            "_rank_in_level",
        ),
        "export/dense.py": ("best_of_level", "candidates", "best_apart", "suppress"),
    },
}

_EXERCISE = Path(__file__).parent / "exercise"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "exercise", "configs")


def write_skeleton(output: str | os.PathLike[str]) -> Path:
    """Write the exercise: the package with holes, and the tests that a solution has to pass.

    It is made from the files of the package that runs, so it is never older than they are.

    Args:
        output: folder to make.

    Returns:
        The folder: ``fcos``, ``fcos_cli`` and ``configs`` (copies; only the functions of ``STEPS``
        differ), ``tests`` and a README.

    Raises:
        UserError: there is something in ``output``.
    """
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty: choose another --output.")
    with made_folder(os.path.realpath(folder)) as unfinished:
        _write(Path(unfinished))
    return folder


def _write(folder: Path) -> None:
    copy = functools.partial(shutil.copytree, copy_function=copy_file, ignore=_LEFT_OUT)
    package = Path(fcos.__file__).parent
    for source in (package, package.parent / "fcos_cli"):
        copy(source, folder / source.name)
    copy(configs_folder(), folder / "configs")
    for step, files in STEPS.items():
        for name, functions in files.items():
            path = folder / package.name / name
            text = path.read_text(encoding="utf-8")
            write_text(str(path), [without_bodies(text, functions, step)])
    copy(_EXERCISE, folder, dirs_exist_ok=True)


def without_bodies(source: str, functions: Sequence[str], step: str) -> str:
    """Replace the bodies of some functions by a ``NotImplementedError``.

    Args:
        source: of a module.
        functions: their names; those of methods behind the name of their class and a dot.
        step: that the error names.

    Returns:
        The source with signatures, docstrings and everything else as it was.

    Raises:
        ValueError: a function is not there.
    """
    nodes = _functions_of(ast.parse(source))
    missing = [name for name in functions if name not in nodes]
    if missing:
        raise ValueError(f"functions: the module has no {', '.join(missing)}")
    lines = source.splitlines()
    for name in sorted(functions, key=lambda name: nodes[name].lineno, reverse=True):
        node = nodes[name]
        body = node.body[1:] if ast.get_docstring(node) else node.body
        start = body[0].lineno - 1 if body else node.end_lineno or node.lineno
        while not lines[start - 1].strip() or lines[start - 1].lstrip().startswith("#"):
            start -= 1  # comments above the first statement are part of the answer
        indent = " " * node.body[0].col_offset
        # fcos.utils.errors.of_exercise makes a sentence of it.
        error = f'{indent}raise NotImplementedError("{step}: {name.rpartition(".")[2]}")'
        lines[start : node.end_lineno] = [error]
    return "\n".join(lines) + "\n"


def _functions_of(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Find functions and methods by name; of methods, behind their class and a dot."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef))
            found.update({f"{node.name}.{method.name}": method for method in methods})
    return found
