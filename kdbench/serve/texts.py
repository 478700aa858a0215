"""The texts that a student reads, and their words with character offsets."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.data.task import Example
from kdbench.data.word_rules import FORMER, Border, aligned, borders

# a text; a text with its pair; for tags the words of a sentence (a list or a tuple)
PlainText = str | Sequence[str]
Text = PlainText | Example


def plain_text(text: Text) -> PlainText:
    """What a model reads of an example; other texts as they are."""
    if not isinstance(text, Example):
        return text
    return text.words or (text.text if text.pair is None else (text.text, text.pair))


def read_words(text: Text, pattern: str = FORMER) -> tuple[str, list[str], list[Border]]:
    """A tagger's text, its words, and where they stand in it.

    The text of an example that was cut into words is the original one where that is known, so that
    offsets are those of the user's file.
    """
    if isinstance(text, Example) and text.words and text.text:
        known = aligned(text.words, text.text)
        if known is not None:
            return text.text, list(text.words), known
    plain = plain_text(text)
    words, spans = words_of(plain, pattern)
    return plain if isinstance(plain, str) else " ".join(words), words, spans


def words_of(text: PlainText, pattern: str = FORMER) -> tuple[list[str], list[Border]]:
    """Words, with their character offsets [start, end) in the text.

    Given words are taken as they are, joined by single blanks.

    pattern  the regular expression whose matches are the words of a text (`Labels.word_pattern`)
    """
    if isinstance(text, str):
        spans = borders(text, pattern)
        return [text[start:end] for start, end in spans], spans
    words, spans, start = list(text), [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return words, spans
