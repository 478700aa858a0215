"""Tags of a dev or test file in another scheme than train's: IOB beside IOBES, IO beside IOB.

A split whose tags break the scheme of train, while all of them are right in their own, is written
anew in that of train. Where one is wrong in its own scheme too, nothing is changed, and whoever
reads the rows names it.
"""

from __future__ import annotations

from kdbench.data import tags
from kdbench.data.layouts import schemes
from kdbench.data.layouts.context import Context, is_texts

KEY = "scheme of the rows"
BORDERS = " (a border between neighbours of one type is lost)"


def settle(context: Context, name: str) -> None:
    """The tags of the column `name` in the scheme of train's rows."""
    rows = [row for row in context.rows if is_texts(row.get(name))]
    sentences = [list(map(str, row[name])) for row in rows]  # type: ignore[call-overload]
    seen = {tag for sentence in sentences for tag in sentence} - {schemes.OUTSIDE}
    own = tags.scheme_of(seen) if seen else ""
    train = context.before.get(KEY, "")
    if not train:
        context.decided[KEY] = own
    if not train or not seen or own == train or _right(sentences, train):
        return
    if not _right(sentences, own):
        return
    for row, sentence in zip(rows, sentences, strict=True):
        row[name] = tags.encode(tags.lenient_spans(sentence), len(sentence), train)
    context.notes.append(f"tags are {own}, read as {train}, as those of train are"
                         + BORDERS * (train == "IO"))


def _right(sentences: list[list[str]], scheme: str) -> bool:
    """Is every sentence valid in the scheme?"""
    return all(tags.mistake(sentence, scheme) is None for sentence in sentences)
