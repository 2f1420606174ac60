"""What a person sees of a program: sentences and progress. The log file has all the rest."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any, Literal

from tqdm import tqdm

from fcos.utils.errors import printable

__all__ = ["Terminal", "for_people", "is_terminal", "progress_bar", "show_log", "write_safely"]

_LOGGERS = ("fcos", "detectron2", "fvcore")

# Of the frameworks, who says something that a person needs. Warnings are always shown.
_TOLD = {
    "fcos",
    "fvcore.common.checkpoint",  # files that are read and written
    "detectron2.engine.hooks",  # how long it took
    "detectron2.evaluation.evaluator",  # progress
    "detectron2.evaluation.testing",  # figures to copy
    "detectron2.utils.events",  # progress
}
_FOR_LOGS = {"detectron2.utils.events", "detectron2.evaluation.testing"}  # a person has a bar
_UNTOLD = re.compile(r"Start inference on|Total inference|COCO's summary for")
_EVALUATED = re.compile(r"Inference done (\d+)/(\d+)")


def show_only(record: logging.LogRecord) -> bool:
    """Let what a handler of a log writes only show something; a filter, which keeps all records.

    A name in a user's file may move the cursor of a terminal, also of one that shows a log file.
    """
    with contextlib.suppress(Exception):  # which handlers report when they format it
        record.msg, record.args = printable(record.getMessage()), ()
    return True


def is_terminal() -> bool:
    """Whether a person looks at the standard output; else it is a log."""
    return sys.stdout.isatty()


class Terminal(logging.Handler):
    """Writes above a progress bar where there is one.

    Args:
        stream: of ``sys``, the one of the moment.
    """

    def __init__(self, stream: str = "stdout") -> None:
        super().__init__(logging.INFO)
        self._stream = stream
        self.addFilter(_is_told)
        self.addFilter(show_only)
        self._bar: tqdm | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            done = _EVALUATED.match(record.getMessage())
            if done and is_terminal():
                self._show(*map(int, done.groups()))
                return
            self._close()
            stream = getattr(sys, self._stream)
            tqdm.write(self.format(record), file=stream)
            stream.flush()
        except Exception:  # as every handler of Python
            self.handleError(record)

    def _show(self, done: int, total: int) -> None:
        """Show how far an evaluation is."""
        if self._bar is None:
            self._bar = progress_bar(
                total, initial=done, desc="Evaluation", file=sys.stdout, leave=False
            )
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, with its level where that matters and the time where it is a log."""
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.capitalize()}: {text}"
        if is_terminal():
            return text
        return f"[{_TIME.formatTime(record, '%m/%d %H:%M:%S')}] {text}"


_TIME = logging.Formatter()


def _is_told(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        return True
    if record.name.partition(".")[0] != "fcos" and record.name not in _TOLD:
        return False
    if record.name in _FOR_LOGS and is_terminal():
        return False
    return not _UNTOLD.match(record.getMessage())


# One of each, so that a line of any logger ends the bar of an evaluation.
_TERMINALS = {stream: Terminal(stream) for stream in ("stdout", "stderr")}


def show_log(
    rank: int = 0,
    names: tuple[str, ...] = ("fcos",),
    stream: Literal["stdout", "stderr"] = "stdout",
) -> None:
    """Let the log of this package appear on the terminal, once; only that of process 0.

    Args:
        rank: number of this process.
        names: of the loggers.
        stream: the standard error, where the output is what was asked for.
    """
    for name in names:
        log = logging.getLogger(name)
        if rank == 0 and not _terminals_of(log):
            log.addHandler(_TERMINALS[stream])
            log.setLevel(min(log.level or logging.INFO, logging.INFO))


@contextlib.contextmanager
def for_people(rank: int, everything: bool = False) -> Iterator[None]:
    """Set logging up in here; on the terminal, show only what a person needs of it.

    detectron2's set-up would print hundreds of lines of environment and config, which its log file
    has too.

    Args:
        rank: number of this process; only 0 writes to the terminal.
        everything: let detectron2 print all that goes into the log file.
    """
    if everything:
        for name in _LOGGERS:
            log = logging.getLogger(name)
            for handler in _terminals_of(log):
                log.removeHandler(handler)
        yield
        return
    hidden = io.StringIO()
    try:
        with contextlib.redirect_stdout(hidden):
            yield
    finally:
        for name in _LOGGERS:
            log = logging.getLogger(name)
            for handler in list(log.handlers):
                if getattr(handler, "stream", None) is hidden:
                    log.removeHandler(handler)
    show_log(rank, _LOGGERS)


def write_safely() -> None:
    """Let :func:`show_only` filter all that the logs write, such as detectron2's ``log.txt``."""
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(show_only)


def _terminals_of(log: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in log.handlers if isinstance(handler, Terminal)]


def progress_bar(total: int | None, *, file: Any = None, **options: Any) -> tqdm:
    """Make a progress bar; where it is written to a log, lines with half a minute between.

    Args:
        total: what there is to do, if it is known.
        file: where to; by default the standard error.
        options: as of tqdm.
    """
    file = file or sys.stderr
    options = {"total": total, "unit": "image", "file": file, **options}
    if file.isatty():
        columns = shutil.get_terminal_size((0, 0)).columns  # none, in some containers
        return tqdm(
            **options, **({"dynamic_ncols": True} if columns else {"ncols": 80, "nrows": 24})
        )
    shape = "{desc}: " if options.get("desc") else ""
    shape += "{n_fmt}" + ("/{total_fmt}" if total else "") + " {unit}s, {elapsed} so far"
    shape += ", {remaining} left" if total else ""
    calm = {"mininterval": 30, "maxinterval": 60, "file": _Lines(file), "bar_format": shape}
    return tqdm(**{**options, **calm})


class _Lines(io.TextIOBase):
    """A stream that gets a line for each state of a bar."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if line := text.strip():
            print(line, file=self._stream, flush=True)
        return len(text)
