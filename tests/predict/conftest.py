import logging

import pytest


@pytest.fixture(autouse=True)
def logs_reach_caplog(monkeypatch):
    """The scripts' logging set-up keeps messages from the root logger, where caplog listens."""
    monkeypatch.setattr(logging.getLogger("fcos"), "propagate", True)
