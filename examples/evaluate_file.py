"""Evaluate an exported file on the data sets in DATASETS.TEST of a config: AP, and time per image.

The file is of ``fcos export --format onnx``, or an .xml that OpenVINO made of it.

python examples/evaluate_file.py configs/digits.yaml fcos.onnx
"""

import sys
import time

import numpy as np
import torch

from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances
from fcos.config import read_cfg
from fcos.data import register_custom_datasets
from fcos.engine import Trainer


def load(path):
    """Return a function from (1, 3, H, W) to the outputs by their names."""
    if path.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda images: dict(zip(names, session.run(None, {"images": images}), strict=True))
    import openvino

    precise = {"INFERENCE_PRECISION_HINT": "f32"}  # the default may be bfloat16
    compiled = openvino.Core().compile_model(path, "CPU", precise)
    names = [output.any_name for output in compiled.outputs]
    return lambda images: dict(zip(names, compiled([images]).values(), strict=True))


class File(torch.nn.Module):
    """An exported file, called as the detectors of detectron2 are."""

    def __init__(self, path):
        super().__init__()
        self.detect, self.seconds = load(path), []

    def forward(self, batched_inputs):
        return [{"instances": self._instances_of(record)} for record in batched_inputs]

    def _instances_of(self, record):
        image = record["image"].numpy()
        began = time.perf_counter(), time.process_time()
        found = self.detect(np.ascontiguousarray(image[None]))
        self.seconds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        result = Instances(image.shape[1:], pred_boxes=Boxes(torch.tensor(found["boxes"])))
        result.scores = torch.tensor(found["scores"])
        result.pred_classes = torch.tensor(found["classes"])
        return detector_postprocess(result, record["height"], record["width"])


if len(sys.argv) < 3:
    sys.exit(__doc__)
cfg = read_cfg(sys.argv[1], sys.argv[3:])
register_custom_datasets(cfg)
model = File(sys.argv[2]).eval()
results = Trainer.test(cfg, model)
of_sets = results if len(cfg.DATASETS.TEST) > 1 else {"": results}
for name, result in of_sets.items():
    print(f"{name} bbox: AP {result['bbox']['AP']:.2f}, AP50 {result['bbox']['AP50']:.2f}".strip())
wall, processor = 1000 * np.median(model.seconds, axis=0)
print(f"{wall:.1f} ms per image, {processor:.1f} ms of processor time (medians)")
