"""kdbench: knowledge distillation for biomedical and clinical text, measured under one protocol."""

import os
from pathlib import Path

__version__ = "0.1.0"
__all__ = ["__version__", "load", "run", "shrink"]

# torch reads this at its first tensor. It puts large tensors on huge pages, which a CPU maps faster
# and which leave fewer holes between tensors of changing shapes: masked-LM training takes half the
# memory and a sixth less time. Linux only; elsewhere it means nothing.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# OpenMP reads this when torch is imported. Threads that wait by spinning take the cores from other
# work: beside six busy loops on two cores a training of 2 s took 38 s, and 12 s with this.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# In a bare clone `methods/` and `tasks/` lie beside this package; installed, setuptools has put
# them inside it. Either way they are imported as `kdbench.methods` and `kdbench.tasks`.
_clone = Path(__file__).resolve().parent.parent
if (_clone / "bench.py").is_file() and (_clone / "methods").is_dir():
    __path__.append(str(_clone))


def __getattr__(name: str):
    """Give `kdbench.run`, `kdbench.shrink` and `kdbench.load` without importing torch or pandas
    before they are used.
    """
    if name == "run":
        from kdbench.runs.grid import run

        return run
    if name == "shrink":
        from kdbench.search.shrink import shrink_files

        return shrink_files
    if name == "load":
        from kdbench.runs.store import load

        return load
    raise AttributeError(f"module 'kdbench' has no attribute {name!r}")
