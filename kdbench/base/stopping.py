"""Signals that ask a run to stop: SIGTERM, SIGHUP of a terminal that is closed, and SIGUSR1, which
job schedulers send ahead of a limit.

Inside a training the step in progress is finished and a checkpoint written first. Everywhere else
the run stops at once: what it was at is short, and is done again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

REQUEUE = 85  # the exit code after which a scheduler's script puts the job back into the queue
# seconds that a worker without its parent has to end its step and write a checkpoint
ORPHAN_SECONDS = 8.0


class Stopped(BaseException):
    """A signal asked this run to stop; `code` is its exit code."""

    def __init__(self, number: int, code: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = code


@dataclass
class State:
    """What this process does at a signal, and the one that waits for the end of a step."""

    requeue: bool = False
    stepping: bool = False
    waiting: int | None = None


_state = State()


def listen(requeue: bool = False) -> None:
    """Stop well at SIGTERM (exit 143), SIGHUP (129) and SIGUSR1 (85); with `requeue` at SIGTERM
    with 85, too. Under nohup SIGHUP stays ignored.

    Outside the main thread nothing changes, as Python takes signals there alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _state.requeue = requeue
    signal.signal(signal.SIGTERM, on_signal)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, on_signal)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, on_signal)


def end_with_parent() -> None:
    """Stop this process as by SIGTERM when its parent has ended, however that was; a worker would
    train on for nobody.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=outlive, args=(parent,), daemon=True).start()


def outlive(parent: BaseProcess) -> None:
    """Wait for the end of `parent`, then end this process: well, or after `ORPHAN_SECONDS`."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(128 + signal.SIGTERM)


def requeue() -> bool:
    """Whether SIGTERM ends this process with the code that asks for another turn."""
    return _state.requeue


def on_signal(number: int, _: object) -> None:
    """Wait for the end of the step, or stop at once; a second signal does not wait."""
    if _state.stepping and _state.waiting is None:
        _state.waiting = number
        return
    raise stopped(number)


def stopped(number: int) -> Stopped:
    """The error that ends the run."""
    again = number == getattr(signal, "SIGUSR1", None)
    again = again or (_state.requeue and number == signal.SIGTERM)
    return Stopped(number, REQUEUE if again else 128 + number)


@contextlib.contextmanager
def in_steps() -> Iterator[None]:
    """Hold signals back until a step's end, so that a step is never cut in two."""
    _state.stepping = True
    try:
        yield
    finally:
        _state.stepping = False
    if _state.waiting is not None:  # it came after the last step
        raise_waiting()


def asked() -> bool:
    """Whether a signal waits for the end of this step."""
    return _state.waiting is not None


def raise_waiting() -> None:
    """Stop for the signal that waits."""
    number, _state.waiting = _state.waiting, None
    assert number is not None
    raise stopped(number)
