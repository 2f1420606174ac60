"""hotcoco, which computes what pycocotools does not."""

from __future__ import annotations

import re
from importlib import metadata

from fcos.utils.errors import UserError

__all__ = ["require_hotcoco"]

_LEAST = (1, 3)  # in 1.0 the costs of errors are up to twice those of TIDE


def require_hotcoco() -> None:
    """Check that hotcoco is there, and new enough.

    Raises:
        UserError: it is not.
    """
    least = ".".join(map(str, _LEAST))
    try:
        import hotcoco  # noqa: F401

        version = metadata.version("hotcoco")
    except ImportError as error:  # PackageNotFoundError is one
        raise UserError(
            f"fcos diagnose needs hotcoco, which cannot be imported ({error}): "
            f"pip install 'hotcoco>={least}'"
        ) from error
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _LEAST:
        raise UserError(
            f"fcos diagnose needs hotcoco {least} or later, and {version} is installed: "
            f"pip install 'hotcoco>={least}'"
        )
