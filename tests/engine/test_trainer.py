"""The trainer on a detector of a few thousand weights, in this process."""

import json
import logging
from pathlib import Path

import pytest
import torch

from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import CallbackHook
from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.engine import Trainer, TrainingStopped
from fcos.modeling import OneStageDetectorWithTTA
from fcos.utils.errors import UserError
from tests.helpers import DEVICE, not_imagined
from tests.tiny import MASK_OPTIONS, write_project

LARGER = ["INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MAX_SIZE_TRAIN", "96"]


def cfg_of(project, *options):
    cfg = get_cfg()
    cfg.merge_from_file(str(project / "tiny.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", DEVICE, *options])
    register_custom_datasets(cfg)
    return cfg


class Record(HookBase):
    """The image files of each iteration."""

    def __init__(self, trainer):
        self.batches = []
        trainer.model.register_forward_hook(self.note)

    def note(self, model, inputs, _):
        if model.training:
            self.batches.append([image["file_name"] for image in inputs[0]])


def test_it_is_a_default_trainer(project):
    trainer = Trainer(cfg_of(project))
    assert isinstance(trainer, DefaultTrainer)
    assert trainer.model is trainer.loop.model
    assert trainer.optimizer is trainer.loop.optimizer
    assert trainer.data_loader is trainer.loop.data_loader
    assert (trainer.start_iter, trainer.max_iter, trainer.seed) == (0, 8, 5)
    other = torch.nn.Linear(1, 1)
    trainer.model = other
    assert trainer.model is trainer.loop.model is other


def test_bfloat16_and_checkpointing_come_from_the_config(project):
    options = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16"]
    trainer = Trainer(cfg_of(project, *options, "MODEL.ACTIVATION_CHECKPOINTING", "True"))
    assert trainer.loop.precision is torch.bfloat16
    assert "forward" in vars(trainer.model.proposal_generator.fcos_head.cls_tower)
    assert trainer.model.backbone._compiled_call_impl is None
    trainer = Trainer(cfg_of(project, "MODEL.COMPILE", "True"))
    assert trainer.loop.precision is None
    assert "forward" not in vars(trainer.model.proposal_generator.fcos_head.cls_tower)
    assert trainer.model.backbone._compiled_call_impl is not None


@pytest.mark.cpu
def test_float16_on_the_cpu_is_refused(project):
    with pytest.raises(UserError, match="float16 needs a GPU; set it to bfloat16"):
        Trainer(cfg_of(project, "SOLVER.AMP.ENABLED", "True"))


def test_hooks_come_in_an_order_that_loses_nothing(project):
    trainer = Trainer(cfg_of(project, "TEST.EVAL_PERIOD", "4"))
    names = [type(hook).__name__ for hook in trainer.build_hooks() if hook is not None]
    assert names == [
        "IterationSeed",
        "IterationTimer",
        "LRScheduler",
        "Checkpoints",
        "StopOnSignal",
        "EvalHook",
        "FinalThresholds",
        "BestCheckpoint",
        "WriteEvaluations",
        "EvaluationAgain",
        "PeriodicWriter",
        "OutputWatch",
        "LossWatch",
        "DataWatch",
    ]


TTA = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(64, 96)"]


def test_augmentation_is_evaluated_after_the_last_iteration(project):
    trainer = Trainer(cfg_of(project, "TEST.EVAL_PERIOD", "4", *TTA))
    names = [type(hook).__name__ for hook in trainer.build_hooks() if hook is not None]
    assert names[5:8] == ["EvalHook", "FinalThresholds", "BestCheckpoint"]
    assert names[8:12] == ["WriteEvaluations", "EvaluationAgain", "EvalHook", "PeriodicWriter"]
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert trainer.model.training
    output = project / "output"
    metrics = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    with_plain = [m["iteration"] for m in metrics if "bbox/AP" in m]
    with_tta = [m["iteration"] for m in metrics if "bbox_TTA/AP" in m]
    assert len(with_plain) > len(with_tta) == 1
    assert with_tta[0] == max(m["iteration"] for m in metrics)
    for folder in ("inference", "inference_TTA"):
        assert (output / folder / "coco_instances_results.json").exists()


