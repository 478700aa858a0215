"""How much of a corpus's test split stands in a text that a model was trained on.

Texts are compared as lower-case letters and digits, so that neither blanks nor punctuation hide a
copy. The text is read once, in pieces. Every run of 50 characters holds a gram of 26 that begins at
a multiple of 25, so that only these grams are looked up.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.identity import file_digest
from kdbench.data.task import Data, Example

RUN = 50  # characters in a row that are no accident
SHORTEST = 25  # a shorter text ("see above") recurs by nature
STRIDE, GRAM = 25, 26  # every run of RUN has a gram that begins at a multiple of STRIDE
PIECE = 4_000_000  # characters that are looked through at once
NO_LETTER = re.compile(r"[\W_]+")
REMEDY = "give a text file, one sequence a line"


@dataclass
class Overlap:
    """Counts of a split's distinct texts.

    sha256     of the file that they were looked for in
    lines      of that file
    texts      that were compared
    short      further ones, of fewer than 25 letters and digits, of which `short_exact` are a line
    exact      that stand there whole; of those below 50 characters, as a line of their own
    shared     that share a run of 50 characters with it, or stand there whole
    """

    sha256: str = ""
    lines: int = 0
    texts: int = 0
    short: int = 0
    short_exact: int = 0
    exact: int = 0
    shared: int = 0


@dataclass
class Search:
    """The texts that are looked for, by their grams, and those that were found.

    texts   the distinct ones, as letters and digits
    grams   where each gram of 26 stands: (text, position)
    lines   texts below 50 characters, which are compared with whole lines
    """

    texts: list[str]
    grams: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    lines: dict[str, int] = field(default_factory=dict)
    exact: set[int] = field(default_factory=set)
    shared: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for number, text in enumerate(self.texts):
            if len(text) < RUN:
                self.lines[text] = number
                continue
            for position in range(len(text) - GRAM + 1):
                self.grams[text[position:position + GRAM]].append((number, position))

    def read(self, piece: str) -> None:
        """Look through a piece of the text for runs."""
        for start in range(0, len(piece) - GRAM + 1, STRIDE):
            for number, position in self.grams.get(piece[start:start + GRAM], ()):
                if number not in self.exact:
                    self.compare(number, position, piece, start)

    def compare(self, number: int, position: int, piece: str, start: int) -> None:
        """Note what a text and the piece share around a gram, at `position` of the one and `start`
        of the other.
        """
        text, offset = self.texts[number], start - position
        if offset >= 0 and piece.startswith(text, offset):
            self.exact.add(number)
            self.shared.add(number)
        elif number not in self.shared and run_around(text, position, piece, start) >= RUN:
            self.shared.add(number)

    def line(self, letters: str) -> None:
        """Compare a line with the short texts."""
        number = self.lines.get(letters)
        if number is not None:
            self.exact.add(number)
            self.shared.add(number)


def run_around(text: str, position: int, piece: str, start: int) -> int:
    """How many characters in a row are equal around a gram that both have."""
    first, other = position, start
    while first and other and text[first - 1] == piece[other - 1]:
        first, other = first - 1, other - 1
    last, other = position + GRAM, start + GRAM
    while last < len(text) and other < len(piece) and text[last] == piece[other]:
        last, other = last + 1, other + 1
    return last - first


def letters_of(text: str) -> str:
    """A text as lower-case letters and digits."""
    return NO_LETTER.sub("", text.lower())


def text_of(example: Example) -> str:
    """The letters and digits of an example, its pair behind its text."""
    return letters_of("".join(example.words) or example.text + (example.pair or ""))


def against(examples: Sequence[Example], corpus: Path) -> Overlap:
    """How many of the examples' texts stand in a text file; `BadInput` where it cannot be read."""
    distinct = list(dict.fromkeys(map(text_of, examples)))
    texts = [text for text in distinct if len(text) >= SHORTEST]
    short = {text for text in distinct if len(text) < SHORTEST}
    there: set[str] = set()
    search = Search(texts)
    keep = max(map(len, texts), default=0)
    found = Overlap(texts=len(texts), short=len(distinct) - len(texts))
    waiting, size = "", 0
    parts: list[str] = []
    for line in lines_of(corpus):
        letters = letters_of(line)
        search.line(letters)
        if letters in short:
            there.add(letters)
        parts.append(letters)
        found.lines += 1
        size += len(letters)
        if size >= PIECE:
            piece = waiting + "".join(parts)
            search.read(piece)
            waiting, parts, size = piece[-keep:] if keep else "", [], 0
    search.read(waiting + "".join(parts))
    found.exact, found.shared = len(search.exact), len(search.shared)
    found.short_exact = len(there)
    found.sha256 = file_digest(corpus)
    return found


def test_among(data: Data, unlabelled: Sequence[Example]) -> list[str]:
    """In words, how many of the texts without labels are texts of the test split; nothing where
    none is.
    """
    test = {example.key for example in data.test}
    # a line of text has not been cut into words yet
    test |= {Example("", " ".join(e.words)).key for e in data.test if e.words}
    count = sum(example.key in test for example in unlabelled)
    if not count:
        return []
    return [f"{count:,} of {len(unlabelled):,} texts without labels are texts of test"]


def lines_of(corpus: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, one after another."""
    try:
        reading.check_lines(corpus, reading.STREAM_LIMIT)
        with corpus.open(encoding="utf-8") as stream:
            yield from stream
    except reading.Unreadable as error:
        raise BadInput(f"corpus {error}") from None
    except OSError as error:
        raise BadInput(f"corpus {corpus}: cannot be read ({error.strerror}); {REMEDY}") from None
    except UnicodeDecodeError:
        raise BadInput(f"corpus {corpus}: is not UTF-8; save it as UTF-8 text") from None
