"""The texts that a student reads, and their words with character offsets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdbench.data.task import Example

# a text; a text with its pair; for tags the words of a sentence (a list or a tuple)
PlainText = str | Sequence[str]
Text = PlainText | Example

# the corpora split hyphens, brackets and full stops off, so a raw text is split in the same way
WORD = re.compile(r"\w+|[^\w\s]")


def plain_text(text: Text) -> PlainText:
    """What a model reads of an example; other texts as they are."""
    if not isinstance(text, Example):
        return text
    return text.words or (text.text if text.pair is None else (text.text, text.pair))


def words_of(text: PlainText) -> tuple[list[str], list[tuple[int, int]]]:
    """Words, with their character offsets [start, end) in the text.

    Given words are taken as joined by single spaces.
    """
    if isinstance(text, str):
        matches = list(WORD.finditer(text))
        return [match.group() for match in matches], [match.span() for match in matches]
    words, spans, start = list(text), [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return words, spans
