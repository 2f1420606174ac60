"""How time and memory grow with the size of the work, with a straight line fitted to each."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.rows import inference, losses, postprocess, processes, targets, training
from benchmarks.scenes import pictures, truths
from benchmarks.settings import Settings
from benchmarks.table import render, seconds_text
from benchmarks.work import Contestant
from fcos.utils.device import usable_cores

__all__ = ["Growth", "Line", "fit", "growth_names", "growth_table", "measure_growth"]

PEER = "torchvision"  # whose settings ours has
REPEATS = 5


@dataclasses.dataclass(frozen=True)
class Line:
    """A straight line through measurements: value = base + slope * size.

    Attributes:
        slope, base: of the line with the least squares.
        r2: 1 where the line says all about the values, 0 where it says nothing.
        worst: the largest distance of a value from the line, as a part of the largest value.
    """

    slope: float
    base: float
    r2: float
    worst: float


@dataclasses.dataclass
class Growth:
    """Measurements of one kind of work at several sizes.

    Attributes:
        work: name.
        against: what grows.
        sizes: how far.
        seconds: median at each size.
        memory: peak in bytes at each size; empty if it is not measured.
    """

    work: str
    against: str
    sizes: list[float]
    seconds: list[float]
    memory: list[float]


def fit(sizes: Sequence[float], values: Sequence[float]) -> Line | None:
    """The line of least squares, or None for fewer than three points: two are always on a line."""
    if len(sizes) < 3:
        return None
    x, y = np.asarray(sizes, float), np.asarray(values, float)
    slope, base = np.polyfit(x, y, 1)
    rest = y - (base + slope * x)
    around = float(((y - y.mean()) ** 2).sum())
    r2 = 1 - float((rest**2).sum()) / around if around else 1.0
    return Line(float(slope), float(base), r2, float(abs(rest).max() / abs(y).max()))


def growth_names(settings: Settings) -> list[str]:
    """A name for each kind of growth, such as targets-boxes."""
    return [_name(kind) for kind in _kinds(settings)]


def measure_growth(
    settings: Settings, chosen: Sequence[str], say: Callable[[str], None]
) -> list[Growth]:
    """The ``chosen`` of the kinds that :func:`growth_names` names, one after the other."""
    lines = []
    for kind in _kinds(settings):
        if _name(kind) not in chosen:
            continue
        work, against, sizes, make = kind
        line = Growth(work, against, [], [], [])
        for size in sizes:
            say(f"{work} against {against}, {_short(size)}")
            _measure_one(line, size, make(size), settings)
        lines.append(line)
    return lines


def _measure_one(line: Growth, size: float, contestant: Contestant, settings: Settings) -> None:
    if not contestant.first_counts:
        contestant.sample()
    repeats = settings.repeats or (REPEATS if settings.size == "full" else 3)
    samples = [contestant.sample().seconds for _ in range(repeats)]
    line.sizes.append(size)
    line.seconds.append(statistics.median(samples))
    memory = contestant.memory()
    if memory is not None:
        line.memory.append(memory)


Kind = tuple[str, str, Iterable[float], Callable[[Any], Contestant]]


def _name(kind: Kind) -> str:
    work, against = kind[:2]
    return f"{work.partition(',')[0]}-{against}"


def _kinds(settings: Settings) -> list[Kind]:
    is_small = settings.size == "smoke"
    boxes = (2, 4, 8) if is_small else (10, 250, 500, 1000, 2000)
    batches = (1, 2, 3) if is_small else (1, 2, 4, 8)
    heights = (64, 96, 128) if is_small else (192, 320, 448, 576, 704)
    areas = {h * (h * 4 // 3) / 1e6: (h, h * 4 // 3) for h in heights}
    largest = heights[0 if is_small else 1]
    at = (largest, largest * 4 // 3)
    kinds: list[Kind] = [
        ("targets", "boxes", boxes, lambda n: targets.contestant(PEER, n, settings)),
        ("losses", "images", batches, lambda n: _losses(n, settings)),
        ("postprocess", "images", batches, lambda n: _postprocess(n, settings)),
        ("inference", "images", batches, lambda n: _inference(n, at, settings)),
        ("inference", "megapixels", areas, lambda area: _inference(1, areas[area], settings)),
        ("training", "images", batches, lambda n: _training(n, at, settings)),
    ]
    if processes.ROW.works(settings):
        most = [n for n in (1, 2, 4, 8) if n <= usable_cores()]
        each = "training, an image each"
        kinds.append((each, "processes", most, lambda n: processes.Processes(n, settings, n)))
    return kinds


def _losses(images: int, settings: Settings) -> Contestant:
    truth = truths(images, losses.BOXES, settings.sizes.head_image)
    return losses.contestant(PEER, truth, settings, with_targets=True)


def _postprocess(images: int, settings: Settings) -> Contestant:
    return postprocess.contestant(PEER, postprocess.make_outputs(images, settings), settings)


def _inference(images: int, size: tuple[int, int], settings: Settings) -> Contestant:
    scene = pictures(images, size)
    _, weights = inference.PEERS[PEER](settings, scene)
    return inference.contestant(PEER, weights, scene, settings)


def _training(images: int, size: tuple[int, int], settings: Settings) -> Contestant:
    scene = pictures(images, size), truths(images, training.BOXES, size)
    _, weights = training.PEERS[PEER](settings, *scene)
    return training.contestant(PEER, weights, *scene, settings)


HEAD = ("work", "against", "from..to", "slope", "at 0", "R2", "off", "memory", "off")
NOTES = """
slope and memory: what one more costs; at 0: where the line starts; R2: 1 where the line says all;
off: the worst distance from the line, in per cent of the largest value.
"""


def growth_table(lines: Sequence[Growth], width: int) -> str:
    """One line for each: the line fitted to time and how well it fits, and that of memory."""
    rows: list[Sequence[str]] = [HEAD]
    said = []
    for line in lines:
        found = fit(line.sizes, line.seconds)
        if found is None:
            said.append(_sentence(line))
            continue
        ends = f"{_short(min(line.sizes))}..{_short(max(line.sizes))}"
        rows.append((line.work, line.against, ends, *_time_cells(found), *_memory_cells(line)))
    return "\n".join([render(rows, width), NOTES, *said])


def _short(size: float) -> str:
    return f"{size:,.0f}" if size >= 1 else f"{size:.2f}"


def _time_cells(found: Line) -> tuple[str, ...]:
    slope, base = (
        ("-" if seconds < 0 else "") + seconds_text(abs(seconds))
        for seconds in (found.slope, found.base)
    )
    return slope, base, f"{found.r2:.4f}", f"{100 * found.worst:.0f}%"


def _memory_cells(line: Growth) -> tuple[str, ...]:
    found = fit(line.sizes, line.memory)
    if found is None:
        return "-", "-"
    slope = found.slope / 1e6 if abs(found.slope) >= 1 else 0.0  # bytes: less is rounding
    return f"{slope:.3g} MB", f"{100 * found.worst:.0f}%"


def _sentence(line: Growth) -> str:
    """Too few sizes for a line: the measurements themselves."""
    each = (
        f"{seconds_text(seconds)} with {_short(size)}"
        for size, seconds in zip(line.sizes, line.seconds, strict=True)
    )
    return f"{line.work} against {line.against}: {', '.join(each)}."
