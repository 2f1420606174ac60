"""The one exception that speaks to the user."""

from __future__ import annotations

import contextlib
import reprlib
import sys
import traceback
from collections.abc import Iterator

__all__ = [
    "UserError",
    "config_errors",
    "of_exercise",
    "of_system",
    "one_line",
    "printable",
    "short",
]


class UserError(ValueError):
    """Something the user can put right: a wrong path, key, data set or weights file.

    The message is complete without a traceback: what is wrong, where, and what to do.
    ``train_net.py`` and ``demo.py`` print it as it is and leave with exit code 1. What moves the
    cursor or colours of a terminal, as a name in a user's file may, is in it as Python writes it,
    and of a value of endless length the middle is left out.

    Attributes:
        in_all_processes: every process of a training has this error, so one of them may print it.
    """

    in_all_processes = False

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(_without_middle(message)))


_MOST_SHOWN = 4000  # characters of a sentence; what is wrong stands at its start, advice at its end


def _without_middle(text: str) -> str:
    if len(text) <= _MOST_SHOWN:
        return text
    half = _MOST_SHOWN // 2
    return f"{text[:half]} ... {text[-half:]}"


def printable(text: str) -> str:
    """Return a text that only shows something: ``\\x1b`` for the character that starts colours."""
    if text.translate({9: "", 10: ""}).isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\t\n" else repr(c)[1:-1] for c in text)


def one_line(error: BaseException, most: int = 200) -> str:
    """Return the text of an error on one line, cut after ``most`` characters, or its type."""
    return short(" ".join(str(error).split()) or type(error).__name__, most)


def short(text: str, most: int = 200) -> str:
    """Return a text, cut after ``most`` characters."""
    return text if len(text) <= most else text[:most] + "..."


def of_system(error: BaseException) -> UserError | None:
    """Return what an error of the operating system means for the user; None for any other error.

    Most places know better what they were about to do, and say it. This is for all others.
    """
    if isinstance(error, UnicodeEncodeError) and error.reason.startswith("surrogates"):
        return UserError(f"{reprlib.repr(error.object)} is no text that a file or its name can be.")
    # From Python 3.13 on: "stat: embedded null character in path"
    if type(error) is ValueError and "embedded null " in str(error):
        return UserError("A name of a file has a NUL character, which none can have.")
    if not isinstance(error, OSError) or not error.strerror:
        return None
    name = error.filename if isinstance(error.filename, str) else ""
    return UserError(f"{name or 'The system'}: {error.strerror}.")


def of_exercise(error: BaseException) -> UserError | None:
    """Return what a function means that ``fcos skeleton`` has emptied; None for any other error."""
    if type(error) is not NotImplementedError or not str(error).startswith("Step "):
        return None
    step, _, name = str(error).rpartition(": ")
    shared = UserError(f"This needs {name}, which is not written yet ({step}; see README.md).")
    shared.in_all_processes = True
    return shared


# Whose errors without a sentence mean a value in the config that they do not know.
_FRAMEWORKS = ("fcos", "detectron2", "fvcore", "iopath", "timm", "torch", "torchvision", "yacs")


def _place(error: BaseException) -> tuple[str, int]:
    """Return the module and the line where an error was raised."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", ""), line


def _own_place(error: BaseException) -> str:
    """Name the file and the line of the user's own code that led to an error; "" if none did."""
    _, _, *inner = traceback.walk_tb(error.__traceback__)  # without this file and its caller
    for frame, line in reversed(inner):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in (*_FRAMEWORKS, *sys.stdlib_module_names):
            return f"{frame.f_code.co_filename}, line {line}"
    return ""


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Turn errors in building from a config into a sentence for the user.

    Each part of a detector or a training checks its own values, here and in detectron2, and says
    so in errors of many kinds. For the user, all of them mean that the config has to change. Not
    so an error without a sentence in other code, such as a backbone of the user's own: that is a
    mistake in this code, whose traceback the user needs. Where such code has led to an error with
    one, its file and line are named.

    Raises:
        UserError: with the message of the error. Processes share a config, so all have it.
    """
    try:
        yield
    except UserError:
        raise
    except (AssertionError, KeyError, NotImplementedError, ValueError) as error:
        if (unwritten := of_exercise(error)) is not None:
            raise unwritten from error
        text = " ".join(str(error.args[0] if error.args else "").split())
        if " " not in text:  # no sentence, such as the key of a KeyError
            module, line = _place(error)
            if module.partition(".")[0] not in _FRAMEWORKS:
                raise
            kind = type(error).__name__
            text = " ".join(filter(None, [kind, text, f"in {module}, line {line}"]))
        own = _own_place(error)
        cause = f"The code at {own}" if own else "This config"
        shared = UserError(f"{cause} cannot be used: {text}")
        shared.in_all_processes = True
        raise shared from error
