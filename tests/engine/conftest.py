"""A trainer brings to the device what it needs there: its tests make tensors where users do."""

import pytest

from tests import on_device


@pytest.fixture(autouse=True)
def tensors_on_the_cpu():
    with on_device.paused():
        yield
