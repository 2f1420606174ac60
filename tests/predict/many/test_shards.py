"""Lines are written, found again, and survive what ends a process."""

import errno
import json
import os

import pytest

from fcos.predict.many import shards
from fcos.predict.many.shards import FinishedImages, ShardWriter, problem_line, result_line
from fcos.utils.errors import UserError

BOX = {"image_id": 1, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 4.5], "score": 0.5}


def write(path, *lines):
    writer = ShardWriter(str(path))
    writer.write(lines)
    writer.close()
    return str(path)


def finished_of(number, *paths):
    finished = FinishedImages(number)
    for path in paths:
        finished.add(path)
    return finished


def test_results_come_in_the_order_of_the_images(tmp_path):
    odd = {**BOX, "file_name": 'a ] "results": [ b'}
    first = write(tmp_path / "a", result_line(3, (5, 6), [odd]), problem_line(0, "No image."))
    second = write(tmp_path / "b", result_line(2, (7, 8), []), result_line(1, (9, 9), [BOX, BOX]))
    finished = finished_of(5, first, second)
    assert finished.is_done.tolist() == [False, True, True, True, False]
    assert finished.is_left_out.tolist() == [True, False, False, False, False]
    assert finished.sizes.tolist() == [[0, 0], [9, 9], [7, 8], [5, 6], [0, 0]]
    assert [json.loads(b"[" + text + b"]") for text in finished.results()] == [[BOX, BOX], [odd]]
    assert list(finished.problems()) == [(0, "No image.")]
    finished.close()


@pytest.mark.parametrize("kept", [1, 20, -20, -1])
def test_a_torn_line_counts_for_nothing(tmp_path, kept):
    whole = result_line(0, (5, 6), [])
    path = write(tmp_path / "a", whole, result_line(1, (5, 6), [BOX])[:kept])
    assert finished_of(2, path).is_done.tolist() == [True, False]


def line_of(**changes):
    """A line of image 0, some values of which are others."""
    content = {"image": 0, "height": 5, "width": 6, **changes}
    return json.dumps({**content, "results": changes.get("results", [])}).encode() + b"\n"


DAMAGED_LINES = [
    *(b"\0" * 40 + b"\n", b"[]\n", b'{"image": 7}\n', b"\xff\n", b"[" * 100_000 + b"\n"),
    *(line_of(image=image) for image in (-1, 2, True, 0.0, [0, 1], None, "0", 10**30)),
    *(line_of(height=side) for side in (-1, 0, 2**40, 1.5, "5", None)),
    *(line_of(results=results) for results in (None, {}, [1], [{}], [{**BOX, "bbox": [1, 2]}])),
    *(line_of(results=[{**BOX, "score": score}]) for score in (10**400, None, "1")),
    line_of(results=[{**BOX, "category_id": None}]),
    line_of(more=1),
    line_of().replace(b'"results": ', b'"results":'),
    line_of().replace(b"]}", b'], "results": []}'),
    line_of().replace(b"]}", b"] }"),
    json.dumps({"image": 0, "problem": 1}).encode() + b"\n",
]


@pytest.mark.parametrize("line", DAMAGED_LINES, ids=lambda line: str(line[:60]))
def test_damaged_lines_count_for_nothing(tmp_path, line):
    path = write(tmp_path / "a", line, result_line(1, (5, 6), []))
    assert finished_of(2, path).is_done.tolist() == [False, True]


def test_the_last_line_counts(tmp_path):
    tried = write(tmp_path / "a", problem_line(0, "No image."))
    again = write(tmp_path / "b", result_line(0, (5, 6), [BOX]))
    finished = finished_of(1, tried, again)
    assert finished.is_done.all() and not finished.is_left_out.any()
    assert json.loads(next(finished.results())) == BOX


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_OPEN_FILES", 2)
    paths = [write(tmp_path / str(i), result_line(i, (5, 6), [BOX])) for i in range(5)]
    finished = finished_of(5, *paths)
    before = len(os.listdir("/proc/self/fd"))
    assert sum(1 for _ in finished.results()) == 5
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    finished.close()


def test_a_shard_is_never_written_over(tmp_path):
    path = write(tmp_path / "a", b"kept\n")
    with pytest.raises(UserError, match="a cannot be written: File exists"):
        ShardWriter(path)
    with pytest.raises(UserError, match="gone cannot be read: No such file"):
        finished_of(1, str(tmp_path / "gone"))


def test_a_full_disk(tmp_path, monkeypatch):
    writer = ShardWriter(str(tmp_path / "a"))
    room = [8, 4]

    def write_some(file, data):
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os_write(file, data[: room.pop(0)])

    os_write = os.write
    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(UserError, match="a cannot be written: No space left on device. When it"):
        writer.write([result_line(0, (5, 6), [BOX])])
    monkeypatch.undo()
    assert (tmp_path / "a").stat().st_size == 12
    assert not finished_of(1, str(tmp_path / "a")).is_done.any()
