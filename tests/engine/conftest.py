"""A trainer brings to the device what it needs there: its tests make tensors where users do."""

import pytest

from tests import on_device
from tests.tiny import write_project


@pytest.fixture(autouse=True)
def tensors_on_the_cpu():
    with on_device.paused():
        yield


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a small data set and config, which is the current one."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    (tmp_path / "output").mkdir()
    return tmp_path
