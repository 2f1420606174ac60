"""Published models by name: the table, what is said of each, and fetching from a local server."""

import functools
import hashlib
import http.server
import io
import logging
import threading
from pathlib import Path

import pytest
import torch

from fcos.checkpoint import detector_cfg, read_checkpoint, zoo
from fcos.checkpoint.published import MODELS, sha256_start
from fcos.checkpoint.zoo_page import markdown, page_with_table
from fcos.config import get_cfg
from fcos.utils.errors import UserError
from fcos_cli.zoo import main

ROOT = Path(__file__).parents[2]
NAMES = [model.name for model in MODELS]


def test_the_table_has_every_published_config():
    folder = ROOT / "configs" / "published"
    assert sorted(NAMES) == [
        str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.rglob("*.yaml"))
    ]


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_the_table_states_what_the_config_states(model):
    lines = (ROOT / model.config).read_text().splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / model.config))
    assert bool(cfg.MODEL.WEIGHTS) != bool(model.source.missing)
    assert comment.startswith(f"AP {model.ap} on COCO {model.data}") or model.ap is None
    assert ("non-commercial" in comment) == ("non-commercial" in model.source.licence)
    assert (model.test_dev is None) == ("test-dev" not in comment)


def test_the_page_has_this_table():
    page = (ROOT / "docs" / "MODEL_ZOO.md").read_text()
    assert markdown() in page, "make docs"
    assert page_with_table(page) == page
    assert page_with_table(page.replace("| 38.7 (val2017)", "| 99.9 (val2017)")) == page


def test_the_sha256_that_hosts_put_into_names():
    name = "fcos_resnet50_fpn_coco-99b0c9b7.pth"
    assert sha256_start(f"https://download.pytorch.org/models/{name}") == "99b0c9b7"
    assert sha256_start(f"https://example.org/{name}") == ""
    assert sha256_start("https://download.pytorch.org/models/fcos-v2.pth") == ""


# ---- fcos zoo ----------------------------------------------------------------------------------


def test_listing_and_filter(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in NAMES)
    has_none = ["(no weights)" in line for line in out.splitlines()[2 : 2 + len(NAMES)]]
    assert has_none == sorted(has_none) and set(has_none) == {False, True}  # those with any first
    assert main(["ADELAIDET", "dcn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == [
        "adelaidet/MS_X_101_32x8d_2x_dcnv2",
        "adelaidet/MS_X_101_32x8d_2x_dcnv2_iou",
    ]
    assert lines[4] == "" and "non-commercial use only" in lines[2]


@pytest.mark.parametrize("words", [["torchvision/R_50_FPN"], ["torchvision"]])
def test_one_model(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name      torchvision/R_50_FPN, by torchvision",
        "AP        39.2 (val2017), as stated in FCOS_ResNet50_FPN_Weights.COCO_V1",
        "speed     not published",
        "licence   none stated for the weights; the code is BSD-3-Clause (torchvision)",
        "config    configs/published/torchvision/R_50_FPN.yaml",
        "weights   https://download.pytorch.org/models/fcos_resnet50_fpn_coco-99b0c9b7.pth",
        "sha256    begins with 99b0c9b7",
    ]


def test_an_exact_name_is_not_a_filter(capsys):
    assert main(["adelaidet/R_50_1x"]) == 0  # R_50_1x_iou has it too
    assert capsys.readouterr().out.startswith("name      adelaidet/R_50_1x, by AdelaiDet\n")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["torchvision/R50_FPN"], "Did you mean torchvision/R_50_FPN?"),
        (["ms_r_50_2_x"], "Did you mean adelaidet/MS_R_50_2x?"),
        (["yolo"], "fcos zoo lists all."),
    ],
)
def test_no_such_model(words, hint, capsys):
    assert main(words) == 1
    said = f"Error: No published model is called {' '.join(words)}. {hint}\n"
    assert capsys.readouterr().err == said


# ---- as weights --------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, monkeypatch, caplog):
    """A server with one weights file; ``asked`` has the paths that it was asked for."""
    caplog.set_level(logging.INFO)
    (tmp_path / "served").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    content = io.BytesIO()
    torch.save({"model": {"a.weight": torch.arange(3.0)}}, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    name = f"model-{digest[:8]}.pth"
    (tmp_path / "served" / name).write_bytes(content.getvalue())
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        host = f"http://127.0.0.1:{httpd.server_port}/"
        monkeypatch.setattr("fcos.checkpoint.published._WITH_SHA256", (host,))
        monkeypatch.setattr(zoo, "_address", lambda model: host + name)
        zoo._say_licence.cache_clear()
        yield asked, tmp_path / "served" / name
        httpd.shutdown()
        thread.join()


def test_a_name_is_fetched_once_with_its_licence(server, caplog):
    asked, _ = server
    for _ in range(2):
        assert read_checkpoint("mmdetection/R_50_caffe_1x")["model"]["a.weight"].tolist() == [
            0,
            1,
            2,
        ]
    assert len(asked) == 1
    said = "mmdetection/R_50_caffe_1x is by mmdetection; licence: Apache-2.0 (mmdetection)."
    assert [text for text in caplog.messages if "licence" in text] == [said]


def test_a_file_that_is_another_one_is_deleted(server, tmp_path):
    asked, file = server
    whole = file.read_bytes()
    file.write_bytes(whole + b"!")
    with pytest.raises(
        UserError, match=r"is not what was published: its sha256 begins with \w{8},"
    ):
        read_checkpoint("torchvision/R_50_FPN")
    assert not list((tmp_path / "cache").rglob("*.pth"))
    file.write_bytes(whole)
    assert read_checkpoint("torchvision/R_50_FPN")["model"]
    assert len(asked) == 2


def test_a_file_that_is_gone(server):
    _, file = server
    file.unlink()
    with pytest.raises(UserError, match=r"torchvision/R_50_FPN \(http://.*cannot be fetched: HTTP"):
        read_checkpoint("torchvision/R_50_FPN")


def test_models_without_weights():
    with pytest.raises(UserError, match="no weights of original/R_50_FPN_1x to fetch: the server"):
        read_checkpoint("original/R_50_FPN_1x")
    with pytest.raises(UserError, match="R_50_FPN_1x to fetch: detectron2 publishes none: give"):
        read_checkpoint("detectron2/R_50_FPN_1x")


def test_a_name_brings_its_config():
    cfg = detector_cfg("torchvision/R_50_FPN", None, ["MODEL.DEVICE", "cpu"])
    assert (cfg.MODEL.FCOS.LOCATION, cfg.MODEL.DEVICE) == ("corner", "cpu")
    assert cfg.MODEL.WEIGHTS == "torchvision/R_50_FPN"


def test_a_file_of_that_name_comes_first(server):
    asked, _ = server
    Path("torchvision").mkdir()
    torch.save({"b.weight": torch.zeros(1)}, "torchvision/R_50_FPN")
    assert list(read_checkpoint("torchvision/R_50_FPN")["model"]) == ["b.weight"]
    assert asked == []


def test_a_wrong_name_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"did you mean torchvision/R_50_FPN of fcos zoo\?"):
        read_checkpoint("torchvision/R_50_FNP")
    with pytest.raises(UserError, match=r"check MODEL\.WEIGHTS\."):
        read_checkpoint("output/model_final.pth")
