"""The program: every mistake of a user ends as one sentence and an exit code."""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train_net
from fcos.checkpoint import AdetCheckpointer
from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.engine import Trainer
from fcos.engine.preflight import check_training
from fcos.modeling import OneStageDetector
from fcos.modeling.optimize import optimize_for_inference
from fcos.utils.errors import UserError
from fcos_cli.train import argument_parser, main, parse_args
from tests.processes import wait_until_two_import
from tests.tiny import MASK_OPTIONS, start, write_project
from tests.tiny import train_net as run_program


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the data set and config; logging is left alone there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setattr("fcos.engine.startup.default_setup", lambda cfg, args: None)
    monkeypatch.setattr("fcos.engine.startup.setup_logger", lambda *_, **__: None)
    write_project(tmp_path)
    return tmp_path


@pytest.fixture
def said(project, capfd):
    """Run the program with arguments that fail; gives the sentence."""

    def fail(*words, code=1):
        capfd.readouterr()
        assert main(["--config-file", "tiny.yaml", *words]) == code
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("Error: ")
        return lines[0].removeprefix("Error: ")

    return fail


def edit_annotations(project, change, name="train"):
    path = project / "datasets" / "tiny" / f"{name}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# ---- config ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SOLVER.BASELR", "1"], "Unknown config key SOLVER.BASELR. Did you mean SOLVER.BASE_LR?"),
        (["SOLVER.BASE_LR"], "Options are pairs of KEY and VALUE"),
        (["SOLVER.BASE_LR", "fast"], "SOLVER.BASE_LR"),
        (["--config-file", "no.yaml"], "The config file no.yaml does not exist."),
        (["--config-file", ""], "Which detector? Give --config-file"),
        (["--num-gpus", "-1"], "--num-gpus must not be negative"),
        (["--num-machines", "2"], "Several machines need an address to meet at"),
        (["--machine-rank", "1"], "--machine-rank 1 is not one of 0 to 0."),
    ],
)
def test_arguments(said, words, message):
    assert message in said(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0, 4.0]"],
            "MODEL.PIXEL_MEAN is [1.0, 2.0, 3.0, 4.0]: set it to a list of 3, each a number within",
        ),
        (
            ["INPUT.FORMAT", "L"],
            "INPUT.FORMAT is 'L': set it to one of 'BGR', 'RGB'; the default is 'BGR'.",
        ),
        (
            ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 38.5]]"],
            "TEST.EXPECTED_RESULTS is [['bbox', 'AP', 38.5]]: set it to a list of any length, each",
        ),
    ],
)
@pytest.mark.parametrize("mode", [[], ["--eval-only", "MODEL.WEIGHTS", "model.pth"]])
def test_values_that_would_fail_later(said, words, message, mode):
    assert said(*mode, *words).startswith(message)


