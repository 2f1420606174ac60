"""What is read of a training: whatever stopped it, and however often it went on."""

import math

import pytest

from fcos.evaluation.runs import open_folder
from fcos.evaluation.training.history import read_history
from fcos.utils.errors import UserError
from tests.evaluation.training.writing import line, lines, losses, write_run


def history_of(folder, *args, **kwargs):
    return read_history(open_folder(write_run(folder / "run", *args, **kwargs)))


def pairs(history, name):
    series = history.series[name]
    return dict(zip(series.iterations.tolist(), series.values.tolist(), strict=True))


def test_a_training_without_interruption(tmp_path):
    history = history_of(tmp_path, lines(0, 100), 100, "Starting training from iteration 0\n")
    assert pairs(history, "total_loss") == {i: losses(i)["total_loss"] for i in range(19, 100, 20)}
    assert (history.label, history.done, history.max_iter, history.resumed) == ("run", 100, 100, [])
    assert (history.best_metric, history.unreadable) == ("bbox/AP", 0)


def test_the_later_line_wins(tmp_path):
    """Killed at 150, resumed from the checkpoint after 100, with another rate."""
    again = lines(100, 140).replace('"lr": 0.01', '"lr": 0.001')
    history = history_of(tmp_path, lines(0, 150) + again)
    rates = pairs(history, "lr")
    assert rates == {i: 0.01 if i < 100 else 0.001 for i in range(19, 140, 20)}
    assert history.resumed == [119]


def test_what_was_only_before_the_kill_is_forgotten(tmp_path):
    """The evaluation after 150 belongs to iterations that were done again."""
    first = lines(0, 140) + line(149, **{"bbox/AP": 30.0}, **losses(149))
    history = history_of(tmp_path, first + lines(100, 120))
    assert "bbox/AP" not in history.series
    assert history.done == 120


def test_lines_out_of_order_are_no_resume(tmp_path):
    """detectron2 writes a number of an earlier iteration after the newest ones."""
    metrics = lines(0, 40) + line(24, **{"bbox/AP": 5.0})
    metrics += lines(40, 60) + line(49, **{"bbox/AP": 6.0})
    history = history_of(tmp_path, metrics)
    assert pairs(history, "bbox/AP") == {24: 5.0, 49: 6.0}
    assert len(pairs(history, "total_loss")) == 3
    assert history.resumed == []


def test_an_evaluation_that_is_made_again_replaces_the_first(tmp_path):
    """The checkpoint after 100 is evaluated again; its losses stay."""
    metrics = lines(0, 80) + line(99, **losses(99), **{"bbox/AP": 7.0})
    history = history_of(tmp_path, metrics + line(99, **{"bbox/AP": 7.5}) + lines(100, 140))
    assert pairs(history, "bbox/AP") == {99: 7.5}
    assert list(pairs(history, "total_loss")) == list(range(19, 140, 20))


def test_the_log_says_where_it_went_on(tmp_path):
    starts = [0, 100, 140, 120]  # the last one from an earlier checkpoint again
    log = "".join(f"[11/29 d2]: Starting training from iteration {i}\n" for i in starts)
    history = history_of(tmp_path, lines(0, 200), log=log)
    assert history.resumed == [100, 120]


def test_a_new_training_in_the_same_folder_replaces_the_old_one(tmp_path):
    log = "".join(f"Starting training from iteration {i}\n" for i in (0, 100, 0))
    history = history_of(tmp_path, lines(0, 200) + lines(0, 60), log=log)
    assert list(pairs(history, "lr")) == [19, 39, 59]
    assert history.resumed == []


def test_half_a_line_at_the_end(tmp_path):
    history = history_of(tmp_path, lines(0, 60) + '{"data_time": 0.0')
    assert history.done == 60
    assert history.unreadable == 1


def test_half_a_line_and_a_resume(tmp_path):
    """A resumed training writes its first line right behind the half one."""
    history = history_of(tmp_path, lines(0, 60) + '{"data_time": 0.0' + lines(60, 100))
    assert history.done == 100
    assert list(pairs(history, "lr")) == [19, 39, 59, 79, 99]
    assert history.unreadable == 0


@pytest.mark.parametrize(
    "bad",
    [
        "[1, 2]",
        "7",
        "{}",
        '{"iteration": "7"}',
        '{"iteration": -1, "lr": 1}',
        '{"iteration": true}',
        "[" * 100_000,
        "\0\xff",
        '{"iteration": ' + "9" * 5000 + "}",
    ],
)
def test_lines_of_no_training(tmp_path, bad):
    history = history_of(tmp_path, lines(0, 40) + bad + "\n" + lines(40, 60))
    assert list(pairs(history, "lr")) == [19, 39, 59]
    assert history.unreadable == 1


def test_values_that_are_no_numbers(tmp_path):
    other = line(19, text="a", flag=True, huge=10**400, **losses(19))
    history = history_of(
        tmp_path, other + '{"total_loss": null, "lr": Infinity, "iteration": 39}\n'
    )
    assert set(history.series) == set(losses(0))
    assert math.isnan(pairs(history, "total_loss")[39])
    assert pairs(history, "lr")[39] == math.inf
    assert len(history.series["lr"].finite.values) == 1


def test_memory_comes_from_the_log(tmp_path):
    text = "[11/29 07:00:00 d2.utils.events]:  eta: 0:01:00  iter: {}  lr: 0.01  max_mem: {}M\n"
    log = "".join(text.format(i, 1000 + i) for i in (19, 39, 59)) + text.format(39, 7)
    assert pairs(history_of(tmp_path, lines(0, 60), log=log), "max_mem") == {19: 1019.0, 39: 7.0}
    assert "max_mem" not in history_of(tmp_path, lines(0, 60), log="iter: 19  lr: 1\n").series


def test_the_number_of_iterations_of_another_number_of_processes_is_not_known(tmp_path):
    assert history_of(tmp_path, lines(0, 60), 60, REFERENCE_WORLD_SIZE=8).max_iter is None


def test_a_line_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("fcos.evaluation.training.history._LONGEST_LINE", 1000)
    history = history_of(tmp_path, lines(0, 40) + "x" * 10_000 + "\n" + lines(40, 60))
    assert history.done == 60
    assert history.unreadable == 11


@pytest.mark.parametrize(
    "metrics, message",
    [("", "has no complete line yet; the first is"), ('{"lr": 0.', "has no complete line yet")],
)
def test_nothing_to_read(tmp_path, metrics, message):
    with pytest.raises(UserError, match=message):
        history_of(tmp_path, metrics)


def test_a_folder_of_no_training(tmp_path):
    with pytest.raises(UserError, match=r"has no metrics.json: expected the OUTPUT_DIR of a"):
        read_history(open_folder(str(tmp_path)))
