"""The one exception that speaks to the user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["UserError", "config_errors", "one_line"]


class UserError(ValueError):
    """Something the user can put right: a wrong path, key, data set or weights file.

    The message is complete without a traceback: what is wrong, where, and what to do.
    ``train_net.py`` and ``demo.py`` print it as it is and leave with exit code 1.

    Attributes:
        in_all_processes: every process of a training has this error, so one of them may print it.
    """

    in_all_processes = False


def one_line(error: BaseException, most: int = 200) -> str:
    """Return the text of an error on one line, cut after ``most`` characters, or its type."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else text[:most] + "..."


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Turn errors in building from a config into a sentence for the user.

    Each part of a detector or a training checks its own values, here and in detectron2, and says
    so in errors of many kinds. For the user, all of them mean that the config has to change.

    Raises:
        UserError: with the message of the error. Processes share a config, so all have it.
    """
    try:
        yield
    except UserError:
        raise
    except (AssertionError, KeyError, NotImplementedError, ValueError) as error:
        text = " ".join(str(error.args[0] if error.args else "").split())
        if " " not in text:  # no sentence, such as the key of a KeyError
            kind = type(error).__name__
            text = " ".join(filter(None, [kind, text, "(train_net.py --debug shows where)"]))
        shared = UserError(f"This config cannot be used: {text}")
        shared.in_all_processes = True
        raise shared from error
