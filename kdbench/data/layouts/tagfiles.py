"""Tag files: one word a line with its tag, sentences divided by blank lines.

    IL-1β    B-Gene                   word and tag, divided by a tab or by blanks
    IL-1β NN B-NP B-Gene              CoNLL-2003, with -DOCSTART- lines; the last tag column counts
    IL-1β -X- _ B-Gene                label-studio's CoNLL export
    1  IL-1β  B-Gene  -  -            a counter before the word, as in Universal NER
    # id 7c1f domain=en               comments, as in MultiCoNER
    IL-1β,B-Gene                      commas or semicolons, with quotes where a word is one
    B-Gene    IL-1β                   the tag first, where it has a type

A file is one of these when nearly all of its lines have the same number of columns, words have no
blanks in them (in sentences, of tags with a type, up to half may), and a column holds tags of a
scheme (`schemes.scheme_of`), where

- tags with a type (B-Gene, Gene-B) are enough, and
- tags without one (B, I) and bare types (Gene) are tags only in sentences: with blank lines or
  -DOCSTART- lines between the rows. Blood groups (A, B, AB, O) or sentiments of single words, one a
  row, are texts with a label.

Words with part-of-speech tags, or with any labels but no O, are no tag file. Where such a file has
sentences and rows of punctuation alone, it is no list of texts either, and is refused.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kdbench.base.errors import BadInput
from kdbench.base.reading import whole_number
from kdbench.data import tags
from kdbench.data.layouts import schemes
from kdbench.data.layouts.part import Part, Tally
from kdbench.data.readers import Record, Source, shown

DOCSTART = "-DOCSTART-"
BLANKS = re.compile(r"[ \t]+")
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
GLUED = re.compile(r"""[^,;]+[,;]"?(O|[BI][-_].+)""")  # the end of a text and its first tag
WORD_NAMES = ("word", "words", "token", "tokens", "text")
TAG_NAMES = ("tag", "tags", "ner", "ner_tag", "ner_tags", "label", "labels", "iob", "bio")
SURELY_TAGGED, HALF = 0.9, 0.5
BLANK, DELIMITERS = "", ("", ",", ";")  # the first is a tab or blanks
# looked at to decide what a file is
MOST_LINES, MOST_SENTENCES, MOST_COLUMNS, LOOKED_AT = 50_000, 2000, 100, 2000


@dataclass(frozen=True)
class Line:
    """One word with its columns and its place."""

    number: int
    columns: list[str]


@dataclass(frozen=True)
class Found:
    """What the columns of a tag file are."""

    width: int
    word: int
    tag: int
    scheme: str


def read(source: Source, like: Part | None = None) -> Part | None:
    """The sentences of a tag file as rows with `words` and `tags`; None where it is none.

    Raises `BadInput` where a line has other columns than the rest, or where words in sentences have
    labels that are no entity tags.
    """
    for delimiter in delimiters_of(source):
        head = replace(source, lines=source.lines[:LOOKED_AT])  # a long table is not read twice
        tagged = like is not None and "columns" in like.decided
        if delimiter and not tagged and find_columns(list(_sentences(head, delimiter))) is None:
            refuse_other_labels(head, list(_sentences(head, delimiter)))
            continue
        if not delimiter and _has_no_tags(source):
            continue
        sentences = list(_sentences(source, delimiter))
        found = find_columns(sentences) or _as_in_train(sentences, like)
        if not delimiter and found is not None and _is_table(sentences):
            continue
        if found is not None:
            return _part(source, sentences, found, like)
        refuse_other_labels(source, sentences)
    return None


def _is_table(sentences: Sequence[Sequence[Line]]) -> bool:
    """Blanks inside of the cells of a table, as in ``took met,O B-Drug``?"""
    lines = [line for sentence in sentences[:MOST_SENTENCES] for line in sentence]
    glued = sum(any(map(GLUED.fullmatch, line.columns)) for line in lines)
    return glued >= HALF * len(lines)


def delimiters_of(source: Source) -> list[str]:
    """The delimiters that may divide words and tags: those of half of the first lines."""
    lines = [line for line in source.lines[:LOOKED_AT] if line.strip()]
    return [mark for mark in DELIMITERS
            if mark == BLANK or sum(mark in line for line in lines) >= HALF * len(lines)]


