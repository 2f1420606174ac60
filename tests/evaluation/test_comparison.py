"""What a comparison states."""

import json
import math

import pytest

from fcos.evaluation.comparison import (
    compare,
    different_settings,
    max_dets_of,
)
from fcos.evaluation.comparison_json import to_json
from fcos.evaluation.runs import open_folders
from fcos.evaluation.truth import read_truth
from fcos.utils.errors import UserError
from fcos.utils.values import in_words


def run_compare(data, *folders, **options):
    truth = read_truth("pets", str(data.json_file), str(data.image_root))
    return compare(open_folders([str(f) for f in folders]), truth, "pets", **options)


@pytest.fixture
def trio(data):
    """A baseline and a better detector, both with masks, and one without; what each measured."""
    a, b, c = (data.root / name for name in ("baseline", "improved", "boxes"))
    return (a, b, c), [
        data.evaluate(a, noise=0.12, seed=1),
        data.evaluate(b, noise=0.02, seed=2),
        data.evaluate(c, noise=0.05, seed=3, with_masks=False),
    ]


def test_the_json_holds_the_evaluators_figures_and_their_differences(data, trio):
    (a, b, _), (want_a, want_b, _) = trio
    got = json.loads(json.dumps(to_json(run_compare(data, a, b, num_images=0)), allow_nan=False))
    assert got["baseline"] == "baseline" and got["note_on_masks"] == ""
    for name, task in [("box", "bbox"), ("mask", "segm")]:
        for label, want in [("baseline", want_a), ("improved", want_b)]:
            figures = dict(got[name]["figures"][label])
            for entry in got[name]["classes"]:
                figures[f"AP-{entry['name']}"] = entry["figures"][label]["AP"]
            figures = {key: figures[key] for key in want[task]}
            assert figures == pytest.approx(dict(want[task]), rel=0, abs=1e-9)
        change = got[name]["difference_to_baseline"]["improved"]["AP"]
        assert change == pytest.approx(want_b[task]["AP"] - want_a[task]["AP"], abs=1e-9)
        assert change > 0
        assert len(got[name]["precision_at_recall_0_to_1_by_0.01"]["improved"]["IoU 0.75"]) == 101


def test_detectron2s_limit_of_detections_is_kept(data):
    a, b = data.root / "a", data.root / "b"
    config = {"MODEL": {"FCOS": {"NMS_POST_TOPK": 250}}}
    data.evaluate(a, config=config, max_dets_per_image=250)
    data.evaluate(b)
    assert run_compare(data, a, b, num_images=0).max_dets == 250
    assert max_dets_of({}) == max_dets_of({"MODEL": {"FCOS": {"NMS_POST_TOPK": 50}}}) == 100


def test_without_masks_in_one_the_boxes_are_still_compared(data, trio):
    (a, b, c), (_, _, want) = trio
    got = run_compare(data, c, b, num_images=0)
    assert got.note_on_masks == (
        "boxes has no masks: the mask figures of improved are shown, but compared with nothing."
    )
    box, mask = got.tasks
    assert box.labels == ["boxes", "improved"] and mask.labels == ["improved"]
    assert box.overall[0]["AP"] == pytest.approx(want["bbox"]["AP"], abs=1e-9)
    got = run_compare(data, c, a, b, num_images=0)
    assert got.note_on_masks == (
        "boxes has no masks: masks are compared for baseline and improved only."
    )
    assert to_json(got)["mask"]["difference_to_baseline"].keys() == {"improved"}
    got = run_compare(data, c, f"again={c}")
    assert got.note_on_masks == "" and [task.name for task in got.tasks] == ["box"]


def test_without_masks_in_the_annotations_the_boxes_are_still_compared(data, trio):
    for annotation in data.annotations:
        annotation["segmentation"] = []
    data.write()
    got = run_compare(data, *trio[0][:2], num_images=0)
    assert got.note_on_masks == "Masks are not compared: the annotations of pets have none."
    assert [task.name for task in got.tasks] == ["box"]


def test_images_without_detections_or_objects_are_drawn(data):
    nothing = data.write_results("nothing", data.detections(((10, 0, 0, 5, 5), 0.9)))
    found = data.detections(((13, 5, 5, 20, 20), 0.9), *((i + 1, 0.9) for i in range(16)))
    some = data.write_results("some", found)
    got = run_compare(data, nothing, some, num_images=10)
    assert sorted(c.image_id for c in got.choices) == [10, 11, 12, 13, 14]
    assert [len(row) for row in got.pictures] == [3] * 5
    assert all(jpeg.startswith(b"\xff\xd8") for row in got.pictures for jpeg in row)
    assert got.better == ([1, 4], 1)  # 13: the empty one is right; 15: neither has a detection