def test_a_mask_head_that_sees_nothing(said):
    message = said(*MASK_OPTIONS, "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "0")
    assert "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION is 0: set it to 1 or more." in message


def test_a_config_that_would_run_code(said, project):
    (project / "bad.yaml").write_text("SEED: !!python/object/apply:os.system ['touch it-ran']\n")
    message = said("--config-file", "bad.yaml")
    assert "bad.yaml" in message
    assert "refused" in message
    assert not (project / "it-ran").exists()


def test_more_gpus_than_there_are(said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = said("--num-gpus", "4", "MODEL.DEVICE", "cuda")
    assert message.startswith("--num-gpus 4, but this machine has 2; ask for at most that many")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu(said):
    assert "finds no GPU here; set MODEL.DEVICE to cpu to run on" in said("MODEL.DEVICE", "cuda")


@pytest.mark.parametrize("mode", [[], ["--eval-only"]])
def test_a_precision_that_the_device_lacks(said, mode):
    message = said(*mode, "SOLVER.AMP.ENABLED", "True")
    assert "float16 needs a GPU; set it to bfloat16, or SOLVER.AMP.ENABLED False" in message


# ---- data ------------------------------------------------------------------------------------


def test_a_missing_dataset_folder(said, project):
    (project / "datasets").rename(project / "elsewhere")
    message = said()
    assert "datasets/tiny/train.json does not exist" in message
    assert "DETECTRON2_DATASETS" in message


def test_another_number_of_classes(said):
    message = said("MODEL.FCOS.NUM_CLASSES", "80")
    assert "has 2 classes (dark, bright), but MODEL.FCOS.NUM_CLASSES is 80" in message


def test_masks_that_were_not_annotated(said, project):
    edit_annotations(project, lambda c: [a.pop("segmentation") for a in c["annotations"][:5]])
    message = said(*MASK_OPTIONS)
    assert message.startswith("Data set 'tiny_train': 5 of 12 annotations have no segmentation,")
    assert message.endswith("or set MODEL.MASK_ON False for boxes only.")


def test_masks_of_another_number_of_classes(said):
    message = said(*MASK_OPTIONS, "MODEL.ROI_HEADS.NUM_CLASSES", "80")
    assert message.startswith("MODEL.ROI_HEADS.NUM_CLASSES is 80, but MODEL.FCOS.NUM_CLASSES is 2:")


def test_masks_of_a_detector_of_boxes(said):
    message = said("MODEL.MASK_ON", "True")
    assert message.startswith("MODEL.MASK_ON is True, but OneStageDetector has boxes only: set")


def test_an_unknown_dataset(said):
    assert "'tiny_trian' is not registered. Did you mean 'tiny_train'?" in said(
        "DATASETS.TRAIN", "('tiny_trian',)"
    )


def test_a_category_that_is_not_there(said, project):
    edit_annotations(project, lambda c: c["annotations"][3].update(category_id=9))
    assert "annotation 4 has category_id 9" in said()


def test_a_broken_image_is_named_before_the_training(said, project):
    path = project / "datasets" / "tiny" / "images" / "7.png"
    path.write_bytes(path.read_bytes()[:200])
    assert "datasets/tiny/images/7.png" in said()
    assert not (project / "output" / "metrics.json").exists()


@pytest.fixture
def sample_of_two(monkeypatch):
    monkeypatch.setattr("fcos.data.image_checks.SECONDS", 0.0)
    monkeypatch.setattr("fcos.data.image_checks.SAMPLED_IMAGES", 2)


def test_a_broken_image_is_named_before_the_training_on_request(said, project, sample_of_two):
    path = project / "datasets" / "tiny" / "images" / "7.png"
    path.write_bytes(path.read_bytes()[:200])
    assert "1 of 12 images cannot be used. Image datasets/tiny" in said("--check-all-images")
    assert not (project / "output" / "metrics.json").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_in_the_training(said, project, sample_of_two, workers):
    path = project / "datasets" / "tiny" / "images" / "7.png"
    path.write_bytes(path.read_bytes()[:200])
    message = said("DATALOADER.NUM_WORKERS", str(workers))
    assert message.startswith("Image datasets/tiny/images/7.png is broken or not an image (")


@pytest.mark.parametrize("node", ["MODEL.FCOS", "MODEL.RESNETS"])
def test_statistics_of_all_gpus_need_gpus(said, node):
    assert said(f"{node}.NORM", "SyncBN") == (
        f"{node}.NORM is SyncBN, which torch trains on GPUs only, but MODEL.DEVICE is cpu; "
        f"set {node}.NORM to BN."
    )


def test_bfloat16_gets_no_images_that_torch_fails_on(said):
    options = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16"]
    assert said(*options) == (
        "INPUT.MIN_SIZE_TRAIN has 64, but torch's bfloat16 on the CPU has wrong gradients for "
        "images of at most 64 pixels; set it above 64, or SOLVER.AMP.ENABLED False."
    )


def test_a_compiler_is_looked_for_before_the_training(said, monkeypatch):
    def refuse(device):
        raise UserError(f"no compiler on {device}")

    monkeypatch.setattr("fcos.engine.preflight.check_compiler", refuse)
    assert said("MODEL.COMPILE", "True") == "no compiler on cpu"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.MAX_ITER", "0", "SOLVER.MAX_ITER is 0: set it to 1 or more."),
        ("SOLVER.CHECKPOINT_PERIOD", "0", "SOLVER.CHECKPOINT_PERIOD is 0: set it to 1 or more."),
        ("DATALOADER.NUM_WORKERS", "-1", "DATALOADER.NUM_WORKERS is -1: set it to 0 or more."),
        ("DATASETS.TRAIN", "()", "DATASETS.TRAIN is empty: there is nothing to train on."),
    ],
)
def test_numbers_that_no_training_can_have(said, key, value, message):
    assert said(key, value) == message


