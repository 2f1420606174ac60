"""Scalars, config and images at W&B and MLflow: with a stand-in, and with what is installed."""

import importlib.util
import json
import logging
import struct

import numpy as np
import pytest

from detectron2.utils.events import EventStorage
from fcos.config.keys.training import LOGGERS
from fcos.engine import loggers
from fcos.engine.loggers import Loggers, check_loggers_installed
from fcos.utils.errors import UserError
from tests.engine.test_displays import train, without_page
from tests.engine.test_trainer import cfg_of

pytestmark = [pytest.mark.cpu, pytest.mark.usefixtures("without_page")]
__all__ = ["without_page"]


class Service:
    """Stands for W&B: notes what comes, and fails where it is told to."""

    def __init__(self):
        self.began, self.values, self.images, self.closed = [], [], [], []
        self.fails_in = ""

    def __call__(self, cfg, run_id):
        self._fail("start")
        self.began.append(run_id)
        self.run_id = run_id or f"run{len(self.began)}"
        return self

    def _fail(self, where):
        if self.fails_in == where:
            raise OSError(28, "No space left on device")

    def scalars(self, iteration, values):
        self._fail("scalars")
        self.values.append((iteration, dict(values)))

    def image(self, iteration, name, picture):
        self._fail("image")
        self.images.append((iteration, name, picture.shape))

    def close(self, is_complete):
        self._fail("close")
        self.closed.append(is_complete)


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setitem(loggers._LOGGERS, "wandb", service)
    return service


def options(*more):
    return ["LOGGERS", "['wandb']", "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()", *more]


FULL = ["SOLVER.MAX_ITER", "4", "VIS_PERIOD", "2", "DATASETS.TEST", "('tiny_val',)"]


def test_the_names_are_those_of_the_check():
    assert set(loggers._LOGGERS) == set(LOGGERS)


def test_a_training_is_logged(project, service):
    train(cfg_of(project, *options(*FULL, "TEST.EVAL_PERIOD", "1")))
    assert service.began == [None]
    last = dict(service.values)[3]
    assert {"total_loss", "loss_fcos_cls", "lr", "time", "data_time"} <= last.keys()
    metrics = (project / "output" / "metrics.json").read_text().splitlines()
    mine = dict(service.values)
    for values in map(json.loads, metrics):
        logged = mine[values.pop("iteration")]
        # JSON has no NaN: it is null there.
        numbers = {k: np.nan if v is None else v for k, v in values.items()}
        assert all(np.isclose(logged[k], v, equal_nan=True) for k, v in numbers.items())
    assert [at for at, values in service.values if "bbox/AP" in values] == [0, 1, 2, 4]
    assert {(at, name) for at, name, _ in service.images} == {
        (at, f"training/image_{number}") for at in (0, 2) for number in range(4)
    }
    assert service.closed == [True]
    assert json.loads((project / "output" / "loggers.json").read_text()) == {"wandb": "run1"}


def test_a_resumed_training_goes_on_in_the_same_run(project, service):
    train(cfg_of(project, *options()))
    longer = cfg_of(project, *options("SOLVER.MAX_ITER", "3"))
    train(longer, resume=True)
    assert service.began == [None, "run1"]
    train(cfg_of(project, *options("OUTPUT_DIR", "other")))
    assert service.began == [None, "run1", None]


def test_an_evaluation_that_is_made_up_for_is_logged(project, service):
    train(cfg_of(project, *options(*FULL, "SOLVER.MAX_ITER", "2")))
    longer = [*FULL, "SOLVER.MAX_ITER", "3", "TEST.EVAL_PERIOD", "2"]
    service.values.clear()
    train(cfg_of(project, *options(*longer)), resume=True)
    assert [at for at, values in service.values if "bbox/AP" in values] == [1, 3]


def test_a_new_training_in_the_folder_is_a_new_run(project, service):
    (project / "output" / "loggers.json").write_text('{"wandb": "old"}')
    train(cfg_of(project, *options()))
    assert service.began == [None]
    assert json.loads((project / "output" / "loggers.json").read_text()) == {"wandb": "run1"}


def test_ids_that_cannot_be_read_begin_a_new_run(project, service, caplog):
    train(cfg_of(project, *options()))
    (project / "output" / "loggers.json").write_text('{"wandb": "ru')
    train(cfg_of(project, *options("SOLVER.MAX_ITER", "3")), resume=True)
    assert service.began == [None, None]
    assert "is not complete JSON" in caplog.text


@pytest.mark.parametrize("where", ["start", "scalars", "image", "close"])
def test_a_logger_that_fails_does_not_end_the_training(project, service, caplog, where):
    service.fails_in = where
    with caplog.at_level(logging.WARNING, "fcos"):
        train(cfg_of(project, *options("VIS_PERIOD", "1")))
    assert (project / "output" / "model_final.pth").is_file()
    said = [record.message for record in caplog.records if "wandb failed" in record.message]
    assert said == [
        "wandb failed, so it gets nothing more of this training, which goes on: [Errno 28] No "
        "space left on device"
    ]


