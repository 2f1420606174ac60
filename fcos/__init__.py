"""FCOS, a fully convolutional one-stage object detector (arXiv:1904.01355), for detectron2.

Importing this package registers its classes with detectron2; it changes none of detectron2's
defaults. ``fcos.config.get_cfg()`` is the place to start.
"""

import importlib.util
import warnings

from fcos.utils.distributions import two_detectron2s

__version__ = "0.1.0"

if importlib.util.find_spec("detectron2") is None:
    raise ImportError(
        "fcos needs detectron2. Either install the part of it that fcos needs, in pure Python "
        "(pip install 'fcos-detectron2[lite]', in the repository pip install ./detectron2-lite), "
        "or detectron2 itself "
        "(https://detectron2.readthedocs.io/en/latest/tutorials/install.html)."
    )
if two := two_detectron2s():
    warnings.warn(two, stacklevel=2)
del two

from fcos import modeling  # noqa: E402, F401  (registers the classes)
