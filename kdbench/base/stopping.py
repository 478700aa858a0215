"""Signals that ask a run to stop: SIGTERM, and SIGUSR1, which job schedulers send ahead of a limit.

Inside a training the step in progress is finished and a checkpoint written first. Everywhere else
the run stops at once: what it was at is short, and is done again.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

REQUEUE = 85  # the exit code after which a scheduler's script puts the job back into the queue
TERMINATED = 128 + signal.SIGTERM


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
    """Stop well at SIGTERM (exit 143) and at SIGUSR1 (exit 85); with `requeue` at both with 85.

    Outside the main thread nothing changes, as Python takes signals there alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _state.requeue = requeue
    signal.signal(signal.SIGTERM, on_signal)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, on_signal)


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
    gentle = _state.requeue or number != signal.SIGTERM
    return Stopped(number, REQUEUE if gentle else TERMINATED)


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
