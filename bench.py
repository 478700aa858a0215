"""Front door: ``python bench.py --method doktra --task chemprot``."""

import sys

from kdbench.cli.verbs import main

if __name__ == "__main__":
    sys.exit(main())
