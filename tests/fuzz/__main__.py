"""The fuzzer: valid inputs of every kind, damaged, and what the command line makes of them.

    python -m tests.fuzz --minutes 5 --seed 3
    python -m tests.fuzz --cases 60 --seed 3
    python -m tests.fuzz --seed 3 --case 17      # one case again, with its output

A case is decided by seed and number. It runs in a process of its own with limits of memory and time. Failures: a traceback, a
hang, too much memory, an exit code other than 0, 1 (a check that found something) and 2, an error that is not one line, an answer that is
no JSON, and changed data under the id of other data.
"""

import sys

from tests.fuzz.cases import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
