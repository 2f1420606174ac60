"""One computing thread per process: tests run side by side, and some start processes."""

import logging
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which is later
os.environ.pop("DETECTRON2_DATASETS", None)  # tests have data of their own


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU")
    config.addinivalue_line("markers", "cpu: is about the CPU, or imagines a GPU itself")
    if "FCOS_TEST_DEVICE" in os.environ:
        from tests.on_device import enter

        enter()


def pytest_collection_modifyitems(items):
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        has_gpu = torch.cuda.is_available()
    on_cpu = os.environ.get("FCOS_TEST_DEVICE", "cpu") == "cpu"
    for item in items:
        if item.get_closest_marker("gpu") and not has_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
        if item.get_closest_marker("cpu") and not on_cpu:
            item.add_marker(pytest.mark.skip(reason="is about the CPU"))


@pytest.fixture(autouse=True)
def drop_handlers_of_closed_streams():
    """A program that is tested logs to the stderr of its test, which ends with it."""
    level = logging.getLogger("fcos").level
    yield
    logging.getLogger("fcos").setLevel(level)
    for name in ("fcos", "detectron2", "fvcore"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            stream = getattr(handler, "stream", None)
            is_ours = type(handler).__name__ == "Terminal"
            if is_ours or (stream is not None and stream.closed):
                logger.removeHandler(handler)