def test_without_loggers_nothing_is_written(project, service):
    train(cfg_of(project, "SOLVER.MAX_ITER", "1"))
    assert service.began == []
    assert not (project / "output" / "loggers.json").exists()


def test_an_interrupted_training_is_not_complete(project, service):
    cfg = cfg_of(project, *options())
    hook = Loggers(cfg)
    hook.trainer = type("T", (), {"iter": 0, "max_iter": 9, "start_iter": 0})
    with EventStorage(0) as hook.trainer.storage:
        hook.before_train()
        hook.after_train()
    assert service.closed == [False]


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("bbox/AP-a red/blue car", "bbox/AP-a red/blue car"),
        ("[metric]grad_scaler", "_metric_grad_scaler"),
        ("../a//b/", "a/b"),
        ("bbox/AP-müll", "bbox/AP-müll"),
        ("..", "_"),
    ],
)
def test_names_that_mlflow_takes(name, legal):
    assert loggers._mlflow_name(name) == legal


def test_packages_that_are_missing(monkeypatch, tmp_path):
    check_loggers_installed([])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"LOGGERS has 'wandb', but .*: pip install wandb, or take"):
        check_loggers_installed(["wandb"])


def test_the_folder_that_wandb_makes_is_no_package(monkeypatch, tmp_path):
    (tmp_path / "wandb_folder").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="its package is not installed"):
        check_loggers_installed(["wandb_folder"])


# ---- what is installed -----------------------------------------------------------------------


@pytest.fixture
def wandb():
    """W&B, which otherwise keeps what it read from the environment first."""
    package = pytest.importorskip("wandb")
    package.teardown()
    yield package
    package.teardown()


def test_wandb_offline(project, monkeypatch, wandb):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(cfg_of(project, *options(*FULL)))
    train(cfg_of(project, *options("SOLVER.MAX_ITER", "6", "VIS_PERIOD", "0")), resume=True)
    run_id = json.loads((project / "output" / "loggers.json").read_text())["wandb"]
    files = sorted((project / "output" / "wandb").glob(f"offline-run-*-{run_id}/*.wandb"))
    first, second = ([*records_of_wandb(file)] for file in files)
    configs = [item for record in first for item in record.run.config.update]
    (solver,) = [json.loads(item.value_json) for item in configs if item.key == "SOLVER"]
    assert solver["BASE_LR"] == 0.01
    iterations, names = history_of(first)
    assert iterations[:9] == [0, 0, 0, 0, 2, 2, 2, 2, 3]  # then perhaps an evaluation
    assert {"total_loss", "lr", "training/image_3"} <= names
    iterations, names = history_of(second)
    assert iterations == [5] and {"total_loss", "lr"} <= names
    assert len(list(files[0].parent.glob("files/media/images/**/*.png"))) == 8


def history_of(records):
    """The iterations that were logged, and all names."""
    rows = [record.history.item for record in records if record.history.item]
    names = [{item.key or item.nested_key[0]: item.value_json for item in row} for row in rows]
    return [json.loads(row["iteration"]) for row in names], {name for row in names for name in row}


def records_of_wandb(path):
    """Read a file of W&B: blocks of 32 KiB with parts of records, as in the logs of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        at += 7 + length
        record += data[at - length : at]
        if kind in (1, 4):  # all of a record, or the last part
            yield Record.FromString(record)
            record = b""


def test_mlflow_in_a_local_database(project, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    with_mlflow = ["LOGGERS", "['mlflow']"]
    train(cfg_of(project, *options(*FULL, *with_mlflow)))
    train(cfg_of(project, *options("SOLVER.MAX_ITER", "6", *with_mlflow)), resume=True)
    run_id = json.loads((project / "output" / "loggers.json").read_text())["mlflow"]
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "output"
    assert client.get_experiment(run.info.experiment_id).name == "fcos"
    assert run.data.params["SOLVER.BASE_LR"] == "0.01"
    assert run.data.params["MODEL.FCOS.NUM_CLASSES"] == "2"
    steps = [metric.step for metric in client.get_metric_history(run_id, "total_loss")]
    assert steps == [3, 5]
    images = [file.path for file in client.list_artifacts(run_id, "training")]
    assert "training/image_0_0000002.png" in images and len(images) == 8
    assert mlflow.active_run() is None


def test_a_server_of_mlflow_that_is_not_there(project, monkeypatch, caplog):
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    train(cfg_of(project, *options("LOGGERS", "['mlflow']")))
    assert (project / "output" / "model_final.pth").is_file()
    assert caplog.text.count("mlflow failed, so it gets nothing more of this training") == 1


def test_a_server_of_wandb_that_is_not_there(project, monkeypatch, caplog, wandb):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    train(cfg_of(project, *options()))
    assert (project / "output" / "model_final.pth").is_file()
    assert caplog.text.count("wandb failed, so it gets nothing more of this training") == 1
