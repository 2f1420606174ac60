#!/usr/bin/env python3
"""Draw the detections of a trained model: ``python demo.py --help``."""

import sys

from fcos_cli.demo import main

if __name__ == "__main__":
    sys.exit(main())
