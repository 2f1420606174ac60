"""Tools around training: communication, logging, events, files, drawing."""

from detectron2._missing import missing_names

__getattr__ = missing_names(__name__)
