"""CSV and TSV files: which delimiter, is there a header, are the quotes text.

The delimiter is a tab where the first line has one, else the comma or semicolon that gives it more
columns. In a TSV file a quote is text, unless the file is just what a CSV writer would write: every
field in quotes, every field but numbers, or only those that need them. Then the quotes go.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence

from kdbench.data import readers
from kdbench.data.layouts.part import Part, Settings
from kdbench.data.readers import Record, Source, shown

TEXTS = ("sentence1", "text1", "premise", "question1", "question", "text", "sentence", "note",
         "abstract", "er_dhx", "comment_text", "note_text", "body")
LABELS = ("label", "labels", "class", "target", "category", "score", "similarity")
WORDS, TAGS = {"tokens", "words"}, {"ner_tags", "tags"}
IDS = ("id", "idx", "guid")
NAMES = {"\t": "TSV", ",": "CSV", ";": "CSV with semicolons"}


def read(source: Source, settings: Settings, like: Part | None = None) -> Part:
    """The rows of a table by column name; ``column 1``, ... where it has no header.

    Raises `BadInput` where no delimiter is found, or a row has other columns than the first.
    """
    first = next(line for line in source.lines if line.strip())
    delimiter = find_delimiter(source, first)
    quoted = delimiter == "\t" and is_quoted(source)
    headed = like.headed if like is not None else None
    if settings.header != "auto":
        headed = settings.header == "yes"
    elif headed is None:
        headed = has_header(_rows(source, delimiter, quoted, header=False))
    records = _rows(source, delimiter, quoted, headed)
    name = "TSV with quoted fields" if quoted else NAMES[delimiter]
    return Part(records, f"{name} {'with' if headed else 'without'} header", source.sha256,
                headed=headed)


def _rows(source: Source, delimiter: str, quoted: bool, header: bool) -> list[Record]:
    if not quoted:
        return readers.table(source, delimiter, header)
    rows = list(_quoted_rows(source))
    line, names = rows[0]
    if not header:
        names = [""] * len(names)
    names = [name.strip() or f"column {i}" for i, name in enumerate(names, 1)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise source.mistake(line, f"two columns are called {shown(twice)}",
                           "give every column a name of its own")
    records = []
    for line, row in rows[1:] if header else rows:
        if len(row) != len(names):
            raise source.mistake(line, f"{len(row)} columns instead of {len(names)}",
                               "give every row all columns")
        records.append(Record(source, line, dict(zip(names, row, strict=True))))
    if not records:
        raise source.mistake(line, "a header and no rows", "give a file with at least one row")
    return records


def _quoted_rows(source: Source) -> list[tuple[int, list[str]]]:
    """The rows of a TSV file with CSV's quotes, each with its first line."""
    reader = csv.reader((line + "\n" for line in source.lines), delimiter="\t", strict=True)
    rows = []
    start = 1
    for row in reader:
        if row:
            rows.append((start, row))
        start = reader.line_num + 1
    return rows


def is_quoted(source: Source) -> bool:
    """Would a CSV writer write this TSV file just so, with quotes in it?"""
    lines = [line for line in source.lines if line.strip()]
    if not any('"' in line for line in lines):
        return False
    try:
        rows = [row for _, row in _quoted_rows(source)]
    except csv.Error:
        return False
    text = "".join(line + "\n" for line in lines)
    if len({len(row) for row in rows}) != 1:
        return False
    return any(_written(rows, way) == text for way in ("all", "not numbers", "needed"))


def _written(rows: Sequence[Sequence[str]], way: str) -> str:
    """The rows as text, with quotes around all fields, all but numbers, or where needed."""
    lines = []
    for row in rows:
        fields = []
        for value in row:
            bare = way == "not numbers" and is_number(value)
            if way == "needed":
                bare = not any(char in value for char in '\t\n\r"')
            fields.append(value if bare else '"' + value.replace('"', '""') + '"')
        lines.append("\t".join(fields) + "\n")
    return "".join(lines)


def find_delimiter(source: Source, first: str) -> str:
    """Tab, comma or semicolon; `BadInput` where the first line has none of them."""
    if "\t" in first:
        return "\t"
    counts = {}
    start = first[:readers.FIELD_LIMIT]
    for delimiter in (",", ";"):
        counts[delimiter] = len(next(csv.reader([start], delimiter=delimiter), []))
    best = max(counts, key=counts.__getitem__)
    if counts[best] < 2:
        raise source.mistake(1, "neither JSON lines nor columns (tab, comma, semicolon)",
                           "give one of these layouts, with a text and its label in every row")
    return best


def has_header(rows: Sequence[Record]) -> bool:
    """Has the first row a known column name, or a value that its column never has again?

    A column of labels repeats itself, so the column with the fewest values decides.
    """
    first = [str(value).strip().lower() for value in rows[0].fields.values()]
    if set(first) & {*TEXTS, *LABELS, *IDS} or set(first) & WORDS and set(first) & TAGS:
        return True
    names = list(rows[0].fields)
    values = []
    for name in names:
        values.append({row.fields[name] for row in rows[1:]})
    fewest = min(range(len(values)), key=lambda i: len(values[i]))
    value = rows[0].fields[names[fewest]]
    if all(map(is_number, values[fewest])):
        return not is_number(value)
    return value not in values[fewest] and len(values[fewest]) < len(rows) - 1


def is_number(value: str) -> bool:
    """A finite number?"""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
