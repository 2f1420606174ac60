"""Whether a command goes on with the run that is there, and what users find in the end."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from pycocotools.coco import COCO

from fcos.config import get_cfg
from fcos.predict.many.folder import DetectionFolder, run_settings
from fcos.predict.many.shards import FinishedImages, ShardWriter, problem_line, result_line
from fcos.utils import locks
from fcos.utils.errors import UserError

PATHS = ["a.png", "b é.png", "#c.png"]
SETTINGS = {"weights": "1f", "batch_size": 8}


@pytest.fixture
def folder(tmp_path):
    with DetectionFolder(str(tmp_path / "out")) as folder:
        folder.lock()
        yield folder


def begin(folder, settings=SETTINGS, paths=PATHS, fresh=False):
    return folder.begin(settings, lambda: paths, fresh)


def add_shards(folder, *contents):
    paths = folder.new_shards(len(contents))
    for path, lines in zip(paths, contents, strict=True):
        writer = ShardWriter(path)
        writer.write(lines)
        writer.close()
    return [os.path.basename(path) for path in paths]


# ---- one run or another ---------------------------------------------------------------------


def test_a_run_goes_on(folder):
    token = begin(folder)
    assert add_shards(folder, [], []) == ["part-00000-00000.jsonl", "part-00000-00001.jsonl"]
    assert begin(folder) == token and folder.paths() == PATHS
    assert add_shards(folder, []) == ["part-00001-00000.jsonl"]
    names = [os.path.basename(path)[5:13] for path in folder.shards()]
    assert names == ["00000-00", "00000-00", "00001-00"]


def test_the_images_are_those_of_the_beginning(folder, caplog):
    begin(folder)
    with caplog.at_level(logging.WARNING):
        begin(folder, paths=["a.png", "b é.png", "d.png", "e.png"])
    assert "2 images came and 1 went since this run began. It goes on with those" in caplog.text
    assert folder.paths() == PATHS


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"weights": "2e"}, "other weights"),
        ({"batch_size": 4}, "batch_size was 8"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "a was None, b was None, c was None, 1 more diff"),
    ],
)
def test_other_settings_are_refused_or_begin_anew(folder, changed, words):
    token = begin(folder)
    add_shards(folder, [])
    folder.save_sizes(np.ones((3, 2)))
    with pytest.raises(UserError, match=rf"has a run with other settings \({words}.*add --fresh"):
        begin(folder, settings={**SETTINGS, **changed})
    assert begin(folder) == token and folder.has_sizes()
    assert begin(folder, {**SETTINGS, **changed}, ["d.png"], fresh=True) != token
    assert folder.paths() == ["d.png"] and folder.shards() == [] and not folder.has_sizes()


def test_results_without_shards_are_not_replaced(folder):
    begin(folder)
    folder.write_results(FinishedImages(0), [], [])
    for name in os.listdir(folder.path_of("shards")):
        os.remove(folder.path_of(f"shards/{name}"))
    with pytest.raises(UserError, match=r"out has results already: .* or add --fresh"):
        begin(folder)
    begin(folder, fresh=True)


def test_what_was_killed_while_it_began_is_no_run(folder):
    begin(folder)
    os.remove(folder.path_of("shards/run.json"))
    add_shards(folder, [])
    begin(folder, settings={"weights": "2e"})
    assert folder.shards() == []


def test_machines_with_different_folders(folder, tmp_path):
    token = begin(folder)
    folder.check_token(token)
    with DetectionFolder(str(tmp_path / "other")) as other:
        with pytest.raises(UserError, match="other is not the same folder on all machines"):
            other.check_token(token)
        other.lock()
        begin(other)
        with pytest.raises(UserError, match="is not the same folder"):
            other.check_token(token)


def test_two_runs_at_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_WAIT_S", 0)
    with DetectionFolder(str(tmp_path / "out")) as second:
        with pytest.raises(UserError, match=r"Another run is writing to .*out: wait"):
            second.lock()
        folder.__exit__()
        second.lock()


HOLDER = """
import subprocess, sys, time
from fcos.predict.many.folder import DetectionFolder
folder = DetectionFolder(sys.argv[1])
folder.lock()
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path, monkeypatch):
    """Even while a process that it started goes on."""
    monkeypatch.setattr(locks, "_WAIT_S", 0)
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        try:
            with DetectionFolder(str(tmp_path / "out")) as folder:
                with pytest.raises(UserError, match=r"Another run is writing to .*out: wait"):
                    folder.lock()
                holder.kill()
                holder.wait()
                folder.lock()
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with DetectionFolder(str(tmp_path / "out")) as folder:
        folder.lock()
    assert "out cannot be locked: No locks available. Start one run." in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "plain").touch()
    with pytest.raises(UserError, match="Nothing can be written to .*plain"):
        DetectionFolder(str(tmp_path / "plain")).lock()


# ---- settings -------------------------------------------------------------------------------


