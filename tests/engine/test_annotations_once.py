"""A whole training with evaluations parses an annotation file once in each process."""

from collections import Counter

import pytest

from tests.tiny import train_net, write_project

HOOK = """\
import os, sys

def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith(("train.json", "val.json")):
        line = f"{os.path.basename(arguments[0])} {os.getpid()}\\n".encode()
        file = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line)
        os.close(file)

sys.addaudithook(note)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_an_annotation_file_is_opened_once(tmp_path, monkeypatch, processes):
    write_project(tmp_path)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"), prepend=":")
    monkeypatch.setenv("OPENED", str(tmp_path / "opened.txt"))
    options = ["TEST.EVAL_PERIOD", "2", "SOLVER.MAX_ITER", "4"]
    done = train_net(tmp_path, "--num-gpus", str(processes), *options)
    assert done.returncode == 0, done.stderr
    opened = Counter((tmp_path / "opened.txt").read_text().splitlines())
    assert set(opened.values()) == {1}, opened
    files = Counter(line.split()[0] for line in opened)
    assert files == {"train.json": processes, "val.json": processes}
