"""The pictures: what is written on them, and where their markers lie."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import fcos.evaluation
from fcos.evaluation.pictures import jpeg_of, svg_of
from fcos.evaluation.teaching import (
    Map,
    detection_steps,
    draw_detection_steps,
    draw_learnt,
    draw_locations,
    draw_maps,
)
from fcos.modeling.fcos import FCOSTargets
from tests.evaluation.teaching.test_detecting import detector, outputs_by_hand


def numbers_on(panel):
    """The numbers on the locations of a panel."""
    found = {text.get_position(): text.get_text() for text in panel.texts}
    return {position: text for position, text in found.items() if text.isdigit()}


def test_locations(scene):
    targets = FCOSTargets(strides=(8, 16), sizes_of_interest=(16,))
    figure = draw_locations(scene.image, targets, [(2, 3), (1, 2)])
    fine, coarse = figure.axes[:2]
    assert fine.collections[-1].get_offsets().tolist() == [
        [x, y] for y in (4, 12) for x in (4, 12, 20)
    ]
    assert coarse.collections[-1].get_offsets().tolist() == [[8, 8], [24, 8]]
    assert coarse.get_xlim()[1] > 24  # a location in the padding is shown
    assert fine.get_title() == (
        "P3: every 8 px, 2 \N{MULTIPLICATION SIGN} 3 = 6 locations\n"
        "learns max(l, t, r, b) of 0 to 16 px"
    )
    assert coarse.get_title().endswith("of 16 px or more")


def test_which_location_learns_which_box(scene):
    figure = draw_learnt(scene.image, scene.boxes, ["two", "one"], scene.targets, scene.sizes)
    (panel,) = figure.axes[:1]
    want = {(4, 4): "1", (12, 4): "2", (20, 4): "2", (4, 12): "1", (12, 12): "1"}
    assert numbers_on(panel) == want
    squares = [line.get_data() for line in panel.lines if line.get_marker() == "s"]
    assert squares == [([12], [4])]
    names = [text.get_text() for text in panel.texts if text.get_text() not in ("1", "2")]
    assert names == ["1: two", "2: one"]
    assert panel.get_title() == (
        "P3: 5 of 6 locations learn a box\n1 of them could learn another (squares)"
    )


def test_levels_without_a_box_are_left_out(scene):
    targets = FCOSTargets(strides=(8, 16), sizes_of_interest=(64,), center_radius=1.5)
    figure = draw_learnt(scene.image, scene.boxes, "ab", targets, [(2, 3), (1, 2)])
    assert [panel.get_title()[:2] for panel in figure.axes if panel.get_title()] == ["P3"]
    # Two boxes, and the square of 3 strides around the middle of each.
    widths = sorted(patch.get_width() for patch in figure.axes[0].patches)
    assert widths == [16, 16, 24, 24]
    only = draw_learnt(scene.image, scene.boxes, "ab", targets, [(2, 3), (1, 2)], only=[1])
    assert [panel.get_title()[:5] for panel in only.axes] == ["P4: 0"]
    none = draw_learnt(scene.image, torch.zeros(0, 4), [], targets, [(2, 3), (1, 2)])
    assert none.axes[0].get_title() == "no location learns a box"


def test_a_legend_says_what_marks_and_lines_mean(scene):
    def said(center_radius):
        targets = FCOSTargets(strides=(8,), sizes_of_interest=(), center_radius=center_radius)
        figure = draw_learnt(scene.image, scene.boxes, "ab", targets, scene.sizes)
        return [text.get_text() for text in figure.legends[0].get_texts()]

    assert "learns background" in said(None) and "learns the box of its number" in said(None)
    assert set(said(1.5)) - set(said(None)) == {"center sampling: only inside"}


@pytest.mark.parametrize(("height", "width"), [(96, 128), (128, 96), (160, 90)])
def test_on_a_page_titles_are_of_7_points_or_more(height, width):
    """A4 has 182 mm between its margins; the style sheet limits the height."""
    image = np.zeros((height, width, 3), np.uint8)
    targets = FCOSTargets(strides=(8, 16, 32, 64, 128), sizes_of_interest=(32, 48, 64, 80))
    sizes = [(-(-height // s), -(-width // s)) for s in targets.strides]
    boxes = torch.tensor([[0.0, 0, side, side] for side in (20, 50, 70, 85)])
    one = Map("l", torch.zeros(sizes[0]), 1.0)
    style = (Path(fcos.evaluation.__file__).parent / "templates" / "page.css").read_text()
    tallest = float(re.search(r"\.step img \{ max-height: (\d+)mm", style)[1])
    for figure in (
        draw_learnt(image, boxes, "abcd", targets, sizes, only=range(5)),
        draw_learnt(image, boxes, "abcd", targets, sizes, only=range(3)),
        draw_locations(image, targets, sizes),
        draw_maps(image, [one] * 5, 8),
    ):
        wide, tall = (25.4 * inches for inches in figure.get_size_inches())
        scale = min(1.0, 182 / wide, tallest / tall)
        titles = [panel.title for panel in figure.axes if panel.get_title()]
        assert titles and min(title.get_fontsize() for title in titles) * scale >= 7
        assert tallest < 230  # with the caption on a page of Letter


def test_maps(scene):
    values = torch.tensor([[0.0, 0.5, 1.0], [float("nan"), 0.2, 0.3]])
    figure = draw_maps(scene.image, [Map("centerness", values, 1.0), Map("l (px)", values, 40)], 8)
    first, second = (panel for panel in figure.axes if panel.get_title())
    drawn = first.images[-1]
    assert drawn.get_extent() == [0, 24, 16, 0]
    assert drawn.get_clim() == (0, 1) and second.images[-1].get_clim() == (0, 40)
    assert drawn.get_array().mask.tolist() == [[False] * 3, [True, False, False]]


def test_what_each_rule_takes_away(scene):
    fcos = detector(pre_nms_topk=4)
    fcos.rules = dataclasses.replace(fcos.rules, post_nms_topk=2)
    steps = detection_steps(fcos, outputs_by_hand(fcos))
    figure = draw_detection_steps(scene.image, steps, ["zero", "one"])
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[2] == "NMS at IoU 0.6\n5 \N{RIGHTWARDS ARROW} 2 (3 taken away)"
    assert [len(panel.patches) for panel in figure.axes] == [6, 6, 5, 2]
    assert [text.get_text() for text in figure.axes[3].texts] == ["zero 0.95", "one 0.84"]
    alphas = [patch.get_alpha() for patch in figure.axes[3].patches]
    assert alphas == pytest.approx([0.15 + 0.85 * 0.9**0.5, 0.15 + 0.85 * 0.7**0.5])


def test_files(scene):
    arguments = scene.boxes, ["a$b", "<c>$"], scene.targets, scene.sizes
    figures = [draw_learnt(scene.image, *arguments) for _ in range(2)]
    first, second = map(svg_of, figures)
    assert first == second and b"&lt;c&gt;$" in first
    assert jpeg_of(figures[0])[:2] == b"\xff\xd8"
