"""Rows of train without a label: text that a teacher with answers, or a trained one, labels.

A row has none where the field that holds the labels of the others is absent, null, NaN or blank.
Which field that is, the options say, or dev, or the usual names. An empty list is a label, and says
that none holds; so is an empty cell of a table where the other cells list several. Annotation
tools have documents that nobody has annotated (`Part.spare`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.data.layouts import Part, open_layout, raw_rows, settled_rows
from kdbench.data.layouts.label_lists import BRACKETS, MARKS
from kdbench.data.layouts.part import Tally
from kdbench.data.layouts.spanfiles import IDS as SPAN_IDS
from kdbench.data.layouts.spanfiles import TEXTS as SPAN_TEXTS
from kdbench.data.layouts.spanfiles import document_of, span_field
from kdbench.data.layouts.spans import tagged
from kdbench.data.layouts.tables import IDS, LABELS, TEXTS
from kdbench.data.layouts.values import is_missing
from kdbench.data.readers import Record, is_texts, shown
from kdbench.data.task import UNLABELLED, Data, Example
from kdbench.data.word_rules import aligned, cut
from kdbench.tasks.file_columns import (
    GROUPS,
    PAIRS,
    TAGS,
    WORDS,
    Columns,
    by_name,
    find_columns,
    merged,
)
from kdbench.tasks.file_options import FilesOptions

WHOLE = re.compile(r"\s*-?\d+\.0\s*")


def open_train(path: Path, dev: Part | None, settings: FilesOptions
               ) -> tuple[Part | None, Part] | None:
    """Train as rows with a label (None: no row has one), and the rows without; None where all have
    one.

    Raises `BadInput` where no row has a label, and it may stand in a column of an unknown name.
    """
    raw = raw_rows(path, "train", settings)
    if raw is None:
        part = open_layout(path, "train", settings)
        assert part is not None
        return (part, as_spare(part, part.spare(), part)) if part.spare else None
    raw = replace(raw, records=numbered(raw.records, settings))
    fields = label_fields(raw.records, dev, settings)
    raw = replace(raw, records=as_whole_numbers(raw.records, fields))
    if not fields:
        if not refused(path, settings):
            return None
        check_columns(raw, dev, settings)
    spare = [record for record in raw.records if lacks(record, fields)]
    if dev is not None and all(says_nothing(record, fields) for record in raw.records):
        spare = list(raw.records)
    part = labelled_part(raw, spare, settings)
    if part is not None and any(part.decided.get(f"labels of {name}") in (*MARKS, BRACKETS)
                                for name in fields):
        spare = [record for record in spare if lacks(record, fields, blank=False)]
        part = labelled_part(raw, spare, settings)
    return (part, as_spare(raw, spare, part or dev)) if spare else None


def as_whole_numbers(records: Sequence[Record], fields: Sequence[str]) -> Sequence[Record]:
    """The rows with 1 for 1.0 where all labels in cells are written so, and some are missing: as
    pandas writes whole numbers then.
    """
    cells = [record.fields.get(name) for record in records for name in fields]
    given = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if len(given) in (0, len(cells)) or not all(map(WHOLE.fullmatch, given)):
        return records
    found = []
    for record in records:
        own = {name: cell.strip().removesuffix(".0") for name in fields
               if isinstance(cell := record.fields.get(name), str)}
        found.append(replace(record, fields={**record.fields, **own}))
    return found


def as_spare(part: Part, records: Sequence[Record], like: Part | None) -> Part:
    """Rows without a label; texts whose entities others mark are cut as theirs are."""
    if like is None or not like.group:
        return replace(part, records=records)
    documents = [document_of(record, "", number, Tally()) for number, record in enumerate(records)]
    cut_up = tagged(documents, part.layout, part.sha256, Tally(), like)
    return replace(cut_up, notes=())


def refused(path: Path, settings: FilesOptions) -> bool:
    """Can train not be read as rows that all have a label?"""
    try:
        part = open_layout(path, "train", settings)
        assert part is not None
        find_columns(part.records, settings)
    except BadInput:
        return True
    return False


def check_columns(raw: Part, dev: Part | None, settings: FilesOptions) -> None:
    """`BadInput` where rows without a label have columns that nobody knows: one may be the
    label's.
    """
    first = merged(raw.records)
    text = by_name(first, (settings.text_column, *TEXTS, *SPAN_TEXTS)) or ""
    known = {text, settings.pair_column, settings.id_column, settings.group_column,
             *filter(None, (by_name(first, names) for names in
                            (WORDS, IDS, SPAN_IDS, GROUPS, PAIRS.get(text.lower(), ()))))}
    left = [name for name in first.fields if name not in known]
    if left and not (settings.label_column or settings.tags_column):
        name = next(iter(fields_of(dev, settings)), "label")
        raise raw.records[0].mistake(
            f"which column has the label? There are {shown(', '.join(first.fields), 200)}",
            f"say --task-set label_column=NAME; where no row has a label, label_column={name}")


def labelled_part(raw: Part, spare: Sequence[Record], settings: FilesOptions) -> Part | None:
    """The rows of `raw` that are not `spare`; None where all are."""
    left_out = {id(record) for record in spare}
    kept = [record for record in raw.records if id(record) not in left_out]
    return settled_rows(replace(raw, records=kept), settings) if kept else None


def numbered(records: Sequence[Record], settings: FilesOptions) -> list[Record]:
    """The rows with their numbers as ids where they have none, as later some are apart."""
    first = merged(records)
    if settings.id_column or by_name(first, (*IDS, *SPAN_IDS)):
        return list(records)
    return [replace(record, fields={**record.fields, "id": str(number)})
            for number, record in enumerate(records)]


def label_fields(records: Sequence[Record], dev: Part | None,
                 settings: FilesOptions) -> tuple[str, ...]:
    """The fields of train that hold the label of a row, as far as the options, dev or their names
    tell.
    """
    first = merged(records)

    def there(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in first.fields)

    if settings.label_column or settings.tags_column:
        return there(settings.label_column or (settings.tags_column,))
    if of_dev := there(fields_of(dev, settings)):
        return of_dev
    words, tags = by_name(first, WORDS), by_name(first, TAGS)
    if words and tags and isinstance(first.fields[words], list):
        return (tags,)
    own = span_field(records) or by_name(first, LABELS)
    return (own,) if own else ()


def fields_of(dev: Part | None, settings: FilesOptions) -> tuple[str, ...]:
    """The fields that hold the labels of dev, where it is given."""
    if dev is None:
        return ()
    if "entities" in dev.decided:
        return (dev.decided["entities"],)
    columns = find_columns(dev.records, settings)
    return (columns.tags,) if columns.tags else columns.labels


def lacks(record: Record, fields: Sequence[str], blank: bool = True) -> bool:
    """Has the row a value in none of these fields? No tags for words that are there are none.

    blank  is a blank text no value
    """
    words = by_name(record, WORDS)

    def is_none(name: str) -> bool:
        value = record.fields.get(name)
        if value == [] and words and name.lower() in TAGS:
            return bool(record.fields[words])
        return is_missing(value) or blank and isinstance(value, str) and not value.strip()

    return all(map(is_none, fields))


def says_nothing(record: Record, fields: Sequence[str]) -> bool:
    """Has the row no label, or an empty list of them?"""
    return lacks(record, fields) or all(record.fields.get(name) in ([], None, "")
                                        for name in fields)


def unlabelled_rows(spare: Part, columns: Columns, data: Data) -> tuple[Example, ...]:
    """The rows without a label as examples, cut into words as `data` is."""
    found = []
    for number, record in enumerate(spare.records):
        name = columns.id or by_name(record, (*IDS, *SPAN_IDS))
        own = UNLABELLED + (record.id(name) if name else str(number))
        group = record.fields.get(columns.group) if columns.group else None
        if columns.tags:
            text, words = record.fields.get("text") or "", words_of(record, columns, data)
            text = text if isinstance(text, str) and aligned(words, text) is not None else ""
        else:
            text, words = record.text(columns.text), ()
        found.append(Example(own, text, record.text(columns.pair) if columns.pair else None, words,
                             group=own if group in (None, "") else str(group)))
    return tuple(found)


def words_of(record: Record, columns: Columns, data: Data) -> tuple[str, ...]:
    """The words of a row: its own, else those of its text."""
    name = by_name(record, (columns.text, *WORDS))
    if name and isinstance(record.fields[name], list):
        value = record.fields[name]
        if not is_texts(value) or not value:
            raise record.mistake(f"{name} is {shown(value)}, not a list of texts",
                                 "give one text a word")
        return tuple(record.clean(name, word) for word in value)
    name = by_name(record, (columns.text, *TEXTS, *SPAN_TEXTS))
    if name is None:
        there = ", ".join(map(str, record.fields)) or "none"
        raise record.mistake(f"no field with a text (there: {shown(there, 120)})",
                             "give `text` or `tokens`")
    return tuple(cut(record.text(name), data.word_rule.pattern))


def say_what_lacks(parts: dict[str, Part], path: Path) -> None:
    """`BadInput` where no row of train has a label, and dev or test is not given."""
    for split in ("dev", "test"):
        if split not in parts:
            raise BadInput(f"{path}: no row has a label; give --{split} FILE with labels, which "
                           "cannot be drawn from train then")