def _part(source: Source, sentences: Sequence[Sequence[Line]], found: Found,
          like: Part | None) -> Part:
    scheme = schemes.like_train(found.scheme, like.decided.get("scheme", "") if like else "")
    tally = Tally()
    records = []
    for sentence in sentences:
        record = _record(source, sentence, found, scheme, tally)
        records += [record] if record is not None else []
    notes = [schemes.note(scheme)] if schemes.note(scheme) else []
    return Part(records, layout_name(found), source.sha256, (*notes, *tally.notes()),
                decided={"scheme": scheme, "columns": f"{found.width} {found.word} {found.tag}"})


def _has_no_tags(source: Source) -> bool:
    """Does a long beginning show that this is no tag file? The whole of it need not be divided."""
    if len(source.lines) <= MOST_LINES:
        return False
    head = list(_sentences(replace(source, lines=source.lines[:MOST_LINES])))
    lines = [line for sentence in head for line in sentence]
    if len(lines) < MOST_LINES / 2 or any("O" in line.columns[1:] for line in lines):
        return False
    refuse_other_labels(source, head)
    return True
def has_tags(source: Source) -> bool:
    """Is it a tag file?"""
    return any(find_columns(list(_sentences(source, delimiter))) is not None
               for delimiter in delimiters_of(source))


def layout_name(found: Found) -> str:
    """The columns, for people."""
    if found.width == 2 and found.word == 0:
        return "two columns, a word and its tag"
    return (f"{NUMBERS.get(found.width, found.width)} columns, words from column {found.word + 1} "
            f"and tags from column {found.tag + 1}")


def _as_in_train(sentences: Sequence[Sequence[Line]], like: Part | None) -> Found | None:
    """The columns of train, for a file whose tags show no scheme: all of them may be O."""
    if like is None or "columns" not in like.decided:
        return None
    numbers = [whole_number(number) for number in like.decided["columns"].split()]
    if len(numbers) != 3 or None in numbers or not schemes.is_known(like.decided.get("scheme", "")):
        return None
    width, word, tag = (number or 0 for number in numbers)
    lines = [line for sentence in sentences for line in sentence]
    if max(word, tag) >= width or not all(len(line.columns) == width for line in lines):
        return None
    types = {tags.parts(own)[1] for record in like.records for own in record.fields["tags"]}
    bare = {line.columns[tag] for line in lines} - {schemes.OUTSIDE}
    scheme = "bare" if bare and bare <= types else like.decided["scheme"]
    return Found(width, word, tag, scheme)


def _sentences(source: Source, delimiter: str = BLANK) -> Iterator[list[Line]]:
    words = [line for line in source.lines[:MOST_LINES]
             if line.strip() and not line.startswith(DOCSTART)]
    widths = Counter(len(_columns(line, delimiter)) for line in words)
    width = widths.most_common(1)[0][0] if words else 0
    tabs = sum("\t" in line for line in words) > len(words) / 2
    sentence: list[Line] = []
    for number, line in enumerate(source.lines, 1):
        if not line.strip() or line.startswith(DOCSTART):
            if sentence:
                yield sentence
            sentence = []
            continue
        columns = _columns(line, delimiter)
        other = len(columns) != width or tabs and "\t" not in line
        if not (line.startswith("# ") and other):
            sentence.append(Line(number, columns))
    if sentence:
        yield sentence


def _columns(line: str, delimiter: str = BLANK) -> list[str]:
    if delimiter:
        try:
            row = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # a cell beyond the limit, a return within one: no word and its tag
            row = [line]
        return [column.strip(" ") for column in row]
    columns = line.split("\t") if "\t" in line else BLANKS.split(line.strip(" "))
    return [column.strip(" ") for column in columns]