def test_detections_from_the_threshold_on_are_drawn(data):
    import cv2
    import numpy as np

    folder = data.write_results("a", data.detections((1, 0.9), (2, 0.4), (2, 0.5)))
    other = data.write_results("b", data.detections((1, 0.1)))
    got = run_compare(data, folder, other, score=0.5, num_images=1)
    assert got.is_score_given and [s.score for s in got.runs] == [0.5, 0.5]
    truth, first, second = (
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
        for jpeg in got.pictures[0]
    )
    image = cv2.imread(str(data.image_root / "10.png"))
    plain = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(first - second).max() > 100  # something is drawn on the first only
    assert np.abs(second - plain).mean() < np.abs(truth - plain).mean()
    assert got.choices[0].counts[0].found == 2 and got.choices[0].counts[1].found == 0


def test_wrong_detections_are_marked_and_have_the_color_of_their_class(data, monkeypatch):
    from fcos.evaluation import pictures
    from fcos.predict.draw import class_colors

    drawn = []

    def note(image, instances, names, colors):
        drawn.append([(names[c], colors[c]) for c in instances.pred_classes.tolist()])
        return image

    monkeypatch.setattr(pictures, "draw_instances", note)
    cat, dog, elk = class_colors(3)
    wrong = ((15, 0, 0, 5, 5), 0.7)
    objects = [a["id"] for a in data.annotations if a["image_id"] == 15]
    faint = (objects[0], 0.4)
    a = data.write_results("a", data.detections(*((i, 0.9) for i in objects), wrong, faint))
    b = data.write_results("b", data.detections(wrong))
    run_compare(data, a, b, num_images=1, score=0.5)
    truth = [("elk", elk), ("dog", dog), ("cat", cat), ("dog", dog)]
    assert drawn == [truth, [*truth, ("\N{BALLOT X} cat", cat)], [("\N{BALLOT X} cat", cat)]]


def test_objects_are_drawn_where_they_lie_without_crowds(data, monkeypatch):
    from fcos.evaluation import pictures
    from fcos.evaluation.pictures import Drawer

    drawn = []
    note = lambda image, instances, *_: drawn.append(instances) or image  # noqa: E731
    monkeypatch.setattr(pictures, "draw_instances", note)
    truth = read_truth("pets", str(data.json_file), str(data.image_root))
    objects = [a for a in data.annotations if a["image_id"] == 14 and not a["iscrowd"]]
    result = data.detections((objects[0]["id"], 0.9))[0]
    Drawer(truth, with_masks=True).draw(14, [[(result, False)]])
    x, y, w, h = objects[0]["bbox"]
    for instances, number in zip(drawn, [3, 1], strict=True):
        assert instances.pred_boxes.tensor[0].tolist() == [x, y, x + w, y + h]
        assert len(instances) == number
    area = drawn[0].pred_masks[0].sum().item()
    assert area == pytest.approx(objects[0]["area"], rel=0.1)


def test_a_picture_of_another_size(data):
    from PIL import Image

    Image.new("RGB", (50, 40)).save(data.image_root / "10.png")
    a = data.write_results("a", data.detections((1, 0.9)))
    b = data.write_results("b", data.detections(((10, 0, 0, 5, 5), 0.9)))
    with pytest.raises(UserError, match=r"10.png has 50x40 pixels, but 160x160 in .*val.json"):
        run_compare(data, a, b)
    assert run_compare(data, a, b, num_images=0).pictures == []


def test_settings_that_differ():
    one = {"A": {"B": 1, "C": []}, "D": "", "OUTPUT_DIR": "x", "E": 1}
    two = {"A": {"B": 2, "C": []}, "D": "y", "OUTPUT_DIR": "z", "F": {}}
    assert different_settings([one, two]) == {
        "A.B": ["1", "2"],
        "D": ["''", "y"],
        "E": ["1", "\N{EN DASH}"],
        "F": ["\N{EN DASH}", "{}"],
    }
    assert different_settings([one, {}]) == {} == different_settings([one, one])


def test_names_in_words():
    assert [in_words(["a"]), in_words(["a", "b"]), in_words(["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


def test_json_has_no_nan(data):
    data.annotations = [a for a in data.annotations if a["category_id"] != 9]
    data.write()
    found = data.write_results("a", data.detections((1, 0.9)))
    got = to_json(run_compare(data, found, f"b={found}"))
    json.dumps(got, allow_nan=False)
    assert got["box"]["classes"][2]["figures"]["a"]["AP"] is None
    assert got["box"]["classes"][2]["difference_to_baseline"]["b"]["AP"] is None
    assert not math.isnan(got["box"]["figures"]["a"]["AP"])
