"""The machine: its processor, and its lock, as a latency is measured while no other work runs.

Several trainings may run at the same time, a measurement only alone. So trainings take the lock as
readers and a measurement takes it as a writer.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import ReadWriteLock


def machine_lock() -> ReadWriteLock:
    """This user's lock file on this machine."""
    from filelock import ReadWriteLock

    # the temporary folder is shared, and nobody may write to another user's file
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return ReadWriteLock(Path(tempfile.gettempdir()) / f"kdbench-{user}.lock.db")


@contextlib.contextmanager
def measuring(timeout: float = -1) -> Iterator[None]:
    """Hold the machine for one measurement: no other one, and no `training()`, runs meanwhile.

    Waits for those that run, `timeout` seconds at most (-1: as long as it takes), then raises
    `filelock.Timeout`. A process must not take it inside its own `training()`.
    """
    with machine_lock().write_lock(timeout):
        yield


@contextlib.contextmanager
def training(timeout: float = -1) -> Iterator[None]:
    """Hold the machine for a training: other trainings may run meanwhile, measurements wait."""
    with machine_lock().read_lock(timeout):
        yield


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
