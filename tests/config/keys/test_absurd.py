"""Every key with values that no training can want: a sentence for each, or a reason for it."""

import math

import pytest

from fcos.config import CfgNode, get_cfg
from fcos.config.keys import check_keys
from fcos.config.keys.kinds import Switch, Text
from fcos.config.keys.table import TABLE
from fcos.config.training_checks import check_training_keys
from fcos.data import check_augmentations
from fcos.utils.errors import UserError
from tests.tiny import CONFIG

DEEP: list = []
for _ in range(5000):
    DEEP = [DEEP]

ABSURD = {
    "None": None,
    "empty text": "",
    "bogus": "bogus",
    "NUL": "a\0b",
    "escape sequence": "\x1b[31mred",
    "two lines": "a\nb",
    "backwards": "\u202egnp.a",
    "half of a character": "\ud800",
    "spaces": "  ",
    "long text": "x" * 10_001,
    "[]": [],
    "[None]": [None],
    "['bogus']": ["bogus"],
    "[-1]": [-1],
    "[nan]": [math.nan],
    "[1e-300]": [1e-300] * 3,
    "[[1]]": [[1]],
    "['']": [""],
    "[escape sequence]": ["\x1b[31mred"],
    "twice": ["x", "x"],
    "falling": [2, 1],
    "deep list": DEEP,
    "long list": [1] * 10_001,
    "long list of text": ["x"] * 10_001,
    "-1": -1,
    "-1.0": -1.0,
    "0": 0,
    "0.0": 0.0,
    "1e-300": 1e-300,
    "1e8": 1e8,
    "10**8": 10**8,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e308": 1e308,
    "10**30": 10**30,
    "10**5000": 10**5000,
    "-10**400": -(10**400),
    "{}": {},
    "{'a': 1}": {"a": 1},
    "{'../a': {}}": {"../a": {}},
    "{escape sequence: {}}": {"\x1b[31mred": {}},
    "True": True,
    "False": False,
    "function": len,
}

