"""Keeps the name ``python -m fcos.detect``; what it does is in ``fcos.predict.many``."""
