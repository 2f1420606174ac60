import json
import reprlib

import pytest
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from fcos.config import get_cfg
from fcos.data import check_dataset, check_datasets
from fcos.data.resize import resize_of
from fcos.utils.errors import UserError


def refused(coco, message, num_classes=2, **kwargs):
    with pytest.raises(UserError, match=message):
        check_dataset(coco.register(), num_classes, **kwargs)


def test_sound(coco):
    report = check_dataset(coco.register(), 2)
    assert (report.num_images, report.num_objects, report.num_empty_images) == (6, 6, 0)
    assert report.class_names == ("three", "seven")
    assert report.degenerate == ()
    assert str(report) == (
        "Data set 'small': 6 images, 6 objects, 2 classes (three, seven).\n"
        "6 of 6 images were decoded."
    )


def test_another_number_of_classes(coco):
    refused(
        coco,
        r"'small' has 2 classes \(three, seven\), but MODEL\.FCOS\.NUM_CLASSES is 80: "
        r"set MODEL\.FCOS\.NUM_CLASSES 2\.",
        num_classes=80,
    )


def test_many_class_names_are_cut_short(coco):
    coco.categories += [{"id": 10 + i, "name": f"c{i}"} for i in range(4)]
    refused(coco, r"6 classes \(three, seven, c0, c1, c2, \.\.\. \(6 in all\)\)")


def test_classes_of_the_same_name(coco):
    coco.categories[0]["name"] = "three"
    coco.categories.append({"id": 9, "name": "nine"})
    report = check_dataset(coco.register(), 3)
    assert report.class_names == ("three", "three", "nine")
    assert (
        "Several categories have the same name (three), and are different classes all the same: "
        "if they should not be, merge them in the annotations."
    ) in report.notes


def test_category_out_of_range(coco):
    number = coco.add_box(1, [1, 1, 5, 5], category=4)
    refused(coco, rf"annotation {number} has category_id 4, .* not among its categories: 3, 7\.")


@pytest.mark.parametrize("bbox", [[1, 2, 3], [1, 2, float("nan"), 4], [1, 2, 3, float("inf")], "x"])
def test_boxes_that_are_none(coco, bbox):
    number = coco.add_box(1, bbox)
    refused(coco, rf"annotation {number} has the bbox .*; expected 4 finite numbers, in pixels")


def test_annotation_without_box(coco):
    del coco.annotations[2]["bbox"]
    refused(coco, r"json: annotation 102 has no bbox\.")


def test_annotation_of_no_image(coco):
    number = coco.add_box(77, [1, 1, 5, 5])
    refused(coco, rf"annotation {number} is on image 77, which is not among its images")


def test_image_without_size(coco):
    del coco.images[0]["width"]
    refused(coco, r"image 0 has no width\.")


def test_images_with_a_size_that_is_none(coco):
    coco.images[2]["height"] = "40"
    refused(coco, r"image 2 has the width 40 and the height '40'; expected two positive whole")


def test_ids_of_another_type_are_shown_as_they_are(coco):
    coco.annotations[0]["category_id"] = "3"
    refused(coco, r"annotation 100 has category_id '3', which is not among its categories: 3, 7\.")
    coco.annotations[0].update(category_id=3, image_id="0")
    with pytest.raises(UserError, match=r"annotation 100 is on image '0', which is not among"):
        coco.write()
        check_dataset("small", 2)


@pytest.mark.parametrize("for_training", [True, False])
def test_annotations_with_the_same_id(coco, for_training):
    coco.annotations[4]["id"] = 101
    refused(coco, r"json: annotations with the same id: 101\. Give", for_training=for_training)


def test_coco_s_own_minival_repeats_ids(coco):
    coco.annotations[4]["id"] = 101
    coco.json_file = coco.json_file.with_name("instances_minival2014.json")
    assert check_dataset(coco.register(), 2).num_objects == 6