def test_views_are_made_from_the_images_as_they_are(project, monkeypatch):
    """Not from what INPUT.MIN_SIZE_TEST made of them; and every data set gets its results."""
    sizes = set()
    detect = OneStageDetectorWithTTA.forward

    def forward(self, batched_inputs):
        sizes.update(tuple(image["image"].shape) for image in batched_inputs)
        return detect(self, batched_inputs)

    monkeypatch.setattr(OneStageDetectorWithTTA, "forward", forward)
    options = ["INPUT.MIN_SIZE_TEST", "32", "DATASETS.TEST", "('tiny_val', 'tiny_train')"]
    trainer = Trainer(cfg_of(project, *TTA, *options))
    results = Trainer.test_with_TTA(trainer.cfg, trainer.model)
    assert sizes == {(3, 64, 64)}
    assert list(results) == ["tiny_val_TTA", "tiny_train_TTA"]
    for name in ("tiny_val", "tiny_train"):  # files of one do not replace those of another
        folder = Path(trainer.cfg.OUTPUT_DIR, "inference_TTA", name)
        assert (folder / "coco_instances_results.json").exists()
    assert trainer.cfg.INPUT.MIN_SIZE_TEST == 32


def test_a_whole_training(project):
    trainer = Trainer(cfg_of(project, "TEST.EVAL_PERIOD", "4"))
    trainer.resume_or_load(resume=False)
    trainer.train()
    output = project / "output"
    for name in ("model_0000003", "model_0000007", "model_final", "model_best"):
        checkpoint = read_checkpoint(str(output / f"{name}.pth"))
        assert checkpoint["class_names"] == ["dark", "bright"]
        assert checkpoint["model"].keys() == trainer.model.state_dict().keys()
    assert (output / "last_checkpoint").read_text() == "model_final.pth"
    assert (output / "inference" / "coco_instances_results.json").exists()
    metrics = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr", "bbox/AP"} <= set().union(*metrics)


def test_results_say_the_precision_of_each_class(project):
    trainer = Trainer(cfg_of(project))
    results = Trainer.test(trainer.cfg, trainer.model)
    assert {"AP", "AP50", "AP-dark", "AP-bright"} <= results["bbox"].keys()


@pytest.mark.parametrize(("most", "limit"), [(100, 100), (40, 100), (300, 300)])
@pytest.mark.parametrize(("masks", "tasks"), [(False, ("bbox",)), (True, ("bbox", "segm"))])
def test_what_is_evaluated(project, monkeypatch, most, limit, masks, tasks):
    taken = []
    monkeypatch.setattr(
        "fcos.evaluation.evaluators.FastCOCOEvaluator", lambda *arguments: taken.append(arguments)
    )
    cfg = cfg_of(project, "MODEL.FCOS.NMS_POST_TOPK", str(most), "MODEL.MASK_ON", str(masks))
    Trainer.build_evaluator(cfg, "tiny_val")
    assert taken == [("tiny_val", tasks, "output/inference", limit)]


