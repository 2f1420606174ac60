"""The model zoo: its configs, the addresses of its weights, and what it says of other names."""

import importlib.util
import pickle
import re
from pathlib import Path

import pytest
import torch

import detectron2
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY

IS_LITE = detectron2.__version__.endswith("+lite")
lite_only = pytest.mark.skipif(not IS_LITE, reason="detectron2 leaves nothing out")
real_only = pytest.mark.skipif(IS_LITE, reason="compares with detectron2 itself")

LITE = Path(__file__).parents[1]
FOLDER = LITE / "detectron2" / "model_zoo" / "configs"
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml"))
MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
WEIGHTS = {
    "COCO-Detection/faster_rcnn_R_50_FPN_1x": "137257794/model_final_b275ba.pkl",
    "COCO-Detection/faster_rcnn_R_50_FPN_3x": "137849458/model_final_280758.pkl",
    "COCO-Detection/faster_rcnn_R_101_FPN_3x": "137851257/model_final_f6e8b1.pkl",
    "COCO-Detection/retinanet_R_50_FPN_1x": "190397773/model_final_bfca0b.pkl",
    "COCO-Detection/retinanet_R_50_FPN_3x": "190397829/model_final_5bd44e.pkl",
    "COCO-Detection/retinanet_R_101_FPN_3x": "190397697/model_final_971ab9.pkl",
    "COCO-Detection/rpn_R_50_FPN_1x": "137258492/model_final_02ce48.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "137260431/model_final_a54504.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x": "137849600/model_final_f10217.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x": "138205316/model_final_a3ec72.pkl",
    "Misc/scratch_mask_rcnn_R_50_FPN_3x_gn": "138602908/model_final_01ca85.pkl",
}


def flat(cfg, prefix=""):
    """Dotted key -> value and its type, which YAML could have changed."""
    for key, value in cfg.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", (value, type(value))


def test_every_config_but_the_bases_has_weights():
    assert {name for name in FILES if "Base" not in name} == {f"{name}.yaml" for name in WEIGHTS}


@pytest.mark.parametrize("name", WEIGHTS)
def test_addresses(name):
    url = f"{ADDRESS}{name}/{WEIGHTS[name]}"
    assert model_zoo.get_checkpoint_url(f"{name}.yaml") == url
    assert model_zoo.get_checkpoint_url(f"{name}.py") == url
    weights = model_zoo.get_config(f"{name}.yaml", trained=True).MODEL.WEIGHTS
    assert weights == url


@real_only
@pytest.mark.parametrize("name", FILES)
def test_each_file_says_what_detectron2s_says(name):
    cfg = get_cfg()
    cfg.merge_from_file(str(FOLDER / name))
    assert dict(flat(cfg)) == dict(flat(model_zoo.get_config(name)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            MASK_RCNN,
            {
                "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
                "MODEL.WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
                "MODEL.MASK_ON": True,
                "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
                "SOLVER.STEPS": (210000, 250000),
                "SOLVER.MAX_ITER": 270000,
                "SOLVER.BASE_LR": 0.02,
                "DATASETS.TEST": ("coco_2017_val",),
            },
        ),
        (
            "COCO-Detection/retinanet_R_101_FPN_3x.yaml",
            {
                "MODEL.META_ARCHITECTURE": "RetinaNet",
                "MODEL.RESNETS.DEPTH": 101,
                "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": 0.0,
                "MODEL.ANCHOR_GENERATOR.SIZES": [
                    [size, size * 2 ** (1 / 3), size * 2 ** (2 / 3)]
                    for size in (32, 64, 128, 256, 512)
                ],
                "SOLVER.MAX_ITER": 270000,
                "SOLVER.BASE_LR": 0.01,
            },
        ),
        (
            "COCO-Detection/rpn_R_50_FPN_1x.yaml",
            {
                "MODEL.META_ARCHITECTURE": "ProposalNetwork",
                "MODEL.MASK_ON": False,
                "MODEL.RPN.POST_NMS_TOPK_TEST": 2000,
                "SOLVER.MAX_ITER": 90000,
            },
        ),
    ],
)
def test_configs(name, expected):
    values = dict(flat(model_zoo.get_config(name)))
    assert {key: values[key][0] for key in expected} == expected


