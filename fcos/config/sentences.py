"""What detectron2's config says about a wrong value, in a sentence."""

from __future__ import annotations

import re

from fcos.utils.errors import short

__all__ = ["sentence_of"]

# As yacs words it: the type and value that the config has, and those that came.
_TYPE_MISMATCH = re.compile(
    r"Type mismatch \(<class '([\w.]+)'> vs\. <class '([\w.]+)'>\) "
    r"with values \((.*) vs\. (.*)\) for config key: (\S+)"
)


def sentence_of(error: BaseException) -> str:
    """Return what an error of yacs or YAML says as one sentence of moderate length."""
    line = " ".join(str(error).split())
    mismatch = _TYPE_MISMATCH.fullmatch(line)
    if mismatch is None:
        return short(line, 500)
    wanted, came, old, new, key = mismatch.groups()
    new = short(new, 80)
    return f"{key} is of type {wanted} (now {old or repr(old)}), but {new} is of type {came}."
