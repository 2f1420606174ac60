"""Recorded detections: pairing and differences by hand, and every file that is refused."""

import dataclasses
import pickle

import numpy as np
import pytest

from fcos.evaluation.reference import (
    Reference,
    built_in_image,
    match_reference,
    read_reference,
    write_reference,
)
from fcos.utils.errors import UserError

REFERENCE = Reference(
    image=built_in_image(8, 6),
    boxes=np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]], np.float32),
    scores=np.array([0.9, 0.8, 0.7], np.float32),
    classes=np.array([1, 1, 2]),
    config="configs/R_50_1x.yaml",
    options=("MODEL.FCOS.NUM_CLASSES", "3"),
    source="by hand",
    tolerance_px=0.5,
    tolerance=0.01,
)


def found(order=(0, 1, 2), **changes):
    fields = {name: getattr(REFERENCE, name)[list(order)] for name in ("boxes", "scores")}
    fields["classes"] = REFERENCE.classes[list(order)]
    return fields | changes


# ---- comparison ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_does_not_matter(order):
    result = match_reference(REFERENCE, **found(order))
    assert (result.pairs, result.box_px, result.score, result.is_equal) == (3, 0, 0, True)


def test_differences_by_hand():
    boxes, scores = REFERENCE.boxes.copy(), REFERENCE.scores.copy()
    boxes[0, 2] += 0.25  # within 0.5
    boxes[1, 1] -= 0.5  # just within
    scores[2] -= 0.0078125  # within 0.01
    result = match_reference(REFERENCE, **found(boxes=boxes, scores=scores))
    assert (result.pairs, result.beyond, result.box_px) == (3, 0, 0.5)
    assert result.score == pytest.approx(0.0078125, abs=1e-7)
    assert result.is_equal
    boxes[1, 1] -= 0.5
    scores[2] -= 0.0078125
    result = match_reference(REFERENCE, **found(boxes=boxes, scores=scores))
    assert (result.pairs, result.beyond, result.box_px, result.is_equal) == (3, 2, 1.0, False)


def test_classes_are_never_mixed():
    result = match_reference(REFERENCE, **found(classes=np.array([1, 2, 2])))
    assert (result.pairs, result.only_recorded, result.only_found) == (2, 1, 1)
    assert not result.is_equal
    assert result.box_px == 0  # the pair of class 2 is the one at the same place


def test_one_too_many_and_one_too_few():
    result = match_reference(REFERENCE, **found((0, 2)))
    assert (result.pairs, result.only_recorded, result.only_found, result.is_equal) == (2, 1, 0, 0)
    result = match_reference(REFERENCE, **found((0, 1, 1, 2)))
    assert (result.pairs, result.only_recorded, result.only_found, result.is_equal) == (3, 0, 1, 0)


def test_nothing_found_and_nothing_recorded():
    empty = found(())
    result = match_reference(REFERENCE, **empty)
    assert (result.pairs, result.only_recorded, result.box_px, result.is_equal) == (0, 3, 0, False)
    assert match_reference(dataclasses.replace(REFERENCE, **empty), **empty).is_equal


def test_without_any_tolerance_only_the_same_is_the_same():
    exact = dataclasses.replace(REFERENCE, tolerance_px=0.0, tolerance=0.0)
    assert match_reference(exact, **found()).is_equal
    boxes = np.nextafter(REFERENCE.boxes, np.float32(100))
    assert match_reference(exact, **found(boxes=boxes)).beyond == 3


# ---- the file --------------------------------------------------------------------------------


def test_there_and_back(tmp_path):
    path = str(tmp_path / "a.npz")
    write_reference(path, REFERENCE)
    again = read_reference(path)
    for name, value in vars(REFERENCE).items():
        np.testing.assert_array_equal(getattr(again, name), value, strict=True)
    assert isinstance(again.options, tuple)


def test_a_file_of_another_program_with_only_what_is_needed(tmp_path):
    fields = {n: getattr(REFERENCE, n) for n in ("image", "boxes", "scores", "classes", "config")}
    np.savez(tmp_path / "a.npz", format="fcos reference 1", **fields)
    again = read_reference(str(tmp_path / "a.npz"))
    assert (again.options, again.tolerance_px, again.tolerance) == ((), 0.01, 1e-5)


def without(name):
    return {k: v for k, v in vars(REFERENCE).items() if k != name}


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"format": "fcos reference 2", **vars(REFERENCE)}, "'format' is not 'fcos reference 1'"),
        (vars(REFERENCE), "is no record of detections: its entry 'format'"),
        (without("scores"), "lacks scores"),
        (without("config"), "lacks config"),
        ({"boxes": np.zeros((3, 5))}, r"boxes: expected \(3, 4\), got \(3, 5\) of float64"),
        ({"boxes": np.zeros((3, 4), int)}, r"boxes: expected \(3, 4\), got \(3, 4\) of int64"),
        ({"classes": np.zeros(2, int)}, r"classes: expected \(3,\), got \(2,\) of int64"),
        ({"scores": np.float32(1)}, r"scores: expected \(K,\), got \(\) of float32"),
        ({"image": np.zeros((4, 4), np.uint8)}, r"image: expected \(H, W, 3\), got \(4, 4\)"),
        ({"tolerance": -1.0}, "tolerance_px, tolerance: expected numbers of at least 0"),
        ({"tolerance": np.zeros(2)}, "The reference .*only"),
    ],
)
def test_a_file_that_is_no_reference(tmp_path, fields, message):
    if len(fields) < 5:
        fields = {**vars(REFERENCE), **fields}
    if "format" not in message:
        fields = {"format": "fcos reference 1", **fields}
    np.savez(tmp_path / "a.npz", **fields)
    with pytest.raises(UserError, match=message) as error:
        read_reference(str(tmp_path / "a.npz"))
    assert str(tmp_path / "a.npz") in str(error.value)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_reference_never_runs_anything(tmp_path):
    trace = tmp_path / "it-ran"
    objects = np.array([Payload(trace)], dtype=object)
    np.savez(tmp_path / "a.npz", format="fcos reference 1", **{**vars(REFERENCE), "boxes": objects})
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Payload(trace)))
    trace.unlink(missing_ok=True)
    for name in ("a.npz", "b.npz"):
        with pytest.raises(UserError, match="is damaged or no NPZ archive of plain arrays"):
            read_reference(str(tmp_path / name))
    assert not trace.exists()


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match="a.npz cannot be read: No such file"):
        read_reference(str(path))
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_reference(str(tmp_path))
    write_reference(str(path), REFERENCE)
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", np.ones(3))
    for data in (b"", b"PK\x03\x04", whole[: len(whole) // 2], whole[:-30], b"text"):
        path.write_bytes(data)
        with pytest.raises(UserError, match="is damaged or no NPZ archive of plain") as raised:
            read_reference(str(path))
        assert "unsafely" not in str(raised.value)  # numpy's advice
    with pytest.raises(UserError, match="one.npy is damaged or no NPZ archive"):
        read_reference(str(tmp_path / "one.npy"))
    with pytest.raises(UserError, match="cannot be written: No such file"):
        write_reference(str(tmp_path / "nowhere" / "a.npz"), REFERENCE)


def test_the_built_in_image():
    image = built_in_image()
    assert (image.shape, image.dtype) == ((192, 256, 3), np.uint8)
    # By hand: 7 x + 3 y, 5 y + 40 (x // 16) and 11 x ^ 13 y at x = 200, y = 0, all modulo 256.
    assert image[0, 200].tolist() == [1400 % 256, 480 % 256, 2200 % 256]
    assert image[3, 3].tolist() == [0, 255, 0]  # the first rectangle
