"""Entities as spans of characters, and the words with tags that are made of them.

Examples. A document is one example; a line break and the end of a passage (title, abstract) or of a
sentence that the file marks end an example, except where an entity runs over the break. Every
example knows its document (`group`).

Words. Cut at blanks of any kind. Where an entity of the file begins or ends beside punctuation
inside such a word, punctuation and symbols at the edges of all words are words of their own in the
whole file, so that a comma after a drug is cut off whether an annotator marked the drug or not.
Inside a word nothing is cut (IL-1β and café-mab are one word), except where an entity begins or
ends there: the word is split at the border, and such entities are counted. A file with tokens of
its own (Prodigy, spaCy) keeps these.

Entities. Of those that overlap the longest is kept, of equal ones the first. Blanks at their ends
are cut off. Offsets count code points; where the file has the entities' texts and these are found
only with offsets in UTF-16 units (JavaScript), UTF-8 bytes or with line ends of one character, the
file is read so. Where more than a tenth of the texts are not at their offsets, it is refused.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from kdbench.data import tags, word_rules
from kdbench.data.layouts import schemes
from kdbench.data.layouts.part import Part, Tally, place_of
from kdbench.data.readers import Record, shown
from kdbench.data.word_rules import Border

BLANKS, EDGES, OWN = "blanks", "edges", "own"
SAID = {BLANKS: "words are cut at blanks", OWN: "words are the file's own tokens",
        EDGES: "words are cut at blanks and at punctuation on their edges"}
TRUSTED = 0.1  # share of texts that may not be at their offsets


@dataclass(frozen=True)
class Span:
    """An entity: characters from `start` up to `end`; `text` where the file repeats it."""

    start: int
    end: int
    label: str
    text: str = ""


@dataclass(frozen=True)
class Document:
    """A text with its entities.

    record  the row that it was read from, which names the place of a mistake
    words   borders of the file's own tokens, or None
    breaks  places in the text, beside line breaks, that end an example
    whole   id of the document that this is a passage of; empty: its own
    """

    record: Record
    id: str
    text: str
    spans: Sequence[Span]
    words: Sequence[Border] | None = None
    breaks: Sequence[int] = ()
    whole: str = ""


def tagged(documents: Sequence[Document], layout: str, sha256: str, tally: Tally,
           like: Part | None = None) -> Part:
    """The documents as rows with `id`, `group`, `text`, `tokens` and `ner_tags` (IOB)."""
    first = documents[0].record if documents else None
    notes: list[str] = []
    documents = settle_offsets(documents, notes, tally)
    documents = [clean(document, tally) for document in documents]
    rule = word_rule(documents, like)
    records = []
    for document in documents:
        records += list(examples(document, rule, tally))
    if first is not None and not records:
        raise first.mistake("no document of the file has words", "give texts with entities")
    entities = sum(len(document.spans) for document in documents)
    texts = len({document.whole or document.id for document in documents})
    notes.insert(0, f"{texts:,} documents with {entities:,} entities, {len(records):,} examples; "
                    f"{SAID[rule]}")
    return Part(records, layout, sha256, (*notes, *tally.notes()), group="group",
                decided={"words": rule})


# -- offsets -------------------------------------------------------------------------------------


def _code_points(text: str) -> Sequence[int]:
    return range(len(text) + 1)


def _widths(width: Callable[[str], int]) -> Callable[[str], Sequence[int]]:
    def starts(text: str) -> Sequence[int]:
        return list(accumulate((width(char) for char in text), initial=0))
    return starts


def _line_ends(text: str) -> Sequence[int]:
    ends = [0 if text.startswith("\r\n", i) else 1 for i in range(len(text))]
    return list(accumulate(ends, initial=0))


CODE_POINTS = "code points"
# unit of an offset -> where each character of a text begins in it
UNITS: dict[str, Callable[[str], Sequence[int]]] = {
    CODE_POINTS: _code_points,
    "UTF-16 units": _widths(lambda char: 1 + (char > "\uffff")),
    "UTF-8 bytes": _widths(lambda char: len(char.encode("utf-8", "surrogatepass"))),
    "characters, a line end as one": _line_ends,
}


def settle_offsets(documents: Sequence[Document], notes: list[str],
                   tally: Tally) -> list[Document]:
    """The documents with offsets in code points, by the texts of their entities.

    Raises `BadInput` where an offset is outside of its text, or too many texts are elsewhere.
    """
    missed = {CODE_POINTS: _missed(documents, CODE_POINTS)}
    if missed[CODE_POINTS]:
        missed = {unit: _missed(documents, unit) for unit in UNITS}
    unit = min(missed, key=missed.__getitem__)
    if unit != CODE_POINTS:
        notes.append(f"offsets count {unit}, not code points: only so are the texts of the "
                     "entities at their places")
    settled = [replace(document, spans=_in_code_points(document, unit)) for document in documents]
    given = sum(bool(span.text) for document in documents for span in document.spans)
    for document, span in _misplaced(settled):
        if missed[unit] > TRUSTED * given:
            raise _not_there(document, span, missed[unit], given)
        tally.add("entities whose text is not at their offset, kept by offset",
                  place_of(document.record))
    if not given and any(char > "\uffff" for one in documents for char in one.text if one.spans):
        notes.append("offsets are taken as code points; the texts have characters (emoji) that "
                     "count as two in JavaScript, and the file does not say which was meant")
    return settled


def _misplaced(documents: Iterable[Document]) -> Iterator[tuple[Document, Span]]:
    """The entities whose text is another than the one at their offset."""
    for document in documents:
        for span in document.spans:
            if span.text and not _fits(document.text[span.start:span.end], span.text):
                yield document, span


def _not_there(document: Document, span: Span, missed: int, given: int) -> Exception:
    there = shown(document.text[span.start:span.end], 30)
    return document.record.mistake(
        f"the entity {shown(span.text, 30)} is not at its offset {span.start}, where the text has "
        f"{there}; so are {missed:,} of {given:,}", "give offsets that count characters from 0")


def _missed(documents: Iterable[Document], unit: str) -> int:
    """How many texts of entities are not at their offsets."""
    count = 0
    for document in documents:
        texts = [span for span in document.spans if span.text]
        if not texts:
            continue
        starts = UNITS[unit](document.text)
        for span in texts:
            first, end = bisect_left(starts, span.start), bisect_left(starts, span.end)
            count += not _fits(document.text[first:end], span.text)
    return count


def _fits(there: str, text: str) -> bool:
    """Is it the same text, whatever the tool did with line breaks and blanks?"""
    return there == text or "".join(there.split()) == "".join(text.replace("\\n", " ").split())


def _in_code_points(document: Document, unit: str) -> list[Span]:
    starts = UNITS[unit](document.text)
    spans = []
    for span in document.spans:
        if not 0 <= span.start <= span.end <= starts[-1]:
            raise document.record.mistake(
                f"an entity from {span.start} to {span.end} in a text of {starts[-1]} {unit}",
                "give offsets inside of the text, the end after the last character")
        first, end = span.start, span.end
        if unit != CODE_POINTS:
            first, end = bisect_left(starts, first), bisect_left(starts, end)
        spans.append(Span(first, end, span.label, span.text))
    return spans


# -- entities ------------------------------------------------------------------------------------


def clean(document: Document, tally: Tally) -> Document:
    """The document with entities in order that neither overlap nor begin or end with a blank."""
    place, text = place_of(document.record), document.text
    spans = []
    for span in document.spans:
        inside = text[span.start:span.end]
        start = span.start + len(inside) - len(inside.lstrip())
        end = span.start + len(inside.rstrip())
        if start >= end:
            tally.add("entities without characters, left out", place)
            continue
        if (start, end) != (span.start, span.end):
            tally.add("entities with blanks at their ends, which were cut off", place)
        spans.append(Span(start, end, span.label))
    distinct = list(dict.fromkeys(spans))
    tally.add("entities given twice, kept once", place, len(spans) - len(distinct))
    kept = longest(distinct, len(text))
    tally.add("entities that overlap a longer or an earlier one, left out", place,
              len(distinct) - len(kept))
    return replace(document, spans=kept)


def longest(spans: Sequence[Span], length: int) -> list[Span]:
    """Spans that do not overlap, in order of the text: the longest first, of equal ones the first.

    length  of the text, in characters
    """
    taken = bytearray(length)
    kept = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        if taken.find(1, span.start, span.end) < 0:
            taken[span.start:span.end] = b"\1" * (span.end - span.start)
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)


# -- words ---------------------------------------------------------------------------------------


def word_rule(documents: Sequence[Document], like: Part | None) -> str:
    """How the texts of the file are cut into words: as train was, else by its entities' borders."""
    if documents and all(document.words is not None for document in documents):
        return OWN
    if like is not None and like.decided.get("words") in (BLANKS, EDGES):
        return like.decided["words"]
    needed = any(_beside_punctuation(document) for document in documents)
    return EDGES if needed else BLANKS


