"""What one line of a teacher's file says of the words of a sentence, as a probability of each tag.

    probabilities  {tag: [p, ...]}, one a word, null for a word of which nothing is said; or a list
                   of {tag: p}, one a word
    spans          (or entities) [{start, end, label, score}], by characters of the text or by
                   words; the score, 1 where there is none, is the probability of its tags, and the
                   rest is that of O
    tags, ner_tags one tag a word, in any scheme, of the line's own `tokens` or of the example's

Characters are those of the line's text, or else of the example's. A span has to begin and end with
words, but for blanks. The words of one that does not are said nothing of. Of spans that overlap,
the one of the higher score counts, then the longer one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdbench.data.answers import Labels, Said, Unusable, finite, nothing_said, summing_to_one
from kdbench.data.readers import shown
from kdbench.data.tags import encode, lenient_spans, parts, scheme_of
from kdbench.data.task import Example
from kdbench.data.teacher_lines import TEXTS, WORDS, Line, field_of, visible, words_of
from kdbench.data.word_rules import Border, aligned, raw_text

NAMES = ("label", "entity_group", "type", "entity")  # what programs call the label of a span
TAGS = ("tags", "ner_tags")
SPANS = ("spans", "entities")
PREFIXES = frozenset("OBIES")
UNALIGNED, OVERLAPPED = "that begin or end inside of a word", "that another one overlaps"
UNKNOWN = "of a label that the task does not have"
FIRST = 3  # so many places a message names


@dataclass(frozen=True)
class Span:
    """A span of a line: the words [first, end), its type, the probability of its tags."""

    first: int
    end: int
    type: str
    score: float


class TagReader:
    """Reads lines about sentences.

    labels   the tags of the task; spans become tags of their scheme
    by       what offsets count: auto, characters or words
    nameless the one label of all spans of the file, where the task has one type without a name
    spans    how many it has met with; `counts`, those of them that could not be used, by why;
             `first`, where some of these are
    """

    def __init__(self, labels: Labels, by: str = "auto", nameless: str | None = None):
        self.labels, self.by, self.nameless = labels, by, nameless
        self.scheme = scheme_of(labels.names)
        types = (parts(tag)[1] for tag in labels.names if tag != "O")
        self.types = Labels(tuple(dict.fromkeys(types)), labels.renamed)
        self.spans = 0
        self.counts: Counter[str] = Counter()
        self.first: list[str] = []

    def said_by(self, line: Line, example: Example) -> Said:
        """What a line says of the words of an example.

        Raises `BadInput` where it is no sound answer, `Unusable` where it cannot be used here.
        """
        words = len(example.words)
        if "probabilities" in line.fields:
            return Said(self.of_probabilities(line, words), self.offset(line, words))
        if name := field_of(line.record, SPANS):
            return Said(self.of_spans(line, name, example))
        if name := field_of(line.record, TAGS):
            return Said(self.of_tags(line, name, example))
        raise nothing_said(line, "spans, tags or probabilities")

    # --- probabilities ----------------------------------------------------------------------------

    def of_probabilities(self, line: Line, words: int) -> np.ndarray:
        """(W, C) as the line has them."""
        found = np.zeros((words, len(self.labels.names)))
        for tag, column in columns_of(line).items():
            values = numbers(line, f"probabilities of {shown(tag, 40)}", column, words)
            if (values < 0).any():
                raise line.record.mistake(f"a probability of {shown(tag, 40)} is below 0",
                                          "give numbers from 0 to 1")
            if (values > 0).any() or np.isnan(values).any():
                found[:, self.labels.index(tag)] += values
        for word, row in enumerate(found):
            if not np.isnan(row).any():
                found[word] = summing_to_one(line, row, f" of word {word + 1}")
        return found

    def offset(self, line: Line, words: int) -> np.ndarray | None:
        """(W,) the offsets of a line; None where it has none."""
        value = line.fields.get("offset")
        return None if value is None else numbers(line, "offset", value, words)

    # --- tags -------------------------------------------------------------------------------------

    def of_tags(self, line: Line, name: str, example: Example) -> np.ndarray:
        """(W, C) of one tag a word."""
        tags = line.fields[name]
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise line.record.mistake(f"{name} is {shown(tags)}, not a list of tags",
                                      "give one tag a word")
        for word, tag in enumerate(tags, 1):
            if parts(tag)[0] not in PREFIXES:
                raise line.record.mistake(f"{shown(tag, 40)} of word {word} is no tag",
                                          "give O, or B-TYPE and I-TYPE (or IO, or IOBES)")
        field = field_of(line.record, WORDS)
        words = words_of(line.record, field) if field else list(example.words)
        if len(tags) != len(words):
            if field:
                raise line.record.mistake(f"{len(words)} {field} but {len(tags)} {name}",
                                          "give one tag a word")
            raise Unusable("another number of tags than the example has words")
        spans = [Span(first, end, kind, 1.0) for first, end, kind in lenient_spans(tags)]
        if words != list(example.words):
            borders = borders_in(words)
            spans = self.moved(spans, borders, line, example)
        return self.encoded(spans, len(example.words), line)

    def moved(self, spans: Sequence[Span], borders: Sequence[Border], line: Line,
              example: Example) -> list[Span]:
        """Spans by the words of a line as spans by the words of the example: both are the same
        characters, cut otherwise.
        """
        own = borders_in(example.words)
        found = []
        for span in spans:
            place = borders[span.first][0], borders[span.end - 1][1]
            found.append(self.placed(place, own, span.type, span.score))
        return found

    # --- spans ------------------------------------------------------------------------------------

    def of_spans(self, line: Line, name: str, example: Example) -> np.ndarray:
        """(W, C) of the spans of a line, which are in the field `name`."""
        spans = line.fields[name]
        if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
            raise line.record.mistake(f"{name} is {shown(spans)}, not a list of objects",
                                      "give [{start, end, label}, ...]")
        text = field_of(line.record, TEXTS)
        words = field_of(line.record, WORDS)
        by_words = self.by == "words" or (self.by == "auto" and bool(words) and not text)
        if by_words:
            own = words_of(line.record, words) if words else list(example.words)
            length, borders = len(own), [(i, i + 1) for i in range(len(own))]
            if own != list(example.words):
                raise Unusable("words other than those of the example")
        else:
            source = line.record.text(text) if text else raw_text(example)
            length, borders = len(source), aligned(example.words, source) or []
            if not borders:
                raise Unusable("a text that is not cut into the words of the example")
        found = [self.span(line, span, length, borders, None if by_words else source)
                 for span in spans]
        return self.encoded(found, len(example.words), line)

    def span(self, line: Line, span: Mapping[str, object], length: int,
             borders: Sequence[Border], text: str | None) -> Span:
        """One span of a line, by words."""
        start, end = whole(line, span, "start"), whole(line, span, "end")
        if not 0 <= start < end <= length:
            raise line.record.mistake(f"the span {start} to {end} lies outside of the "
                                      f"{'text' if text is not None else 'words'} "
                                      f"(0 to {length}), or is empty",
                                      "end is the place after the last")
        score = span.get("score", 1.0)
        probability = finite(line, "the score of a span", 1.0 if score is None else score)
        if not 0 <= probability <= 1:
            raise line.record.mistake(f"the score of a span is {probability:g}",
                                      "give a number from 0 to 1")
        if text is not None:
            end -= len(text[start:end]) - len(text[start:end].rstrip())
            start += len(text[start:end]) - len(text[start:end].lstrip())
        return self.placed((start, max(end, start)), borders, self.label(line, span), probability)

    def label(self, line: Line, span: Mapping[str, object]) -> str:
        """The label of a span."""
        value = next((span[name] for name in NAMES if span.get(name) is not None), "")
        if not isinstance(value, str):
            raise line.record.mistake(f"the label of a span is {shown(value)}, not text",
                                      "give a label's name")
        return value

    def placed(self, place: Border, borders: Sequence[Border], label: str, score: float) -> Span:
        """The words of a place; of one that ends inside of a word, those that it touches, with the
        score NaN.
        """
        touched = [i for i, (start, end) in enumerate(borders) if start < place[1]
                   and end > place[0]]
        first, last = (touched[0], touched[-1]) if touched else (0, -1)
        if not touched or (borders[first][0], borders[last][1]) != place:
            score = np.nan
        return Span(first, last + 1, label, score)

    def encoded(self, spans: Sequence[Span], words: int, line: Line) -> np.ndarray:
        """(W, C) of spans by words: O elsewhere, NaN where one is not to be used."""
        names = self.labels.names
        found = np.zeros((words, len(names)))
        found[:, names.index("O")] = 1
        taken = np.zeros(words, bool)
        best = sorted(spans, key=lambda span: (-np.nan_to_num(span.score), span.first - span.end,
                                               span.first))
        for span in best:
            place = slice(span.first, span.end)
            self.spans += 1
            if taken[place].any() and not np.isnan(span.score):
                self.counts[OVERLAPPED] += 1
                continue
            if (kind := self.type_of(span, line)) is None:
                found[place][~taken[place]] = np.nan  # a view
                continue
            taken[place] = True
            tags = encode([(0, span.end - span.first, kind)], span.end - span.first, self.scheme)
            found[place] = 0
            found[place, names.index("O")] = 1 - span.score
            for word, tag in enumerate(tags, span.first):
                found[word, names.index(tag)] += span.score
        return found

    def type_of(self, span: Span, line: Line) -> str | None:
        """The type of a span as the task calls it; None where it cannot be used."""
        if np.isnan(span.score):
            self.count(UNALIGNED, f"line {line.record.line}")
            return None
        if self.types.names == ("",) and span.type in ("", self.nameless):
            return ""
        try:
            return self.types.names[self.types.index(span.type)]
        except Unusable:
            where = f"line {line.record.line}, {shown(span.type, 40)}"
            self.count(UNKNOWN, where)
            return None

    def count(self, why: str, where: str) -> None:
        """Count a span that cannot be used."""
        self.counts[why] += 1
        if len(self.first) < FIRST:
            self.first.append(where)


# ---- parts of a line -----------------------------------------------------------------------------


def columns_of(line: Line) -> dict[str, list]:
    """The probabilities of a line, by tag one a word."""
    value = line.fields["probabilities"]
    if isinstance(value, dict) and value:
        return value
    if not isinstance(value, list) or not all(isinstance(row, dict | None) for row in value):
        raise line.record.mistake(f"probabilities is {shown(value)}",
                                  "give {tag: [one number a word, ...], ...}")
    columns: dict[str, list] = {}
    for row in value:
        for tag in row or ():
            columns[tag] = [None if other is None else other.get(tag, 0) for other in value]
    return columns


def numbers(line: Line, what: str, column: object, words: int) -> np.ndarray:
    """(W,) a list of one number a word, NaN where it has null."""
    if not isinstance(column, list):
        raise line.record.mistake(f"{what} is {shown(column)}", "give a list of one number a word")
    if len(column) != words:
        raise Unusable("another number of words than the example has")
    values = np.full(words, np.nan)
    for word, value in enumerate(column):
        if value is not None:
            values[word] = finite(line, f"{what}, word {word + 1},", value)
    return values


def whole(line: Line, span: Mapping[str, object], name: str) -> int:
    """An offset of a span."""
    value = span.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise line.record.mistake(f"{name} of a span is {shown(value)}, not a whole number",
                                  "give offsets from 0 on")
    return value


def borders_in(words: Sequence[str]) -> list[Border]:
    """Where words lie in what can be seen of them."""
    found, place = [], 0
    for word in words:
        end = place + len(visible(word))
        found.append((place, end))
        place = end
    return found


def label_of_all(lines: Sequence[Line]) -> str | None:
    """The label that all spans and tags of a file have; None where they have several, or none."""
    seen: set[str] = set()
    for line in lines:
        spans = line.fields.get(field_of(line.record, SPANS))
        for span in spans if isinstance(spans, list) else ():
            if isinstance(span, dict):
                seen.update(span[name] for name in NAMES if isinstance(span.get(name), str))
        for name in TAGS:
            tags = line.fields.get(name)
            for tag in tags if isinstance(tags, list) else ():
                seen.add(parts(tag)[1] if isinstance(tag, str) else "")
    seen.discard("")
    return seen.pop() if len(seen) == 1 else None
