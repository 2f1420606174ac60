"""From arguments to a config: what is refused, and how it is said."""

import errno

import pytest
import torch

from fcos.engine import startup
from fcos.engine.startup import check_device, check_output_dir, load_cfg, setup
from fcos.utils.errors import UserError
from fcos_cli.train import argument_parser
from tests.tiny import write_project


def arguments(*words):
    return argument_parser().parse_args(words)


def test_arguments_of_detectron2_and_four_more():
    args = arguments("--config-file", "a.yaml", "--num-gpus", "2", "SEED", "3")
    assert (args.config_file, args.num_gpus, args.opts) == ("a.yaml", 2, ["SEED", "3"])
    assert not (args.resume or args.eval_only or args.check_all_images or args.debug)
    assert args.optimize is None and not args.compile
    assert arguments("--eval-only", "--optimize", "auto", "SEED", "3").optimize == "auto"
    assert (args.num_machines, args.machine_rank, args.dist_url) == (1, 0, "auto")


def test_the_config_is_the_file_and_then_the_options(tmp_path):
    config = str(write_project(tmp_path))
    cfg = load_cfg(arguments("--config-file", config, "SOLVER.BASE_LR", "0.5"))
    assert cfg.SOLVER.BASE_LR == 0.5
    assert cfg.SOLVER.MAX_ITER == 8
    assert cfg.is_frozen()


def test_no_config():
    with pytest.raises(UserError, match="Give --config-file, such as configs/R_50_1x.yaml"):
        load_cfg(arguments())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(tmp_path):
    cfg = load_cfg(arguments("--config-file", str(write_project(tmp_path)), "MODEL.DEVICE", "cuda"))
    with pytest.raises(UserError, match="finds no GPU here; set MODEL.DEVICE to cpu"):
        check_device(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.DEVICE", "gpu"], "MODEL.DEVICE is 'gpu': expected cuda or cpu"),
        (
            ["SOLVER.AMP.ENABLED", "True"],
            "float16 needs a GPU; set it to bfloat16, or SOLVER.AMP.ENABLED False",
        ),
        (
            ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "half"],
            "SOLVER.AMP.PRECISION is 'half': expected one of float16, bfloat16",
        ),
    ],
)
def test_devices_that_do_not_work(tmp_path, options, message):
    cfg = load_cfg(arguments("--config-file", str(write_project(tmp_path)), *options))
    with pytest.raises(UserError, match=message):
        check_device(cfg)


def test_the_gpu_of_the_config_becomes_the_current_one(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    for name in ("default_setup", "setup_logger"):  # other tests need the loggers as they are
        monkeypatch.setattr(startup, name, lambda *args, **kwargs: None)
    options = ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.DEVICE"]
    args = arguments("--config-file", str(write_project(tmp_path)), *options, "cuda:1")
    setup(args)
    assert seen == [torch.device("cuda", 1)]
    args.opts[-1] = "cuda:2"
    with pytest.raises(UserError, match=r"MODEL\.DEVICE is cuda:2, but torch finds 2 GPUs here"):
        setup(args)


def test_bfloat16_runs_on_the_cpu(tmp_path):
    options = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16"]
    check_device(load_cfg(arguments("--config-file", str(write_project(tmp_path)), *options)))


def test_an_output_folder_is_made_and_left_empty(tmp_path):
    check_output_dir(str(tmp_path / "a" / "b"), may_have_checkpoints=False)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"OUTPUT_DIR {path} cannot be written to: "):
            check_output_dir(str(path), may_have_checkpoints=True)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EACCES, "Permission denied"), (errno.ENOSPC, "No space left on device")],
)
def test_an_output_folder_that_refuses(tmp_path, monkeypatch, number, reason):
    def refuse(**_):
        raise OSError(number, reason)

    monkeypatch.setattr("fcos.engine.startup.tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=f"cannot be written to: {reason}; set OUTPUT_DIR to a"):
        check_output_dir(str(tmp_path), may_have_checkpoints=True)


def test_checkpoints_of_an_earlier_training_are_not_written_over(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(UserError, match="has the checkpoints of an earlier training.*--resume"):
        check_output_dir(str(tmp_path), may_have_checkpoints=False)
    check_output_dir(str(tmp_path), may_have_checkpoints=True)
