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
if __name__ == "__mp_main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # One of several processes: until it has imported all that it needs, Ctrl-C is its silent end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
