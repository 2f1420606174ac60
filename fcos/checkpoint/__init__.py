from fcos.checkpoint.checkpointer import AdetCheckpointer
from fcos.checkpoint.coverage import Coverage
from fcos.checkpoint.reading import local_file, read_checkpoint

__all__ = ["AdetCheckpointer", "Coverage", "local_file", "read_checkpoint"]