@pytest.mark.parametrize(
    "area", ["123", "", -5, True, [5], {}, float("nan"), float("inf"), 10**400]
)
def test_areas_that_are_none_are_known_before_the_training(coco, area):
    coco.annotations[1]["area"] = area
    assert check_dataset(coco.register(), 2).num_objects == 6  # training does without
    with pytest.raises(UserError) as caught:
        check_dataset("small", 2, for_training=False)
    assert str(caught.value) == (
        f"Data set 'small': annotation 101 has the area {reprlib.repr(area)}; expected a number of "
        "square pixels, or none: then the area of the box is taken."
    )


@pytest.mark.parametrize("number", [1, 2])
def test_areas_that_are_missing_are_those_of_the_boxes(coco, number):
    del coco.annotations[1]["area"]
    coco.annotations[2]["area"] = None if number == 2 else 0
    what = {
        1: "1 annotation has no area: width times height decides",
        2: "2 annotations have no area: width times height decides",
    }
    report = check_dataset(coco.register(), 2, for_training=False)
    assert f"{what[number]} whether an object is small, medium or large." in report.notes
    assert "no area" not in str(check_dataset("small", 2))


def test_annotations_without_an_id(coco):
    coco.register()
    del coco.annotations[1]["id"]
    with pytest.raises(UserError, match=r"annotation \{.*\} has no id\."):
        coco.write()
        check_dataset("small", 2)


def test_boxes_beyond_their_image_are_counted_and_named(coco):
    number = coco.add_box(1, [20, 20, 30, 40])  # corners, in an image of 32 x 48
    coco.add_box(1, [20, 20, 12.5, 29])  # a pixel below it
    assert (
        "1 box reaches more than a pixel beyond the image (a bbox is x, y, width, height): "
        f"annotation {number} (1.png)."
    ) in str(check_dataset(coco.register(), 2))
    coco.add_box(2, [-3, 0, 9, 9])
    coco.write()
    assert "2 boxes reach more than" in str(check_dataset("small", 2))


def test_degenerate_boxes_are_counted_and_named(coco):
    numbers = [coco.add_box(2, [5, 5, 0, 9]), coco.add_box(3, [500, 5, 9, 9])]
    report = check_dataset(coco.register(), 2)
    assert report.degenerate == (
        f"annotation {numbers[0]} (2.png)",
        f"annotation {numbers[1]} (3.png)",
    )
    assert report.num_objects == 6
    assert (
        "2 boxes have no width or height inside the image, left out of training: "
        f"annotation {numbers[0]} (2.png), annotation {numbers[1]} (3.png)."
    ) in str(report)


def test_only_the_first_degenerate_boxes_are_named(coco):
    numbers = [coco.add_box(2, [5, 5, 0, 0]) for _ in range(7)]
    text = str(check_dataset(coco.register(), 2))
    assert f"annotation {numbers[4]} (2.png), ... (7 in all)." in text
    assert f"annotation {numbers[5]}" not in text


def test_degenerate_boxes_in_evaluation(coco):
    coco.add_box(2, [5, 5, 0, 9])
    text = str(check_dataset(coco.register(), 2, for_training=False))
    assert "1 box has no width or height inside the image, counted in the evaluation" in text


@pytest.mark.parametrize(
    ("filter_empty", "fate"), [(True, "left out"), (False, "trained on as background")]
)
def test_images_without_objects_are_counted(coco, filter_empty, fate):
    coco.annotations = coco.annotations[2:]
    coco.add_box(0, [1, 1, 0, 0])  # degenerate
    coco.add_box(1, [1, 1, 5, 5], iscrowd=1)
    report = check_dataset(coco.register(), 2, filter_empty=filter_empty)
    assert (report.num_objects, report.num_empty_images) == (4, 2)
    want = f"2 images have no object, {fate} (DATALOADER.FILTER_EMPTY_ANNOTATIONS {filter_empty})."
    assert want in str(report)


