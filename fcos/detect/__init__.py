"""Detections for very many images: ``python -m fcos.detect --help``."""
