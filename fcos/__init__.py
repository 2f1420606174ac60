"""FCOS, a fully convolutional one-stage object detector (arXiv:1904.01355), for detectron2.

Importing this package registers its classes with detectron2; it changes none of detectron2's
defaults. ``fcos.config.get_cfg()`` is the place to start.
"""

import importlib.util

__version__ = "0.1.0"

if importlib.util.find_spec("detectron2") is None:
    raise ImportError(
        "fcos needs detectron2, which is on no package index. Either install the pure-Python part "
        "that comes with this repository (pip install ./detectron2-lite), or detectron2 itself "
        "(https://detectron2.readthedocs.io/en/latest/tutorials/install.html)."
    )

from fcos import modeling  # noqa: F401  (registers the classes)
