"""HTML files that need no other file, server, script or font, made from templates/."""

from __future__ import annotations

import base64
import math
from typing import Any

from fcos.evaluation.resampling import SHARE, Interval

__all__ = ["render", "signed", "verdict"]

_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def render(template: str, **variables: Any) -> str:
    """Fill in a file of templates/; every text in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fcos.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, signed=signed, thousands="{:,}".format)
    environment.tests["finite"] = math.isfinite
    environment.globals.update(data_url=_data_url, verdict=verdict, zip=zip)
    return environment.get_template(template).render(variables)


def signed(value: float) -> str:
    """Write a difference with one digit and its sign: +1.2, \N{MINUS SIGN}0.4, 0.0, or a dash."""
    if not math.isfinite(value):
        return _DASH
    text = f"{abs(value):.1f}"
    if text == "0.0":
        return text
    return ("+" if value > 0 else _MINUS) + text


def verdict(baseline: str, label: str, interval: Interval | None) -> str:
    """Say how much of the difference of AP between two runs may be luck."""
    difference = f"{label} {_MINUS} {baseline}"
    if interval is None:
        return f"{difference}: too little to measure an interval on."
    text = f"{difference}: {SHARE} % interval {signed(interval.lower)} to {signed(interval.upper)}"
    if interval.lower <= 0 <= interval.upper:
        return f"{text}, so the images do not tell which is better."
    return f"{text}, more than the choice of the images explains."


def _number(value: float | None) -> str:
    return _DASH if value is None or not math.isfinite(value) else f"{value:.1f}"


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
