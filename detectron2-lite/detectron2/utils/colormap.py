"""Colors for drawing: a fixed palette, and random picks from it.

Picking has a random state of its own: pictures drawn during a training do not change the training,
and a program that draws the same things draws them in the same colors.
"""

from __future__ import annotations

import colorsys
import random

import numpy as np

__all__ = ["colormap", "random_color", "random_colors"]

_random = random.Random(0)


def _make_palette() -> np.ndarray:
    """(75, 3) RGB in [0, 1]; neighbors differ much, none is close to black, gray or white."""
    hues = 15
    colors = []
    for tier, (saturation, value) in enumerate(
        [(0.90, 1.00), (0.60, 1.00), (0.95, 0.75), (0.60, 0.80), (1.00, 0.60)]
    ):
        for step in range(hues):
            # 4 and 15 have no common divisor: steps of 4 pass every hue, 96 degrees at a time.
            hue = (step * 4 % hues + 0.2 * tier) / hues
            colors.append(colorsys.hsv_to_rgb(hue, saturation, value))
    return np.asarray(colors, dtype=np.float32)


_PALETTE = _make_palette()


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """The palette.

    Args:
        rgb: channel order RGB, otherwise BGR.
        maximum: 255 or 1, what the largest value of a channel is.

    Returns:
        (N, 3) float32.
    """
    if maximum not in (1, 255):
        raise ValueError(f"colormap: maximum is {maximum}, not 1 or 255")
    colors = _PALETTE * np.float32(maximum)
    return colors if rgb else colors[:, ::-1]


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """One color of ``colormap(rgb, maximum)``, (3,) float32."""
    return random_colors(1, rgb, maximum)[0]


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[np.ndarray]:
    """``N`` different colors of ``colormap(rgb, maximum)``.

    Raises:
        ValueError: the palette has fewer.
    """
    colors = colormap(rgb, maximum)
    if len(colors) < N:
        raise ValueError(f"random_colors: {N} colors are asked for, the palette has {len(colors)}")
    return _random.sample(list(colors), N)
