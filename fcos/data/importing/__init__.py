"""Labels in the usual formats, brought into COCO's with a config that trains on them.

Each reader makes `LabelledImage`s of the files of its format; what follows is the same for all:
sizes of the images, classes, split, annotation files, config.
"""

from fcos.data.importing.job import Request, import_labels
from fcos.data.importing.labels import Options

__all__ = ["Options", "Request", "import_labels"]
