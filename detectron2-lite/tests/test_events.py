"""EventStorage and the writers."""

import json
import logging
import os

import pytest
import torch

from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)


@pytest.fixture
def storage():
    with EventStorage(start_iter=5) as storage:
        yield storage


def test_blocks():
    assert not has_event_storage()
    with pytest.raises(AssertionError):
        get_event_storage()
    with EventStorage() as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer
    assert not has_event_storage()


def test_scalars(storage):
    assert (storage.iter, storage.iteration) == (5, 5)
    storage.put_scalar("loss", torch.tensor(1.5))
    storage.put_scalars(lr=0.1, momentum=0.9, smoothing_hint=False)
    storage.step()
    storage.put_scalar("loss", 2)
    storage.put_scalar("late", 7, cur_iter=3)
    assert storage.latest() == {
        "loss": (2.0, 6),
        "lr": (0.1, 5),
        "momentum": (0.9, 5),
        "late": (7.0, 3),
    }
    assert storage.history("loss").values() == [(1.5, 5), (2.0, 6)]
    assert set(storage.histories()) == {"loss", "lr", "momentum", "late"}
    assert storage.smoothing_hints()["lr"] is False
    with pytest.raises(KeyError):
        storage.history("no_such")
    with pytest.raises(AssertionError):
        storage.put_scalar("lr", 0.2)


def test_medians_are_over_a_window_of_iterations(storage):
    for value in (9, 1, 2, 6):
        storage.put_scalar("each", value)
        if value in (9, 2):
            storage.put_scalar("other", value)
        storage.put_scalar("plain", value, smoothing_hint=False)
        storage.step()
    # each: 1, 2, 6.  other: only its 2 lies in the 3 iterations up to its last.
    assert [storage.count_samples(name, 3) for name in ("each", "other", "no")] == [3, 2, 0]
    assert [storage.count_samples(name, 2) for name in ("each", "other", "no")] == [2, 1, 0]
    assert storage.latest_with_smoothing_hint(3) == {
        "each": (2.0, 8),
        "other": (5.5, 7),
        "plain": (6.0, 8),
    }


def test_name_scope(storage):
    with storage.name_scope("outer"):
        storage.put_scalar("a", 1)
        with storage.name_scope("inner/"):
            storage.put_scalar("a", 2)
        storage.put_scalar("b", 3)
    storage.put_scalar("a", 4)
    assert list(storage.latest()) == ["outer/a", "inner/a", "outer/b", "a"]


def read(path):
    return [json.loads(line) for line in open(path)]


def test_json_has_one_line_per_iteration(storage, tmp_path):
    path = tmp_path / "metrics.json"
    writer = JSONWriter(str(path), window_size=2)
    for loss in (4.0, 2.0, 0.0):
        storage.put_scalar("loss", loss)
        storage.put_scalar("lr", loss, smoothing_hint=False)
        if loss == 2.0:
            storage.put_scalar("AP", 33.0, smoothing_hint=False)
        storage.step()
    writer.write()
    writer.write()  # nothing is new
    # The last iteration has number 7, AP was put at 6. The loss is the median of the last two.
    expected = [{"AP": 33.0, "iteration": 6}, {"iteration": 7, "loss": 1.0, "lr": 0.0}]
    assert sorted(read(path), key=lambda line: line["iteration"]) == expected  # not closed yet
    storage.put_scalar("lr", float("nan"), smoothing_hint=False)
    writer.write()
    writer.close()
    assert path.read_text().splitlines()[-1] == '{"iteration": 8, "lr": NaN}'

    JSONWriter(str(path)).close()
    assert len(read(path)) == 3  # a file that is there is continued


def test_tensorboard(storage, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "new" / "folder"
    writer = TensorboardXWriter(str(folder))
    assert not folder.exists()
    storage.put_scalar("loss", 2.5)
    storage.put_image("picture", torch.zeros(3, 4, 6, dtype=torch.uint8))
    storage.put_histogram("weights", torch.tensor([0.0, 1.0, 1.0, 4.0]), bins=4)
    writer.write()
    storage.step()
    writer.write()
    writer.close()
    events = EventAccumulator(str(folder)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(5, 2.5)]
    assert [(e.step, e.height, e.width) for e in events.Images("picture")] == [(5, 4, 6)]
    [histogram] = events.Histograms("weights")
    value = histogram.histogram_value
    assert (value.min, value.max, value.num, value.sum, value.sum_squares) == (0, 4, 4, 6, 18)
    assert list(value.bucket_limit) == [1, 2, 3, 4]
    assert list(value.bucket) == [1, 2, 0, 1]


def test_unused_tensorboard_writer_writes_nothing(tmp_path):
    TensorboardXWriter(str(tmp_path)).close()
    assert not os.listdir(tmp_path)


def printed(caplog, writer):
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="detectron2.utils.events"):
        writer.write()
    return " ".join(caplog.text.split("] ")[-1].split()[2:]) if caplog.records else None


def test_printed_line(storage, caplog):
    writer = CommonMetricPrinter(max_iter=100, window_size=3)
    for seconds in (1.0, 1.0, 10.0, 2.0):
        storage.put_scalars(time=seconds, data_time=seconds, total_loss=seconds)
        storage.put_scalar("fcos/loss_cls", 1 / 3)
        storage.put_scalar("[metric]accuracy", 0.5)
        storage.put_scalar("gradient", 1.0)  # neither a loss nor a metric
        storage.put_scalar("lr", 1e-7, smoothing_hint=False)
        storage.step()
    # Iteration 9 of 100, so 90 are left. Median of all times: 1.5 s, so 135 s = 2 min 15 s.
    # Mean of all times: 14 / 4. Of the last three: median 2, mean 13 / 3.
    line = printed(caplog, writer).split(" max_mem")[0]
    assert line == (
        "eta: 0:02:15 iter: 9 total_loss: 2 fcos/loss_cls: 0.3333 [metric]accuracy: 0.5 "
        "time: 3.5000 last_time: 2.0000 data_time: 4.3333 last_data_time: 2.0000 lr: 1e-07"
    )
    assert storage.latest()["eta_seconds"] == (135.0, 9)
    assert "eta" not in printed(caplog, CommonMetricPrinter())


def test_printed_line_without_anything_measured(storage, caplog):
    writer = CommonMetricPrinter(max_iter=100)
    assert printed(caplog, writer).split(" max_mem")[0] == "iter: 5 lr: N/A"
    storage.step()
    assert "eta: " in printed(caplog, writer)  # from the time between the two lines


def test_nothing_is_printed_after_the_end(storage, caplog):
    assert printed(caplog, CommonMetricPrinter(max_iter=5)) is None


def test_writer_interface(storage):
    writer = EventWriter()
    with pytest.raises(NotImplementedError):
        writer.write()
    writer.close()
