"""What a person sees of the log, on a terminal and in a log file."""

import io
import logging
import os
import sys

import pytest

from fcos.utils.terminal import Terminal, for_people, progress_bar, show_log, write_safely

NAMES = ("fcos", "detectron2", "fvcore")


class Tty(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def loggers():
    """The loggers as they are before anything is set up, and afterwards as they were."""
    logs = [logging.getLogger(name) for name in NAMES]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in logs]
    for log in logs:
        log.handlers[:], log.propagate = [], True  # else pytest adds one of its own
    yield
    for log, handlers, level, propagate in before:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


def set_up():
    """As detectron2's set-up: a handler of the standard output for each logger."""
    for name in NAMES:
        log = logging.getLogger(name)
        log.addHandler(logging.StreamHandler(sys.stdout))
        log.setLevel(logging.DEBUG)
    logging.getLogger("detectron2").info("Environment info: ...")


def say_all():
    for name, text in {
        "fcos.engine.preflight": "Data set 'tiny': 12 images.",
        "fcos.evaluation.coco_evaluation": "COCO's summary for bbox:",
        "detectron2.engine.defaults": "Model: ...",
        "detectron2.utils.events": "iter: 19  total_loss: 1.2",
        "detectron2.evaluation.testing": "copypaste: AP",
        "detectron2.evaluation.evaluator": "Inference done 2/8. Dataloading: 0.0012 s/iter.",
        "fvcore.common.checkpoint": "Writing output/model_final.pth",
    }.items():
        logging.getLogger(name).info(text)
    logging.getLogger("fcos.data").debug("details")
    logging.getLogger("detectron2.data").warning("an image is odd")


def test_a_log_has_sentences_with_their_time(capsys):
    with for_people(0):
        set_up()
    say_all()
    lines = capsys.readouterr().out.splitlines()
    assert all(line[:1] == "[" and line[15:17] == "] " for line in lines)
    assert [line[17:] for line in lines] == [
        "Data set 'tiny': 12 images.",
        "iter: 19  total_loss: 1.2",
        "copypaste: AP",
        "Inference done 2/8. Dataloading: 0.0012 s/iter.",
        "Writing output/model_final.pth",
        "Warning: an image is odd",
    ]


def test_a_terminal_has_a_bar_in_place_of_the_lines_of_progress(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Tty())
    with for_people(0):
        set_up()
    say_all()
    shown = sys.stdout.getvalue()
    assert "Evaluation:  25%" in shown and "2/8" in shown
    lines = shown.replace("\r", "\n").splitlines()
    plain = [line for line in lines if line.strip() and "Evaluation" not in line]
    assert [line.removeprefix("\x1b[A") for line in plain] == [
        "Data set 'tiny': 12 images.",
        "Writing output/model_final.pth",
        "Warning: an image is odd",
    ]


def test_everything_is_what_detectron2_prints(capsys):
    show_log()
    with for_people(0, everything=True):
        set_up()
    say_all()
    out = capsys.readouterr().out
    assert "Environment info: ..." in out and "Model: ..." in out and "details" in out
    assert out.count("Data set 'tiny'") == 1  # not once more by ours


def test_other_processes_are_silent(capsys):
    with for_people(1):
        set_up()
    show_log(1)
    say_all()
    assert capsys.readouterr().out == ""


def test_a_set_up_that_fails_leaves_no_handler(capsys):
    with pytest.raises(OSError), for_people(0):
        set_up()
        raise OSError
    assert not any(logging.getLogger(name).handlers for name in NAMES)


def test_names_do_nothing_to_a_terminal_or_a_log_file(tmp_path, capsys):
    handler = logging.FileHandler(tmp_path / "log.txt")
    log = logging.getLogger("fcos")
    log.addHandler(handler)
    show_log()
    write_safely()
    write_safely()
    try:
        logging.getLogger("fcos.predict").info("%s:\t1\n2", "\x1b[31mred\x07\u202e.png")
    finally:
        log.removeHandler(handler)
        handler.close()
    said = "\\x1b[31mred\\x07\\u202e.png:\t1\n2\n"
    assert (tmp_path / "log.txt").read_text() == said
    assert capsys.readouterr().out.endswith(said)


def test_the_log_is_shown_once(capsys):
    for _ in range(2):
        show_log()
    logging.getLogger("fcos.data").info("once")
    assert capsys.readouterr().out.count("once") == 1
    (handler,) = logging.getLogger("fcos").handlers
    assert isinstance(handler, Terminal)


def test_progress_in_a_log_is_a_line_now_and_then(capsys):
    with progress_bar(3) as bar:
        for _ in range(3):
            bar.update(1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["0/3 images", "3/3 images"]
    with progress_bar(None, desc="Frames") as bar:
        bar.update(5)
    assert capsys.readouterr().err.splitlines()[-1].startswith("Frames: 5 images, ")


@pytest.mark.parametrize("columns", [0, 100])
def test_progress_on_a_terminal_is_a_bar(columns, monkeypatch):
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: size)
    terminal = Tty()
    with progress_bar(3, file=terminal, mininterval=0) as bar:
        bar.update(3)
    assert "100%|" in terminal.getvalue()
