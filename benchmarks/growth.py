"""How time and memory grow with the size of the work, with a straight line fitted to each."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from benchmarks.rows import inference, losses, postprocess, processes, targets, training
from benchmarks.scenes import pictures, truths
from benchmarks.settings import Settings, cores
from benchmarks.table import render, seconds_text
from benchmarks.work import Contestant

__all__ = ["Growth", "Line", "fit", "growth_table", "measure_growth"]

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


def measure_growth(settings: Settings, say: Callable[[str], None]) -> list[Growth]:
    """All kinds of growth, one after the other."""
    lines = []
    for work, against, sizes, make in _kinds(settings):
        line = Growth(work, against, [], [], [])
        for size in sizes:
            say(f"growth of {work} with {against}, {size:,}")
            _measure_one(line, size, make(size), settings)
        lines.append(line)
    return lines


def _measure_one(line: Growth, size: float, contestant: Contestant, settings: Settings) -> None:
    if not contestant.first_counts:
        contestant.sample()
    samples = [contestant.sample().seconds for _ in range(settings.repeats or REPEATS)]
    line.sizes.append(size)
    line.seconds.append(statistics.median(samples))
    memory = contestant.memory()
    if memory is not None:
        line.memory.append(memory)


Kind = tuple[str, str, Iterable[int], Callable[[int], Contestant]]


def _kinds(settings: Settings) -> list[Kind]:
    is_small = settings.size == "smoke"
    boxes = (2, 4, 8) if is_small else (10, 250, 500, 1000, 2000)
    batches = (1, 2, 3) if is_small else (1, 2, 4, 8)
    heights = (64, 96, 128) if is_small else (192, 320, 448, 576, 704)
    areas = {h * h * 4 // 3: (h, h * 4 // 3) for h in heights}
    largest = heights[0 if is_small else 1]
    at = (largest, largest * 4 // 3)
    kinds: list[Kind] = [
        ("targets", "boxes per image", boxes, lambda n: targets.contestant(PEER, n, settings)),
        ("losses", "images", batches, lambda n: _losses(n, settings)),
        ("postprocess", "images", batches, lambda n: _postprocess(n, settings)),
        ("inference", "images", batches, lambda n: _inference(n, at, settings)),
        ("inference", "pixels", areas, lambda area: _inference(1, areas[area], settings)),
        ("training", "images", batches, lambda n: _training(n, at, settings)),
    ]
    if processes.ROW.works(settings):
        most = [n for n in (1, 2, 4, 8) if n <= min(cores(), os.cpu_count() or 1)]
        each = [("training", "processes", most, lambda n: processes.Processes(n, settings, n))]
        kinds += each
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


HEAD = ("work", "grows with", "from", "to", "slope", "at 0", "R2", "off", "memory", "R2", "off")


def growth_table(lines: Sequence[Growth], width: int) -> str:
    """One line for each: the fitted slope and base of time, how well they fit; then of memory."""
    rows: list[Sequence[str]] = [HEAD]
    for line in lines:
        ends = f"{min(line.sizes):,.0f}", f"{max(line.sizes):,.0f}"
        rows.append((line.work, line.against, *ends, *_time_cells(line), *_memory_cells(line)))
    notes = [
        "slope: time for one more (pixels: for a million more); at 0: what the line starts from;",
        "off: the worst distance from the line, in parts of the largest value. Processes have an",
        "image each: a flat line is perfect.",
    ]
    return "\n".join([render(rows, width), "", *notes])


def _unit(line: Growth) -> float:
    return 1e6 if line.against == "pixels" else 1.0


def _time_cells(line: Growth) -> tuple[str, ...]:
    found = fit(line.sizes, line.seconds)
    if found is None:
        return (*(["-"] * 3), " ".join(map(seconds_text, line.seconds)))
    slope = seconds_text(found.slope * _unit(line)) if found.slope > 0 else "0"
    base = ("-" if found.base < 0 else "") + seconds_text(abs(found.base))
    return slope, base, f"{found.r2:.4f}", f"{100 * found.worst:.0f}%"


def _memory_cells(line: Growth) -> tuple[str, ...]:
    found = fit(line.sizes, line.memory) if line.memory else None
    if found is None:
        return "-", "-", "-"
    slope = f"{found.slope * _unit(line) / 1e6:.3g} MB"
    return slope, f"{found.r2:.4f}", f"{100 * found.worst:.0f}%"
