"""A page that shows what a detector finds: a picture, a slider for the threshold, the labels.

Needs gradio, whose variables (GRADIO_SERVER_PORT, GRADIO_SERVER_NAME) say where the page is served.

python examples/app.py output/my_data/config.yaml output/my_data/model_best.pth
"""

import sys

import gradio
import numpy as np

from fcos.config import read_cfg
from fcos.predict import Predictor

if len(sys.argv) != 3:
    sys.exit(__doc__)
cfg = read_cfg(sys.argv[1], ["MODEL.WEIGHTS", sys.argv[2]])
predictor = Predictor(cfg, threshold=0.0)


def detect(picture, threshold):
    """Return what gradio draws: the picture, and a box or mask with its label for each object."""
    if picture is None:
        return None
    found = predictor(np.ascontiguousarray(picture[:, :, ::-1]))  # to blue, green, red
    found = found[found.scores >= threshold]
    names = predictor.class_names
    parts = found.pred_masks.float().numpy() if found.has("pred_masks") else None
    if parts is None:
        parts = [tuple(box) for box in found.pred_boxes.tensor.round().int().tolist()]
    labels = [
        names[number] if names else f"class {number}" for number in found.pred_classes.tolist()
    ]
    texts = [
        f"{name} {score:.2f}" for name, score in zip(labels, found.scores.tolist(), strict=True)
    ]
    return picture, list(zip(parts, texts, strict=True))


page = gradio.Interface(
    detect,
    [gradio.Image(label="Picture"), gradio.Slider(0, 1, 0.5, step=0.05, label="Lowest score")],
    gradio.AnnotatedImage(label="Detections"),
    title="FCOS",
    live=True,
    flagging_mode="never",
)
if __name__ == "__main__":
    page.launch()
