"""What a training writes down."""

import json
import math

from detectron2.utils.events import EventStorage, JSONWriter, TensorboardXWriter
from fcos.engine.logs import MetricsFile, strict_writers


def lines_of(path):
    def refuse(constant):
        raise AssertionError(f"{path} has {constant}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def write(writer, numbers, start=0):
    with EventStorage(start) as storage:
        for values in numbers:
            storage.put_scalars(**values)
            writer.write()
            writer.write()  # nothing is new
            storage.step()
    writer.close()


NUMBERS = [{"loss": 3.0, "lr": 0.1}, {"loss": 1.0}, {"loss": 2.0, "bbox/AP": 30.5}]


def test_the_same_lines_as_of_detectron2(tmp_path):
    write(MetricsFile(str(tmp_path / "ours")), NUMBERS)
    write(JSONWriter(str(tmp_path / "theirs")), NUMBERS)
    assert (tmp_path / "ours").read_text() == (tmp_path / "theirs").read_text() != ""
    write(MetricsFile(str(tmp_path / "ours")), NUMBERS[:1], start=7)  # resumed
    assert [line["iteration"] for line in lines_of(tmp_path / "ours")] == [0, 1, 2, 7]


def test_what_is_not_finite_is_null(tmp_path):
    numbers = [{"bbox/AP-cat": math.nan, "loss": 1.5}, {"loss": math.inf}]
    write(MetricsFile(str(tmp_path / "ours"), window=1), numbers)
    first, second = lines_of(tmp_path / "ours")
    assert first == {"bbox/AP-cat": None, "iteration": 0, "loss": 1.5}
    assert second["loss"] is None


def test_detectron2s_own_writer_is_replaced(tmp_path):
    others = TensorboardXWriter(str(tmp_path))
    writers = strict_writers([JSONWriter(str(tmp_path / "metrics.json")), others], str(tmp_path))
    assert isinstance(writers[0], MetricsFile) and writers[1] is others
    write(writers[0], NUMBERS)
    assert len(lines_of(tmp_path / "metrics.json")) == 3
