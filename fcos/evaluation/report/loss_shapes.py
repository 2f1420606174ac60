"""Draw the losses as functions of what is predicted."""

from __future__ import annotations

from typing import Any

import torch

from fcos.evaluation.pictures import COLORS, figure_style
from fcos.layers import focal_loss_sum, ltrb_iou_loss

__all__ = ["draw_loss_shapes"]


def draw_loss_shapes(alpha: float, gamma: float, kind: str) -> Any:
    """Draw the focal loss over the probability, and the box loss over how far a box is off.

    Source: arXiv:1708.02002, Eq. (5), and arXiv:1904.01355, Eq. (2).

    Args:
        alpha: LOSS_ALPHA.
        gamma: LOSS_GAMMA.
        kind: LOC_LOSS_TYPE.

    Returns:
        A figure of matplotlib with two panels.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        focal, box = figure.subplots(1, 2)
        _draw_focal(focal, alpha, gamma)
        _draw_box(box, kind)
        for panel in (focal, box):
            panel.set_ylabel("loss")
            panel.grid(color="#dddddd", linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
            panel.legend(frameon=False)
    return figure


def _draw_focal(panel: Any, alpha: float, gamma: float) -> None:
    probability = torch.linspace(0.01, 0.999, 100)
    logits = probability.logit()[:, None, None]
    for is_object, color, line, text in (
        (True, COLORS[0], "-", "the class is there"),
        (False, COLORS[1], "--", "it is not"),
    ):
        label = torch.tensor([0 if is_object else 1])  # 1 of one class is background
        values = [float(focal_loss_sum(one, label, alpha, gamma)) for one in logits]
        panel.plot(probability, values, line, color=color, label=text)
    title = f"focal loss, alpha {alpha:g}, gamma {gamma:g}"
    panel.set(xlabel="probability of the class", title=title, xlim=(0, 1), ylim=(0, 1))


def _draw_box(panel: Any, kind: str) -> None:
    shift = torch.linspace(0, 0.5, 100)  # farther, and the location lies outside of the box
    half = 50.0  # pixels; a box of 100 x 100
    target = torch.full((len(shift), 4), half)
    # To the right and down: along one axis the box around both is their union, so GIoU is IoU.
    moved = target + 2 * half * shift[:, None] * torch.tensor([-1.0, -1, 1, 1])
    names = {"iou": "-log IoU", "linear_iou": "1 - IoU", "giou": "1 - GIoU"}
    for place, (name, text) in enumerate(names.items()):
        width = 2.2 if name == kind else 1.0
        used = " (used here)" if name == kind else ""
        values = ltrb_iou_loss(moved, target, name)
        line = ("-", "--", "-.")[place]
        panel.plot(shift, values, line, color=COLORS[place], linewidth=width, label=text + used)
    label = "moved to the right and as far down by, in sides of the box"
    panel.set(xlabel=label, title="box loss", xlim=(0, 0.5))
