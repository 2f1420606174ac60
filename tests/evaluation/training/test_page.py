"""The page of curves: what is drawn, what is said, and that nothing in it needs another file."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fcos.evaluation import write_curves
from fcos.evaluation.runs import open_folder
from fcos.evaluation.training.charts import Line, Panel, draw_panels, thinned
from fcos.evaluation.training.history import Series, read_history
from fcos.evaluation.training.panels import choose_panels, split_time
from fcos.evaluation.training.summary import summarize
from fcos.utils.errors import UserError
from tests.evaluation.training.writing import line, lines, write_run

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AP-cat")


def evaluation(iteration, ap, task="bbox"):
    return line(iteration, **{f"{task}/{figure}": ap + i for i, figure in enumerate(FIGURES)})


def history_of(folder, metrics, *args, **kwargs):
    return read_history(open_folder(write_run(folder, metrics, *args, **kwargs)))


@pytest.fixture
def run(tmp_path):
    """A training of 100 iterations with evaluations, validation losses and a mask head."""
    metrics = lines(0, 60) + evaluation(49, 20.0) + evaluation(49, 10.0, "segm")
    metrics += line(49, **{"validation/total_loss": 1.5, "validation/loss_fcos_cls": 1.0})
    metrics += lines(60, 100) + line(99, **{"mask_rcnn/accuracy": 0.9, "rank_data_time": 0.1})
    return write_run(tmp_path / "run", metrics + evaluation(100, 18.0), 100)


def titles(panels):
    return {heading: [panel.title for panel in of_it] for heading, of_it in panels.items()}


def test_what_is_drawn(run):
    panels = choose_panels([read_history(open_folder(run))])
    assert titles(panels) == {
        "Losses and learning rate": [
            *("total_loss", "loss_fcos_cls", "loss_fcos_loc"),
            "Learning rate",
        ],
        "Average precision": ["Box AP", "Mask AP"],
        "Time and memory": ["Time of an iteration"],
        "What else was logged": ["mask_rcnn/accuracy"],
    }
    total, of_classes, of_boxes, rate = panels["Losses and learning rate"]
    assert [line.label for line in total.lines] == ["training", "validation"]
    assert of_classes.lines[1].series.values.tolist() == [1.0]
    assert [line.label for line in of_boxes.lines] == [""]
    assert total.may_be_log and not rate.may_be_log
    assert [line.label for line in panels["Average precision"][0].lines] == ["AP", "AP50", "AP75"]


def test_the_figures_of_a_run(run):
    summary = summarize(read_history(open_folder(run)))
    assert summary.metric == "bbox/AP"
    assert (summary.best, summary.evaluations[50]["bbox/AP"], summary.last) == (50, 20.0, 18.0)
    assert summary.evaluations[100]["bbox/APl"] == 23.0  # logged at 100, after the last iteration
    assert summary.evaluations[50]["segm/AP50"] == 11.0
    assert (summary.seconds, summary.waiting, summary.memory) == (0.25, pytest.approx(0.2), None)
    assert str(summary) == "run: 100 of 100 iterations, bbox/AP 20.0 at best, after 50."
    (note,) = summary.notes
    assert note == "run: no GPU memory, because log.txt states none, as without a GPU."


def test_an_iteration_is_waiting_and_the_rest(tmp_path):
    """Both times are medians, so that their difference could be below 0."""
    metrics = line(19, time=0.5, data_time=0.2) + line(39, time=0.1, data_time=0.3)
    history = history_of(tmp_path / "run", metrics + line(59, data_time=0.3))
    waited, rest = split_time(history)
    assert waited.iterations.tolist() == rest.iterations.tolist() == [19, 39]
    assert waited.values.tolist() == [0.2, 0.1]
    assert rest.values.tolist() == [0.3, 0.0]


def test_one_file_that_needs_no_other(run):
    path, _ = write_curves([run])
    assert path == f"{run}/curves.html"
    page = Path(path).read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|https?://|\burl\(", re.sub('base64,[^"]*', "", page))
    assert page.count("data:image/svg+xml") == 8
    assert "<b>20.0</b> after 50" in page and "100 so far" not in page
    write_curves([run])
    assert Path(path).read_text(encoding="utf-8") == page  # the same run gives the same page
    assert re.search(r"<th scope=\"row\">50 ★</th>\s*<td><b>20.0</b></td>", page)


def test_several_runs_in_one_page(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = write_run(tmp_path / "other", lines(0, 40), 90)
    path, summaries = write_curves([f"<b>$x^2={run}", other])
    assert path == "curves.html"
    assert [s.history.label for s in summaries] == ["<b>$x^2", "other"]
    page = (tmp_path / path).read_text(encoding="utf-8")
    assert "&lt;b&gt;$x^2" in page and "<b>$x^2" not in page
    assert "40 of 90 so far" in page
    panels = choose_panels([s.history for s in summaries])
    assert titles(panels)["Time and memory"] == ["Computing in an iteration", "Waiting for data"]
    total = panels["Losses and learning rate"][0]
    assert [(line.label, line.color, line.style) for line in total.lines] == [
        ("<b>$x^2", 0, 0),
        ("other", 1, 1),
        ("<b>$x^2, validation", 0, 0),
    ]
    assert [line.label for line in panels["Average precision"][0].lines] == ["<b>$x^2"]


def test_a_training_that_has_just_begun(tmp_path):
    path, (summary,) = write_curves([write_run(tmp_path / "run", line(0, total_loss=1.0))])
    assert (summary.seconds, summary.best, summary.last) == (None, None, None)
    assert str(summary) == "run: 1 iterations."
    assert "no times yet" in Path(path).read_text(encoding="utf-8")


def test_losses_that_are_not_finite(tmp_path):
    metrics = (
        lines(0, 40) + '{"total_loss": NaN, "bbox/AP": NaN, "bbox/AP-cat": NaN, "iteration": 59}\n'
    )
    _, (summary,) = write_curves([write_run(tmp_path / "run", metrics)])
    assert summary.best is None
    assert summary.notes[:2] == [
        "run: total_loss is not finite at iteration 59.",
        "run: bbox/AP is not finite at iteration 59: nothing was detected, or there is nothing to "
        "find.",
    ]


def test_a_long_series_is_thinned_and_keeps_its_ends_and_its_range():
    iterations = np.arange(19, 90_000, 20)
    values = np.sin(iterations / 3000)
    values[2000] = 50
    values[7] = np.nan
    series, low, high = thinned(Series(iterations, values))
    assert len(series.values) == len(low) == len(high) == 400
    assert (series.iterations[0], series.iterations[-1]) == (19, iterations[-1])
    assert (np.diff(series.iterations) > 0).all()
    assert high.max() == 50 and np.isclose(low.min(), -1, atol=1e-3)
    assert (low <= series.values).all() and (series.values <= high).all()
    assert series.values.max() <= 1


def test_a_short_series_stays_as_it_is():
    given = Series(np.array([0, 5]), np.array([2.0, 1.0]))
    series, low, high = thinned(given)
    assert series.values.tolist() == low.tolist() == high.tolist() == [2.0, 1.0]


def test_losses_of_many_orders_of_magnitude_are_on_a_logarithmic_axis():
    def axis_of(values, **how):
        series = Series(np.arange(len(values)), np.array(values))
        (picture,) = draw_panels([Panel("loss", [Line("", series)], **how)], [[]], 10)
        ElementTree.fromstring(picture)
        return b"mathdefault" in picture or b"10^" in picture  # powers of ten

    assert axis_of([1e6, 1.0, 0.5], may_be_log=True)
    assert not axis_of([3.0, 1.0, 0.5], may_be_log=True)
    assert not axis_of([1e6, 1.0, 0.5])
    assert not axis_of([1e6, 0.0, 0.5], may_be_log=True)


def test_resumes_are_marked():
    panel = Panel("loss", [Line("", Series(np.array([0, 90]), np.array([1.0, 2.0])))])
    (without,), (with_two,) = (draw_panels([panel], [at], 100) for at in ([], [30, 60]))
    assert with_two.count(b"<use") == without.count(b"<use") + 2


@pytest.mark.parametrize("name", ["page", "page.json", "run"])
def test_the_page_is_a_page(run, name):
    with pytest.raises(
        UserError, match=f"--output {name}: expected the name of a page, which ends"
    ):
        write_curves([run], name)


def test_a_class_of_the_size_table_is_no_panel(tmp_path):
    """Eighty classes would be eighty panels; what is short of an average has a table."""
    history = history_of(tmp_path / "run", lines(0, 20) + evaluation(19, 5.0))
    assert "What else was logged" not in choose_panels([history])


def test_very_many_evaluations_are_not_all_in_the_table(tmp_path):
    metrics = "".join(evaluation(i, 90.0 if i == 777 else 10.0) for i in range(1000))
    summary = summarize(history_of(tmp_path / "run", metrics))
    shown = list(summary.shown)
    assert 24 <= len(shown) <= 25
    assert {1, 778, 1000} <= set(shown)


def test_averaged_weights_stand_beside_the_others(tmp_path):
    metrics = lines(0, 20) + line(19, **{"validation/total_loss": 1.0, "bbox/AP": 5.0})
    metrics += line(19, **{"validation_EMA/total_loss": 0.9, "bbox_EMA/AP": 6.0})
    panels = choose_panels([history_of(tmp_path / "run", metrics)])
    total = panels["Losses and learning rate"][0]
    labels = [line.label for line in total.lines]
    assert labels == ["training", "validation", "validation EMA"]
    assert len({(line.color, line.style) for line in total.lines}) == 3
    assert titles(panels)["Average precision"] == ["Box AP", "Box EMA AP"]
    assert "What else was logged" not in panels