def test_nothing_left_to_train_on(coco):
    coco.annotations = []
    refused(coco, r"leaves nothing to train on: 6 images with 0 annotations\.$")
    coco.add_box(0, [1, 1, 0, 0])
    coco.add_box(1, [1, 1, 5, 5], iscrowd=1)
    coco.add_box(1, [2, 2, 5, 5], iscrowd=1)
    coco.write()
    with pytest.raises(
        UserError,
        match=r"to train on: 6 images with 3 annotations, 2 of them crowd regions \(iscrowd 1\), 1 "
        r"without an area inside their image\.$",
    ):
        check_dataset("small", 2)
    report = check_dataset("small", 2, for_training=False)
    assert report.num_objects == 0
    assert "There is no object to find: every figure of its evaluation will be NaN." in report.notes


def test_nothing_to_evaluate_on(coco):
    coco.annotations, coco.images = [], []
    refused(coco, "leaves nothing to evaluate on: 0 images", for_training=False)


def test_missing_images(coco):
    coco.path(1).unlink()
    coco.path(4).unlink()
    refused(
        coco,
        rf"2 of 6 images cannot be used\. Image {coco.path(1)} does not exist\. Image "
        rf"{coco.path(4)} does not exist\. Replace the file, or take it out of the annotations; or "
        r"set DATALOADER\.SKIP_UNREADABLE True",
    )


def test_size_that_differs_from_the_image(coco):
    coco.images[0]["width"] = 99
    refused(coco, r"is 48x32 pixels, but the annotations say 99x32\.")


def test_only_the_first_bad_images_are_named(coco):
    for i in range(6):
        coco.path(i).write_text("hello")
    with pytest.raises(UserError, match=r"6 of 6 images.*5?\.\.\. and 1 more") as caught:
        check_dataset(coco.register(), 2)
    assert str(caught.value).count("broken") == 5


def test_missing_data_set():
    with pytest.raises(UserError, match="instances_val2017.json does not exist"):
        check_dataset("coco_2017_val", 80)


def other_format(coco, **fields):
    annotation = {"bbox": [1, 1, 9, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, **fields}
    entry = {"file_name": str(coco.path(0)), "width": 48, "height": 32}
    entries = [{**entry, "annotations": [annotation]}]
    DatasetCatalog.register("other", lambda: entries)
    MetadataCatalog.get("other").set(thing_classes=["a", "b"])


def test_data_set_in_another_format(coco):
    other_format(coco)
    report = check_dataset("other", 2, all_images=True)
    assert (report.num_images, report.num_objects, report.class_names) == (1, 1, ("a", "b"))


def test_data_set_in_another_format_out_of_range(coco):
    other_format(coco, category_id=2)
    with pytest.raises(
        UserError, match=r"annotation 0 of .*0\.png has category_id 2, expected 0 to 1"
    ):
        check_dataset("other", 2)


def test_data_set_in_another_format_degenerate(coco):
    other_format(coco, bbox=[9, 1, 9, 9])
    assert check_dataset("other", 2, for_training=False).degenerate == ("annotation 0 (0.png)",)


def test_all_data_sets_of_a_config(coco):
    cfg = coco.config()
    assert [r.name for r in check_datasets(cfg)] == ["for_train", "for_test"]
    assert [r.name for r in check_datasets(cfg, training=False)] == ["for_test"]


def test_classes_have_to_agree(coco, tmp_path):
    cfg = coco.config()
    coco.categories[0]["name"] = "VII"
    coco.json_file = tmp_path / "other.json"
    cfg.DATASETS.TEST = (coco.register("different"),)
    with pytest.raises(UserError, match=r"'for_train' and 'different' have .*seven.*VII"):
        check_datasets(cfg)


# ---- masks -----------------------------------------------------------------------------------

POLYGON = [[4, 5, 14, 5, 14, 15]]
RUN_LENGTHS = {"counts": [0, 48 * 32], "size": [32, 48]}  # of an image of 48x32, such as 103's


def give_masks(coco, segmentation=POLYGON):
    for annotation in coco.annotations:
        annotation["segmentation"] = segmentation


@pytest.mark.parametrize("for_training", [True, False])
def test_masks_everywhere(coco, for_training):
    give_masks(coco)
    check_dataset(coco.register(), 2, for_training=for_training, mask_format="polygon")


@pytest.mark.parametrize(
    "nothing", [None, [], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], {}, {"counts": "", "size": 9}]
)
@pytest.mark.parametrize("for_training", [True, False])
def test_masks_that_are_missing_are_counted_and_named(coco, nothing, for_training):
    give_masks(coco)
    coco.annotations[1]["segmentation"] = coco.annotations[4]["segmentation"] = nothing
    refused(
        coco,
        r"^Data set 'small': 2 of 6 annotations have no segmentation, which MODEL\.MASK_ON True "
        r"needs: annotation 101, annotation 104\. Annotate them with polygons, or set "
        r"MODEL\.MASK_ON False for boxes only\.$",
        for_training=for_training,
        mask_format="polygon",
    )


