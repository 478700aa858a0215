"""The machine: its processor, and its lock, as a latency is measured while no other work runs.

Several trainings may run at the same time, a measurement only alone. So trainings take the lock as
readers and a measurement takes it as a writer.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.base.activity import doing
from kdbench.base.holders import Holder, noted, read, waiting_for

if TYPE_CHECKING:
    from filelock import ReadWriteLock


def notes() -> Path:
    """The folder of notes on who holds the lock, which this user alone may read."""
    lock = machine_lock_file()
    folder = lock.with_name(f".{lock.stem}.holders")
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def machine_lock_file() -> Path:
    """This user's lock file on this machine."""
    # the temporary folder is shared, and nobody may write to another user's file
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"kdbench-{user}.lock.db"


def machine_lock() -> ReadWriteLock:
    """The lock of this user on this machine."""
    from filelock import ReadWriteLock

    return ReadWriteLock(machine_lock_file())


def holders() -> list[Holder]:
    """The other processes that measure or train."""
    found = [read(path) for path in sorted(notes().glob("*.json"))]
    return [holder for holder in found if holder is not None and holder.pid != os.getpid()]


@contextlib.contextmanager
def measuring(timeout: float = -1, what: str = "a latency") -> Iterator[None]:
    """Hold the machine for one measurement: no other one, and no `training()`, runs meanwhile.

    Waits for those that run, `timeout` seconds at most (-1: as long as it takes), then raises
    `filelock.Timeout`. A process must not take it inside its own `training()`. After two seconds
    it says for whom it waits.

    what  what is measured, for those who wait in turn
    """
    with held(machine_lock().write_lock, timeout, what):
        yield


@contextlib.contextmanager
def training(timeout: float = -1, what: str = "a training") -> Iterator[None]:
    """Hold the machine for a training: other trainings may run meanwhile, measurements wait."""
    with held(machine_lock().read_lock, timeout, what):
        yield


@contextlib.contextmanager
def held(
    lock: Callable[[float], AbstractContextManager[None]], timeout: float, what: str
) -> Iterator[None]:
    """Hold one side of the lock, and leave a note while it is held."""
    from filelock import Timeout

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(0))
        except Timeout:
            if timeout == 0:
                raise
            with doing(lambda: waiting_for([*holders()], what), soon=True):
                stack.enter_context(lock(timeout))
        stack.enter_context(noted(notes() / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json", what))
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


def peak_resident_mb() -> float:
    """The most memory that this process has held, in MB of 10^6 bytes.

    Linux tells it of this program alone; what `getrusage` tells there is no less than the process
    held that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except OSError:
        pass
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6, 1)
