"""Inspect, convert, record and verify weights files: ``python -m fcos.checkpoint --help``."""

import sys

from fcos_cli.checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
