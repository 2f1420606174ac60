"""Scores, groups of objects, worst images and suspicious labels, against loops and by hand."""

import math

import numpy as np
import pytest
from PIL import Image

from fcos.evaluation.choice import Counts
from fcos.evaluation.diagnosis.drawing import Picture, read_picture
from fcos.evaluation.diagnosis.groups import Levels, by_crowding, by_level, by_size, find_levels
from fcos.evaluation.diagnosis.images import Views, choose_worst
from fcos.evaluation.diagnosis.scores import SCORES, reliability, score_curves
from fcos.evaluation.diagnosis.subject import Subject
from fcos.evaluation.truth import read_truth
from fcos.utils.errors import UserError
from tests.evaluation.diagnosis import slow

pytest.importorskip("hotcoco")


def subject_of(root, contents, results, images=""):
    truth = read_truth("scene", slow.write_scene(root, contents), images)
    return Subject(truth, truth.objects.columns(results), "bbox", 100)


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize("crowds", [0, 1])
def test_curves_are_those_of_a_loop(tmp_path, crowds):
    contents, results = slow.scene(4, num_images=12, crowds=crowds)
    match = slow.Match(contents, results)
    got = score_curves(subject_of(tmp_path, contents, results), 0.4)
    for number, ids in enumerate([slow.IDS, *([i] for i in slow.IDS)]):
        objects = sum(thing["category_id"] in ids for thing in match.objects)
        curve = got[number]
        assert curve.objects == objects
        f1_at = {}
        for place, score in [*enumerate(SCORES), *((None, r["score"]) for r in results)]:
            kept = [
                d
                for d, r in enumerate(results)
                if r["score"] >= score and r["category_id"] in ids and d not in match.ignored
            ]
            right = sum(d in match.object_of for d in kept)
            f1 = f1_at[score] = 2 * right / (len(kept) + objects)
            if place is not None:
                precision = right / len(kept) if kept else math.nan
                assert curve.precision[place] == pytest.approx(precision, nan_ok=True)
                assert curve.recall[place] == pytest.approx(right / objects)
                assert curve.f1[place] == pytest.approx(f1)
            if score == 0.4:
                assert (curve.found, curve.wrong) == (right, len(kept) - right)
        assert curve.best.f1 == pytest.approx(max(f1_at.values()))
        assert f1_at[curve.best.score] == pytest.approx(curve.best.f1)


def test_a_class_without_objects_or_detections(tmp_path):
    contents, results = slow.scene(4)
    contents["categories"].append({"id": 11, "name": "none"})
    results = [r for r in results if r["category_id"] != slow.IDS[1]]
    *_, without_detections, _, without_objects = score_curves(
        subject_of(tmp_path, contents, results), 0.5
    )
    assert np.isnan(without_objects.f1).all() and without_objects.best is None
    assert (without_detections.recall == 0).all() and without_detections.best is None
    assert np.isnan(without_detections.precision).all()
    assert without_detections.objects > 0 and without_detections.found == 0


def test_reliability_is_that_of_a_loop(tmp_path):
    contents, results = slow.scene(6, num_images=15, crowds=1)
    match = slow.Match(contents, results)
    got = reliability(subject_of(tmp_path, contents, results))
    rows = [
        (r["score"], d in match.object_of, r["category_id"])
        for d, r in enumerate(results)
        if d not in match.ignored
    ]

    def gaps(part):
        for number in range(10):
            of_bin = [row for row in part if int(row[0] * 10) == number]
            if of_bin:
                score, right = (sum(row[i] for row in of_bin) / len(of_bin) for i in (0, 1))
                yield len(of_bin), score, right

    used = [(b.number, b.score, b.precision) for b in got.bins if b.number]
    assert np.array(used) == pytest.approx(np.array(list(gaps(rows))))
    assert got.worst == pytest.approx(max(abs(s - r) for _, s, r in gaps(rows)))
    for part, error in [
        (rows, got.error),
        *(
            ([row for row in rows if row[2] == id_], got.classes[k])
            for k, id_ in enumerate(slow.IDS)
        ),
    ]:
        want = sum(n * abs(s - r) for n, s, r in gaps(part)) / len(part)
        assert error == pytest.approx(want)


# ---------------------------------------------------------------- groups


def ap50_of_part(contents, results, is_inside):
    """AP50 as COCO takes it of a range: what is outside is neither right nor wrong."""
    match = slow.Match(contents, results)
    objects = [thing["category_id"] for thing in match.objects if is_inside(thing)]
    rows = []
    for d, result in enumerate(results):
        thing = match.objects[match.object_of[d]] if d in match.object_of else result
        if d not in match.ignored and is_inside(thing):
            rows.append((result["category_id"], result["score"], d in match.object_of))
    return len(objects), 100 * slow.mean_ap(rows, objects)