def find_columns(sentences: Sequence[Sequence[Line]]) -> Found | None:
    """Which columns are words and tags, by the rule of this module; None where there are none."""
    sentences = sentences[:MOST_SENTENCES]
    lines = [line for sentence in sentences for line in sentence]
    if not lines:
        return None
    width, most = Counter(len(line.columns) for line in lines).most_common(1)[0]
    if not 2 <= width <= MOST_COLUMNS or most < SURELY_TAGGED * len(lines):
        return None
    named = _named(lines[0])
    first = named[0] if named else int(width > 2 and _counts(sentences))
    places = [(first, tag) for tag in (*named[1:], *range(width - 1, first, -1))]
    for word, tag in places + [(1, 0)] * (width == 2 and not named):
        columns = [_column(sentence, tag) for sentence in sentences]
        scheme = schemes.scheme_of(columns)
        typed = bool(scheme) and _typed(columns, scheme)
        several = any(len(cell.split()) > 1 and schemes.are_tags(cell.split())
                      for column in columns for cell in column)
        if not scheme or several or word > tag and not typed:
            continue
        single = sum(" " not in line.columns[word] for line in lines if len(line.columns) == width)
        enough = HALF if typed and len(sentences) > 1 else SURELY_TAGGED
        if single >= enough * len(lines) and (typed or len(sentences) > 1):
            return Found(width, word, tag, scheme)
    return None


def _column(sentence: Sequence[Line], place: int) -> list[str]:
    lines = _without_header(sentence)
    return [line.columns[place] for line in lines if len(line.columns) > place]


def _without_header(sentence: Sequence[Line]) -> Sequence[Line]:
    return sentence[1:] if _is_header(sentence[0]) else sentence


def _is_header(line: Line) -> bool:
    return bool(_named(line))


def _named(line: Line) -> tuple[int, ...]:
    """The places of word and tag (the last column called so) by a header; empty: it is none."""
    names = [column.lower() for column in line.columns]
    word = [place for place, name in enumerate(names) if name in WORD_NAMES]
    tag = [place for place, name in enumerate(names) if name in TAG_NAMES]
    return (word[0], tag[-1]) if line.number == 1 and word and tag else ()


def _counts(sentences: Sequence[Sequence[Line]]) -> bool:
    """Does the first column count the words of each sentence?"""
    return all(line.columns[0] == str(i)
               for sentence in sentences for i, line in enumerate(sentence, 1))


def _typed(columns: Sequence[Sequence[str]], scheme: str) -> bool:
    return scheme != "bare" and any("-" in tag for column in columns for tag in column)


def refuse_other_labels(source: Source, sentences: Sequence[Sequence[Line]]) -> None:
    """`BadInput` for words in sentences whose labels are no entity tags, as of parts of speech."""
    if len(sentences) < 3:
        return
    lines = [line for sentence in sentences for line in sentence]
    labels = {line.columns[-1] for line in lines}
    vertical = all(len(line.columns) > 1 and " " not in line.columns[0] for line in lines)
    marks = any(not any(map(str.isalnum, line.columns[0])) for line in lines)
    if vertical and marks and len(labels) <= len(lines) / 2:
        raise source.mistake(
            lines[0].number, "one word a line in sentences, but the labels "
            f"({shown(', '.join(sorted(labels)), 60)}) are no entity tags: O is missing or rare",
            "give O to words outside of entities; for texts with a label take the blank lines out")


def _record(source: Source, sentence: Sequence[Line], found: Found, scheme: str,
            tally: Tally) -> Record | None:
    """The sentence as a row; None where no word is left. Tags are in the scheme of the tasks."""
    words, found_tags = [], []
    lines = _without_header(sentence)
    for line in lines:
        if len(line.columns) != found.width or not line.columns[found.tag]:
            raise _wrong(source, line, found)
        words.append(line.columns[found.word])
        found_tags.append(line.columns[found.tag])
    kept = schemes.words_kept(words)
    found_tags = schemes.converted(found_tags, scheme)
    if not all(kept):
        place = f"{source.path.name}, line {lines[kept.index(False)].number}"
        tally.add("words left out that nobody sees (blank, zero-width)", place, kept.count(False))
        words, found_tags = schemes.without(words, found_tags, schemes.read_as(scheme))
    if not words:
        return None
    return Record(source, lines[0].number, {"words": words, "tags": found_tags}, vertical=True)


def _wrong(source: Source, line: Line, found: Found) -> BadInput:
    return source.mistake(
        line.number,
        f"{len(line.columns)} columns instead of {found.width} with something in each",
        "give a word, a tab and its tag" if found.width == 2 else "give every word all columns")
