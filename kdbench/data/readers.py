"""Files to records, checked on the way: a mistake is reported with file, line and remedy.

There are four layouts: JSON lines, CSV, TSV (a quote is text there) and two columns a word (CoNLL).
A byte-order mark, CRLF line ends, blank lines and a last line without its newline are no mistakes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.reading import LINE_LIMIT, parsed
from kdbench.data import tags as schemes

# characters of one cell of a table; a million words are below it. csv's own limit is 131,072
FIELD_LIMIT = 10_000_000
csv.field_size_limit(FIELD_LIMIT)
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Source:
    """A text file as read: lines without their ends, and the checksum of its bytes."""

    path: Path
    lines: tuple[str, ...]
    sha256: str

    def mistake(self, line: int, what: str, remedy: str) -> BadInput:
        """The error to raise for a line: where it is, what is wrong, what to do."""
        return BadInput(f"{self.path}:{line}: {what}; {remedy}")


def shown(value: object, most: int = 60) -> str:
    """`value` for a message: on one line and cut after `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def read(path: str | Path) -> Source:
    """The file's lines.

    Raises `BadInput` where it cannot be read, is empty, is not UTF-8, or has a NUL or a line longer
    than `LINE_LIMIT`.
    """
    path = Path(path)
    raw = reading.content(path, reading.TEXT_LIMIT)
    reading.check_content(path, raw)
    parts = raw.split(b"\n")
    lines = [_decode(path, number, part) for number, part in enumerate(parts, 1)]
    lines = lines[:-1] if lines[-1] == "" else lines
    if not any(line.strip() for line in lines):
        raise BadInput(f"{path}: the file is empty; give one with at least one record")
    return Source(path, tuple(lines), hashlib.sha256(raw).hexdigest())


def _decode(path: Path, number: int, raw: bytes) -> str:
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in raw:
        raise BadInput(
            f"{path}:{number}: a NUL byte; save the file as UTF-8 text (UTF-16 is full of NULs)")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}:{number}: byte {error.start + 1} of the line is not UTF-8; "
                       "save the file as UTF-8") from None
    return line.removesuffix("\r")


@dataclass(frozen=True)
class Record:
    """One row of a file, with its place for messages about mistakes."""

    source: Source
    line: int
    fields: Mapping[str, Any]
    vertical: bool = False  # one word a line: word i stands on line `line + i`

    def mistake(self, what: str, remedy: str) -> BadInput:
        """The error to raise for this row: where it is, what is wrong, what to do."""
        return self.source.mistake(self.line, what, remedy)

    def value(self, name: str) -> Any:
        """A field of the row, of any type."""
        if name not in self.fields:
            there = ", ".join(map(str, self.fields)) or "none"
            raise self.mistake(f"no field {name!r}", f"the fields here are {shown(there, 120)}")
        return self.fields[name]

    def text(self, name: str) -> str:
        """A field that is a text, neither blank nor impossible to encode."""
        value = self.value(name)
        if not isinstance(value, str):
            raise self.mistake(f"{name} is {shown(value)}, not text", "give a text in quotes")
        if not value.strip():
            raise self.mistake(f"{name} is empty", "give a text or remove the row")
        return self.clean(name, value)

    def clean(self, name: str, value: str, most: int = LINE_LIMIT) -> str:
        """`value` of at most `most` characters, checked for what a JSON escape can hold and UTF-8
        text cannot: a NUL, or half of a surrogate pair.
        """
        if len(value) > most:
            raise self.mistake(f"{name} has {len(value):,} characters",
                             f"give texts of at most {most:,}")
        if "\0" in value or SURROGATE.search(value):
            raise self.mistake(f"{name} has a NUL or half of a surrogate pair",
                             "remove the escape from the text")
        return value

    def id(self, name: str = "id") -> str:
        """A field that is a text or a whole number, as text."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise self.mistake(f"{name} is {shown(value)}, neither text nor a whole number",
                             "give every row its id")
        return self.clean(name, str(value))

    def number(self, name: str) -> float:
        """A field that is a finite number, or a text that is one."""
        value = self.value(name)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.mistake(f"{name} is {shown(value)}, not a finite number", "give a number")
        return number

    def index(self, name: str, labels: Mapping[str, int]) -> int:
        """The index of a label; a whole number in JSON is read as its text."""
        value = self.value(name)
        label = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(label, str) or label not in labels:
            raise self.mistake(f"unknown {name} {shown(value)}",
                             f"the task's are {', '.join(labels)}")
        return labels[label]

    def hot(self, name: str, width: int) -> tuple[int, ...]:
        """A vector of `width` zeros and ones."""
        value = self.value(name)
        if not isinstance(value, list) or not all(map(is_bit, value)):
            raise self.mistake(f"{name} is {shown(value)}, not a list of 0 and 1",
                             "give one 0 or 1 a label")
        if len(value) != width:
            raise self.mistake(f"{name} has {len(value)} values", f"give {width}, one a label")
        return tuple(value)


def is_bit(item: object) -> bool:
    """Whether a value of JSON is the number 0 or 1."""
    return type(item) is int and item in (0, 1)


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Whether a value of JSON is a list of texts, none of them empty."""
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def tagged_words(record: Record, words: str, tags: str, known: Collection[str], scheme: str,
                 repair: bool = False) -> tuple[tuple[str, ...], list[str]]:
    """The words of a sentence and their tags.

    words, tags  the fields that hold them
    known        the tags that may occur
    scheme       the scheme that the tags must follow; with `repair` they are made to
    """
    lists = []
    for name in (words, tags):
        value = record.value(name)
        if not is_texts(value):
            raise record.mistake(f"{name} is {shown(value)}, not a list of texts",
                               "give one text a word")
        lists.append([record.clean(name, item) for item in value])
    if not lists[0]:
        raise record.mistake(f"{words} is empty", "give a word or remove the row")
    if len(lists[0]) != len(lists[1]):
        raise record.mistake(f"{len(lists[0])} {words} but {len(lists[1])} {tags}",
                           "give one tag a word")
    for i, tag in enumerate(lists[1]):
        if tag not in known:
            raise _at_word(record, i, f"unknown tag {shown(tag)}",
                           f"the task's are {', '.join(sorted(known))}")
    mistake = schemes.mistake(lists[1], scheme)
    if mistake is not None and not repair:
        i, due = mistake
        raise _at_word(record, i,
                       f"tag {lists[1][i]} of word {i + 1} breaks {scheme}, which has {due} there",
                       "correct it, or let it be repaired with --task-set repair=yes")
    return tuple(lists[0]), schemes.repair(lists[1], scheme) if mistake else lists[1]


def _at_word(record: Record, i: int, what: str, remedy: str) -> BadInput:
    line = record.line + i if record.vertical else record.line
    return record.source.mistake(line, what, remedy)


def json_lines(source: Source) -> list[Record]:
    """The rows of a file with one JSON object a line."""
    records = []
    for number, line in enumerate(source.lines, 1):
        if not line.strip():
            continue
        try:
            fields = parsed(line)
        except ValueError as error:
            where = ""
            if isinstance(error, json.JSONDecodeError):
                where = f" at character {error.pos + 1}"
            raise source.mistake(number, f"not a JSON object{where}",
                               "give one whole object a line") from None
        if not isinstance(fields, dict):
            raise source.mistake(number, f"a JSON {type(fields).__name__}, not an object",
                               "give one object a line")
        records.append(Record(source, number, fields))
    return records


def table(source: Source, delimiter: str, header: bool = True) -> list[Record]:
    """The rows of a CSV or TSV file, by column name.

    Unnamed columns, and all columns without a header, are ``column 1``, ``column 2``, ... In a TSV
    file a quote is text. In a CSV file quoted fields may run over several lines.
    """
    rows = list(_tab_rows(source) if delimiter == "\t" else _csv_rows(source, delimiter))
    first, names = rows[0]
    names = [name.strip() if header else "" for name in names]
    names = [name or f"column {i}" for i, name in enumerate(names, 1)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise source.mistake(first, f"two columns are called {shown(twice)}",
                           "give every column a name of its own")
    rows = rows[1:] if header else rows
    if not rows:
        raise source.mistake(first, "a header and no rows", "give a file with at least one row")
    for line, row in rows:
        if len(row) != len(names):
            raise source.mistake(line, f"{len(row)} columns instead of {len(names)}",
                               "a delimiter in a text must be quoted (CSV) or removed (TSV)")
    return [Record(source, line, dict(zip(names, row, strict=True))) for line, row in rows]


def _tab_rows(source: Source) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(source.lines, 1):
        if line.strip():
            yield number, line.split("\t")


def _csv_rows(source: Source, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line + "\n" for line in source.lines), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise source.mistake(start, f"a cell of more than {FIELD_LIMIT:,} characters",
                                 "divide the text, or close the quote that was left open"
                                 ) from None
        raise source.mistake(start, f"not a CSV row ({error})",
                           "close every quote; double a quote inside one") from None


def two_columns(source: Source) -> list[Record]:
    """The sentences of a CoNLL file, as `words` and `tags`.

    A line is a word, a tab or blanks, and its tag; a blank line ends a sentence.
    """
    records: list[Record] = []
    open_sentence = False
    for number, line in enumerate(source.lines, 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            open_sentence = False
            continue
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if len(columns) != 2 or not all(columns):
            raise source.mistake(number,
                               f"{len(columns)} columns instead of 2 with something in each",
                               "give a word, a tab and its tag")
        if not open_sentence:
            records.append(Record(source, number, {"words": [], "tags": []}, vertical=True))
            open_sentence = True
        for name, column in zip(("words", "tags"), columns, strict=True):
            records[-1].fields[name].append(column)
    return records


def unique_ids(records: Sequence[Record], name: str = "id") -> list[str]:
    """The ids of the rows; `BadInput` where two are the same, as predictions are kept by id."""
    first: dict[str, int] = {}
    for record in records:
        value = record.id(name)
        if value in first:
            raise record.mistake(f"{name} {shown(value)} is also on line {first[value]}",
                               "give every row its own id")
        first[value] = record.line
    return list(first)