def matches_only_inside(contents, results, is_inside):
    """Whether no detection would find another object if those outside were not there."""
    inside = {**contents, "annotations": [a for a in contents["annotations"] if is_inside(a)]}
    return {
        d: slow.Match(inside, results).objects[g]["id"]
        for d, g in slow.Match(inside, results).object_of.items()
    } == {
        d: slow.Match(contents, results).objects[g]["id"]
        for d, g in slow.Match(contents, results).object_of.items()
        if is_inside(slow.Match(contents, results).objects[g])
    }


def test_ap_by_size(tmp_path):
    contents, results = slow.scene(13, num_images=14)
    got = by_size(subject_of(tmp_path, contents, results))
    assert [group.name for group in got] == ["below 16", "16 to 32"]
    assert sum(group.objects for group in got) == len(contents["annotations"])
    for group in got:

        def is_inside(thing, group=group):
            return group.lower**2 <= thing["bbox"][2] * thing["bbox"][3] < group.upper**2

        assert matches_only_inside(contents, results, is_inside)
        number, ap50 = ap50_of_part(contents, results, is_inside)
        assert (group.objects, group.images) == (number, 0)
        assert group.ap50 == pytest.approx(ap50, abs=1e-9)


LEVELS = Levels(("p3", "p4"), (8, 16), (0.0, 20.0, math.inf), 200, 1000)  # images become 200x200


def test_ap_by_level(tmp_path):
    contents, results = slow.scene(14, num_images=14)
    contents["annotations"][0]["bbox"][2:] = [20.0, 9.0]  # 20 pixels from the middle: of P4
    got = by_level(subject_of(tmp_path, contents, results), LEVELS)
    assert [group.name for group in got] == ["P3", "P4"]
    for group in got:

        def is_inside(thing, group=group):
            return group.lower <= max(thing["bbox"][2:]) / 2 * 2 < group.upper

        assert matches_only_inside(contents, results, is_inside)
        number, ap50 = ap50_of_part(contents, results, is_inside)
        assert group.objects == number > 5
        assert group.ap50 == pytest.approx(ap50, abs=1e-9)


CONFIG = {
    "MODEL": {
        "PROPOSAL_GENERATOR": {"NAME": "FCOS"},
        "FCOS": {"FPN_STRIDES": [8, 16], "SIZES_OF_INTEREST": [20], "IN_FEATURES": ["p3", "p4"]},
    },
    "INPUT": {"MIN_SIZE_TEST": 200, "MAX_SIZE_TEST": 1000},
}


def test_levels_come_from_the_config_of_an_fcos():
    assert find_levels(CONFIG) == LEVELS
    assert find_levels({}) is None
    other = {**CONFIG["MODEL"], "PROPOSAL_GENERATOR": {"NAME": "RPN"}}
    assert find_levels({**CONFIG, "MODEL": other}) is None
    without = {**CONFIG["MODEL"]["FCOS"], "SIZES_OF_INTEREST": [20, 30]}
    assert find_levels({**CONFIG, "MODEL": {**CONFIG["MODEL"], "FCOS": without}}) is None
    empty = {**CONFIG["MODEL"]["FCOS"], "SIZES_OF_INTEREST": []}
    found = find_levels({**CONFIG, "MODEL": {**CONFIG["MODEL"], "FCOS": empty}})
    assert found.limits == (0, 64, math.inf)  # 8 strides of P3


@pytest.mark.parametrize("crowds", [0, 1])
def test_ap_by_objects_of_the_image(tmp_path, crowds):
    contents, results = slow.scene(10, num_images=14, crowds=crowds)
    got = by_crowding(subject_of(tmp_path, contents, results))
    objects = [a["image_id"] for a in contents["annotations"] if not a["iscrowd"]]
    assert sum(group.images for group in got) == len(set(objects))
    assert [group.name for group in got][:2] == ["1", "2 to 3"]
    for group in got:
        ids = {i for i in objects if group.lower <= objects.count(i) < group.upper}
        part = [a for a in contents["annotations"] if a["image_id"] in ids]
        found = [r for r in results if r["image_id"] in ids]
        base, _ = slow.tide({**contents, "annotations": part}, found)
        assert group.images == len(ids)
        assert group.objects == sum(not a["iscrowd"] for a in part)
        assert group.ap50 == pytest.approx(100 * base, abs=1e-9)


# ---------------------------------------------------------------- images and labels


def test_the_worst_images():
    counts = {
        "a": Counts(5, 0, 0),
        "b": Counts(0, 1, 1),
        "c": Counts(0, 3, 2),
        "d": Counts(3, 1, 0),
        "e": Counts(1, 1, 1),
    }
    assert choose_worst(counts, 9) == ["c", "b", "e", "d"]
    assert choose_worst(counts, 2) == ["c", "b"]


def draw_images(root, contents):
    for image in contents["images"]:
        pixels = np.full((slow.SIZE, slow.SIZE, 3), 128, dtype=np.uint8)
        Image.fromarray(pixels).save(root / image["file_name"])
    return str(root)


