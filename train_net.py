#!/usr/bin/env python3
"""Train or evaluate FCOS: ``python train_net.py --help``."""

import sys

from fcos_cli.train import main

if __name__ == "__main__":
    sys.exit(main())
