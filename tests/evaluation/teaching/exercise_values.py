"""The reference values of the exercise, chosen from tests/golden.

``python -m tests.evaluation.teaching.exercise_values`` writes them into the package.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

import fcos.evaluation.teaching
from fcos.modeling.fcos import FCOSTargets
from tests.helpers import GOLDEN, flatten, golden, ground_truth, raw_outputs, strides_of_locations

FILE = Path(fcos.evaluation.teaching.__file__).parent / "exercise" / "tests" / "values.npz"
CASES = [
    "border_512x640",
    "empty_800x1088",
    "huge_800x1088",
    "mixed_480x637",
    "overlap40_800x1088",
    "range_edges_800x1088",
    "tie_512x640",
]
LOSSES = {  # name in the exercise -> key of losses.json
    "original/iou": "both/tianzhi/iou/norm0/radius0",
    "adet/giou": "both/adet/ctrness/giou",
    "adet/iou": "both/adet/ctrness/iou",
    "one_empty/giou": "second_empty/adet/ctrness/giou",
}
# Targets of a batch of losses.npz: which ground truth, radius and pixel convention.
TARGETS = {
    "original": ("both", None, True),
    "adet": ("both", 1.5, False),
    "one_empty": ("second_empty", 1.5, False),
}
RUNS = {  # name in the exercise -> implementation and name in inference.npz, of the case "sparse"
    "0.6_1000_100_class": ("adet", "nms0.6_pre1000_post100"),
    "0.6_1000_100_product": ("adet_thresh_with_ctr", "nms0.6_pre1000_post100"),
    "0.6_1000_10_class": ("adet", "nms0.6_pre1000_post10"),
    "0.5_50_100_class": ("adet", "nms0.5_pre50_post100"),
}


def values() -> dict[str, np.ndarray]:
    """What the file holds."""
    return {**_points_and_centerness(), **_targets(), **_losses(), **_inference()}


def _points_and_centerness():
    targets, stored = golden("targets.npz"), golden("centerness.npz")
    is_defined = np.isfinite(stored["tianzhi"])  # two rows are 0/0
    return {
        "points/tianzhi": targets["points/tianzhi/480x640"],
        "points/feature_sizes": targets["mixed_480x637/feat_hw"],
        "centerness/ltrb": stored["ltrb"][is_defined],
        "centerness/tianzhi": stored["tianzhi"][is_defined],
    }


def _targets():
    stored, found = golden("targets.npz"), {}
    for case in CASES:
        found[f"targets/{case}/feature_sizes"] = stored[f"{case}/feat_hw"]
        for name in ("boxes", "classes"):
            found[f"targets/{case}/{name}"] = stored[f"{case}/{name}"]
        for kind in ("adet_all", "adet_r1.5"):
            for name in ("labels", "ltrb"):
                found[f"targets/{case}/{kind}/{name}"] = stored[f"{case}/{kind}/{name}"]
    return found


def _losses():
    stored = golden("losses.npz")
    cls, reg, ctr = raw_outputs(stored)
    sizes = [tuple(level.shape[-2:]) for level in cls]
    found = {
        "losses/cls": flatten(cls).numpy(),
        "losses/reg": flatten(reg).numpy(),
        "losses/ctr": flatten(ctr)[..., 0].numpy(),
        "losses/strides": strides_of_locations(sizes)[:, 0].numpy(),
    }
    for name, (batch, radius, inclusive) in TARGETS.items():
        truth = [
            ground_truth(stored[f"gt/{batch}/{i}/boxes"], stored[f"gt/{batch}/{i}/classes"])
            for i in range(2)
        ]
        settings = {"center_radius": radius, "inclusive_pixels": inclusive}
        labels, ltrb = FCOSTargets(num_classes=5, **settings).fcos_target(sizes, truth)
        found[f"losses/{name}/labels"] = labels.to(torch.uint8).numpy()
        found[f"losses/{name}/ltrb"] = ltrb.numpy()
    of_runs = json.loads((GOLDEN / "losses.json").read_text())["losses"]
    for name, key in LOSSES.items():
        terms = [value for term, value in of_runs[key].items() if term.startswith("loss")]
        found[f"losses/{name}"] = np.array(terms, np.float32)
    for name in ("cls", "reg", "ctr"):
        prefix = f"grad/{LOSSES['adet/giou']}/{name}"
        gradient = np.concatenate([stored[f"{prefix}/p{level}"].ravel() for level in range(3, 8)])
        sums = gradient.sum(dtype=np.float64), np.abs(gradient).sum(dtype=np.float64)
        found[f"losses/gradients/{name}"] = np.array(sums, np.float32)
    return found


def _inference():
    stored = golden("inference.npz")
    cls, reg, ctr = raw_outputs(stored, "sparse/")
    sizes = [tuple(level.shape[-2:]) for level in cls]
    found = {
        "inference/cls": flatten(cls).numpy(),
        "inference/ltrb": flatten(reg).relu().numpy(),
        "inference/ctr": flatten(ctr)[..., 0].numpy(),
        "inference/points": torch.cat(FCOSTargets().get_points(sizes)).numpy(),
        "inference/feature_sizes": np.array(sizes),
        "inference/image_sizes": stored["image_sizes"],
    }
    for run, (peer, name) in RUNS.items():
        prefix = f"sparse/{name}/{peer}"
        for image in range(2):
            chosen = np.flatnonzero(stored[f"{prefix}/image"] == image)
            order = chosen[np.argsort(-stored[f"{prefix}/scores"][chosen], kind="stable")]
            for field in ("boxes", "scores", "classes"):
                found[f"inference/{run}/{image}/{field}"] = stored[f"{prefix}/{field}"][order]
    return found


if __name__ == "__main__":
    np.savez_compressed(FILE, **values())
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
