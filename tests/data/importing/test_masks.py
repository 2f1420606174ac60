"""Crops of masks and COCO's run lengths, compared with pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as mask_api

from fcos.data.importing.labels import Unreadable
from fcos.data.importing.masks import crop_of_runs, object_of_crop, runs_of_crop


@pytest.mark.parametrize("seed", range(40))
def test_the_pixels_are_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    height, width, h, w = rng.integers(1, 12, 4)
    height, width = max(height, h), max(width, w)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    crop = rng.random((h, w)) < (0.2, 0.5, 0.9, 1)[seed % 4]
    crop[0, 0] = True
    found = object_of_crop("cat", crop, (int(left), int(top)), (int(width), int(height)))
    whole = np.zeros((height, width), np.uint8, order="F")
    whole[top : top + h, left : left + w] = crop
    runs = mask_api.encode(whole)
    assert mask_api.frPyObjects(found.segmentation, height, width) == runs
    assert 0 not in found.segmentation["counts"][1:]
    x, y, right, bottom = found.xyxy
    assert [x, y, right - x, bottom - y] == mask_api.toBbox(runs).tolist()
    assert found.area == mask_api.area(runs)
    assert (crop_of_runs(runs_of_crop(crop), w, h) == crop).all()


@pytest.mark.parametrize(
    "crop, corner, size, reason",
    [
        ([[0, 0]], (0, 0), (9, 9), "masks without a pixel"),
        ([[1]], (9, 0), (9, 9), "masks that reach outside their image"),
        ([[1]], (0, -1), (9, 9), "masks that reach outside their image"),
        ([[1]], (0, 0), (0, 0), "masks on images whose size the labels do not say"),
    ],
)
def test_masks_that_fit_no_image(crop, corner, size, reason):
    with pytest.raises(Unreadable, match=reason):
        object_of_crop("cat", np.array(crop, bool), corner, size)


@pytest.mark.parametrize(
    "counts, width, height",
    [([4], 2, 1), ([-1, 3], 2, 1), ([], 0, 0), ([10**12], 10**6, 10**6)],
)
def test_run_lengths_that_fill_no_crop(counts, width, height):
    with pytest.raises(Unreadable, match="run lengths do not add up"):
        crop_of_runs(counts, width, height)
