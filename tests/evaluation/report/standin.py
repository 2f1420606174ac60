"""Run folders as a training leaves them, without the training."""

import json

import torch
import yaml

from fcos.checkpoint.stored_config import CONFIG, stored_text
from fcos.config import get_cfg
from fcos.evaluation.report.rows import METRICS, ROWS

KINDS = {
    "fcos_masks": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "MASK_ON": True,
        "PROPOSAL_GENERATOR": {"NAME": "FCOS"},
        "ROI_HEADS": {"NAME": "FCOSMaskROIHeads"},
    },
    "mask_rcnn": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "MASK_ON": True,
        "PROPOSAL_GENERATOR": {"NAME": "RPN"},
        "ROI_HEADS": {"NAME": "StandardROIHeads"},
    },
}


def figures(ap):
    """METRICS that differ from each other and between runs."""
    return {name: ap + 0.5 * place for place, name in enumerate(METRICS)}


def config_of(data, folder, kind, seed=1, weights="", iterations=40):
    """Contents of config.yaml for a row of Table 3 or a key of KINDS."""
    if kind in KINDS:
        model = KINDS[kind]
    else:
        model = {"META_ARCHITECTURE": "OneStageDetector", "PROPOSAL_GENERATOR": {"NAME": "FCOS"}}
        model["FCOS"] = {**dict(get_cfg().MODEL.FCOS), **ROWS[kind].settings}
    model = {**model, "WEIGHTS": weights, "RESNETS": {"DEPTH": 18}}
    base = data.config(folder)
    base["DATASETS"]["TRAIN"] = [data.name]
    solver = {"MAX_ITER": iterations, "IMS_PER_BATCH": 3}
    more = {"MODEL": model, "SOLVER": solver, "SEED": seed, "INPUT": {"MIN_SIZE_TRAIN": [96]}}
    return {**base, **more}


def leave_run(data, name, kind, ap=30.0, seed=1, done=40, mask_ap=None, **evaluation):
    """Write a run's folder, with made-up detections and the figures of ``ap``; return its path."""
    folder = data.root / name
    with_masks = mask_ap is not None
    data.evaluate(folder, seed=seed + int(ap), with_masks=with_masks, **evaluation)
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of(data, folder, kind, seed)))
    lines = [{"iteration": done - 1, "total_loss": 1.0, "lr": 0.01, "time": 0.5, "data_time": 0.1}]
    if done == 40:
        values = {f"bbox/{key}": value for key, value in figures(ap).items()}
        if with_masks:
            values |= {f"segm/{key}": value for key, value in figures(mask_ap).items()}
        lines.append({"iteration": done, **values})
        (folder / "model_final.pth").write_bytes(f"weights of {name}".encode())
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.json").write_text(text)
    return str(folder)


def leave_checkpoint(data, path, kind, seed=1, done=40):
    """Write a checkpoint that carries the config of its training and how long it was."""
    config = config_of(data, "elsewhere", kind, seed)
    cfg = get_cfg()
    cfg.merge_from_text(yaml.safe_dump(config))
    content = {"model": {"w": torch.zeros(1)}, CONFIG: stored_text(cfg), "iteration": done - 1}
    torch.save(content, path)


def leave_evaluation(data, name, kind, weights, **evaluation):
    """Write the folder of an evaluation alone; return its path and what was measured."""
    folder = data.root / name
    measured = data.evaluate(folder, **evaluation)
    config = config_of(data, folder, kind, weights=str(weights))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder), measured
