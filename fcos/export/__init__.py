"""Write detectors as files that other programs run: ONNX, TorchScript and torch.export."""

from fcos.export.exporting import FORMATS, INPUT_TYPES, Exported, export_detector
from fcos.export.graph import DetectionGraph, RawGraph, build_graph

__all__ = [
    "FORMATS",
    "INPUT_TYPES",
    "DetectionGraph",
    "Exported",
    "RawGraph",
    "build_graph",
    "export_detector",
]
