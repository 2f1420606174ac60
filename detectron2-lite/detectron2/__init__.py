"""detectron2-lite: the part of detectron2's public API that fcos uses, in pure Python.

Import paths, names, arguments, config keys, file formats and numbers are detectron2's.  A name
that is left out raises ``NotImplementedError`` with the way to the full detectron2.
"""

from detectron2._missing import install, missing_names

__version__ = "0.6+lite"

__getattr__ = missing_names(__name__)

install()
del install, missing_names