def _beside_punctuation(document: Document) -> bool:
    """Does an entity begin or end inside a word, with only punctuation from there to its edge?"""
    borders = word_borders(document.text, BLANKS)
    starts = [first for first, _ in borders]
    for span in document.spans:
        first, _ = borders[bisect_right(starts, span.start) - 1]
        _, end = borders[bisect_left(starts, span.end) - 1]
        for piece in (document.text[first:span.start], document.text[span.end:end]):
            if piece and all(map(word_rules.is_punctuation, piece)):
                return True
    return False


def word_borders(text: str, rule: str) -> list[Border]:
    """First character and end of every word of a text, by the word rule `rule`."""
    return word_rules.borders(text, word_rules.pattern(rule))


def split_at(borders: Sequence[Border], cuts: Sequence[int]) -> list[Border]:
    """The words, split where one of the sorted `cuts` lies inside of one."""
    split: list[Border] = []
    for first, end in borders:
        inside = cuts[bisect_right(cuts, first):bisect_left(cuts, end)]
        points = [first, *inside, end]
        split += list(zip(points[:-1], points[1:], strict=True))
    return split


# -- examples ------------------------------------------------------------------------------------


def examples(document: Document, rule: str, tally: Tally) -> Iterator[Record]:
    """The rows of one document: one, or one for each piece between its breaks."""
    borders = list(document.words) if rule == OWN and document.words is not None \
        else word_borders(document.text, rule)
    cuts = sorted({place for span in document.spans for place in (span.start, span.end)})
    split = split_at(borders, cuts)
    if len(split) > len(borders):
        _count_cut_words(document, borders, tally)
    words = [border for border in split if not _is_invisible(document, border, tally)]
    starts = [first for first, _ in words]
    found = []
    for span in document.spans:
        first, end = bisect_left(starts, span.start), bisect_left(starts, span.end)
        if first < end:
            found.append((first, end, span.label))
    pieces = list(_pieces(document, words))
    for number, (first, end) in enumerate(pieces, 1):
        own = [(one - first, last - first, label) for one, last, label in found
               if first <= one < end]
        yield Record(document.record.source, document.record.line, {
            "id": document.id if len(pieces) == 1 else f"{document.id}.{number}",
            "group": document.whole or document.id,
            "text": document.text[words[first][0]:words[end - 1][1]],
            "tokens": [document.text[one:last] for one, last in words[first:end]],
            "ner_tags": tags.encode(own, end - first, "IOB"),
        })


