"""Progress on standard error, and the time that each phase of a run took.

On a terminal progress is one line that is rewritten; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kdbench.base.activity import REWRITE, WATCH
from kdbench.base.visible import visible

QUIET_SECONDS = 2.0  # anything shorter says nothing
REWRITE_SECONDS = 0.2  # between versions of a terminal's line
LINE_SECONDS = 7.0  # between plain lines; before `kdbench.base.activity` finds it too silent


class Progress:
    """`done` of `total` units of work, with rate and remaining time."""

    def __init__(self, label: str, total: int, unit: str = "steps", done: int = 0,
                 enabled: bool = True):
        self.label, self.total, self.unit, self.enabled = label, total, unit, enabled
        self.first = done
        self.start = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.shown = False

    def at(self, done: int, note: str = "") -> None:
        """Show that `done` units are finished, unless a line was shown just before."""
        now = time.monotonic()
        wait = REWRITE_SECONDS if self.terminal else LINE_SECONDS
        early = now - self.start < QUIET_SECONDS
        shown_lately = self.shown and now - self.last < wait
        if not self.enabled or early or shown_lately:
            return
        self.last, self.shown = now, True
        rate = (done - self.first) / (now - self.start)
        left = (self.total - done) / rate if rate > 0 else float("inf")
        self._write(f"{self.label}: {done:,}/{self.total:,} {self.unit}, {rate:.1f}/s, "
                    f"{clock(left)} left{note}")

    def end(self, note: str = "") -> None:
        """Show the time that all took, if progress was shown before."""
        if self.shown and self.enabled:
            spent = clock(time.monotonic() - self.start)
            self._write(f"{self.label}: done in {spent}{note}", last=True)

    def _write(self, line: str, last: bool = False) -> None:
        line = visible(line)
        if self.terminal:
            line = f"{REWRITE}{line}"
        rewritten = self.terminal and not last
        WATCH.write(line if rewritten else f"{line}\n", open_line=rewritten)


class Overall:
    """Progress over the cells of a grid.

    Rate and remaining time are those of the cells that were not finished before.
    """

    def __init__(self, total: int, finished: int):
        self.total, self.left, self.worked = total, total - finished, 0
        self.start = time.monotonic()

    def label(self, number: int) -> str:
        """What stands before each line of cell `number`, counted from 1."""
        parts = [f"{number}/{self.total}"]
        if self.worked:
            rate = self.worked / (time.monotonic() - self.start)
            parts += [f"{60 * rate:.2g} cells/min", f"about {clock(self.left / rate)} left"]
        return f"[{', '.join(parts)}] "

    def end(self) -> None:
        """Count one more cell as finished."""
        self.left, self.worked = self.left - 1, self.worked + 1

    def spent(self) -> str:
        """The time since the grid began."""
        return clock(time.monotonic() - self.start)


def clock(seconds: float) -> str:
    """A time for people: ``42s``, ``3m07s``, ``2h05m``."""
    if seconds == float("inf"):
        return "unknown time"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def say(line: str) -> None:
    """Write one line for the user to standard error."""
    WATCH.write(f"{visible(line)}\n")


_SAID: set[str] = set()
_HUSHED = [False]


def say_once(line: str) -> None:
    """Write one line for the user to standard error, unless this command has written it before."""
    if line not in _SAID and not _HUSHED[0]:
        _SAID.add(line)
        say(line)


@contextmanager
def hushed() -> Iterator[None]:
    """Keep back what `say_once` would say, where many models are only looked at."""
    _HUSHED[0] = True
    try:
        yield
    finally:
        _HUSHED[0] = False


def forget_said() -> None:
    """A new command begins: it may say again what another one has said."""
    _SAID.clear()


class Phases:
    """Seconds by the name of a phase: ``with phases("forward"): ...``."""

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        """`wait` lets an accelerator finish its work, which would count in a later phase."""
        self.wait = wait
        self.seconds: dict[str, float] = {}
        self.start = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.wait()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def table(self) -> dict[str, float]:
        """Seconds of each phase, of the rest that belongs to none, and in total."""
        total = time.perf_counter() - self.start
        return {**self.seconds, "rest": total - sum(self.seconds.values()), "total": total}
