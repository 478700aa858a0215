"""Text from elsewhere, made harmless where it is shown.

A label, a text, a path or an error's reason can hold what a terminal obeys (escape sequences), what
a spreadsheet computes (`=cmd|...`), what a browser runs (`<script>`) or what breaks a table (a line
break). Each form of output has its rule here, and is made in one place:

    a terminal, a file of text   `visible`, by the streams of the command line (`neutral_streams`)
    a cell of a table            `one_line`
    CSV                          `csv_cell`
    markdown                     `without_html`
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import TextIO

# what a terminal obeys (C0 but for tab and line feed, DEL, C1), what turns the order of letters
# round, and halves of a pair, which no encoding can write
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# a line break, by any of its names
BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of one
# what a browser takes for the start of a tag, a comment or a declaration
TAG = re.compile(r"<(?=[A-Za-z/!?])")


def visible(text: str) -> str:
    """`text` with what a terminal obeys written as its code, ``\\u001b``.

    This is how JSON escapes it too: inside JSON it changes no value.
    """
    return OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """`text` with a blank for each line break, as a cell of a table holds it."""
    return BREAKS.sub(" ", text)


def csv_cell(value: object) -> object:
    """A value for a CSV file: text on one line, behind an apostrophe where a spreadsheet would
    compute it. Numbers, also those written as text, stay as they are.
    """
    if not isinstance(value, str):
        return value
    line = visible(one_line(value))
    computed = value.startswith(FORMULA) or line.lstrip().startswith(FORMULA[:4])
    return f"'{line}" if computed and not is_number(line) else line


def is_number(text: str) -> bool:
    """Does `text` say a number and nothing else?"""
    try:
        float(text)
    except ValueError:
        return False
    return True


def without_html(text: str) -> str:
    """Markdown in which no HTML is left: a browser shows the tags as text."""
    return TAG.sub("&lt;", text)


# ---- streams -------------------------------------------------------------------------------------


class Neutral(io.TextIOBase):
    """A stream that writes what it gets to `raw`, made `visible`.

    bars  a carriage return may lead a text: libraries rewrite their progress bars so
    """

    def __init__(self, raw: TextIO, bars: bool = False):
        self.raw, self.bars = raw, bars

    def write(self, text: str) -> int:
        """Write `text`, what a terminal obeys as codes."""
        lead = "\r" if self.bars and text.startswith("\r") else ""
        self.raw.write(lead + writable(visible(text[len(lead):]), self.raw))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self.raw.flush()

    def isatty(self) -> bool:
        """Whether the stream behind is a terminal."""
        return self.raw.isatty()

    def fileno(self) -> int:
        """The file descriptor of the stream behind."""
        return self.raw.fileno()

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream behind."""
        return self.raw.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream behind treats what it cannot encode."""
        return self.raw.errors


def writable(text: str, stream: TextIO) -> str:
    """`text` with what the stream's encoding lacks written as codes."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextlib.contextmanager
def neutral_streams() -> Iterator[None]:
    """While the block runs, nothing reaches standard output or error that a terminal obeys."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Neutral(before[0]), Neutral(before[1], bars=True)
    try:
        yield
    finally:
        # after a broken pipe there is another one in its place, which has to stay
        if isinstance(sys.stdout, Neutral):
            sys.stdout = before[0]
        sys.stderr = before[1]


def raw_stream(stream: TextIO) -> TextIO:
    """The stream behind a neutral one, for the program's own control of the terminal."""
    return stream.raw if isinstance(stream, Neutral) else stream
