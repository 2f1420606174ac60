"""Detections for very many images, on all GPUs of one or several machines."""

from fcos.predict.many.running import run

__all__ = ["run"]
