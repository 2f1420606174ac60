"""Write what a training would have logged."""

import json


def losses(iteration):
    """What is written every 20 iterations."""
    values = {"loss_fcos_cls": 1 / (iteration + 1), "loss_fcos_loc": 0.5, "lr": 0.01}
    values["total_loss"] = values["loss_fcos_cls"] + values["loss_fcos_loc"]
    return {**values, "time": 0.25, "data_time": 0.05, "rank_data_time": 0.05, "eta_seconds": 9.0}


def line(iteration, **values):
    return json.dumps({**values, "iteration": iteration}) + "\n"


def lines(first, end, every=20):
    """The lines of the iterations from ``first`` to ``end``, which is not among them."""
    done = range(first, end)
    return "".join(line(i, **losses(i)) for i in done if (i + 1) % every == 0)


def write_run(folder, metrics, max_iter=None, log="", **keys):
    """An OUTPUT_DIR; returns its path."""
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(metrics)
    if max_iter:
        config = {"SOLVER": {"MAX_ITER": max_iter, **keys}, "TEST": {"BEST_METRIC": "bbox/AP"}}
        (folder / "config.yaml").write_text(json.dumps(config))
    if log:
        (folder / "log.txt").write_text(log)
    return str(folder)
