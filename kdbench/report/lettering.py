"""How much room words take in a picture, and how they are broken into lines.

The reader's browser chooses the font, so widths are upper bounds: Latin letters count as 1, the
full-width letters of East Asian scripts as 2, accents that stand on another letter as 0.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

SIZE = 8.0  # points, of all words in all pictures
LETTER = 4.9  # points that a letter of this size takes
PITCH = 10.0  # points from line to line


def letters(text: str) -> int:
    """The width of `text` in letters."""
    return sum(map(of_one, text))


def of_one(letter: str) -> int:
    """The width of one letter."""
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def points(text: str) -> float:
    """The width of `text` in points."""
    return LETTER * letters(text)


def wrapped(text: str, most: int) -> list[str]:
    """`text` in lines of at most so many letters, broken at spaces where that is possible."""
    lines = [""]
    for word in text.split():
        for piece in pieces(word, most):
            joined = f"{lines[-1]} {piece}".strip()
            if letters(joined) <= most:
                lines[-1] = joined
            else:
                lines.append(piece)
    return lines


def pieces(word: str, most: int) -> Iterator[str]:
    """A word as it is, or cut into parts of at most so many letters."""
    part = ""
    for letter in word:
        if part and letters(part + letter) > most:
            yield part
            part = ""
        part += letter
    yield part
