"""What cells and processes of one machine share: its time. Latencies are taken while no other work
runs.

Trainings may run beside each other, measurements beside nothing: a lock with readers and writers.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def machine_lock() -> Any:
    from filelock import ReadWriteLock

    # a name for each user: in a shared folder nobody may open another's file for writing
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return ReadWriteLock(Path(tempfile.gettempdir()) / f"kdbench-{user}.lock.db")


@contextlib.contextmanager
def measuring(timeout: float = -1) -> Iterator[None]:
    """Alone on this machine: no other measurement of this user, and no training that holds
    `training()`, meanwhile.

    Waits for them, `timeout` seconds at most (-1: as long as it takes), then raises
    `filelock.Timeout`. A process must not ask for it inside its own `training()`.
    """
    with machine_lock().write_lock(timeout):
        yield


@contextlib.contextmanager
def training(timeout: float = -1) -> Iterator[None]:
    """Beside other trainings, but beside no measurement."""
    with machine_lock().read_lock(timeout):
        yield
