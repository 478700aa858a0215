"""Let the project's "cuda" mean the pretend device, for as long as its code names CUDA.

The project asks `torch.accelerator` which device there is. Then it names CUDA again: it compares a
device's type with "cuda", and it calls `torch.cuda`. A device other than CUDA passes by such lines
as a CPU would, so a test on one would not reach them. Here they are read with the other name.

To be deleted once the project asks `device.type != "cpu"` and `torch.get_device_module(device)`:
these mean CUDA on CUDA and the pretend device on the pretend device, with nothing replaced.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType
from typing import Any

from pretend_device import NAME

PACKAGE = "kdbench"
NAMES = ((b'"cuda"', f'"{NAME}"'.encode()), (b"torch.cuda", f"torch.{NAME}".encode()))


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a source file with the names replaced, line by line where they were."""

    def get_code(self, fullname: str) -> Any:
        source = self.get_data(self.path)
        for cuda, other in NAMES:
            source = source.replace(cuda, other)
        return self.source_to_code(source, self.path)  # and no bytecode is kept


class Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        if name.partition(".")[0] != PACKAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(name, spec.loader.path)
        return spec


def install() -> None:
    """Before the project is imported."""
    assert PACKAGE not in sys.modules, f"{PACKAGE} is imported already"
    sys.meta_path.insert(0, Finder)
