"""Progress on standard error: one rewritten line on a terminal, a plain line now and then
elsewhere.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_SECONDS = 2.0  # anything shorter says nothing
LINE_SECONDS = 10.0  # between plain lines


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
        now = time.monotonic()
        wait = 0.2 if self.terminal else LINE_SECONDS
        early = now - self.start < QUIET_SECONDS
        shown_lately = self.shown and now - self.last < wait
        if not self.enabled or early or shown_lately:
            return
        self.last, self.shown = now, True
        rate = (done - self.first) / (now - self.start)
        left = (self.total - done) / rate if rate > 0 else float("inf")
        line = (f"{self.label}: {done:,}/{self.total:,} {self.unit}, {rate:.1f}/s, {clock(left)} "
                f"left{note}")
        sys.stderr.write(f"\r\x1b[2K{line}" if self.terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self, note: str = "") -> None:
        """Say how it ended, where anything was said before."""
        if self.shown and self.enabled:
            line = f"{self.label}: done in {clock(time.monotonic() - self.start)}{note}"
            sys.stderr.write(f"\r\x1b[2K{line}\n" if self.terminal else f"{line}\n")
            sys.stderr.flush()


class Overall:
    """Cells of a grid: which one this is, with the rate and the remaining time of those that were
    not finished before.
    """

    def __init__(self, total: int, finished: int):
        self.total, self.left, self.worked = total, total - finished, 0
        self.start = time.monotonic()

    def label(self, number: int) -> str:
        parts = [f"{number}/{self.total}"]
        if self.worked:
            rate = self.worked / (time.monotonic() - self.start)
            parts += [f"{60 * rate:.2g} cells/min", f"about {clock(self.left / rate)} left"]
        return f"[{', '.join(parts)}] "

    def end(self) -> None:
        """One more has been worked on."""
        self.left, self.worked = self.left - 1, self.worked + 1

    def spent(self) -> str:
        return clock(time.monotonic() - self.start)


def clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")  # one write: workers share the stream
    sys.stderr.flush()


class Phases:
    """Where the time went: seconds by name, with the untracked rest made visible."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.start = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def table(self) -> dict[str, float]:
        total = time.perf_counter() - self.start
        return {**self.seconds, "rest": total - sum(self.seconds.values()), "total": total}
