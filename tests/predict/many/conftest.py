import logging

import pytest


@pytest.fixture(autouse=True)
def logs_reach_caplog(monkeypatch):
    """Handlers made once would write to the captured output of a test that is over."""
    monkeypatch.setattr("fcos.predict.many.running.show_log", lambda *_: None)
    monkeypatch.setattr(logging.getLogger("fcos"), "propagate", True)
