"""Copy the pages of this repository, and what they link to, into a folder for MkDocs.

The folders stay as they are, so that links between pages work on the site as in the repository. A
source file that is linked to becomes a page that shows it.

python docs/site/stage.py build/pages
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "datasets/README.md"),
    *("detectron2-lite/README.md", "tests/golden/README.md"),
]
# Packages for programs that use the detector, then the steps of the paper.
MODULES = [
    *(f"fcos.{name}" for name in ("config", "predict", "modeling", "layers", "checkpoint")),
    *(f"fcos.{name}" for name in ("data", "engine", "evaluation", "export")),
    *(f"fcos.modeling.fcos.fcos_{name}" for name in ("head", "targets", "assignment")),
    *(f"fcos.modeling.fcos.fcos_{name}" for name in ("losses", "inference")),
]
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
SHOWN = {".py": "python", ".yaml": "yaml"}


def stage(target: Path) -> None:
    """Write all pages below ``target``, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target / "docs", ignore=shutil.ignore_patterns("site"))
    pages = [ROOT / name for name in PAGES] + sorted((ROOT / "docs").rglob("*.md"))
    for page in pages:
        text = LINK.sub(lambda found, page=page: _linked(found, page, target), page.read_text())
        _write(target / page.relative_to(ROOT), text)
    for module in MODULES:
        _write(target / "api" / f"{module}.md", f"# {module}\n\n::: {module}\n")


def _linked(found: re.Match, page: Path, target: Path) -> str:
    """Return the link of a staged page; show what it leads to where that is no page."""
    path = (page.parent / found[2]).resolve()
    if ":" in found[2] or not path.is_relative_to(ROOT):
        return found[0]
    place = target / path.relative_to(ROOT)
    if path.is_dir():
        names = "".join(f"* `{file.name}`\n" for file in sorted(path.glob("*.py")))
        _write(place / "files.md", f"# {path.relative_to(ROOT)}\n\n{names}")
        return f"{found[1]}{found[2].rstrip('/')}/files.md{found[3]}"
    if path.suffix in SHOWN:
        code = f"````{SHOWN[path.suffix]}\n{path.read_text()}````\n"
        _write(place.with_name(f"{place.name}.md"), f"# {path.relative_to(ROOT)}\n\n{code}")
        return f"{found[1]}{found[2]}.md{found[3]}"
    return found[0]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    stage(Path(sys.argv[1]).resolve())
