"""Export a detector: ``python -m fcos.export --help``."""

import sys

from fcos_cli.export import main

if __name__ == "__main__":
    sys.exit(main())
