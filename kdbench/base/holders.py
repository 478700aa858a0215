"""Who holds a lock, and a wait that says for whom.

A lock is only a lock; beside it lies a note of the process that has it: its id and what it does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.base import reading
from kdbench.base.activity import doing

if TYPE_CHECKING:
    from filelock import BaseFileLock


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock.

    what     what it does, for people
    since    seconds since the epoch
    machine  a hash of the machine's name
    """

    pid: int
    what: str
    since: float
    machine: str

    @classmethod
    def now(cls, what: str) -> Holder:
        """This process."""
        return cls(os.getpid(), what, time.time(), this_machine())

    @property
    def here(self) -> bool:
        """Is it a process of this machine?"""
        return self.machine == this_machine()

    @property
    def alive(self) -> bool:
        """Does it run? Of a process on another machine that is not known, and yes is the answer.

        A process that began later than the note has only got the same number.
        """
        if not self.here:
            return True
        import psutil

        try:
            return psutil.Process(self.pid).create_time() <= self.since + 1
        except psutil.Error:
            return False

    def __str__(self) -> str:
        where = "" if self.here else " on another machine"
        return f"pid {self.pid}{where} ({self.what})"


def this_machine() -> str:
    """A hash of this machine's name: enough to tell whether a process id means anything here."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextlib.contextmanager
def noted(path: Path, what: str) -> Iterator[None]:
    """A note at `path` that this process holds what the note lies beside, while the block runs.

    A note that cannot be written is left out: it only explains.
    """
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(asdict(Holder.now(what))), encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def read(path: Path) -> Holder | None:
    """The holder that a note tells of; None where there is none, or it has ended."""
    try:
        holder = Holder(**reading.json_object(path))
        return holder if isinstance(holder.pid, int) and holder.alive else None
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def held(lock: BaseFileLock, what: str) -> Iterator[None]:
    """Hold a file's lock for `what`, and say for whom it waits where another process has it."""
    from filelock import Timeout

    note = note_of(Path(lock.lock_file))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        with doing(lambda: waiting_for([read(note)], what), soon=True):
            lock.acquire()
    try:
        with noted(note, what):
            yield
    finally:
        lock.release()


def note_of(lock: Path) -> Path:
    """Where the note of a lock's file lies."""
    return lock.with_suffix(".json")


def waiting_for(holders: list[Holder | None], what: str) -> str:
    """The line of a wait."""
    known = [str(holder) for holder in holders if holder is not None]
    return f"{what}: waiting for {', '.join(known) or 'another process'}"
