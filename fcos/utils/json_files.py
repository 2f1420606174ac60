"""Read JSON files, and say in a sentence what is wrong with one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from detectron2.utils.file_io import PathManager
from fcos.utils.errors import UserError
from fcos.utils.reading import ANNOTATIONS, read_bytes

__all__ = ["for_json", "is_id", "read_json"]


def read_json(path: str, if_broken: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: of the file.
        if_broken: advice for a file that is empty or incomplete.

    Raises:
        UserError: it cannot be read, is too large, is not UTF-8 without a byte order mark, or is
            not JSON.
    """
    advice = f": {if_broken}" if if_broken else ""

    def check_start(start: bytes) -> None:
        if not start:
            raise UserError(f"{path} is empty{advice}.")
        _check_encoding(path, start)

    try:
        local = PathManager.get_local_path(path)
        content = read_bytes(local, ANNOTATIONS, as_text=True, check_start=check_start)
        return json.loads(content.decode("utf-8"))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not complete JSON ({error}){advice}.") from error
    except RecursionError as error:
        raise UserError(f"{path} cannot be read: lists lie too deep inside each other.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise UserError(f"{path} cannot be read: {str(error).partition(':')[0]}.") from error


def _check_encoding(path: str, start: bytes) -> None:
    """Refuse, by the first bytes, what pycocotools cannot read: all but UTF-8 without a mark."""
    encoding = json.detect_encoding(start)
    if encoding == "utf-8-sig":
        raise UserError(
            f"{path} begins with a byte order mark, which JSON must not have: save it as UTF-8 "
            "without one (in editors, 'UTF-8' instead of 'UTF-8 with BOM')."
        )
    if encoding != "utf-8":
        raise UserError(f"{path} is {encoding[:6].upper()} text: save it as UTF-8.")


def is_id(value: Any) -> bool:
    """Return whether a value from a JSON file can be an id: a finite number or a string."""
    # type() and not isinstance(): a bool is an instance of int.
    return type(value) in (int, str) or (isinstance(value, float) and math.isfinite(value))


def for_json(value: Any, digits: int | None = None) -> Any:
    """Replace what JSON cannot hold: arrays by lists, and what is not finite by None.

    Args:
        value: mappings, sequences, arrays and plain values, in each other.
        digits: round numbers with a fraction to so many.
    """
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: for_json(inner, digits) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_json(inner, digits) for inner in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else round(value, digits)
    return value
