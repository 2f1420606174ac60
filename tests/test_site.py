"""make site: every page is there, and every link of it leads somewhere."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path):
    """What the site is made of, in a folder of its own."""
    for name in ("docs", "fcos", "configs", "examples", "tests/golden", "datasets/README.md"):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)
    (tmp_path / "detectron2-lite").mkdir()
    for name in ("README.md", "CONTRIBUTING.md", "detectron2-lite/README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(folder, *words):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def stage(folder):
    done = run(folder, "docs/site/stage.py", "build/pages")
    assert done.returncode == 0, done.stderr


def test_links_out_of_the_docs_stay_on_the_site(copy):
    stage(copy)
    pages = copy / "build" / "pages"
    text = (pages / "docs" / "CUSTOM_DATA.md").read_text()
    assert "(../configs/bccd.yaml.md)" in text and "(../datasets/README.md)" in text
    shown = (pages / "configs" / "bccd.yaml.md").read_text()
    assert (
        shown
        == f"# configs/bccd.yaml\n\n````yaml\n{(ROOT / 'configs/bccd.yaml').read_text()}````\n"
    )
    assert "(docs/TRAINING.md)" in (pages / "README.md").read_text()
    assert "`table.py`" in (pages / "fcos" / "config" / "keys" / "files.md").read_text()
    for page in pages.rglob("*.md"):
        for link in re.findall(r"\]\(([^):#\s]+)[)#]", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(pages)}: {link}"


@pytest.mark.skipif(
    not all(
        map(importlib.util.find_spec, ("mkdocs", "mkdocstrings", "mkdocs_jupyter", "material"))
    ),
    reason="pip install -e '.[docs]'",
)
def test_a_warning_is_an_error(copy):
    """Of one page alone: make site, in CI, builds them all."""
    stage(copy)
    pages = copy / "build" / "pages"
    for name in ("docs", "api", "tests", "configs", "examples", "fcos", "detectron2-lite"):
        shutil.rmtree(pages / name)
    (pages / "CONTRIBUTING.md").unlink()
    (pages / "README.md").write_text("# A\n\n[to the labels](datasets/README.md)\n")
    (pages / "datasets" / "README.md").write_text("# B\n\n[back](../README.md#a)\n")
    (pages / "api").mkdir()
    module = "fcos.layers.iou_loss"
    (pages / "api" / f"{module}.md").write_text(f"# {module}\n\n::: {module}\n")
    build = ("-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml")
    done = run(copy, *build)
    assert done.returncode == 0, done.stderr
    shown = (copy / "build" / "site" / "api" / module / "index.html").read_text()
    assert "iou_loss" in shown and "doc-heading" in shown and ":func:" not in shown
    (pages / "datasets" / "README.md").write_text("# B\n\n[back](../README.md#b)\n")
    done = run(copy, *build)
    assert done.returncode == 1 and "does not contain an anchor '#b'" in done.stderr