@pytest.mark.parametrize("number", [float("nan"), float("-inf"), "5", None, [5]])
@pytest.mark.parametrize("for_training", [True, False])
def test_polygons_that_are_not_of_numbers(coco, number, for_training):
    give_masks(coco)
    coco.annotations[3]["segmentation"] = [*POLYGON, [4, 5, 14, number, 14, 15]]
    refused(
        coco,
        r"^Data set 'small': 1 of 6 annotations have a segmentation with something else than "
        r"finite numbers: annotation 103\. Correct them, or set MODEL\.MASK_ON False for boxes ",
        for_training=for_training,
        mask_format="polygon",
    )
    check_dataset("small", 2, for_training=for_training)


@pytest.mark.parametrize("use", ["TRAIN", "TEST"])
def test_images_so_long_that_nothing_is_left_of_them(coco, use):
    coco.images[2].update(width=3, height=8000)  # 1333 / 8000 of 3 is 0.4998...
    Image.new("RGB", (3, 8000)).save(coco.path(2))
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FCOS.NUM_CLASSES = "OneStageDetector", 2
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.DATASETS[use] = (coco.register(),)
    with pytest.raises(
        UserError,
        match=rf"^Data set 'small': INPUT\.MAX_SIZE_{use} 1333 leaves nothing of the shorter side "
        r"of images such as 2\.png \(3x8000\)\. Raise it, or take them out of the annotations",
    ):
        check_datasets(cfg)
    cfg.INPUT[f"MAX_SIZE_{use}"] = 1334  # 0.50025
    check_datasets(cfg)
    cfg.INPUT[f"MAX_SIZE_{use}"] = 1333
    cfg.INPUT[f"MIN_SIZE_{use}"] = 0 if use == "TEST" else (0,)  # as they are
    check_datasets(cfg)


def test_crops_of_which_nothing_is_left(coco):
    coco.images[1].update(width=300, height=5)
    Image.new("RGB", (300, 5)).save(coco.path(1))
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FCOS.NUM_CLASSES = "OneStageDetector", 2
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (coco.register(),)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = True, [0.05, 0.9]
    with pytest.raises(
        UserError,
        match=r"^Data set 'small': INPUT\.CROP\.SIZE \[0\.05, 0\.9\] leaves nothing of the shorter "
        r"side of images such as 1\.png \(300x5\)\. Raise it, or take them out of the annotations",
    ):
        check_datasets(cfg)
    check_datasets(cfg, training=False)
    cfg.INPUT.CROP.SIZE = [0.1, 0.9]
    check_datasets(cfg)


def test_boxes_alone_need_no_masks(coco):
    check_dataset(coco.register(), 2)


def test_training_leaves_out_what_an_evaluation_uses(coco):
    give_masks(coco)
    coco.add_box(1, [1, 1, 5, 5], iscrowd=1)
    coco.add_box(2, [5, 5, 0, 9])
    check_dataset(coco.register(), 2, mask_format="polygon")
    with pytest.raises(UserError, match="2 of 8 annotations have no segmentation"):
        check_dataset("small", 2, for_training=False, mask_format="polygon")


