"""`python -m kdbench`: the command line, as `bench.py` in a clone."""

import sys

from kdbench.cli.verbs import main

if __name__ == "__main__":
    sys.exit(main())