def test_settings_are_what_results_depend_on(tmp_path):
    cfg = get_cfg()
    cfg.MODEL.WEIGHTS = str(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(b"abc")
    first = run_settings(cfg, batch_size=8, ids=(1, 2))
    # FIPS 180-2, appendix B.1
    want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert first["weights"] == want and first["ids"] == [1, 2]

    os.rename(tmp_path / "a.pth", tmp_path / "b.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "b.pth")
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR, cfg.DATALOADER.NUM_WORKERS = "elsewhere", 11
    assert run_settings(cfg, batch_size=8, ids=(1, 2)) == first

    cfg.MODEL.FCOS.NMS_THRESH_TEST = 0.45
    second = run_settings(cfg, batch_size=8, ids=(1, 2))
    assert [k for k in first if first[k] != second[k]] == ["MODEL.FCOS.NMS_THRESH_TEST"]


# ---- results --------------------------------------------------------------------------------


def box(image):
    return {"image_id": image, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 4.5], "score": 0.5}


def write_results(folder, *lines):
    begin(folder)
    add_shards(folder, lines)
    finished = FinishedImages(len(PATHS))
    finished.add(folder.shards()[-1])
    folder.write_results(finished, PATHS, [{"id": 2, "name": "cat"}])


def test_results_are_a_data_set_of_pycocotools(folder):
    lines = [result_line(1, (20, 30), [box(1), box(1)]), result_line(0, (5, 6), [])]
    write_results(folder, *lines, problem_line(2, "Image\nc\ud800.png is broken."))
    found = COCO(folder.path_of("images.json")).loadRes(folder.path_of("detections.json"))
    assert found.imgs == {
        0: {"id": 0, "file_name": "a.png", "height": 5, "width": 6},
        1: {"id": 1, "file_name": "b é.png", "height": 20, "width": 30},
    }
    assert found.cats == {2: {"id": 2, "name": "cat"}}
    assert [a["bbox"] for a in found.loadAnns(found.getAnnIds(imgIds=[1]))] == [[1, 2, 3, 4.5]] * 2
    left_out = folder.path_of("left_out.txt")
    with open(left_out) as file:
        assert file.read() == "# Image c\\ud800.png is broken.\n./#c.png\n"


def test_no_detections_and_nothing_left_out_any_more(folder):
    write_results(folder, problem_line(0, "Gone."))
    assert os.path.exists(folder.path_of("left_out.txt"))
    write_results(folder, *(result_line(i, (5, 6), []) for i in range(3)))
    assert not os.path.exists(folder.path_of("left_out.txt"))
    with open(folder.path_of("detections.json")) as file:
        assert json.load(file) == []
    assert sorted(os.listdir(folder.folder)) == ["detections.json", "images.json", "shards"]


# ---- damaged ---------------------------------------------------------------------------------


DAMAGED = {
    "run.json": [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            b"{}",
            b"[" * 100_000,
            b"\xff",
            b'{"token": 1, "settings": {}}',
        ),
        b'{"token": "a", "settings": []}',
    ],
    "images.jsonl": [
        b"",
        b"{",
        b"1\n",
        b'""\n',
        b'"a\\u0000"\n',
        b"[" * 100_000,
        b"\xff\n",
        b'"\\ud800"\n',
        b'"a"\n"b',
    ],
    "sizes.npy": [b"", b"\x93NUMPY", b"\x93NUMPY\1\0\2\0(\n", b"PK\3\4", b"x" * 200],
}


def go_on(folder):
    token = begin(folder)
    folder.check_token(token)
    return folder.sizes(len(folder.paths()))


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_of_a_run(folder, name):
    begin(folder)
    folder.save_sizes(np.array([[1, 2], [0, 0], [3, 4]], np.int32))
    assert go_on(folder).tolist() == [[1, 2], [0, 0], [3, 4]]
    path = os.path.join(folder.folder, "shards", name)
    for content in DAMAGED[name]:
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(UserError, match=rf"{name} is damaged, so that .* --fresh"):
            go_on(folder)
    os.remove(path)
    os.mkfifo(path)
    with pytest.raises(UserError, match=rf"{name} cannot be read: it is a named pipe, not a"):
        go_on(folder)


@pytest.mark.parametrize(
    "sizes",
    [
        np.zeros((2, 2), np.int32),
        np.zeros((3, 2), np.int64),
        np.full((3, 2), -1, np.int32),
        np.array([[None, 1]] * 3),
    ],
)
def test_sizes_that_are_not_of_the_images(folder, sizes):
    begin(folder)
    np.save(os.path.join(folder.folder, "shards", "sizes.npy"), sizes)
    with pytest.raises(UserError, match=r"sizes\.npy is damaged"):
        go_on(folder)


def test_other_files_among_the_shards(folder):
    begin(folder)
    for name in ("part-x", "part-1-2.jsonl", "part-00000-00000.jsonl~"):
        open(os.path.join(folder.folder, "shards", name), "w").close()
    assert folder.shards() == []
    assert [os.path.basename(path) for path in folder.new_shards(1)] == ["part-00000-00000.jsonl"]