def test_run_lengths_need_another_format_to_train_on(coco):
    give_masks(coco)
    coco.annotations[3]["segmentation"] = RUN_LENGTHS
    refused(
        coco,
        r"^Data set 'small': 1 of 6 annotations have run lengths as segmentation, which "
        r"INPUT\.MASK_FORMAT polygon cannot hold: annotation 103\. Set INPUT\.MASK_FORMAT bitmask",
        mask_format="polygon",
    )
    check_dataset("small", 2, mask_format="bitmask")
    check_dataset("small", 2, for_training=False, mask_format="polygon")


@pytest.mark.parametrize("for_training", [True, False])
def test_run_lengths_have_the_size_of_their_image(coco, for_training):
    give_masks(coco)
    coco.annotations[3]["segmentation"] = {**RUN_LENGTHS, "size": [48, 32]}  # width before height
    refused(
        coco,
        r"^Data set 'small': 1 of 6 annotations have run lengths of another size than their image, "
        r"whose rows and columns they count: annotation 103 \(\[48, 32\] instead of \[32, 48\]\)",
        for_training=for_training,
        mask_format="bitmask",
    )


def test_a_format_of_masks_that_there_is_not(coco):
    give_masks(coco)
    refused(coco, "INPUT.MASK_FORMAT is 'rle': expected polygon or bitmask", mask_format="rle")


def test_a_config_with_masks_asks_for_them(coco):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FCOS.NUM_CLASSES = "OneStageDetector", 2
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (coco.register(),)
    assert len(check_datasets(cfg)) == 1
    cfg.MODEL.MASK_ON = True
    with pytest.raises(UserError, match="6 of 6 annotations have no segmentation"):
        check_datasets(cfg)


