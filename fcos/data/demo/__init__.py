"""The demo data set: handwritten digits on photographs."""

from fcos.data.demo.digits import CLASS_NAMES, write_digits

__all__ = ["CLASS_NAMES", "write_digits"]
