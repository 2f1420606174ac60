"""One computing thread per process: tests run side by side, and some start processes."""

import logging
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which is later


@pytest.fixture(autouse=True)
def drop_handlers_of_closed_streams():
    """A program that is tested logs to the stderr of its test, which ends with it."""
    yield
    for name in ("fcos", "detectron2", "fvcore"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            stream = getattr(handler, "stream", None)
            if stream is not None and stream.closed:
                logger.removeHandler(handler)
