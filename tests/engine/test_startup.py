"""From arguments to a config: what is refused, and how it is said."""

import errno

import pytest
import torch

from fcos.engine import startup
from fcos.engine.startup import check_output_dir, load_cfg, setup
from fcos.utils.errors import UserError
from fcos_cli.train import argument_parser
from tests.tiny import write_project

pytestmark = pytest.mark.cpu


def arguments(*words):
    return argument_parser().parse_args(words)


def test_arguments_of_detectron2_and_four_more():
    args = arguments("--config-file", "a.yaml", "--num-gpus", "2", "SEED", "3")
    assert (args.config_file, args.num_gpus, args.opts) == ("a.yaml", 2, ["SEED", "3"])
    assert not (args.resume or args.eval_only or args.check_all_images or args.debug)
    assert args.optimize is None and not args.compile
    assert arguments("--eval-only", "--optimize", "auto", "SEED", "3").optimize == "auto"
    assert (args.num_machines, args.machine_rank, args.dist_url) == (None, None, None)


def test_the_config_is_the_file_and_then_the_options(tmp_path):
    cfg = load_cfg(str(write_project(tmp_path)), ["SOLVER.BASE_LR", "0.5"])
    assert cfg.SOLVER.BASE_LR == 0.5
    assert cfg.SOLVER.MAX_ITER == 8
    assert cfg.is_frozen()


def test_no_config():
    with pytest.raises(UserError, match="Give --config-file, such as configs/R_50_1x.yaml"):
        load_cfg("")


def test_the_gpu_of_the_config_becomes_the_current_one(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    for name in ("default_setup", "setup_logger"):  # other tests need the loggers as they are
        monkeypatch.setattr(startup, name, lambda *args, **kwargs: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    options = ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.DEVICE", "cuda:1"]
    setup(load_cfg(str(write_project(tmp_path)), options), arguments())
    assert seen == [torch.device("cuda", 1)]


def test_an_output_folder_is_made_and_left_empty(tmp_path):
    check_output_dir(str(tmp_path / "a" / "b"), may_have_checkpoints=False)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"Nothing can be written to {path}: .* Set OUTPUT_DIR"):
            check_output_dir(str(path), may_have_checkpoints=True)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EACCES, "Permission denied"), (errno.ENOSPC, "No space left on device")],
)
def test_an_output_folder_that_refuses(tmp_path, monkeypatch, number, reason):
    def refuse(**_):
        raise OSError(number, reason)

    monkeypatch.setattr("fcos.utils.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=f"{tmp_path}: {reason}. Set OUTPUT_DIR to a folder"):
        check_output_dir(str(tmp_path), may_have_checkpoints=True)


def test_checkpoints_of_an_earlier_training_are_not_overwritten(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(UserError, match="has the checkpoints of an earlier training.*--resume"):
        check_output_dir(str(tmp_path), may_have_checkpoints=False)
    check_output_dir(str(tmp_path), may_have_checkpoints=True)