def test_a_config_file_is_one_that_programs_can_read():
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(MASK_RCNN))
    assert cfg == model_zoo.get_config(MASK_RCNN)


@pytest.mark.parametrize("name", ["COCO-Detection/no_such_config.yaml", "rpn.yaml", "COCO"])
@pytest.mark.parametrize(
    "ask", [model_zoo.get, model_zoo.get_checkpoint_url, model_zoo.get_config_file]
)
def test_what_the_zoo_does_not_have(ask, name):
    with pytest.raises(RuntimeError, match=name) as caught:
        ask(name)
    assert type(caught.value) is RuntimeError


@pytest.mark.parametrize("name", ["Base-RCNN-FPN.yaml", "Base-RetinaNet.yaml"])
def test_a_base_has_no_weights(name):
    assert Path(model_zoo.get_config_file(name)).name == name
    with pytest.raises(RuntimeError, match=name):
        model_zoo.get_checkpoint_url(name)


@lite_only
@pytest.mark.parametrize(
    "name",
    [
        "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
        "COCO-Detection/fcos_R_50_FPN_1x.py",
        "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x.yaml",
        "Base-RCNN-C4.yaml",
        "common/models/mask_rcnn_fpn.py",
    ],
)
def test_what_only_the_full_detectron2_has(name):
    message = f"^{name} of the model zoo is not part of detectron2-lite; the full detectron2 has"
    for ask in (model_zoo.get_config_file, model_zoo.get_config, model_zoo.get):
        with pytest.raises(NotImplementedError, match=message):
            ask(name)
    with pytest.raises(NotImplementedError, match=message):
        model_zoo.get_checkpoint_url(name)


@real_only
def test_the_table_of_configs_is_true():
    spec = importlib.util.spec_from_file_location("names", FOLDER.parent / "_names.py")
    names = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(names)
    files = [f"{folder}/{file}" for folder, of in names.CONFIGS.items() for file in of.split()]
    assert len(files) > 100
    for file in files:
        model_zoo.get_config_file(file.removeprefix("/"))


def test_a_wheel_has_the_configs():
    (line,) = re.findall(
        r'"detectron2\.model_zoo" = \[(.*)\]', (LITE / "pyproject.toml").read_text()
    )
    patterns = re.findall(r'"(.*?)"', line)
    packed = {path for pattern in patterns for path in FOLDER.parent.glob(pattern)}
    assert packed == {FOLDER / name for name in FILES}
    assert len(packed) == 13


class Scale(torch.nn.Module):
    """A model of one number."""

    def __init__(self, cfg):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(1))


def test_get_builds_the_model_and_loads_the_weights(tmp_path, monkeypatch):
    if "Scale" not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(Scale)
    file = tmp_path / "model.pkl"
    file.write_bytes(
        pickle.dumps({"model": {"scale": torch.ones(1).numpy()}, "__author__": "a test"})
    )
    config = tmp_path / "scale.yaml"
    config.write_text(f"MODEL: {{META_ARCHITECTURE: Scale, WEIGHTS: {file}}}\nVERSION: 2\n")
    monkeypatch.setattr(f"{model_zoo.get.__module__}.get_config_file", lambda _: str(config))
    model = model_zoo.get("scale.yaml", device="cpu")
    assert model.training
    assert model.scale.item() == 1
    assert model.scale.device.type == "cpu"


def test_addresses_of_the_zoo_lead_to_its_files(tmp_path, monkeypatch):
    """Without the network: the file is where a first download would have put it."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    file = tmp_path / "detectron2" / "COCO-Detection" / "toy" / "1" / "model_final.pkl"
    file.parent.mkdir(parents=True)
    file.write_bytes(
        pickle.dumps({"model": {"scale": torch.ones(1).numpy()}, "__author__": "a test"})
    )
    model = Scale(None)
    DetectionCheckpointer(model).load("detectron2://COCO-Detection/toy/1/model_final.pkl")
    assert model.scale.item() == 1
