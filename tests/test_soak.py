"""A short soak: nothing grows from image to image."""

import pytest

from tests import soak

pytestmark = pytest.mark.cpu


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    soak.prepare(tmp_path, NUMBER)
    return tmp_path


NUMBER = 60


def test_memory_files_and_threads_stay(place):
    for job in soak.JOBS:
        code, samples = soak.watch(job, NUMBER, every=0.02)
        assert code == 0, (place / f"{job}.said").read_text()[-2000:]
        said, wrong = soak.verdict(job, NUMBER, samples)
        assert not wrong, said


def test_what_grows_is_found(place, monkeypatch):
    def leak(number):
        kept = []
        for _ in range(number):
            kept.append((open("tiny.yaml"), bytearray(b"x" * 2**20)))  # noqa: SIM115
            soak.time.sleep(0.01)
        return 0

    monkeypatch.setitem(soak.JOBS, "loader", leak)
    _, samples = soak.watch("loader", NUMBER, every=0.01)
    _, wrong = soak.verdict("loader", NUMBER, samples)
    assert [text.split()[0] for text in wrong] == ["memory", "files:"]