def test_a_reference_that_does_not_divide_the_batch(said):
    message = said("SOLVER.REFERENCE_WORLD_SIZE", "3")
    assert message.startswith("SOLVER.REFERENCE_WORLD_SIZE is 3, by which SOLVER.IMS_PER_BATCH 4")


def test_a_frozen_backbone_of_random_weights_is_warned_of(project, caplog):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(["MODEL.BACKBONE.FREEZE_AT", "2"])
    register_custom_datasets(cfg)
    with caplog.at_level(logging.INFO, logger="fcos"):
        check_training(cfg, resume=False, check_all_images=False)
    assert "MODEL.WEIGHTS is empty, but MODEL.BACKBONE.FREEZE_AT is 2" in caplog.text
    assert "NORM is FrozenBN" not in caplog.text
    assert "Data set 'tiny_train': 12 images, 12 objects, 2 classes" in caplog.text
    assert "iterations             8 (2.67 epochs)" in caplog.text


@pytest.mark.parametrize("backbone, part", [("resnet", "RESNETS"), ("timm", "TIMM")])
@pytest.mark.parametrize("pretrained", [False, True])
def test_fixed_batch_norm_of_random_weights_is_warned_of(
    project, caplog, backbone, part, pretrained
):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.MODEL[part].NORM = "FrozenBN"
    cfg.MODEL.BACKBONE.NAME = f"build_fcos_{backbone}_fpn_backbone"
    cfg.MODEL.TIMM.PRETRAINED = pretrained
    cfg.MODEL.TIMM.NAME = "mobilenetv3_small_050"
    register_custom_datasets(cfg)
    check_training(cfg, resume=False, check_all_images=False)
    is_random = not (pretrained and backbone == "timm")
    assert (f"but MODEL.{part}.NORM is FrozenBN: batch norm" in caplog.text) == is_random


# ---- weights ---------------------------------------------------------------------------------


class Payload:
    def __reduce__(self):
        return exec, ("open('it-ran', 'w')",)


@pytest.mark.parametrize("mode", [[], ["--eval-only"]], ids=["train", "eval"])
def test_weights_that_cannot_be_read(said, project, mode):
    assert "no.pth does not exist (looked for" in said(*mode, "MODEL.WEIGHTS", "no.pth")
    (project / "short.pth").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    assert "truncated, damaged" in said(*mode, "MODEL.WEIGHTS", "short.pth")
    (project / "code.pkl").write_bytes(pickle.dumps({"model": Payload()}))
    assert "asks for builtins.exec to be called" in said(*mode, "MODEL.WEIGHTS", "code.pkl")
    assert not (project / "it-ran").exists()


def save_detector(*options, name="detector"):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(list(options))
    AdetCheckpointer(Trainer.build_model(cfg), ".").save(name)


def test_an_evaluation_needs_weights(said):
    assert "MODEL.WEIGHTS is empty" in said("--eval-only")
    assert "DATASETS.TEST is empty" in said("--eval-only", "DATASETS.TEST", "()")


