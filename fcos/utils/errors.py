"""The one exception that speaks to the user."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(ValueError):
    """Something the user can put right: a wrong path, key, data set or weights file.

    The message is complete without a traceback: what is wrong, where, and what to do.
    ``train_net.py`` and ``demo.py`` print it as it is and leave with exit code 1.

    Attributes:
        in_all_processes: every process of a training has this error, so one of them may print it.
    """

    in_all_processes = False
