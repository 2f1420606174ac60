"""COCOEvaluator, against detectron2's results and by hand."""

import copy
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_values import GOLDEN, golden_json
from pycocotools import mask as mask_api

import detectron2
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, BoxMode, Instances

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

RESULTS = golden_json("host_coco_results.json")
DETECTIONS = golden_json("host_coco_detections.json")
SIZES = {d["image_id"]: (d["height"], d["width"]) for d in RESULTS["loaded_dataset_dicts"]}


@pytest.fixture(autouse=True)
def dataset():
    register_coco_instances("golden", {}, str(GOLDEN / "host_coco_dataset.json"), "")
    DatasetCatalog.get("golden")  # fills in the metadata, as a data loader does
    yield
    for name in [name for name in MetadataCatalog if name.startswith("golden")]:
        MetadataCatalog.pop(name)
        DatasetCatalog.pop(name, None)


def instances_of(detections, with_masks=False):
    instances = Instances(SIZES[detections["image_id"]])
    boxes = torch.tensor(detections["boxes_xyxy"]).reshape(-1, 4)
    instances.pred_boxes = Boxes(boxes)
    instances.scores = torch.tensor(detections["scores"])
    instances.pred_classes = torch.tensor(detections["classes"], dtype=torch.int64)
    if with_masks:
        masks = torch.zeros(len(boxes), *instances.image_size, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = True
        instances.pred_masks = masks
    return instances


def run(evaluator, detections=DETECTIONS, with_masks=False, **options):
    evaluator.reset()
    for d in detections:
        output = {"instances": instances_of(d, with_masks)}
        evaluator.process([{"image_id": d["image_id"]}], [output])
    return evaluator.evaluate(**options)


def assert_equal_results(actual, expected):
    assert list(actual) == list(expected)
    for task, metrics in expected.items():
        assert list(actual[task]) == list(metrics)
        for name, value in metrics.items():
            value = math.nan if value is None else value
            assert actual[task][name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def ground_truth_as_detections():
    images = []
    for record in RESULTS["loaded_dataset_dicts"]:
        objects = [obj for obj in record["annotations"] if not obj["iscrowd"]]
        boxes = [
            BoxMode.convert(obj["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) for obj in objects
        ]
        images.append(
            {
                "image_id": record["image_id"],
                "boxes_xyxy": boxes,
                "scores": [0.9] * len(objects),
                "classes": [obj["category_id"] for obj in objects],
            }
        )
    return images


def test_golden_boxes():
    assert_equal_results(run(COCOEvaluator("golden")), RESULTS["results"]["bbox_fast"])


def test_golden_official():
    actual = run(COCOEvaluator("golden", use_fast_impl=False))
    assert_equal_results(actual, RESULTS["results"]["bbox_official"])


def test_golden_masks():
    actual = run(COCOEvaluator("golden"), with_masks=True)
    assert_equal_results(actual, RESULTS["results"]["bbox_and_segm_rectangular_masks"])
    only_boxes = run(COCOEvaluator("golden", tasks=("bbox",)), with_masks=True)
    assert list(only_boxes) == ["bbox"]


def test_the_size_of_a_mask_is_not_that_of_its_box():
    # Image 100 has one small "cow". Above it in score comes a frame: few pixels, a large box.
    frame = torch.zeros(SIZES[100], dtype=torch.bool)
    frame[100:160, 100:160] = True
    frame[102:158, 102:158] = False
    small_ap = {}
    for with_frame in (False, True):
        cow = {"boxes_xyxy": [[79.0, 24.0, 94.0, 40.0]], "scores": [0.8], "classes": [2]}
        if with_frame:
            cow["boxes_xyxy"].append([100.0, 100.0, 160.0, 160.0])
            cow["scores"].append(0.9)
            cow["classes"].append(2)
        instances = instances_of({"image_id": 100, **cow}, with_masks=True)
        if with_frame:
            instances.pred_masks[1] = frame
        evaluator = COCOEvaluator("golden")
        evaluator.reset()
        evaluator.process([{"image_id": 100}], [{"instances": instances}])
        small_ap[with_frame] = evaluator.evaluate(img_ids=[100])["segm"]["APs"]
    # As a small object the frame is a false one, which halves the precision.
    assert small_ap[True] == pytest.approx(small_ap[False] / 2) and small_ap[False] > 10


def test_golden_limit_of_detections():
    # The limits 1, 10 and 3 are sorted and the last rules, so that 3 acts as 10.
    actual = run(COCOEvaluator("golden", max_dets_per_image=3))
    assert_equal_results(actual, RESULTS["results"]["bbox_max_dets_3"])


def test_limit_of_detections():
    # Of 200 detections the last finds the only object: the limit of 100 hides it.
    detections = {
        "image_id": 107,
        "boxes_xyxy": [[1.0, 1.0, 5.0, 5.0]] * 199 + [[93.49, 82.43, 127.19, 153.93]],
        "scores": [0.9] * 199 + [0.1],
        "classes": [1] * 200,
    }
    found = {}
    for limit in (None, 199, 200):
        results = run(
            COCOEvaluator("golden", max_dets_per_image=limit), [detections], img_ids=[107]
        )
        found[limit] = results["bbox"]["AP-bee"]
    assert found[None] == found[199] == 0
    assert found[200] == pytest.approx(100 / 200)  # its precision, at every recall


def test_golden_ground_truth():
    actual = run(COCOEvaluator("golden"), ground_truth_as_detections())
    assert_equal_results(actual, RESULTS["results"]["ground_truth_as_detections"])


def test_golden_no_detections():
    nothing = [{**d, "boxes_xyxy": [], "scores": [], "classes": []} for d in DETECTIONS]
    actual = run(COCOEvaluator("golden"), nothing)
    assert_equal_results(actual, RESULTS["results"]["no_detections"])


def test_no_images_at_all():
    assert run(COCOEvaluator("golden"), []) == {}


def test_some_images_only():
    first = RESULTS["loaded_dataset_dicts"][0]["image_id"]
    results = run(COCOEvaluator("golden"), ground_truth_as_detections()[:1], img_ids=[first])
    assert results["bbox"]["AP"] == pytest.approx(100)
    everywhere = run(COCOEvaluator("golden"), ground_truth_as_detections()[:1])
    assert everywhere["bbox"]["AP"] < 60


def test_golden_json_of_detections():
    actual = instances_to_coco_json(instances_of(DETECTIONS[0]), 100)
    assert actual == RESULTS["instances_to_coco_json_first_image"]
    assert instances_to_coco_json(instances_of(DETECTIONS[5]), 135) == []
    (with_mask,) = instances_to_coco_json(instances_of(DETECTIONS[1], with_masks=True), 107)
    assert json.loads(json.dumps(with_mask)) == with_mask
    mask = mask_api.decode(with_mask["segmentation"])
    # The box is 94.823, 78.685, 134.352, 157.743.
    assert mask.shape == (304, 366) and mask[79:158, 95:134].all()
    assert mask.sum() == 79 * 39


def test_files(tmp_path):
    run(COCOEvaluator("golden", output_dir=str(tmp_path / "a" / "b")))
    folder = tmp_path / "a" / "b"
    results = json.loads((folder / "coco_instances_results.json").read_text())
    assert len(results) == sum(len(d["scores"]) for d in DETECTIONS)
    # Class 1 has the id 7 in the annotation file.
    assert (results[0]["image_id"], results[0]["category_id"]) == (100, 7)
    predictions = torch.load(folder / "instances_predictions.pth", weights_only=False)
    assert [p["image_id"] for p in predictions] == [d["image_id"] for d in DETECTIONS]
    assert predictions[0]["instances"] == RESULTS["instances_to_coco_json_first_image"]


@pytest.fixture
def own_format():
    """The same dataset in detectron2's format, without an annotation file."""
    records = copy.deepcopy(RESULTS["loaded_dataset_dicts"])
    DatasetCatalog.register("golden_own", lambda: copy.deepcopy(records))
    MetadataCatalog.get("golden_own").thing_classes = RESULTS["thing_classes"]
    return records


def test_a_dataset_in_detectron2s_format(own_format, tmp_path):
    with pytest.raises(ValueError, match="output_dir"):
        COCOEvaluator("golden_own")
    evaluator = COCOEvaluator("golden_own", output_dir=str(tmp_path))
    assert (tmp_path / "golden_own_coco_format.json").exists()
    # Areas come from the rectangular masks: the sizes stay those of the original file.
    assert_equal_results(run(evaluator), RESULTS["results"]["bbox_fast"])


def test_converted_annotations_are_cached_if_allowed(own_format, tmp_path):
    COCOEvaluator("golden_own", output_dir=str(tmp_path))
    own_format.pop()
    for allowed, n in ((True, 8), (False, 7)):
        MetadataCatalog.pop("golden_own")
        MetadataCatalog.get("golden_own").thing_classes = RESULTS["thing_classes"]
        COCOEvaluator("golden_own", output_dir=str(tmp_path), allow_cached_coco=allowed)
        written = json.loads((tmp_path / "golden_own_coco_format.json").read_text())
        assert len(written["images"]) == n


def test_a_test_set_without_annotations(tmp_path):
    content = golden_json("host_coco_dataset.json")
    del content["annotations"]
    (tmp_path / "test.json").write_text(json.dumps(content))
    register_coco_instances("golden_test", {}, str(tmp_path / "test.json"), "")
    assert run(COCOEvaluator("golden_test", output_dir=str(tmp_path))) == {}
    assert (tmp_path / "coco_instances_results.json").exists()


def test_predictions_must_fit_the_dataset():
    for change in ({"classes": [4]}, {"image_id": 999}):
        evaluator = COCOEvaluator("golden")
        evaluator.reset()
        d = {**DETECTIONS[1], **change}
        instances = instances_of({**d, "image_id": 107})
        evaluator.process([{"image_id": d["image_id"]}], [{"instances": instances}])
        with pytest.raises(AssertionError):
            evaluator.evaluate()


@lite_only
def test_messages(tmp_path):
    evaluator = COCOEvaluator("golden")
    for change, message in (
        ({"classes": [4]}, "image 107 has class 4, but the dataset has 4 classes, 0 to 3"),
        ({"image_id": 999}, "predictions for image 999 .*which the annotation file does not have"),
    ):
        evaluator.reset()
        d = {**DETECTIONS[1], **change}
        instances = instances_of({**d, "image_id": 107})
        evaluator.process([{"image_id": d["image_id"]}], [{"instances": instances}])
        with pytest.raises(AssertionError, match=message):
            evaluator.evaluate()
    with pytest.raises(ValueError, match="'segm' needs predictions with pred_masks"):
        run(COCOEvaluator("golden", tasks=("bbox", "segm")))
    with pytest.raises(ValueError, match=r"tasks: expected 'bbox' and 'segm', got \['box'\]"):
        COCOEvaluator("golden", tasks=("box",))
    MetadataCatalog.get("golden_lost").json_file = str(tmp_path / "lost.json")
    with pytest.raises(FileNotFoundError, match=r"'golden_lost' is expected at '.*lost.json'"):
        COCOEvaluator("golden_lost")


@lite_only
def test_keypoints_and_other_outputs_are_left_out():
    for options in ({"tasks": ("keypoints",)}, {"kpt_oks_sigmas": [0.1]}):
        with pytest.raises(NotImplementedError, match="COCOEvaluator for keypoints is not part of"):
            COCOEvaluator("golden", **options)
    evaluator = COCOEvaluator("golden")
    with pytest.raises(NotImplementedError, match="COCOEvaluator for sem_seg is not part of"):
        evaluator.process([{"image_id": 100}], [{"sem_seg": None}])
    instances = instances_of(DETECTIONS[0])
    instances.pred_keypoints = torch.zeros(len(instances), 17, 3)
    with pytest.raises(NotImplementedError, match="pred_keypoints is not part of"):
        evaluator.process([{"image_id": 100}], [{"instances": instances}])


def test_the_table_of_classes_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="detectron2"):
        run(COCOEvaluator("golden"))
    (table,) = [r.getMessage() for r in caplog.records if "Per-category bbox AP" in r.getMessage()]
    cells = [cell.strip() for cell in table.replace("\n", "|").split("|")]
    assert cells[cells.index("ant") + 1] == "43.604" and cells[cells.index("dog") + 1] == "nan"


SCRIPT = """
import json, sys
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from detectron2.utils import comm
from test_coco_evaluation import COCOEvaluator, DETECTIONS, GOLDEN, DatasetCatalog, run
from test_coco_evaluation import register_coco_instances

rank = int(sys.argv[3])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
comm.create_local_process_group(2)
register_coco_instances("golden", {}, str(GOLDEN / "host_coco_dataset.json"), "")
DatasetCatalog.get("golden")
together = run(COCOEvaluator("golden"), DETECTIONS[rank::2])
alone = run(COCOEvaluator("golden", distributed=False), DETECTIONS[rank::2])
print(json.dumps([together, alone]), flush=True)
comm.synchronize()
"""


def test_two_processes(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(Path(__file__).parent)]
    command.append(str(tmp_path / "rendezvous"))
    processes = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    (together, alone_0), (nothing, alone_1) = (
        json.loads(output.strip().splitlines()[-1]) for output in outputs
    )
    assert_equal_results(together, RESULTS["results"]["bbox_fast"])
    assert nothing == {}
    assert alone_0["bbox"]["AP"] != alone_1["bbox"]["AP"] != together["bbox"]["AP"]
