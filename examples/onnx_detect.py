"""Detect with an ONNX file of ``python -m fcos.export``; needs numpy, opencv-python, onnxruntime.

python examples/onnx_detect.py fcos.onnx street.jpg detections.jpg
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime

if len(sys.argv) != 4:
    sys.exit(__doc__)
session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
image = cv2.imread(sys.argv[2])
if image is None:
    sys.exit(f"{sys.argv[2]} is no image that can be read.")

height, width = image.shape[:2]
scale = int(about["min_size"]) / min(height, width) or 1.0  # min_size 0: no resizing
scale = min(scale, int(about["max_size"]) / max(height, width))
size = max(1, round(width * scale)), max(1, round(height * scale))
# INTER_AREA averages as the resizing of the training does; INTER_LINEAR would skip pixels here.
pixels = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
pixels = pixels[:, :, ::-1] if about["input_format"] == "RGB" else pixels
batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=about["input_type"])

names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(None, {"images": batch}), strict=True))
boxes = found["boxes"] / np.tile(size, 2) * np.tile([width, height], 2)
lowest = np.array(json.loads(about["confidence_thresholds"]))[found["classes"]]
for i in np.flatnonzero(found["scores"] >= lowest):
    x1, y1, x2, y2 = boxes[i].round().astype(int).tolist()
    text = f"{json.loads(about['class_names'])[found['classes'][i]]} {found['scores'][i]:.2f}"
    print(text, x1, y1, x2, y2)
    if "masks" in found and x2 > x1 and y2 > y1:
        image[y1:y2, x1:x2][cv2.resize(found["masks"][i], (x2 - x1, y2 - y1)) > 0.5] //= 2
    cv2.rectangle(image, (x1, y1), (x2, y2), (0, 255, 0), 2)
    cv2.putText(image, text, (x1, max(12, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0))
if not cv2.imwrite(sys.argv[3], image):  # False if the folder does not exist, for example
    sys.exit(f"{sys.argv[3]} cannot be written.")