def _count_cut_words(document: Document, borders: Sequence[Border], tally: Tally) -> None:
    starts, ends = {first for first, _ in borders}, {end for _, end in borders}
    cutting = sum(span.start not in starts or span.end not in ends for span in document.spans)
    tally.add("entities that begin or end inside a word, which was split there",
              place_of(document.record), cutting)


def _is_invisible(document: Document, border: Border, tally: Tally) -> bool:
    word = document.text[border[0]:border[1]]
    if not schemes.is_invisible(word):
        return False
    if not word.isspace():
        tally.add("words left out that nobody sees (blank, zero-width)", place_of(document.record))
    return True


def _pieces(document: Document, words: Sequence[Border]) -> Iterator[Border]:
    """First word and end of each example; no piece is empty and no entity is divided."""
    ends = [first for first, _ in words]
    breaks = {*document.breaks}
    breaks |= {match.start() for match in re.finditer("\n", document.text)}
    places = sorted(breaks)
    starts = [span.start for span in document.spans]
    before = 0
    for place in places:
        i = bisect_right(starts, place) - 1
        if i >= 0 and document.spans[i].start < place < document.spans[i].end:
            continue
        here = bisect_left(ends, place)
        if here > before:
            yield before, here
            before = here
    if before < len(words):
        yield before, len(words)