@pytest.mark.parametrize("mode", [[], ["--eval-only", "MODEL.WEIGHTS", "detector.pth"]])
def test_augmentation_that_makes_no_view_is_said_before_the_work(said, project, mode):
    save_detector()
    message = said(*mode, "TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "()")
    assert message.startswith(
        "TEST.AUG.MIN_SIZES is (): set it to a list of 1 to 1000, each a whole"
    )
    assert not (project / "output" / "metrics.json").exists()


def test_an_evaluation_with_augmentation(project, caplog):
    save_detector("MODEL.FCOS.SCORE_THRESH_TEST", "0.0")
    options = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(64,)"]
    # What is not expected ends the program with an error; this is, for each of the two results.
    expected = "[['bbox','AP',0,100],['bbox_TTA','AP',0,100]]"
    words = ["--eval-only", "MODEL.WEIGHTS", "detector.pth", *options]
    words += ["TEST.EXPECTED_RESULTS", expected, "MODEL.FCOS.SCORE_THRESH_TEST", "0.0"]
    assert main(["--config-file", "tiny.yaml", *words]) == 0
    for folder in ("inference", "inference_TTA"):
        assert (project / "output" / folder / "coco_instances_results.json").exists()


@pytest.mark.parametrize("precision", [None, "float32"])
def test_an_evaluation_of_a_faster_copy_in_batches(project, precision, monkeypatch):
    save_detector("MODEL.FCOS.SCORE_THRESH_TEST", "0.0")
    made, sizes = [], []

    def optimize(*arguments):
        made.append(optimize_for_inference(*arguments))
        return made[-1]

    monkeypatch.setattr("fcos.engine.launching.optimize_for_inference", optimize)
    monkeypatch.setattr(
        OneStageDetector,
        "__call__",
        lambda self, batch: sizes.append((self in made, len(batch))) or self.forward(batch),
    )
    words = ["--eval-only", *(["--optimize", precision] if precision else [])]
    words += ["MODEL.WEIGHTS", "detector.pth", "MODEL.FCOS.SCORE_THRESH_TEST", "0.0"]
    words += ["TEST.EXPECTED_RESULTS", "[['bbox','AP',0,100]]", "TEST.IMS_PER_BATCH", "2"]
    assert main(["--config-file", "tiny.yaml", *words]) == 0
    assert sizes == [(precision is not None, 2), (precision is not None, 1)]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--eval-only", "--optimize", "float16"], "--optimize float16 needs a GPU, but"),
    ],
)
def test_a_faster_copy_that_cannot_be(said, words, message):
    assert message in said(*words)


@pytest.mark.parametrize(
    "words, precision",
    [
        ("--eval-only", None),
        ("--eval-only --optimize", "auto"),
        ("--optimize --eval-only MODEL.DEVICE cpu", "auto"),
        ("--eval-only --optimize float32 MODEL.DEVICE cpu", "float32"),
    ],
)
def test_the_precision_of_a_faster_copy(words, precision):
    """As demo.py has it."""
    args = argument_parser().parse_args(words.split())
    assert args.optimize == precision
    assert args.opts == (["MODEL.DEVICE", "cpu"] if "MODEL.DEVICE" in words else [])


@pytest.mark.parametrize(
    "words, message",
    [
        (["--optimize"], "a copy of the model that cannot be trained: it belongs to --eval-only"),
        (["--eval-only", "--compile"], "--compile belongs to --optimize"),
    ],
)
def test_options_that_belong_to_others(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_args(words)
    assert message in capsys.readouterr().err


def test_a_key_is_no_precision(capsys):
    words = ["--eval-only", "--optimize", "MODEL.DEVICE", "cpu"]
    with pytest.raises(SystemExit):
        argument_parser().parse_args(words)
    assert "--optimize: invalid choice: 'MODEL.DEVICE' (choose from" in capsys.readouterr().err


def test_batches_of_nothing(said):
    save_detector()
    message = said("--eval-only", "MODEL.WEIGHTS", "detector.pth", "TEST.IMS_PER_BATCH", "0")
    assert message == "TEST.IMS_PER_BATCH is 0: set it to 1 or more."


def test_an_evaluation_with_weights_that_do_not_fit(said, project):
    save_detector("MODEL.FCOS.NUM_STACKED_CONVS", "2", "MODEL.FPN.OUT_CHANNELS", "64")
    message = said("--eval-only", "MODEL.WEIGHTS", "detector.pth")
    assert message.startswith("Evaluation needs weights for the whole model, and detector.pth")
    assert "backbone.fpn_lateral3.weight 64x32x1x1 instead of 32x32x1x1" in message
    assert "4 unexpected: proposal_generator.fcos_head." in message
    assert "proposal_generator.fcos_head.bbox_tower.2.bias" in message


def test_weights_of_another_number_of_classes(said, project):
    save_detector("MODEL.FCOS.NUM_CLASSES", "80")
    message = said("MODEL.WEIGHTS", "detector.pth")
    assert "of 80 classes, but MODEL.FCOS.NUM_CLASSES is 2" in message
    assert "REINIT_CLS_LOGITS True" in message
    assert "of 80 classes, but" in said("--eval-only", "MODEL.WEIGHTS", "detector.pth")


# ---- output ----------------------------------------------------------------------------------


def test_an_output_folder_that_cannot_be_written(said, project):
    (project / "file").touch()
    assert said("OUTPUT_DIR", "file/out") == (
        "Nothing can be written to file/out: Not a directory. Set OUTPUT_DIR to a folder with room "
        "for checkpoints."
    )


def test_an_output_folder_with_a_training(said, project):
    (project / "output").mkdir()
    (project / "output" / "last_checkpoint").write_text("model_final.pth")
    assert "has the checkpoints of an earlier training" in said()


def test_a_disk_that_is_full_during_the_training(said, project, monkeypatch):
    written = []

    def fail_second(descriptor):
        written.append(descriptor)
        if len(written) > 3:  # the check of the folder, the first checkpoint and its tag pass
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("fcos.checkpoint.checkpointer.os.fsync", fail_second)
    message = said("SOLVER.MAX_ITER", "12")
    assert "output/model_0000007.pth cannot be written: No space left on device" in message
    left = {path.name for path in (project / "output").glob("*") if "events" not in path.name}
    there = {".lock", "config.yaml", "last_checkpoint", "metrics.json", "model_0000003.pth"}
    assert left == there
    assert (project / "output" / "last_checkpoint").read_text() == "model_0000003.pth"


@pytest.mark.parametrize("mode", [[], ["--eval-only", "MODEL.WEIGHTS", "any.pth"]])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.FCOS.FPN_STRIDES", "[4]", "MODEL.FCOS.FPN_STRIDES: expected one stride for each"),
        (
            "MODEL.META_ARCHITECTURE",
            "Retina",
            "MODEL.META_ARCHITECTURE is 'Retina', under which nothing is registered",
        ),
    ],
)
def test_a_config_of_no_detector(said, mode, key, value, message):
    assert said(*mode, key, value).startswith(message)


