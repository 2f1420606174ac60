"""Make an 8-bit copy of an ONNX file of ``fcos export``, calibrated on a folder of pictures.

It is for OpenVINO: a file .xml, and one .bin beside it. Needs numpy, opencv-python, openvino, nncf.

python examples/openvino_int8.py fcos.onnx pictures/ fcos_int8.xml
"""

import itertools
import sys
from pathlib import Path

import cv2
import nncf
import numpy as np
import openvino

ENOUGH = 300  # pictures, the first by name; more hardly move the ranges

if len(sys.argv) != 4 or not sys.argv[3].endswith(".xml"):
    sys.exit(__doc__)
source, folder, target = sys.argv[1:]
model = openvino.Core().read_model(source)


def setting(name):
    """Return what the file says of its input."""
    return model.get_rt_info(["framework", name]).astype(str)


def pixels(path):
    """Read a picture as examples/onnx_detect.py does; None where it is none."""
    image = cv2.imread(str(path))
    if image is None:
        return None
    height, width = image.shape[:2]
    scale = int(setting("min_size")) / min(height, width) or 1.0  # min_size 0: no resizing
    scale = min(scale, int(setting("max_size")) / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=how)
    image = image[:, :, ::-1] if setting("input_format") == "RGB" else image
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=setting("input_type"))


read = (pixels(path) for path in sorted(Path(folder).iterdir()) if path.is_file())
images = list(itertools.islice((image for image in read if image is not None), ENOUGH))
if not images:
    sys.exit(f"There are no pictures in {folder}.")

small = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
openvino.save_model(small, target)
print(f"{target}: calibrated on {len(images)} pictures.")
