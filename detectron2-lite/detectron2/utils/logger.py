"""Logging: coloured on the terminal, plain in a file per process; small tables."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import time
from collections import Counter
from typing import IO, Any

from detectron2._missing import missing_names
from detectron2.utils.file_io import PathManager

__all__ = [
    "create_small_table",
    "log_every_n",
    "log_every_n_seconds",
    "log_first_n",
    "setup_logger",
]

__getattr__ = missing_names(__name__)

_DATE_FORMAT = "%m/%d %H:%M:%S"


class _Formatter(logging.Formatter):
    """Shortens the logger's name, and colours a record when asked to."""

    def __init__(self, root_name: str, abbrev_name: str, color: bool):
        super().__init__("[%(asctime)s] %(name)s %(levelname)s: %(message)s", _DATE_FORMAT)
        self._prefix = root_name + "."
        self._short = abbrev_name + "." if abbrev_name else ""
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        name = record.name
        if name.startswith(self._prefix):
            name = self._short + name.removeprefix(self._prefix)
        short = logging.makeLogRecord({**record.__dict__, "name": name})
        return self._format_in_color(short) if self._color else super().format(short)

    def _format_in_color(self, record: logging.LogRecord) -> str:
        from termcolor import colored

        head = colored(f"[{self.formatTime(record, self.datefmt)} {record.name}]: ", "green")
        # The plain format takes care of tracebacks, so let it write the rest.
        text = logging.Formatter("%(message)s").format(record)
        if record.levelno == logging.WARNING:
            return f"{colored('WARNING', 'red', attrs=['blink'])} {head}{text}"
        if record.levelno >= logging.ERROR:
            return f"{colored('ERROR', 'red', attrs=['blink', 'underline'])} {head}{text}"
        return head + text


@functools.lru_cache  # so that a second call with the same arguments adds no second handler
def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Let the logger ``name``, and those below it, write to the terminal and to a file.

    Args:
        output: a folder, for ``log.txt`` in it, or a file that ends in ``.txt`` or ``.log``. None
            for no file.  Processes other than 0 add ``.rank<N>`` to its name.
        distributed_rank: number of the process; only 0 writes to the terminal.
        color: whether the terminal gets colours.
        name: of the logger.
        abbrev_name: written in place of ``name`` for loggers below it; "d2" for detectron2, ""
            to leave it out.
        enable_propagation: whether records also go to the loggers above.
        configure_stdout: False to leave the terminal alone.
    """
    if abbrev_name is None:
        abbrev_name = {"detectron2": "d2"}.get(name, name)
    logger = logging.getLogger(name)
    logger.propagate = enable_propagation
    logger.setLevel(logging.DEBUG)

    if configure_stdout and distributed_rank == 0:
        terminal = logging.StreamHandler(stream=sys.stdout)
        terminal.setLevel(logging.DEBUG)
        terminal.setFormatter(_Formatter(name, abbrev_name, color))
        logger.addHandler(terminal)

    if output is not None:
        is_file = os.fspath(output).endswith((".txt", ".log"))
        filename = output if is_file else os.path.join(output, "log.txt")
        if distributed_rank > 0:
            filename = f"{filename}.rank{distributed_rank}"
        PathManager.mkdirs(os.path.dirname(filename) or ".")
        handler = logging.StreamHandler(_open_log(filename))
        handler.setLevel(logging.DEBUG)
        handler.setFormatter(_Formatter(name, abbrev_name, color=False))
        logger.addHandler(handler)
    return logger


@functools.lru_cache  # several loggers write into one file through one object
def _open_log(filename: str) -> IO[str]:
    # Line by line, so that a killed run has its log to the end.
    file = PathManager.open(filename, "a", buffering=1)
    atexit.register(file.close)
    return file


def create_small_table(small_dict: dict[str, Any]) -> str:
    """A table with one row of values under their names, for a dict of a few entries."""
    from tabulate import tabulate

    return tabulate(
        [tuple(small_dict.values())],
        headers=tuple(small_dict),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )


_calls: Counter[Any] = Counter()
_last_time: dict[Any, float] = {}


def _caller() -> tuple[str, tuple[str, int, str]]:
    """Module name of, and a key for, the line of code that called into this module."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") == __name__ and frame.f_back is not None:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "detectron2")
    module = "detectron2" if module == "__main__" else module
    code = frame.f_code
    return module, (code.co_filename, frame.f_lineno, code.co_name)


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | tuple[str, ...] = "caller",
) -> None:
    """Log, but only the first ``n`` times.

    Args:
        lvl: level, such as ``logging.WARNING``.
        msg: what to log.
        n: how many times.
        name: of the logger; None for the calling module's.
        key: what counts as the same: "caller" (the line of code), "message", or both in a tuple.
    """
    module, caller = _caller()
    keys = (key,) if isinstance(key, str) else key
    assert keys and set(keys) <= {"caller", "message"}, f"key: 'caller' or 'message', got {key!r}"
    seen: tuple[Any, ...] = ()
    if "caller" in keys:
        seen += caller
    if "message" in keys:
        seen += (msg,)
    _calls[seen] += 1
    if _calls[seen] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first of every ``n`` calls from a line of code; arguments as ``log_first_n``."""
    module, caller = _caller()
    _calls[caller] += 1
    if n == 1 or _calls[caller] % n == 1:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log, but not within ``n`` seconds of the last time from this line of code."""
    module, caller = _caller()
    now = time.monotonic()
    if caller not in _last_time or now - _last_time[caller] >= n:
        logging.getLogger(name or module).log(lvl, msg)
        _last_time[caller] = now
