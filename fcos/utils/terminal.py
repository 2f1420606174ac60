"""What a person sees of the log: sentences, without the environment and the inside of a program."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

__all__ = ["Terminal", "show_log"]


class Terminal(logging.Handler):
    """Writes to the standard output of the moment, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
        except Exception:  # as every handler of Python
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, with its level where that matters and the time where it is a log."""
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.capitalize()}: {text}"
        if sys.stdout.isatty():
            return text
        return f"[{self.formatter_of_time.formatTime(record, '%m/%d %H:%M:%S')}] {text}"

    formatter_of_time = logging.Formatter()


def show_log(rank: int = 0) -> None:
    """Let the log of this package appear on the terminal, once; only that of process 0."""
    log = logging.getLogger("fcos")
    if rank == 0 and not any(isinstance(handler, Terminal) for handler in log.handlers):
        log.addHandler(Terminal(logging.INFO))
        log.setLevel(logging.INFO)
