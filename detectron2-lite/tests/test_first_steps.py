"""What an introduction to detectron2 shows: a model of the zoo on an image and on a video."""

import pickle

import numpy as np
import pytest
import torch
from golden_values import golden_npz

from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from detectron2.utils.video_visualizer import VideoVisualizer
from detectron2.utils.visualizer import Visualizer

NAME = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
FILE = f"{NAME}/137849600/model_final_f10217.pkl"
# The zoo's model with fewer channels.
SMALL = """
MODEL.DEVICE cpu
MODEL.RESNETS.STEM_OUT_CHANNELS 8
MODEL.RESNETS.RES2_OUT_CHANNELS 16
MODEL.RESNETS.WIDTH_PER_GROUP 4
MODEL.FPN.OUT_CHANNELS 16
MODEL.ROI_BOX_HEAD.FC_DIM 16
MODEL.ROI_MASK_HEAD.CONV_DIM 8
INPUT.MIN_SIZE_TEST 96
TEST.DETECTIONS_PER_IMAGE 5
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """The file of the weights, where the first download would have put it."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    cfg = model_zoo.get_config(f"{NAME}.yaml")
    cfg.merge_from_list(SMALL.split())
    torch.manual_seed(0)
    model = build_model(cfg)
    predictor = model.roi_heads.box_predictor
    torch.nn.init.zeros_(predictor.cls_score.weight)
    predictor.cls_score.bias.data[4] = 6.0  # wherever it looks, there is an airplane
    file = tmp_path / "detectron2" / FILE
    file.parent.mkdir(parents=True)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    file.write_bytes(pickle.dumps({"model": weights, "__author__": "a test"}))


def test_a_model_of_the_zoo_on_an_image_and_a_video(zoo):
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(f"{NAME}.yaml"))
    cfg.merge_from_list(SMALL.split())
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.5
    cfg.MODEL.WEIGHTS = f"detectron2://{FILE}"
    assert model_zoo.get_checkpoint_url(f"{NAME}.yaml").endswith(FILE)
    predictor = DefaultPredictor(cfg)
    image = np.ascontiguousarray(golden_npz("photo.npz")["rgb"][:, :, ::-1])
    height, width = image.shape[:2]

    found = predictor(image)["instances"].to("cpu")
    assert len(found) > 0
    assert (found.scores > 0.5).all()
    assert (found.pred_classes == 4).all()
    assert found.pred_masks.shape == (len(found), height, width)

    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    drawn = Visualizer(image[:, :, ::-1], metadata, scale=1.2).draw_instance_predictions(found)
    picture = drawn.get_image()
    assert picture.shape[:2] == (int(1.2 * height), int(1.2 * width))
    assert {text.get_text().split()[0] for text in drawn.ax.texts} == {"airplane"}

    video = VideoVisualizer(metadata)
    colours = []
    for _ in range(2):
        frame = video.draw_instance_predictions(image[:, :, ::-1], predictor(image)["instances"])
        colours.append([patch.get_facecolor() for patch in frame.ax.patches])
        assert frame.get_image().shape == image.shape
    assert colours[0] == colours[1]
