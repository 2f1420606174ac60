"""Detect in very many images: ``python -m fcos.detect --help``."""

import sys

from fcos_cli.detect import main

if __name__ == "__main__":
    sys.exit(main())
