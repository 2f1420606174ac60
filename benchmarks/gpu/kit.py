"""The folder that is prepared beforehand: what is in it, and how large it may be."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gpu.running import CPU
from fcos.utils.errors import UserError

__all__ = ["LIMIT", "check_kit", "check_size", "size_of"]

LIMIT = 60_000_000  # bytes; with the repository it fits into 64 MiB


def check_kit(kit: Path) -> None:
    """
    Raises:
        UserError: it is no prepared folder.
    """
    for name in ("data/digits", "data/photographs", CPU):
        if not (kit / name).exists():
            raise UserError(
                f"{kit} has no {name}: make the folder by python -m benchmarks.gpu.prepare "
                f"--output {kit}"
            )


def size_of(folder: Path) -> int:
    """Bytes of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_size(kit: Path, limit: int = LIMIT) -> str:
    """A sentence with the size of the kit and of its parts.

    Raises:
        UserError: it has more than ``limit`` bytes; with the largest files.
    """
    files = sorted((p for p in kit.rglob("*") if p.is_file()), key=lambda p: -p.stat().st_size)
    whole = size_of(kit)
    if whole > limit:
        largest = ", ".join(
            f"{p.relative_to(kit)} {_megabytes(p.stat().st_size)}" for p in files[:3]
        )
        raise UserError(
            f"{kit} has {_megabytes(whole)}, more than {_megabytes(limit)}; the largest: {largest}."
        )
    parts = sorted(path for path in kit.iterdir() if path.is_dir())
    said = ", ".join(f"{path.name} {_megabytes(size_of(path))}" for path in parts)
    return f"{kit}: {_megabytes(whole)} of at most {_megabytes(limit)} ({said})"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
