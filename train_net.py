#!/usr/bin/env python3
"""Train or evaluate FCOS: ``python train_net.py --help``."""

import signal
import sys


def main() -> int:
    try:
        from fcos.engine import argument_parser, run
    except ImportError as error:  # no detectron2, or a package is not installed
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return run(argument_parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
