"""Which segmentations can be used."""

import itertools

import numpy as np
import pytest
from pycocotools import mask as mask_api

from fcos.data.mask_forms import (
    BROKEN_POLYGONS,
    BROKEN_RUN_LENGTHS,
    FAR_OUTSIDE,
    NOT_NUMBERS,
    OTHER_SIZE,
    POLYGONS,
    RUN_LENGTHS,
    are_run_lengths_of,
    mask_form,
)

OUTLINE = [1, 1, 9, 1, 9, 9]


@pytest.mark.parametrize(
    ("segmentation", "form"),
    [
        (None, ""),
        ([], ""),
        ("abc", ""),
        ({}, ""),
        ({"counts": "x"}, ""),
        ([OUTLINE], POLYGONS),
        ([[1, 2], OUTLINE], POLYGONS),
        (OUTLINE, BROKEN_POLYGONS),
        ([OUTLINE[:-1]], BROKEN_POLYGONS),
        ([[None] * 6], NOT_NUMBERS),
        ([[10**400] * 6], NOT_NUMBERS),
        ([OUTLINE, [float("nan")] * 6], NOT_NUMBERS),
        ([[1, 1, 9, 1, 9, 299]], POLYGONS),  # of an image of 20x10
        ([[1, 1, 9, 1, 9, 300]], FAR_OUTSIDE),
        ([[1, 1, 9, 1, -300, 9]], FAR_OUTSIDE),
        ({"counts": [100, 100], "size": [10, 20]}, RUN_LENGTHS),
        ({"counts": [100, 100], "size": [20, 10]}, OTHER_SIZE),
        ({"counts": [100, 100], "size": [10]}, OTHER_SIZE),
        ({"counts": [100, 100], "size": ["10", 20]}, OTHER_SIZE),
        ({"counts": [100, 101], "size": [10, 20]}, BROKEN_RUN_LENGTHS),
        ({"counts": [300, -100], "size": [10, 20]}, BROKEN_RUN_LENGTHS),
        ({"counts": [100.5, 99.5], "size": [10, 20]}, BROKEN_RUN_LENGTHS),
        ({"counts": [], "size": [10, 20]}, BROKEN_RUN_LENGTHS),
        ({"counts": 200, "size": [10, 20]}, BROKEN_RUN_LENGTHS),
        ({"counts": None, "size": [10, 20]}, BROKEN_RUN_LENGTHS),
        ({"counts": "\u00e9", "size": [10, 20]}, BROKEN_RUN_LENGTHS),
    ],
)
def test_forms(segmentation, form):
    assert mask_form(segmentation, height=10, width=20) == form


def test_without_the_size_of_the_image():
    size = {"height": float("inf"), "width": float("inf")}
    assert mask_form([[1e9] * 6], **size) == POLYGONS
    assert mask_form({"counts": [6], "size": [2, 3]}, **size) == RUN_LENGTHS
    assert mask_form({"counts": [5], "size": [2, 3]}, **size) == BROKEN_RUN_LENGTHS


@pytest.mark.parametrize("seed", range(30))
def test_compressed_run_lengths_that_the_library_writes(seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, [400, 300])
    mask = np.repeat(rng.random((1, size[1])) > 0.5, size[0], 0) ^ (rng.random(size) > 0.999)
    counts = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    assert are_run_lengths_of(counts, mask.size)
    assert are_run_lengths_of(counts.decode(), mask.size)
    assert not are_run_lengths_of(counts, mask.size + 1)
    assert not are_run_lengths_of(counts[:-1], mask.size)


def test_what_passes_is_decoded_to_itself():
    """All short texts: one that passes is a mask, and the library writes the same."""
    passed = 0
    for length in range(5):
        for text in itertools.product(b"0123PQRO_`o", repeat=length):
            counts = bytes(text)
            if are_run_lengths_of(counts, 4):
                passed += 1
                mask = mask_api.decode({"size": [2, 2], "counts": counts})
                assert set(mask.flat) <= {0, 1}
    assert passed > 5