def test_masks_are_trained_and_evaluated(project):
    options = [*MASK_OPTIONS, "TEST.EVAL_PERIOD", "4", "TEST.BEST_METRIC", "segm/AP"]
    trainer = Trainer(cfg_of(project, *options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    output = project / "output"
    metrics = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert {"loss_mask", "loss_fcos_cls", "bbox/AP", "segm/AP"} <= set().union(*metrics)
    assert read_checkpoint(str(output / "model_best.pth"))["best"]["metric"] == "segm/AP"


def test_masks_with_images_without_objects_and_without_detections(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, empty=(0, 3, 4, 5, 6, 7, 8, 9, 10, 11))
    (tmp_path / "output").mkdir()
    options = [*MASK_OPTIONS, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False"]
    options += ["MODEL.FCOS.SCORE_THRESH_TEST", "0.99", "SOLVER.MAX_ITER", "3"]
    trainer = Trainer(cfg_of(tmp_path, *options))  # 3 iterations of 4 images: 2 have an object
    regions = []
    trainer.register_hooks([CallbackHook(after_step=lambda t: regions.append(regions_of(t)))])
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert len(regions) == 3 and 0 in regions
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


def regions_of(trainer):
    return trainer.storage.latest()["roi_heads/regions_per_image"][0]


# ---- starting --------------------------------------------------------------------------------


def said_at_start(project, caplog, *options):
    trainer = Trainer(cfg_of(project, *options))
    with caplog.at_level(logging.INFO, logger="fcos"):
        trainer.resume_or_load(resume=False)
    return trainer, caplog.text


def test_random_weights_are_said(project, caplog):
    trainer, said = said_at_start(project, caplog)
    number = sum(p.numel() for p in trainer.model.parameters())
    assert f"MODEL.WEIGHTS is empty: all {number:,} parameters start at random." in said


def test_a_start_from_a_backbone(project, caplog):
    weights = Trainer(cfg_of(project)).model.backbone.bottom_up.state_dict()
    torch.save({f"backbone.bottom_up.{k}": v + 1 for k, v in weights.items()}, "backbone.pth")
    trainer, said = said_at_start(project, caplog, "MODEL.WEIGHTS", "backbone.pth")
    assert "Backbone from backbone.pth; " in said
    for name, value in trainer.model.backbone.bottom_up.state_dict().items():
        assert value.equal(weights[name] + 1)
    assert trainer.start_iter == 0


def test_a_start_from_another_number_of_classes(project, caplog):
    source = Trainer(cfg_of(project, "MODEL.FCOS.NUM_CLASSES", "80"))
    AdetCheckpointer(source.model, ".").save("other")
    with pytest.raises(UserError, match="set MODEL.FCOS.REINIT_CLS_LOGITS True"):
        said_at_start(project, caplog, "MODEL.WEIGHTS", "other.pth")
    options = ["MODEL.WEIGHTS", "other.pth", "MODEL.FCOS.REINIT_CLS_LOGITS", "True"]
    _, said = said_at_start(project, caplog, *options)
    assert "re-initialised, from 80 classes in the file to 2." in said


def test_a_start_from_timm_is_said(project, caplog, monkeypatch):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, pretrained=False, **o: create(*a, **o))
    options = ["MODEL.BACKBONE.NAME", "build_fcos_timm_fpn_backbone"]
    options += ["MODEL.TIMM.NAME", "mobilenetv2_100", "MODEL.TIMM.PRETRAINED", "True"]
    trainer, said = said_at_start(project, caplog, *options)
    own = sum(p.numel() for p in trainer.model.backbone.bottom_up.parameters())
    rest = sum(p.numel() for p in trainer.model.parameters()) - own
    assert f"Backbone from timm's mobilenetv2_100; {rest:,} parameters start at random." in said


def test_a_backbone_that_does_not_exist_ends_every_process(project):
    pytest.importorskip("timm", reason="timm is not installed")
    options = ["MODEL.BACKBONE.NAME", "build_fcos_timm_fpn_backbone", "MODEL.TIMM.NAME", "dla-34"]
    with pytest.raises(UserError, match="Did you mean dla34") as caught:
        Trainer(cfg_of(project, *options))
    assert caught.value.in_all_processes


# ---- resuming --------------------------------------------------------------------------------


def train(project, *options, resume=False):
    trainer = Trainer(cfg_of(project, "DATASETS.TEST", "()", *options))
    record = Record(trainer)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer, record.batches


def test_a_random_seed_is_kept_by_the_checkpoint(project):
    options = ["SEED", "-1", "SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "3"]
    first, whole = train(project, *options)
    (project / "output" / "last_checkpoint").write_text("model_0000002.pth")
    second, rest = train(project, *options, resume=True)
    assert (second.start_iter, second.seed) == (3, first.seed)
    assert rest == whole[3:]
    for name, value in first.model.state_dict().items():
        assert value.equal(second.model.state_dict()[name]), name


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16", *LARGER],
            marks=not_imagined,
        ),
        ["MODEL.ACTIVATION_CHECKPOINTING", "True"],
    ],
    ids=["bfloat16", "checkpointing"],
)
def test_resuming_gives_the_same_bits_in_every_mode(project, options):
    options = [*options, "SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "3"]
    first, _ = train(project, *options)
    (project / "output" / "last_checkpoint").write_text("model_0000002.pth")
    second, batches = train(project, *options, resume=True)
    assert (second.start_iter, len(batches)) == (3, 3)
    for name, value in first.model.state_dict().items():
        assert value.equal(second.model.state_dict()[name]), name


@not_imagined
def test_another_precision_is_said(project, caplog):
    train(project, "SOLVER.MAX_ITER", "1")
    options = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16", *LARGER]
    with caplog.at_level(logging.WARNING, logger="fcos"):
        train(project, "SOLVER.MAX_ITER", "2", *options, resume=True)
    assert "The precision is bfloat16, but was float32 before" in caplog.text


def test_a_checkpoint_of_before_these_were_kept_can_be_resumed(project, caplog):
    train(project, "SOLVER.MAX_ITER", "1")
    path = project / "output" / "model_final.pth"
    content = torch.load(path, weights_only=True)
    place = content["trainer"]["place"]
    for key in [key for key in place if key == "The precision" or key.startswith("SOLVER.")]:
        del place[key]
    torch.save(content, path)
    with caplog.at_level(logging.WARNING, logger="fcos"):
        train(project, "SOLVER.MAX_ITER", "2", resume=True)
    assert "before: the training goes on" not in caplog.text


def test_resume_without_a_checkpoint_is_a_new_start(project, caplog):
    with caplog.at_level(logging.INFO, logger="fcos"):
        _, batches = train(project, resume=True)
    assert "No checkpoint in output yet: this is a new start." in caplog.text
    assert len(batches) == 8


def test_a_finished_training_is_not_gone_on_with(project, caplog):
    train(project)
    with caplog.at_level(logging.INFO, logger="fcos"):
        _, batches = train(project, resume=True)
    assert "All 8 iterations are done" in caplog.text
    assert batches == []


def test_a_changed_batch_is_said(project, caplog):
    train(project, "SOLVER.MAX_ITER", "2")
    with caplog.at_level(logging.WARNING, logger="fcos"):
        train(project, "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "2", resume=True)
    assert "SOLVER.IMS_PER_BATCH is 2, but was 4 before" in caplog.text
    assert "processes" not in caplog.text


def test_a_checkpoint_without_a_training_cannot_be_resumed(project):
    trainer = Trainer(cfg_of(project))
    AdetCheckpointer(trainer.model, "output").save("model_final")
    with pytest.raises(UserError, match="has weights, but not the state of a training by this"):
        trainer.resume_or_load(resume=True)


def test_a_checkpoint_of_another_model_cannot_be_resumed(project):
    train(project, "SOLVER.MAX_ITER", "1")
    other = Trainer(cfg_of(project, "MODEL.FCOS.NUM_STACKED_CONVS", "2"))
    with pytest.raises(
        UserError, match=r"Resuming needs weights for the whole model.*cls_tower\.2"
    ):
        other.resume_or_load(resume=True)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (MASK_OPTIONS, [], r"model_final.pth was of other parameters than this config's"),
        (
            [],
            ["MODEL.BACKBONE.FREEZE_AT", "2"],
            r"model_final.pth was of other parameters than this",
        ),
    ],
    ids=["masks off", "frozen"],
)
def test_a_training_of_other_parameters_cannot_be_resumed(project, before, now, said):
    train(project, "SOLVER.MAX_ITER", "1", *before)
    with pytest.raises(UserError, match=said):
        train(project, "SOLVER.MAX_ITER", "2", *now, resume=True)


def test_a_damaged_checkpoint_is_named(project):
    train(project, "SOLVER.MAX_ITER", "1")
    path = project / "output" / "model_final.pth"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"output/model_final\.pth .*truncated"):
        train(project, resume=True)


# ---- ending ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [UserError("of the user"), TrainingStopped("by a signal", 143)])
def test_what_the_user_can_understand_needs_no_traceback(project, caplog, error):
    class Fail(HookBase):
        def after_step(self):
            raise error

    trainer = Trainer(cfg_of(project))
    trainer.register_hooks([Fail()])
    with pytest.raises(type(error)):
        trainer.train()
    assert "Traceback" not in caplog.text
    assert "Exception" not in caplog.text


def test_class_names_are_those_of_the_training_data(project):
    trainer = Trainer(cfg_of(project))
    assert trainer.checkpointer.class_names == ["dark", "bright"]
    assert MetadataCatalog.get("tiny_train").thing_classes == ["dark", "bright"]
