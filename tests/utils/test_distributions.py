"""Where two distributions would mix their files, a sentence says so."""

import os
import subprocess
import sys

import pytest

from fcos.utils.distributions import two_detectron2s

BOTH = (
    "detectron2 0.6 and detectron2-lite 0.6.0 are both installed. Both are imported as detectron2, "
    "so their files mix: uninstall both, then install the one that you want."
)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay the metadata of a distribution where Python finds it first."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, version):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        return tmp_path

    return write


def test_both(install):
    install("detectron2", "0.6")
    install("detectron2-lite", "0.6.0")
    assert two_detectron2s() == BOTH


def test_what_is_installed_here_is_one():
    assert two_detectron2s() is None


def test_it_is_said_at_the_import(install):
    install("detectron2", "0.6")
    folder = install("detectron2-lite", "0.6.0")
    paths = os.pathsep.join([str(folder), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", "import fcos"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and f"UserWarning: {BOTH}" in run.stderr
