"""From what a user names to the images that are read."""

import json
import logging
import os

import numpy as np
import pytest
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.data.images import read_bgr
from fcos.data.register import dataset_records
from fcos.predict.inputs import evenly_spaced, find_images, read_list
from fcos.utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """b.jpg, a.PNG, a hidden image, a text file, and sub/c.jpg."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "a.PNG", ".hidden.jpg", "sub/c.jpg"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def names(paths, folder):
    return [path.removeprefix(f"{folder}/") for path in paths]


def test_a_folder_gives_its_visible_images_sorted(folder):
    assert names(find_images([str(folder)]), folder) == ["a.PNG", "b.jpg"]


def test_a_pattern_reaches_subfolders(folder):
    found = find_images([f"{folder}/**/*.jpg"])
    assert names(found, folder) == ["b.jpg", "sub/c.jpg"]


def test_the_order_of_the_inputs_stays_and_each_file_comes_once(folder):
    found = find_images([f"{folder}/sub/c.jpg", str(folder), f"{folder}/sub/../b.jpg"])
    assert names(found, folder) == ["sub/c.jpg", "a.PNG", "b.jpg"]


def test_a_file_is_taken_whatever_its_name(folder):
    assert names(find_images([f"{folder}/notes.txt"]), folder) == ["notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern(folder):
    (folder / "b.jpg").rename(folder / "b[1].jpg")
    assert names(find_images([f"{folder}/b[1].jpg"]), folder) == ["b[1].jpg"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere.jpg", r"The input .*/nowhere\.jpg does not exist\."),
        ("*.tiff", r"No image file \(\.jpg, .*\) matches .*/\*\.tiff\."),
        ("*.txt", r"No image file \(\.jpg, .*\) matches .*/\*\.txt\."),
        ("empty", r"The folder .*/empty holds no image \(\.jpg, .*\); its subfolders are not"),
        ("clip.mp4", r"clip\.mp4 is a video: give it to --video-input of demo\.py\."),
    ],
)
def test_inputs_that_give_no_image(folder, name, message):
    (folder / "empty").mkdir()
    (folder / "clip.mp4").touch()
    with pytest.raises(UserError, match=message):
        find_images([str(folder / "b.jpg"), str(folder / name)])


def test_subfolders_are_searched_when_asked_but_not_hidden_ones(folder):
    (folder / ".cache").mkdir()
    (folder / "b.jpg").rename(folder / ".cache" / "b.jpg")
    assert names(find_images([str(folder)], recursive=True), folder) == ["a.PNG", "sub/c.jpg"]
    with pytest.raises(UserError, match=r"\.cache/empty holds no image \(.*\.tiff\)\.$"):
        (folder / ".cache" / "empty").mkdir()
        find_images([f"{folder}/.cache/empty"], recursive=True)


def test_links_to_a_folder_above_end(folder):
    (folder / "sub" / "again").symlink_to(folder)
    found = names(find_images([str(folder)], recursive=True), folder)
    assert found == ["a.PNG", "b.jpg", "sub/c.jpg"]


def test_a_folder_that_may_not_be_read(folder, monkeypatch):
    # The user who runs the tests may be one that may read everything.
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"^The folder .* cannot be read: Permission denied\.$"):
        find_images([str(folder)])


def test_a_list_gives_its_lines(folder, caplog):
    file = folder / "list.txt"
    lines = [f"{folder}/b.jpg", "", "# why", "gone a.png ", f"{folder}/sub/../b.jpg", "x\udcff.png"]
    file.write_bytes("\r\n".join(lines).encode(errors="surrogateescape"))
    with caplog.at_level(logging.INFO):
        assert read_list(str(file)) == [f"{folder}/b.jpg", "gone a.png ", "x\udcff.png"]
    assert "1 inputs are files that were named before." in caplog.text


@pytest.mark.parametrize(
    "content, message",
    [
        (None, r"The list .*list\.txt cannot be read: No such file or directory\."),
        (b"\n# all\n", r"The list .*list\.txt names no image: it needs one path on each line\."),
        (
            b"\x89PNG\0\0\n",
            r"list\.txt cannot be read: it has NUL bytes, so it is no text in UTF-8\.",
        ),
    ],
)
def test_lists_that_give_no_image(folder, content, message):
    if content is not None:
        (folder / "list.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_list(str(folder / "list.txt"))


def test_images_are_read_as_bgr_and_upright(tmp_path):
    """Orientation 6: the camera was turned, so the top row is the right column of the picture."""
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0] = (255, 0, 0)  # red, first row
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    read = read_bgr(str(tmp_path / "turned.png"))
    assert read.shape == (3, 2, 3) and read.dtype == np.uint8
    assert read[:, 1].tolist() == [[0, 0, 255]] * 3
    assert read[:, 0].tolist() == [[0, 0, 0]] * 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_kind_of_pixels_has_three_channels(tmp_path, mode):
    Image.new(mode, (6, 4)).save(tmp_path / "image.png")
    assert read_bgr(str(tmp_path / "image.png")).shape == (4, 6, 3)


@pytest.mark.parametrize(
    "suffix, kept", [(".jpg", 0.5), (".png", 0.5), (".webp", 0.5), (".jpg", 0)]
)
def test_damaged_images_are_named(tmp_path, suffix, kept):
    file = tmp_path / f"damaged{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(UserError, match=rf"Image {file} is broken or not an image \(.+\)\.$"):
        read_bgr(str(file))


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"Image .*gone\.jpg does not exist\."):
        read_bgr(str(tmp_path / "gone.jpg"))


@pytest.mark.parametrize(
    "count, want",
    [(1, [5]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10))), (99, list(range(10)))],
)
def test_evenly_spaced(count, want):
    assert evenly_spaced(range(10), count) == want


def test_evenly_spaced_without_items_or_count():
    assert evenly_spaced([], 3) == []
    with pytest.raises(ValueError, match="at least 1, got 0"):
        evenly_spaced([1, 2], 0)


@pytest.fixture
def dataset():
    """Registers a function as a data set; its name."""

    def register(load):
        DatasetCatalog.register("zebras_train", load)
        return "zebras_train"

    yield register
    DatasetCatalog.remove("zebras_train")
    MetadataCatalog.pop("zebras_train", None)


def test_an_unknown_data_set_is_answered_with_the_nearest(dataset):
    dataset(list)
    with pytest.raises(UserError, match=r"'zebra_train' is not registered\. Did you mean 'zebras_"):
        dataset_records("zebra_train")


def test_a_data_set_that_cannot_be_read(dataset):
    with pytest.raises(UserError, match=r"zebras_train cannot be read: JSONDecodeError"):
        dataset_records(dataset(lambda: json.loads("")))


@pytest.mark.parametrize(
    ("image_id", "message"),
    [
        (None, r"a\.json: images\[1\] has the id None; expected a number or a text\.$"),
        (1, r"a\.json: images with the same id: 1\. Give each an id of its own\.$"),
        (2, r"zebras_train cannot be read: TypeError"),  # nothing that is known of such files
    ],
)
def test_what_is_wrong_with_an_annotation_file(dataset, tmp_path, image_id, message):
    def load():
        raise TypeError("'<' not supported between instances of 'NoneType' and 'int'")

    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [{"id": 1}, {"id": image_id}], "categories": []}))
    name = dataset(load)
    MetadataCatalog.get(name).set(json_file=str(path), image_root=str(tmp_path))
    with pytest.raises(UserError, match=message):
        dataset_records(name)


def test_a_data_set_without_images(dataset):
    with pytest.raises(UserError, match=r"The data set zebras_train holds no image\."):
        dataset_records(dataset(list))
