"""The rows of a file that a student is asked about: by the readers of training files, but lenient.

Columns are those of the student's training file where this one has them, else found by name.
Labels are the student's. A row may lack its label; one without a text stays, so that row numbers
hold (`kdbench.data.rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.options import build as build_options
from kdbench.data.layouts import Part, open_layout, textfile
from kdbench.data.layouts.part import Lenient, Tally
from kdbench.data.layouts.schemes import is_invisible
from kdbench.data.layouts.tables import IDS, LABELS, TEXTS
from kdbench.data.layouts.values import is_missing
from kdbench.data.readers import Record, shown
from kdbench.data.rows import Row, Rows, Wanted
from kdbench.data.task import Example
from kdbench.tasks.file_columns import (
    GROUPS,
    PAIRS,
    TAGS,
    WORDS,
    Columns,
    by_name,
    describe,
    is_index,
    labelled_columns,
    merged,
)
from kdbench.tasks.file_options import FilesOptions
from kdbench.tasks.file_plain import headed, is_one_column, is_plain, one_column, plain_rows
from kdbench.tasks.file_targets import Target, target_reader


def read_rows(path: Path, wanted: Wanted) -> Rows:
    """The rows of the file at `path`.

    Raises `BadInput` where it cannot be read, has no column of texts, or (`wanted.labelled`) no
    column of labels or a label that the student does not give.
    """
    settings = settings_of(path, wanted)
    if wanted.plain and is_plain(path, settings, wanted):
        refuse_single_texts(path, wanted)
        return plain_rows(path, settings.encoding)
    if wanted.plain and is_one_column(path, settings, wanted):
        return one_column(path, settings.encoding)
    lenient = Lenient(headed(path, settings, wanted), settings.encoding, settings.label_column,
                      settings.text_column, settings.label_separator, wanted.labelled)
    part = open_layout(path, "test", lenient, train_of(wanted.reading))
    assert part is not None
    columns = find_columns(part, settings, wanted)
    read = target_reader(part.records, columns, wanted, settings.repair)
    tally = Tally()
    rows = [row_of(i, record, columns, read, tally) for i, record in enumerate(part.records, 1)]
    how = part.layout if part.records[0].vertical else describe(part.layout, columns)
    return Rows(tuple(rows), (f"read as {how}", *part.notes, *tally.notes()))


def settings_of(path: Path, wanted: Wanted) -> FilesOptions:
    """The options: those given, else those of the training; UTF-8 where the file is in it."""
    trained = dict(wanted.reading.get("options") or {})
    settings: FilesOptions = build_options(FilesOptions, "corrected",
                                           {**trained, **wanted.options}, "task files")
    if "encoding" in wanted.options or not settings.encoding or not path.is_file():
        return settings
    content = textfile.read_bytes(path)
    if is_text(path, content) or not is_text(path, content, settings.encoding):
        return replace(settings, encoding="")
    return settings


def is_text(path: Path, content: bytes, encoding: str = "") -> bool:
    """Is the content text in this encoding (empty: UTF-8)?"""
    try:
        textfile.decoded(path, content, encoding)
    except BadInput:
        return False
    return True


def refuse_single_texts(path: Path, wanted: Wanted) -> None:
    """`BadInput` where the student reads two texts, and a line is one."""
    columns = wanted.reading.get("columns") or {}
    if columns.get("pair"):
        raise BadInput(f"{path}: one text a line, and this student reads two; give a table or JSON "
                       f"lines with {columns['text']!r} and {columns['pair']!r}")


def train_of(reading: Mapping[str, Any]) -> Part | None:
    """The training file as far as others are read like it; None where there was none."""
    if not reading:
        return None
    columns = reading["columns"]
    return Part((), reading["layout"], "", group=columns["group"] or "",
                decided=reading["decided"])


# --- columns --------------------------------------------------------------------------------------


def find_columns(part: Part, settings: FilesOptions, wanted: Wanted) -> Columns:
    """The columns: by option, as in training, by name, else the only one that is left."""
    first = merged(part.records)
    trained = Columns(**(wanted.reading.get("columns") or {"text": ""}))
    known = as_trained(first, settings, trained)
    text = known.text or text_column(first, wanted)
    tags, labels = known.tags, known.labels
    if wanted.labelled and wanted.task_type == "tags":
        tags = tags or by_name(first, TAGS)
    elif wanted.labelled:
        tags = None
        labels = labels or label_columns(first, wanted)
    id = known.id or by_name(first, IDS)
    group = known.group or part.group or by_name(first, GROUPS)
    pair = known.pair or by_name(first, PAIRS.get(text.lower(), ()))
    found = Columns(text, pair, labels, tags, id, group)
    return completed(part.records, first, found, settings, wanted)


def as_trained(first: Record, settings: FilesOptions, trained: Columns) -> Columns:
    """The columns that options name, which must be there, and those of training that are."""
    for name in (settings.text_column, settings.pair_column, *settings.label_column,
                 settings.tags_column, settings.id_column, settings.group_column):
        if name:
            first.value(name)

    def pick(said: str, name: str | None) -> str | None:
        return said or (name if name in first.fields else None)

    labels = trained.labels if {*trained.labels} <= first.fields.keys() else ()
    return Columns(
        pick(settings.text_column, trained.text) or "",
        pick(settings.pair_column, trained.pair), settings.label_column or tuple(labels),
        pick(settings.tags_column, trained.tags), pick(settings.id_column, trained.id),
        pick(settings.group_column, trained.group))


def text_column(first: Record, wanted: Wanted) -> str:
    """The column of the text, or of the words, by its name; empty: none has such a name."""
    words = by_name(first, WORDS) if wanted.task_type == "tags" else None
    if words and isinstance(first.fields[words], list):
        return words
    return by_name(first, TEXTS) or ""


def label_columns(first: Record, wanted: Wanted) -> tuple[str, ...]:
    """The column of the label by its name, or a column of 0 and 1 for each label."""
    if wanted.task_type == "multi" and {*wanted.labels} <= first.fields.keys():
        return tuple(wanted.labels)
    label = by_name(first, LABELS)
    return (label,) if label else ()


def completed(records: Sequence[Record], first: Record, found: Columns, settings: FilesOptions,
              wanted: Wanted) -> Columns:
    """The columns with what only one column is left for; `BadInput` where text or label are open.
    """
    needs_label = wanted.labelled and not (found.tags or found.labels)
    if found.text and not needs_label:
        return found
    if needs_label and wanted.task_type != "tags":
        given = replace(settings, text_column=found.text, id_column=found.id or "")
        open_columns = labelled_columns([first, *records[1:]], given)
        return replace(found, text=open_columns.text, labels=open_columns.labels,
                       pair=found.pair or open_columns.pair)
    names = shown(", ".join(first.fields), 200)
    if needs_label and found.text:
        raise first.mistake(f"which column has the tags? There are {names}",
                            "say --task-set tags_column=NAME")
    taken = {found.id, found.group, found.tags, *found.labels, by_name(first, LABELS)}
    left = [name for name in first.fields if name not in taken and not is_index(records, name)]
    if len(left) != 1:
        raise first.mistake(f"which column has the text? There are {names}",
                            "say --task-set text_column=NAME")
    return replace(found, text=left[0])


# --- rows -----------------------------------------------------------------------------------------


def row_of(number: int, record: Record, columns: Columns, read: Callable[[Record], Target],
           tally: Tally) -> Row:
    """A row of a file as its readers of rows want it."""
    id = id_of(record, columns.id)
    place = f"row {number}"
    texts = [record.fields.get(name) for name in (columns.text, columns.pair) if name]
    if any(map(is_nothing, texts)):
        tally.add("rows without a text, not answered", place)
        return Row(number, id, None)
    target = read(record)
    if target.label is None and target.wanted:
        tally.add("rows without a label, not scored", place)
    name = str(number - 1) if id is None else str(id)
    text = "" if target.words else record.text(columns.text)
    pair = record.text(columns.pair) if columns.pair else None
    group = record.fields.get(columns.group) if columns.group else None
    return Row(number, id, Example(name, text, pair, target.words, target.label,
                                   name if group in (None, "") else str(group)))


def id_of(record: Record, name: str | None) -> str | int | None:
    """The id of a row as the file has it; None where it has none."""
    value = record.fields.get(name) if name else None
    if isinstance(value, float) and value.is_integer():
        return int(value)  # as pandas writes whole numbers beside missing ones
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) and value.strip():
        return record.clean(name or "", value)
    return value if whole else None


def is_nothing(value: object) -> bool:
    """No text, a missing value, blanks alone, or no word that can be seen?"""
    if isinstance(value, list):
        return not any(isinstance(word, str) and not is_invisible(word) for word in value)
    return is_missing(value) or isinstance(value, str) and not value.strip()