@pytest.mark.parametrize(
    ("key", "value"),
    [("SOLVER.LR_SCHEDULER_NAME", "Cosine"), ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "all")],
)
def test_a_config_of_no_training(said, key, value):
    assert said(key, value).startswith(f"{key} is {value!r}: set it to one of ")


# ---- how it ends -----------------------------------------------------------------------------


def test_debug_shows_where_it_came_up(project):
    with pytest.raises(UserError):
        main(["--debug", "--config-file", "no.yaml"])


def test_an_interrupt_before_the_training(project, monkeypatch, capfd):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fcos.engine.launching.setup", interrupt)
    assert main(["--config-file", "tiny.yaml"]) == 128 + signal.SIGINT
    assert capfd.readouterr().err == "Stopped.\n"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is imported")
def test_an_interrupt_while_several_processes_import(project):
    """A terminal sends it to all of them, and a traceback of each would be all that is seen."""
    process = start(project, "--num-gpus", "2", start_new_session=True)
    wait_until_two_import(process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 128 + signal.SIGINT


def test_without_detectron2(tmp_path):
    program = Path(train_net.__file__)
    code = (
        "import runpy, sys; sys.modules['detectron2'] = None; "
        f"sys.path.insert(0, {str(program.parent)!r}); "
        f"runpy.run_path({str(program)!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: fcos needs detectron2. Either install")
    assert len(result.stderr.splitlines()) == 1


def test_training_and_evaluation_as_a_user_runs_them(tmp_path):
    """Two processes on the CPU, then an evaluation of the best checkpoint in one."""
    write_project(tmp_path)
    options = [
        "TEST.EVAL_PERIOD",
        "4",
        "SOLVER.MAX_ITER",
        "6",
        "MODEL.FCOS.SCORE_THRESH_TEST",
        "0.0",
    ]
    trained = run_program(tmp_path, "--num-gpus", "2", *options)
    assert trained.returncode == 0, trained.stderr
    assert "images per batch       4 (2 processes x 2)" in trained.stdout
    files = {path.name for path in (tmp_path / "output").iterdir()}
    assert {"model_best.pth", "model_final.pth", "model_0000003.pth", "config.yaml"} <= files

    evaluated = run_program(tmp_path, "--eval-only", "MODEL.WEIGHTS", "output/model_best.pth")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "Per-category bbox AP" in evaluated.stdout
    assert "copypaste: AP,AP50,AP75,APs,APm,APl" in evaluated.stdout


def test_an_error_of_several_processes_is_printed_once(tmp_path):
    write_project(tmp_path)
    process = start(tmp_path, "--num-gpus", "2", "MODEL.WEIGHTS", "no.pth")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.count("Error: ") == 1
    assert "no.pth does not exist" in errors
    assert "Traceback" not in errors
