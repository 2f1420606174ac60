"""Detections for very many images, on all GPUs of one or several machines."""

from fcos.predict.many.job import DetectionJob
from fcos.predict.many.running import detect_many

__all__ = ["DetectionJob", "detect_many"]
