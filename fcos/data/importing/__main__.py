"""Import labels: ``python -m fcos.data.importing --help``."""

import sys

from fcos_cli.data import IMPORT_PROGRAM, main

if __name__ == "__main__":
    sys.exit(main(["import", *sys.argv[1:]], prog=IMPORT_PROGRAM))
