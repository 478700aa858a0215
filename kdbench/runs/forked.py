"""What the process has that workers are forked from: everything imported, nothing done.

The digests of the code are taken there too, of the files as they are imported: each worker would
take about a second for them, and of files that may be others by then.
"""

import accelerate  # noqa: F401

import kdbench.runs.runner  # noqa: F401
from kdbench.base.code import CORE, unpatched

for part in CORE:
    unpatched(part)
