"""What the program is doing, said after ten seconds in which it said nothing.

A long piece of work is wrapped in `doing`; while any is, a thread watches standard error. Progress
and single lines (`kdbench.base.progress`) are what it waits for.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kdbench.base.visible import raw_stream, visible, writable

SILENCE_SECONDS = 9.0  # a line comes within ten seconds, also where a thread wakes late
SOON_SECONDS = 2.0  # for a line that explains a wait

REWRITE = "\r\x1b[2K"  # to the beginning of a terminal's line, which is emptied

Label = str | Callable[[], str]


@dataclass(eq=False)
class Activity:
    """A piece of work.

    label  what it is, for people; a function is asked each time; where it is empty others speak
    soon   say it after two seconds already: nobody knows how long it takes
    """

    label: Label
    soon: bool = False
    begun: float = field(default_factory=time.monotonic)
    said: bool = False

    def line(self, now: float) -> str:
        """What is said of it; empty where others speak."""
        label = self.label if isinstance(self.label, str) else self.label()
        return f"{label}, {now - self.begun:.0f}s" if label else ""


class Watch:
    """The activities of this process, the innermost last, and when something was last written."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a forked process does: it has no thread, and does nothing yet."""
        self.stack: list[Activity] = []
        self.last = time.monotonic()
        self.open_line = False
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def begin(self, activity: Activity) -> None:
        """Watch over an activity; the first one starts the thread."""
        with self.changed:
            if not self.stack:
                self.last = time.monotonic()
            self.stack.append(activity)
            self.changed.notify()
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.watch, name="kdbench-watch", daemon=True)
                self.thread.start()

    def end(self, activity: Activity) -> None:
        """An activity is over."""
        with self.changed:
            self.stack.remove(activity)
            self.changed.notify()

    def watch(self) -> None:
        """Speak where it is time to; ends with the last activity."""
        with self.changed:
            while self.stack:
                wait = self.due() - time.monotonic()
                if wait > 0:
                    self.changed.wait(wait)
                else:
                    self.speak()
            self.thread = None

    def due(self) -> float:
        """When the innermost activity is to be told of."""
        activity = self.stack[-1]
        due = self.last + SILENCE_SECONDS
        if activity.soon and not activity.said:
            due = min(due, activity.begun + SOON_SECONDS)
        return due

    def speak(self) -> None:
        """Write the line of the innermost activity."""
        activity, now = self.stack[-1], time.monotonic()
        activity.said, self.last = True, now
        if line := activity.line(now):
            self.write(f"{visible(line)}\n")

    def write(self, text: str, open_line: bool = False) -> None:
        """Write to standard error, on a line of its own.

        text       with `REWRITE` before it, it takes the place of a line; of the rest, what a
                   terminal obeys is written as codes
        open_line  the text is a line that will be rewritten, and does not end yet
        """
        stream = raw_stream(sys.stderr)
        over = REWRITE if text.startswith(REWRITE) else ""
        text = over + writable(visible(text.removeprefix(over)), stream)
        if self.open_line and not over:
            text = f"\n{text}"
        stream.write(text)  # one write: workers share the stream
        stream.flush()
        self.last, self.open_line = time.monotonic(), open_line


WATCH = Watch()


@contextmanager
def doing(label: Label, *, soon: bool = False) -> Iterator[None]:
    """While the block runs and nothing is written for some eight seconds, say what is done.

    Of several processes of one run (torchrun) only the first one speaks.
    """
    silent = os.environ.get("RANK", "0") != "0"
    activity = Activity("" if silent else label, soon)
    WATCH.begin(activity)
    try:
        yield
    finally:
        WATCH.end(activity)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCH.reset)