def test_decoding_finds_an_image_of_which_nothing_is_left(tmp_path):
    """Of a data set that does not say how large its images are."""
    path = tmp_path / "thread.png"
    Image.new("RGB", (3, 8000)).save(path)
    box = {"bbox": [0, 0, 2, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    DatasetCatalog.register("threads", lambda: [{"file_name": str(path), "annotations": [box]}])
    MetadataCatalog.get("threads").thing_classes = ["thread"]
    resize = resize_of(get_cfg(), "TRAIN")
    try:
        check_dataset("threads", 1)
        with pytest.raises(UserError, match=r"is 3x8000 pixels, and INPUT\.MAX_SIZE_TRAIN 1333 le"):
            check_dataset("threads", 1, resize=resize)
    finally:
        DatasetCatalog.remove("threads")
        MetadataCatalog.remove("threads")


def test_masks_that_would_fill_the_memory(coco):
    give_masks(coco)
    coco.annotations[3]["segmentation"] = [[4, 5, 14, 5, 14, 10 * (48 + 32)]]
    refused(
        coco,
        r"^Data set 'small': 1 of 6 annotations have polygons that reach more than ten times the "
        r"size of their image beyond it: annotation 103\. Write them in pixels, or set MODEL\.MASK",
        mask_format="polygon",
    )
    check_dataset("small", 2)


@pytest.mark.parametrize("for_training", [True, False])
def test_run_lengths_that_do_not_add_up(coco, for_training):
    give_masks(coco)
    coco.annotations[3]["segmentation"] = {**RUN_LENGTHS, "counts": [0, 48 * 32 + 1]}
    refused(
        coco,
        r"^Data set 'small': 1 of 6 annotations have run lengths that do not add up to the pixels "
        r"of their image: annotation 103\. Correct them, or set MODEL\.MASK_ON False for boxes",
        for_training=for_training,
        mask_format="bitmask",
    )


# ---- the same in training and evaluation ------------------------------------------------------


def test_crowds_are_counted_and_named(coco):
    number = coco.add_box(1, [1, 1, 5, 5], iscrowd=1)
    said = "1 region is marked as a crowd (iscrowd 1), {}: annotation {} (1.png)."
    notes = check_dataset(coco.register(), 2).notes
    assert said.format("nothing is learnt from them", number) in notes
    notes = check_dataset("small", 2, for_training=False).notes
    assert said.format("detections there count neither way", number) in notes


@pytest.mark.parametrize("for_training", [True, False])
def test_crowds_that_are_neither(coco, for_training):
    coco.annotations[1]["iscrowd"] = "0"
    refused(coco, "annotation 101 has the iscrowd '0'; expected 0 or 1", for_training=for_training)


# ---- what cannot be right ---------------------------------------------------------------------


def test_every_box_twice(coco):
    for image in range(6):
        coco.add_box(image, [4, 5, 10, 10], category=7 if image % 2 else 3)
    coco.add_box(0, [4, 5, 10, 10], category=7)  # of another class
    said = (
        "6 boxes are there already, with the same image, class and numbers, and {}: annotation 106"
    )
    assert said.format("learnt twice") in str(check_dataset(coco.register(), 2))
    text = str(check_dataset("small", 2, for_training=False))
    assert said.format("counted in the evaluation as never found") in text


def test_an_image_twice(coco):
    coco.images[4]["file_name"] = "1.png"
    report = check_dataset(coco.register(), 2)
    assert (
        "1 image is listed more than once, so that the objects of one entry are background in the "
        "other: 1.png."
    ) in report.notes
    text = str(check_dataset("small", 2, for_training=False))
    assert "1 image is listed more than once, so that what is found counts in each: 1.png." in text


def test_more_objects_than_detections(coco):
    for i in range(4):
        coco.add_box(2, [i, 1, 5, 5])
    coco.add_box(2, [5, 5, 9, 9], iscrowd=1)
    name = coco.register()
    said = (
        "1 image has more objects, up to 5, than there are detections "
        "(MODEL.FCOS.NMS_POST_TOPK 4): 1 of 10 objects cannot be found; raise it."
    )
    assert said in check_dataset(name, 2, for_training=False, most_found=4).notes
    assert "cannot be found" not in str(check_dataset(name, 2, for_training=False, most_found=5))
    assert "cannot be found" not in str(check_dataset(name, 2, most_found=4))
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "OneStageDetector"
    cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.FCOS.NMS_POST_TOPK = 2, 4
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (name,)
    assert said in check_datasets(cfg)[0].notes


def test_a_test_set_without_annotations(coco):
    coco.register()
    contents = {"images": coco.images, "categories": coco.categories}
    coco.json_file.write_text(json.dumps(contents))
    report = check_dataset("small", 2, for_training=False)
    assert (
        "It has no list of annotations: detections are written, and nothing is evaluated."
        in report.notes
    )


# ---- messages that name the right thing -------------------------------------------------------


def test_a_folder_in_place_of_the_annotations(coco):
    name = coco.register()
    coco.json_file.unlink()
    coco.json_file.mkdir()
    with pytest.raises(UserError) as caught:
        check_dataset(name, 2)
    assert str(caught.value) == (
        f"Data set 'small': its JSON {coco.json_file} is a folder, expected a file of annotations "
        "in COCO's format. Labels in another format become such a file by: fcos data import "
        f"{coco.json_file} --output my_data."
    )


def test_a_file_in_place_of_the_images(coco):
    register_coco_instances("odd", {}, coco.register() and str(coco.json_file), str(coco.path(0)))
    with pytest.raises(
        UserError, match=r"^Data set 'odd': its IMAGES .*0\.png is a file, expected"
    ):
        check_dataset("odd", 2)


def test_no_category(coco):
    coco.categories = coco.annotations = []
    refused(coco, r"^Data set 'small' has no classes: its annotation file lists no categories\.$")


def test_names_of_classes_that_are_misspelt(coco):
    other_format(coco)
    metadata = MetadataCatalog.get("other")
    del metadata.thing_classes
    metadata.thing_class = ["a", "b"]
    with pytest.raises(
        UserError,
        match=r"^Data set 'other' has no classes: it names none\. Set "
        r"MetadataCatalog\.get\('other'\)\.thing_classes\.$",
    ):
        check_dataset("other", 2)
