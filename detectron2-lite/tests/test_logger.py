"""Logging to the terminal and to files; tables."""

import itertools
import logging

import pytest

from detectron2.utils.logger import (
    create_small_table,
    log_every_n,
    log_every_n_seconds,
    log_first_n,
    setup_logger,
)

STAMP = r"^\[\d\d/\d\d \d\d:\d\d:\d\d"
names = (f"logger_of_test_{i}" for i in itertools.count())


@pytest.fixture
def name():
    name = next(names)
    yield name
    for handler in logging.getLogger(name).handlers:
        handler.close()


def without_time(text):
    return [line[line.index("]") + 2 :] for line in text.splitlines()]


def test_terminal_and_file(name, tmp_path, capsys):
    logger = setup_logger(str(tmp_path), name=name, abbrev_name="short")
    logging.getLogger(f"{name}.part").info("hello")
    logger.warning("careful")
    assert " short.part]: " in capsys.readouterr().out
    assert without_time((tmp_path / "log.txt").read_text()) == [
        "short.part INFO: hello",
        f"{name} WARNING: careful",
    ]
    assert not logger.propagate


def test_traceback_is_logged(name, tmp_path):
    logger = setup_logger(str(tmp_path), name=name)
    try:
        raise KeyError("inner")
    except KeyError:
        logger.exception("outer")
    text = (tmp_path / "log.txt").read_text()
    assert "ERROR: outer\nTraceback" in text
    assert "KeyError: 'inner'" in text


def test_second_call_changes_nothing(name, tmp_path):
    first = setup_logger(str(tmp_path), name=name)
    assert setup_logger(str(tmp_path), name=name) is first
    assert len(first.handlers) == 2


def test_other_processes_write_only_their_own_file(name, tmp_path, capsys):
    setup_logger(str(tmp_path), distributed_rank=3, name=name).info("from three")
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt.rank3"]


@pytest.mark.parametrize("file", ["folder/x.txt", "y.log"])
def test_file_name_instead_of_a_folder(name, tmp_path, file):
    setup_logger(str(tmp_path / file), name=name).info("x")
    assert without_time((tmp_path / file).read_text()) == [f"{name} INFO: x"]


def test_two_loggers_share_a_file(name, tmp_path):
    setup_logger(str(tmp_path), name=name).info("1")
    other = next(names)
    setup_logger(str(tmp_path), name=other).info("2")
    lines = without_time((tmp_path / "log.txt").read_text())
    assert lines == [f"{name} INFO: 1", f"{other} INFO: 2"]


def test_terminal_can_be_left_alone(name):
    logger = setup_logger(name=name, configure_stdout=False, enable_propagation=True)
    assert logger.handlers == []
    assert logger.propagate


def test_small_table():
    assert create_small_table({"AP": 1.23456, "n": 2}).splitlines() == [
        "|  AP   |  n  |",
        "|:-----:|:---:|",
        "| 1.235 |  2  |",
    ]


def messages(caplog):
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_rare_messages(name, caplog):
    for i in range(5):
        log_first_n(logging.WARNING, f"a{i}", 2, name=name)
    assert messages(caplog) == ["a0", "a1"]
    for i in range(5):
        log_every_n(logging.WARNING, f"b{i}", 2, name=name)
    assert messages(caplog) == ["b0", "b2", "b4"]
    for i in range(5):
        log_every_n_seconds(logging.WARNING, f"c{i}", 1000, name=name)
    assert messages(caplog) == ["c0"]
    for i in range(4):
        log_first_n(logging.WARNING, f"d{i % 2}", 1, name=name, key="message")
    assert messages(caplog) == ["d0", "d1"]
    for i in range(4):
        log_first_n(logging.WARNING, f"d{i % 2}", 1, name=name, key=("caller", "message"))
    assert messages(caplog) == ["d0", "d1"]
    log_first_n(logging.WARNING, "e")
    assert caplog.records[-1].name == __name__
