"""--start-from: the config that is written fine-tunes published weights, here of a small file."""

import logging

import pytest
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from fcos.config import read_cfg
from fcos_cli.__main__ import main
from tests.data.importing.making import make_voc
from tests.published import names_of

# The published architecture with few channels.
SMALL = """
MODEL.RESNETS.STEM_OUT_CHANNELS 8 MODEL.RESNETS.RES2_OUT_CHANNELS 16
MODEL.RESNETS.WIDTH_PER_GROUP 4 MODEL.FPN.OUT_CHANNELS 32 MODEL.DEVICE cpu
"""
SHORT = """
SOLVER.IMS_PER_BATCH 2 SOLVER.MAX_ITER 1 SOLVER.STEPS [] SOLVER.WARMUP_ITERS 1
SOLVER.WARMUP_FACTOR 0.0 TEST.EVAL_PERIOD 0
"""


@pytest.fixture
def said():
    """What the programs log."""
    messages = []

    class Keep(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler = Keep(logging.INFO)
    logger = logging.getLogger("fcos")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def catalog():
    known = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def published_file(config, path):
    """Write random weights as torchvision does: under its names, with its 91 outputs."""
    cfg = read_cfg(str(config), [*SMALL.split(), "MODEL.FCOS.NUM_CLASSES", "91"])
    torch.manual_seed(3)
    values = build_model(cfg).state_dict()
    names = names_of("torchvision_R_50")
    weights = {theirs: values[ours] for theirs, ours in names.items() if ours in values}
    assert len(weights) > 300
    torch.save(weights, path)
    return values


def test_training_starts_from_published_weights(tmp_path, capsys, monkeypatch, said, catalog):
    make_voc(tmp_path / "pets", 6)
    monkeypatch.chdir(tmp_path)
    words = ["data", "import", "pets", "--output", "my_data"]
    assert main([*words, "--start-from", "torchvision/R_50_FPN"]) == 0
    shown = capsys.readouterr().out
    assert "Starts from torchvision/R_50_FPN. Licence: torchvision states none" in shown
    values = published_file(tmp_path / "my_data" / "config.yaml", "small.pth")
    command = shown.splitlines()[-1].removeprefix("Next: fcos ").split()
    assert main([*command, *SMALL.split(), *SHORT.split(), "MODEL.WEIGHTS", "small.pth"]) == 0
    assert "The file is of torchvision" in "".join(said)
    changed = (
        "Weights from small.pth. The class-logit layer is re-initialised, from 91 classes in the"
    )
    assert f"{changed} file to 1." in said
    trained = torch.load("output/my_data/model_final.pth", weights_only=True)["model"]
    loaded = [key for key in trained if "cls_logits" not in key and key in values]
    assert len(loaded) > 200
    for key in loaded:
        if "num_batches" not in key and "running" not in key:
            assert torch.equal(trained[key], values[key]), key
    # What does not fit begins with the paper's prior probability: log(0.01 / 0.99).
    bias = trained["proposal_generator.fcos_head.cls_logits.bias"]
    torch.testing.assert_close(bias, torch.tensor([-4.5951]), rtol=0, atol=1e-3)