SWITCHES = {name for name, key in TABLE.items() if isinstance(key.kind, Switch)}
OF_BOXES = {"MODEL.MASK_ON", "MODEL.KEYPOINT_ON", "MODEL.LOAD_PROPOSALS"}  # it has boxes only
COUNTS = [
    *("MODEL.BACKBONE.FREEZE_AT", "MODEL.FCOS.NUM_SHARED_CONVS", "MODEL.FCOS.NUM_STACKED_CONVS"),
    *("DATALOADER.NUM_WORKERS", "SOLVER.REFERENCE_WORLD_SIZE", "SOLVER.WARMUP_ITERS"),
    *("VIS_PERIOD", "TEST.EVAL_PERIOD", "TEST.PATIENCE"),
]
NUMBERS = [
    *("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "MODEL.FCOS.PRIOR_DISTANCE"),
    *("MODEL.FCOS.LOSS_GAMMA", "MODEL.FCOS.SCORE_THRESH_TEST", "MODEL.FCOS.NMS_THRESH_TEST"),
    *("MODEL.FCOS.SCORE_THRESH_TRAIN", "MODEL.FCOS.NMS_THRESH_TRAIN"),
    *("DATALOADER.REPEAT_THRESHOLD", "SOLVER.BASE_LR_END", "SOLVER.WARMUP_FACTOR"),
    *("SOLVER.MOMENTUM", "SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_NORM"),
    *("SOLVER.WEIGHT_DECAY_BIAS", "SOLVER.BIAS_LR_FACTOR", "SOLVER.EMA_DECAY"),
]
TOPK = [f"MODEL.FCOS.NMS_{when}_TOPK{use}" for when in ("PRE", "POST") for use in ("", "_TRAIN")]
FILES = ["DATASETS.PROPOSAL_FILES_TRAIN", "DATASETS.PROPOSAL_FILES_TEST"]
LISTS = [
    *("MODEL.FCOS.SIZES_OF_INTEREST", "INPUT.AUGMENTATIONS", "DATASETS.TEST", "SOLVER.STEPS"),
    *("LOGGERS", "TEST.EXPECTED_RESULTS", "TEST.KEYPOINT_OKS_SIGMAS"),
]

# All that is not refused, and why.
ACCEPTED = [
    ("it is on", ["True"], SWITCHES - OF_BOXES),
    ("it is off", ["False"], SWITCHES),
    ("none of them, or off", ["0"], COUNTS),
    ("the image keeps its size", ["0"], ["INPUT.MIN_SIZE_TEST"]),
    ("the least of a range, which has an effect", ["0", "0.0", "1e-300"], NUMBERS),
    ("a seed", ["0", "10**8"], ["SEED"]),
    ("a random seed, as detectron2 has it", ["-1"], ["SEED"]),
    ("all detections", ["-1"], ["TEST.DETECTIONS_PER_IMAGE"]),
    ("all candidates", ["10**8"], [*TOPK, "TEST.DETECTIONS_PER_IMAGE"]),
    ("pixels of an image", ["10**8"], ["INPUT.MAX_PIXELS"]),
    ("never", ["10**8"], ["SOLVER.CHECKPOINT_PERIOD", "VIS_PERIOD", "TEST.EVAL_PERIOD"]),
    ("as good as 0", ["[1e-300]"], ["MODEL.PIXEL_MEAN"]),
    ("one for each keypoint", ["falling"], ["TEST.KEYPOINT_OKS_SIGMAS"]),
    ("the largest of the gradient", ["inf"], ["SOLVER.CLIP_GRADIENTS.NORM_TYPE"]),
    ("as the weights, as detectron2 has it", ["None"], ["SOLVER.WEIGHT_DECAY_BIAS"]),
    ("an empty list: none", ["[]"], [*LISTS, *FILES]),
    ("no data sets of one's own", ["{}"], ["DATASETS.CUSTOM"]),
    ("no normalisation", ["empty text"], ["MODEL.RESNETS.NORM", "MODEL.FPN.NORM"]),
    ("nothing is chosen", ["empty text"], ["MODEL.WEIGHTS", "MODEL.TIMM.NAME"]),
    ("as torch has it", ["empty text"], ["FLOAT32_PRECISION"]),
    # What else has to exist is looked for before a training reads data, with sentences of its own.
    ("a file, a folder", ["bogus", "spaces"], ["MODEL.WEIGHTS", "OUTPUT_DIR"]),
    ("a device", ["bogus"], ["MODEL.DEVICE"]),
    ("a data set, a file", ["['bogus']", "twice"], ["DATASETS.TRAIN", "DATASETS.TEST", *FILES]),
    ("not read: the backbone is no model of timm", ["bogus"], ["MODEL.TIMM.NAME"]),
]


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    """A training in which every key of the table is read, but for those of masks."""
    path = tmp_path_factory.mktemp("absurd") / "tiny.yaml"
    path.write_text(CONFIG)
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    for key in TABLE.values():
        if key.read_with and key.read_with != "MODEL.MASK_ON":
            cfg.merge_from_list([key.read_with, True])
    check_training_keys(cfg, 1)
    return cfg


def node_of(cfg, name):
    *parents, last = name.split(".")
    for part in parents:
        cfg = cfg[part]
    return cfg, last


def test_every_key_with_every_value(cfg):
    accepted, wrong = set(), []
    for name in TABLE:
        node, last = node_of(cfg, name)
        before = node[last]
        for label, value in ABSURD.items():
            node[last] = value
            try:
                check_training_keys(cfg, 1)
                check_augmentations(cfg)
                accepted.add((name, label))
            except UserError as error:
                text = str(error)
                if last not in text or not text.isprintable() or len(text) > 700:
                    wrong.append((name, label, text[:700]))
            except Exception as error:  # it would be a traceback
                wrong.append((name, label, repr(error)[:400]))
        node[last] = before
    assert wrong == []
    reasoned = {
        (name, label) for _, labels, names in ACCEPTED for name in names for label in labels
    }
    assert accepted == reasoned


@pytest.mark.parametrize("label", sorted(ABSURD.keys() - {"function", "deep list"}))
def test_every_key_as_an_option(label):
    """What detectron2's config itself refuses is a sentence too."""
    set_all(ABSURD[label])


# What a command line can hold: texts, which detectron2's config reads as Python's values.
TEXTS = {
    "400 digits": "9" * 400,
    "5000 digits": "9" * 5000,
    "open brackets": "[" * 10_000,
    "closed brackets": "[" * 150 + "]" * 150,
    "minus signs": "-" * 100_000 + "1",
    "a long one": "x" * 20_000,
    "an object": "!!python/object/apply:os.system [ls]",
    "escape sequence": "\x1b[31mred",
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("text", TEXTS)
def test_every_key_as_an_option_of_a_command_line(text):
    names = {name for name, key in TABLE.items() if isinstance(key.kind, Text)}
    assert set_all(TEXTS[text]) <= names


def set_all(value):
    """Set every key, as options do; return those that are not refused."""
    cfg, accepted = get_cfg(), set()
    for name in TABLE:
        node, last = node_of(cfg, name)
        before = node[last]
        try:
            cfg.merge_from_list([name, value])
            check_keys(cfg)
            accepted.add(name)
        except UserError as error:
            text = str(error)
            assert last in text and len(text) < 700 and text.isprintable(), (name, text[:1000])
        node[last] = before
    return accepted


def test_none_for_every_other_key_and_every_group():
    cfg = get_cfg()

    def look(node, path):
        for name in list(node):
            before, node[name] = node[name], None
            with pytest.raises(UserError, match=f"^{path}{name} is None[:,] "):
                check_keys(cfg)
            node[name] = before
            if isinstance(before, CfgNode):
                look(before, f"{path}{name}.")

    del cfg.SOLVER["WEIGHT_DECAY_BIAS"]  # the only one that is None by default
    look(cfg, "")
    check_keys(cfg)
