"""COCO evaluation beyond one run: ``python -m fcos.evaluation.compare``."""
