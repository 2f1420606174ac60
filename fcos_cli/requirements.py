"""Whether what is installed is within the ranges that this package asks for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from fcos_cli.health import OK, WARN, WRONG, Finding, Machine, plain

__all__ = ["is_in", "version_findings"]


def version_findings(machine: Machine, requirements: Sequence[str]) -> Iterator[Finding]:
    """Compare the installed versions with requirements as package metadata state them."""
    try:
        Requirement = _packaging("requirements").Requirement
    except ImportError:
        text = "not compared with the ranges that fcos asks for, without the package packaging"
        yield Finding("versions", WARN, text, "pip install packaging")
        return
    outside = []
    for text in requirements:
        wanted = Requirement(text)
        is_extra = "extra" in str(wanted.marker or "")
        version = machine.versions.get(plain(wanted.name))
        if wanted.marker is not None and not is_extra and not wanted.marker.evaluate():
            continue
        if plain(wanted.name) == "opencv-python" and version is None:
            version = machine.versions.get("opencv-python-headless")
        if version is None and is_extra:
            continue
        if version is None:
            known = machine.probed.get(plain(wanted.name), {})
            if "version" not in known and plain(wanted.name) not in ("torch", "torchvision"):
                yield Finding(
                    wanted.name,
                    WRONG,
                    "is required, but not installed",
                    f"pip install '{text.partition(';')[0].strip()}'",
                )
        elif not wanted.specifier.contains(version, prereleases=True):
            status = WARN if is_extra else WRONG
            asked = f"{wanted.name}{wanted.specifier}"
            asking = f"the extra {_extra(wanted)}" if is_extra else "fcos"
            yield Finding(
                wanted.name,
                status,
                f"{version} is here, but {asking} asks for {asked}",
                f"pip install '{asked}'",
            )
            outside.append(wanted.name)
    if not outside:
        yield Finding("versions", OK, "all within the ranges that fcos asks for")


def _extra(wanted: Any) -> str:
    """Return the name of the extra that a requirement belongs to."""
    return str(wanted.marker).partition('extra == "')[2].partition('"')[0]


def is_in(version: str, specifier: str) -> bool:
    """Say whether a version is in a range such as ">=3.10"."""
    try:
        wanted = _packaging("specifiers").SpecifierSet(specifier)
    except ImportError:
        return True  # which another finding says
    return bool(wanted.contains(version, prereleases=True))


def _packaging(part: str) -> Any:
    """Import a part of packaging, which pip brings along where it is not installed."""
    try:
        return importlib.import_module(f"packaging.{part}")
    except ImportError:
        return importlib.import_module(f"pip._vendor.packaging.{part}")