def test_what_is_drawn_on_the_worst_images(tmp_path):
    contents, results = slow.scene(12, num_images=9, with_masks=True, crowds=1)
    subject = subject_of(tmp_path, contents, results, draw_images(tmp_path, contents))
    score = 0.6
    kept = [r for r in results if r["score"] >= score]
    match = slow.Match(contents, kept)
    images = Views(subject, results, score).worst(6, draw=True)
    assert len(images) >= 4
    for image in images:
        ours = [d for d, r in enumerate(kept) if r["image_id"] == image.image_id]
        right = {tuple(kept[d]["bbox"]) for d in ours if d in match.object_of}
        wrong = {
            tuple(kept[d]["bbox"]) for d in ours if d not in {*match.object_of, *match.ignored}
        }
        taken = [match.objects[match.object_of[d]]["id"] for d in ours if d in match.object_of]
        here = [a for a in contents["annotations"] if a["image_id"] == image.image_id]
        want = {
            "found": {tuple(a["bbox"]) for a in here if a["id"] in taken},
            "crowd": {tuple(a["bbox"]) for a in here if a["iscrowd"]},
            "missed": {tuple(a["bbox"]) for a in here if not a["iscrowd"] and a["id"] not in taken},
        }
        for shapes, styles in (
            (image.objects, want),
            (image.detections, {"found": right, "wrong": wrong}),
        ):
            got = {style: {s.box for s in shapes if s.style == style} for style in styles}
            assert got == styles and {s.style for s in shapes} <= styles.keys()
            assert all(shape.outline.startswith("M") for shape in shapes)
        counts = image.counts
        assert (counts.found, counts.wrong) == (len(right), len(wrong))
        assert counts.missed == len(want["missed"])
        assert isinstance(image.picture, Picture) and image.picture.pixels[:2] == b"\xff\xd8"


def test_suspicious_labels_by_hand(tmp_path):
    contents, _ = slow.scene(0, num_images=2)
    thing = {"image_id": 7, "area": 100, "iscrowd": 0}
    contents["annotations"] = [
        {**thing, "id": 51, "category_id": 2, "bbox": [0, 0, 10, 10]},
        {**thing, "id": 52, "category_id": 3, "bbox": [30, 0, 10, 10]},
        {**thing, "id": 53, "category_id": 3, "bbox": [60, 0, 10, 10]},
    ]
    result = {"image_id": 7, "category_id": 2, "score": 0.9}
    results = [
        {**result, "bbox": [0, 0, 10, 10]},  # right
        {**result, "bbox": [31, 0, 10, 10], "score": 0.8},  # a 2 where a 3 is labelled
        {**result, "bbox": [60, 0, 10, 10], "score": 0.85},  # the same, but the 3 is found
        {**result, "bbox": [60, 0, 10, 10], "score": 0.6, "category_id": 3},
        {**result, "bbox": [5, 70, 10, 20], "score": 0.7},  # nothing is labelled there
        {**result, "bbox": [50, 70, 10, 10], "score": 0.3},  # nor there, but the score is low
    ]
    subject = subject_of(tmp_path, contents, results, draw_images(tmp_path, contents))
    views = Views(subject, results, 0.5)
    first, second = views.suspicions(9, draw=True)
    assert views.num_suspicions == 2
    assert (first.detected, first.labelled, first.annotation_id) == ("class 2", "class 3", 52)
    assert (second.detected, second.labelled, second.annotation_id) == ("class 2", "", None)
    assert (first.score, second.score) == (0.8, 0.7)
    assert [shape.style for shape in first.shapes] == ["missed", "wrong"]
    assert [shape.style for shape in second.shapes] == ["wrong"]
    picture = second.picture
    assert picture.left <= 5 and picture.top <= 70 and picture.left + picture.width >= 15
    assert len(views.suspicions(1, draw=False)) == 1 and not views.suspicions(1, False)[0].picture


def test_a_part_of_an_image(tmp_path):
    contents, _ = slow.scene(0, num_images=1)
    pixels = np.arange(100, dtype=np.uint8)[None, :, None].repeat(100, 0).repeat(3, 2)
    Image.fromarray(pixels).save(tmp_path / "7.png")
    truth = read_truth("scene", slow.write_scene(tmp_path, contents), str(tmp_path))
    got = read_picture(truth, 7, around=[80, 2, 10, 4])
    assert (got.left, got.top, got.width, got.height) == (36, 0, 64, 64)
    got = read_picture(truth, 7, around=[10, 10, 60, 60])
    assert (got.left, got.top, got.width, got.height) == (0, 0, 100, 100)
    Image.fromarray(pixels[:50]).save(tmp_path / "7.png")
    with pytest.raises(UserError, match="has 100x50 pixels, but 100x100 in"):
        read_picture(truth, 7)


def test_an_image_that_cannot_be_read_is_told_once(tmp_path):
    contents, results = slow.scene(11, num_images=3)
    subject = subject_of(tmp_path, contents, results, str(tmp_path))
    views = Views(subject, results, 0.2)
    images = views.worst(1, draw=True)
    assert images[0].picture is None and images[0].objects == ()
    assert not any(each.picture for each in views.suspicions(99, draw=True))
    assert len(views.problems) == len(set(views.problems)) <= 3
    assert "does not exist" in views.problems[0]
