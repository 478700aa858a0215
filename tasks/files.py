"""Bring your own: any file or folder that `kdbench.data.layouts` reads, or a hub id.

What a file is, is read from its content, never from its ending: the layout from its first lines,
the columns from their names (or, where two columns are left, from the length of their texts), the
kind of task from the labels of train. All of it is said in `Data.notes`, and every choice has an
option.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.options import option
from kdbench.data import corpora, tags
from kdbench.data.layouts import Part, open_layout
from kdbench.data.readers import (
    Record,
    shown,
    tagged_words,
    unique_ids,
)
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task

WORDS, TAGS = ("tokens", "words"), ("ner_tags", "tags", "labels")
TEXTS = (
    "sentence1",
    "text1",
    "premise",
    "question1",
    "question",
    "text",
    "sentence",
    "note",
    "abstract",
    "er_dhx",
)
PAIRS = {
    "sentence1": ("sentence2",),
    "text1": ("text2",),
    "premise": ("hypothesis",),
    "question1": ("question2",),
    "question": ("context", "passage", "sentence"),
    "text": ("text_pair",),
}
LABELS = ("label", "labels", "class", "target", "category", "score", "similarity")
IDS = ("id", "idx", "guid")
# more different whole numbers are a scale, and more labels than half the rows are not labels
MANY_CLASSES = 20
TAG = re.compile(r"O|[BIES](-.+)?")


@dataclass(frozen=True)
class FilesOptions:
    text_column: str = option(
        "", "column of the text, or of the list of words; empty: found by name"
    )
    pair_column: str = option("", "column of the second text of a pair; empty: found by name")
    label_column: tuple[str, ...] = option(
        (), "column of the label, or several columns of 0 and 1: one a label"
    )
    tags_column: str = option("", "column of the list of tags; empty: found by name")
    id_column: str = option(
        "", "column of the id; empty: `id` where there is one, else the row number"
    )
    group_column: str = option(
        "", "column that statistics resample (document, patient); empty: the row"
    )
    header: str = option(
        "auto", "do CSV and TSV files begin with a header", choices=("auto", "yes", "no")
    )
    split_dev: float = option(
        0.1, "share of train that becomes dev where no dev is given", minimum=0.01, maximum=0.5
    )
    encoding: str = option("", "encoding of text files (cp949, latin-1, ...); empty: UTF-8")
    repair: bool = option(
        False, "read tags that break the scheme as seqeval does instead of refusing them"
    )


@dataclass(frozen=True)
class Columns:
    """Which column is what; `labels` has several names for columns of 0 and 1."""

    text: str
    pair: str | None = None
    labels: tuple[str, ...] = ()
    tags: str | None = None
    id: str | None = None
    group: str | None = None


def load(options: LoadOptions) -> Data:
    settings = options.settings or FilesOptions()
    parts = open_parts(options.files, settings)
    train = parts["train"]
    settings = replace(settings, group_column=settings.group_column or train.group)
    columns = find_columns(train.records, settings)
    read_kind = read_tags if columns.tags else read_labels
    declared = train.declared.get(columns.tags or columns.labels[0], ())
    task_type, labels, label_of = read_kind(train.records, columns, settings, declared)
    examples = {split: build(part.records, columns, label_of) for split, part in parts.items()}
    notes = [f"read as {task_type}: {describe(parts['train'], columns)}"]
    notes += [
        f"{split}: {part.layout}"
        for split, part in parts.items()
        if part.layout != parts["train"].layout
    ]
    notes += train.notes
    for split, part in list(parts.items())[1:]:
        notes += [f"{split}: {note}" for note in part.notes if note not in train.notes]
    if "dev" not in parts:
        whole = len(examples["train"])
        examples["train"], examples["dev"] = corpora.split(
            examples["train"], settings.split_dev, options.seed
        )
        notes.append(
            f"no dev file: {len(examples['dev']):,} of the {whole:,} rows of train, by seed "
            f"{options.seed}"
        )
    return Data(examples["train"], examples["dev"], examples["test"], labels, notes=tuple(notes),
                sha256={split: part.sha256 for split, part in parts.items()})


def open_parts(files: Mapping[str, Path], settings: FilesOptions) -> dict[str, Part]:
    """The given files, and what a `datasets` folder or hub id given as train has besides."""
    if "train" not in files:
        raise BadInput(
            "task files: no training file; give --train FILE --test FILE (and --dev FILE)"
        )
    train = open_layout(files["train"], "train", settings)
    parts = {"train": train}
    for split in SPLITS[1:]:
        path = files.get(split, files["train"])
        if split in files or train.whole:
            part = open_layout(path, split, settings, train, needed=split in files)
            parts |= {split: part} if part is not None else {}
    if "test" not in parts:
        raise BadInput("task files: no test file; give --test FILE")
    return parts


def is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def find_columns(records: Sequence[Record], settings: FilesOptions) -> Columns:
    """Which column is what, by option, by name, or because only it is left; `BadInput` where that
    is open.
    """
    first = records[0]
    names = list(first.fields)
    for name in (
        settings.text_column,
        settings.pair_column,
        *settings.label_column,
        settings.tags_column,
        settings.id_column,
        settings.group_column,
    ):
        if name:
            first.value(name)

    def by_name(candidates: Iterable[str]) -> str | None:
        lower = {name.lower(): name for name in reversed(names)}
        return next((lower[each] for each in candidates if each in lower), None)

    id, group = settings.id_column or by_name(IDS), settings.group_column or None
    words, found_tags = (
        settings.text_column or by_name(WORDS),
        settings.tags_column or by_name(TAGS),
    )
    if settings.tags_column or (words and found_tags and isinstance(first.fields[words], list)):
        if words is None or found_tags is None:
            raise first.wrong("no column of words", "say --task-set text_column=NAME")
        return Columns(words, tags=found_tags, id=id, group=group)
    text, labels = settings.text_column or by_name(TEXTS) or "", settings.label_column
    pair = settings.pair_column or (by_name(PAIRS.get(text.lower(), ())) if text else None)
    if not labels and (label := by_name(LABELS)):
        labels = (label,)
    left = [
        name
        for name in names
        if name not in (text, pair, id, group, *labels) and not is_index(records, name)
    ]
    if not text and not labels and len(left) == 2:
        left.sort(key=lambda name: -sum(len(str(record.fields.get(name))) for record in records))
        text, labels = left[0], (left[1],)
    elif bool(text) != bool(labels) and len(left) == 1:
        text, labels = text or left[0], labels or (left[0],)
    for what, known in (("text", bool(text)), ("label", bool(labels))):
        if not known:
            raise first.wrong(
                f"which column has the {what}? There are {shown(', '.join(names), 200)}",
                f"say --task-set {what}_column=NAME",
            )
    return Columns(text, pair, labels, id=id, group=group)


def is_index(records: Sequence[Record], name: str) -> bool:
    """An unnamed column that counts the rows, as pandas writes it."""
    return name.startswith("column ") and len(records) > 1 and all(
        record.fields.get(name) == str(i) for i, record in enumerate(records))


def describe(part: Part, columns: Columns) -> str:
    if part.records[0].vertical:
        return part.layout
    what = [f"{'words' if columns.tags else 'text'} from {columns.text!r}"]
    what += [f"tags from {columns.tags!r}"] if columns.tags else []
    what += [f"pair from {columns.pair!r}"] if columns.pair else []
    what += [f"label from {', '.join(map(repr, columns.labels))}"] if columns.labels else []
    return f"{part.layout}, {', '.join(what)}"


# the words (tags only) and the label of a row
LabelReader = Callable[[Record], tuple[tuple[str, ...], Any]]
Labelling = tuple[str, tuple[str, ...], LabelReader]


def read_tags(records: Sequence[Record], columns: Columns, settings: FilesOptions,
              declared: Sequence[str] = ()) -> Labelling:
    """Kind, tag set and the reader of a row's words and tags; scheme and entity types are those of
    train.

    declared  tags that the file names, whether a row has them or not
    """
    column = columns.tags or ""
    seen = {tag for record in records if isinstance(record.value(column), list)
            for tag in record.fields[column] if isinstance(tag, str) and TAG.fullmatch(tag)}
    scheme = tags.scheme_of(seen)
    seen |= {tag for tag in declared if TAG.fullmatch(tag)}
    labels = tags.tag_set({tags.parts(tag)[1] for tag in seen if tag != "O"}, scheme)
    if len(labels) < 2:
        raise records[0].wrong(
            "no word of the file has an entity tag", "give tags O, B-TYPE, I-TYPE (or IO, or IOBES)"
        )
    places = {tag: i for i, tag in enumerate(labels)}

    def label_of(record: Record) -> tuple[tuple[str, ...], Any]:
        words, found = tagged_words(record, columns.text, column, labels, scheme, settings.repair)
        return words, tuple(places[tag] for tag in found)

    return "tags", labels, label_of


def read_labels(records: Sequence[Record], columns: Columns, settings: FilesOptions,
                declared: Sequence[str] = ()) -> Labelling:
    """Kind, label set and the reader of a row's label, from the labels of train.

    declared  class names of the file in their own order, whether a row has them or not
    """
    if len(columns.labels) > 1:
        return (
            "multi",
            columns.labels,
            lambda record: ((), tuple(zero_or_one(record, name) for name in columns.labels)),
        )
    name = columns.labels[0]
    values = [record.value(name) for record in records]
    if isinstance(values[0], list):
        return read_sets(records, name, declared)
    found = {class_name(record, name) for record in records}
    labels = sorted(found, key=float) if all(map(is_number, found)) else sorted(found)
    if found <= {*declared}:
        labels = list(declared)
    if is_scale(labels, values):
        return "regression", (), lambda record: ((), record.number(name))
    if len(labels) > max(MANY_CLASSES, len(records) / 2):
        raise records[0].wrong(
            f"{len(labels):,} different values of {name} in {len(records):,} rows are no labels",
            "say --task-set label_column=NAME",
        )
    if len(labels) < 2:
        raise records[0].wrong(
            f"{name} is {shown(labels[0])} in every row", "give rows of at least two labels"
        )
    places = {label: i for i, label in enumerate(labels)}

    def label_of(record: Record) -> tuple[tuple[str, ...], Any]:
        label = class_name(record, name)
        if label not in places:
            raise record.wrong(
                f"unknown {name} {shown(label)}",
                f"those of train are {shown(', '.join(labels), 200)}",
            )
        return (), places[label]

    return "single", tuple(labels), label_of


def is_scale(labels: Sequence[str], values: Sequence[Any]) -> bool:
    """Numbers with fractions, or more whole ones than a set of classes has."""
    if not all(is_number(label) for label in labels) or any(
        isinstance(value, bool) for value in values
    ):
        return False
    return any(not float(label).is_integer() for label in labels) or len(labels) > MANY_CLASSES


def class_name(record: Record, name: str) -> str:
    """A label as text: numbers as they are written, a float without fraction as the whole
    number.
    """
    value = record.value(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, (list, dict)) or not str(value).strip():
        raise record.wrong(f"{name} is {shown(value)}", "give a label or remove the row")
    return record.clean(name, str(value).strip())


def zero_or_one(record: Record, name: str) -> int:
    value = record.value(name)
    if isinstance(value, bool) or str(value).strip() not in ("0", "1"):
        raise record.wrong(f"{name} is {shown(value)}", "columns of a multi-label task have 0 or 1")
    return int(value)


def read_sets(records: Sequence[Record], name: str, declared: Sequence[str] = ()) -> Labelling:
    """Label vectors of 0 and 1, or lists of label names."""
    if all(type(item) is int for item in records[0].fields[name]) and records[0].fields[name]:
        width = len(records[0].fields[name])
        return "multi", tuple(map(str, range(width))), lambda record: ((), record.hot(name, width))
    labels = tuple(sorted({label for record in records for label in label_names(record, name)}))
    labels = tuple(declared) if {*labels} <= {*declared} else labels
    if not labels:
        raise records[0].wrong(
            f"{name} is empty in every row", "give lists of label names, or of 0 and 1"
        )

    def label_of(record: Record) -> tuple[tuple[str, ...], Any]:
        found = label_names(record, name)
        new = next((label for label in found if label not in labels), None)
        if new is not None:
            raise record.wrong(
                f"unknown {name} {shown(new)}",
                f"those of train are {shown(', '.join(labels), 200)}",
            )
        return (), tuple(int(label in found) for label in labels)

    return "multi", labels, label_of


def label_names(record: Record, name: str) -> list[str]:
    value = record.value(name)
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise record.wrong(f"{name} is {shown(value)}", "give a list of label names in every row")
    return [record.clean(name, item) for item in value]


def build(
    records: Sequence[Record], columns: Columns, label_of: LabelReader
) -> tuple[Example, ...]:
    ids = (
        unique_ids(records, columns.id) if columns.id else [str(row) for row in range(len(records))]
    )
    examples = []
    for id, record in zip(ids, records, strict=True):
        words, label = label_of(record)
        examples.append(Example(
            id=id, words=words, label=label,
            text="" if words else record.text(columns.text),
            pair=record.text(columns.pair) if columns.pair else None,
            group=record.id(columns.group) if columns.group else id))
    return tuple(examples)


FILES = Task(
    name="files",
    # read from the data: see `kdbench.data.corpora.settled`, which sets the metric too
    task_type="",
    about="your own files: one label, several labels, a score or tags; one text or a pair",
    metric="",
    load=load,
    unit="row, or what group_column names",
    licence="yours",
    source="yours",
    options=FilesOptions,
    how_to_get="give --train FILE and --test FILE (JSON, CSV, TSV, tags, spans of annotation "
               "tools, parquet, a folder or a hub id)",
)
