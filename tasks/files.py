"""Bring your own: JSON lines, CSV, TSV, two-column CoNLL, a `datasets` folder or a hub id.

What a file is, is read from its content, never from its ending: the layout from its first lines,
the columns from their names (or, where two columns are left, from the length of their texts), the
kind of task from the labels of train. All of it is said in `Data.notes`, and every choice has an
option.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.options import option
from kdbench.data import corpora, tags
from kdbench.data.readers import (
    Record,
    Source,
    json_lines,
    read,
    shown,
    table,
    tagged_words,
    two_columns,
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
SPLIT_NAMES = {"train": ("train",), "dev": ("validation", "dev", "val"), "test": ("test",)}


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


@dataclass(frozen=True)
class Part:
    """One split as rows, with the layout they were found in."""

    records: Sequence[Record]
    layout: str
    sha256: str
    headed: bool = False


def load(options: LoadOptions) -> Data:
    settings = options.settings or FilesOptions()
    parts = open_parts(options.files, settings)
    columns = find_columns(parts["train"].records, settings)
    task_type, labels, label_of = (read_tags if columns.tags else read_labels)(
        parts["train"].records, columns, settings
    )
    examples = {split: build(part.records, columns, label_of) for split, part in parts.items()}
    notes = [f"read as {task_type}: {describe(parts['train'], columns)}"]
    notes += [
        f"{split}: {part.layout}"
        for split, part in parts.items()
        if part.layout != parts["train"].layout
    ]
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
    parts = {"train": open_part(files["train"], "train", settings)}
    whole = parts["train"].layout.startswith("datasets")
    for split in SPLITS[1:]:
        if split in files:
            parts[split] = open_part(files[split], split, settings, headed=parts["train"].headed)
        elif whole and (part := open_dataset(files["train"], split, needed=False)):
            parts[split] = part
    if "test" not in parts:
        raise BadInput("task files: no test file; give --test FILE")
    return parts


def open_part(path: Path, split: str, settings: FilesOptions, headed: bool | None = None) -> Part:
    """`headed`: has it a header row; None: decide it from the rows."""
    if path.is_dir() or is_hub_id(path):
        part = open_dataset(path, split)
        assert part is not None
        return part
    source = read(path)
    first = next(line for line in source.lines if line.strip())
    if first.lstrip().startswith("{"):
        return Part(json_lines(source), "JSON lines", source.sha256)
    if first.lstrip().startswith("["):
        raise BadInput(f"{path}:1: a JSON list; write one object a line")
    if looks_tagged(source):
        return Part(two_columns(source), "two columns, a word and its tag", source.sha256)
    delimiter = find_delimiter(source, first)
    if settings.header != "auto":
        headed = settings.header == "yes"
    elif headed is None:
        headed = has_header(table(source, delimiter, header=False))
    name = {"\t": "TSV", ",": "CSV", ";": "CSV with semicolons"}[delimiter]
    layout = f"{name} {'with' if headed else 'without'} header"
    return Part(table(source, delimiter, headed), layout, source.sha256, headed)


def is_hub_id(path: Path) -> bool:
    """``owner/name``, which is no path here: nothing of that name, no folder `owner`, no ending of
    a file.
    """
    return (
        bool(re.fullmatch(r"[\w.-]+/[\w.-]+", path.as_posix()))
        and not path.parent.exists()
        and not path.suffix
    )


def looks_tagged(source: Source) -> bool:
    """Do nearly all lines have two columns of which the second is a tag? (Nearly: one bad tag must
    be named, not turn the file into something else.)
    """
    lines = [line for line in source.lines if line.strip() and not line.startswith("-DOCSTART-")]
    columns = [line.split("\t") if "\t" in line else line.split() for line in lines]
    found = [row[1].strip() for row in columns if len(row) == 2 and TAG.fullmatch(row[1].strip())]
    return len(found) >= 0.9 * len(lines) and "O" in found


def find_delimiter(source: Source, first: str) -> str:
    if "\t" in first:
        return "\t"
    counts = {
        delimiter: len(next(csv.reader([first], delimiter=delimiter), []))
        for delimiter in (",", ";")
    }
    best = max(counts, key=counts.__getitem__)
    if counts[best] < 2:
        raise BadInput(f"{source.path}:1: neither JSON lines nor columns (tab, comma, semicolon); "
                       "give one of these layouts, with a text and its label in every row")
    return best


def has_header(rows: Sequence[Record]) -> bool:
    """The first row is a header when it has a known column name, or a value that its column never
    has again.

    A column of labels repeats itself, so the column with the fewest values decides.
    """
    first = [str(value).strip().lower() for value in rows[0].fields.values()]
    if set(first) & {*TEXTS, *LABELS, *IDS}:
        return True
    values = [{row.fields[name] for row in rows[1:]} for name in rows[0].fields]
    fewest = min(range(len(values)), key=lambda i: len(values[i]))
    value = rows[0].fields[list(rows[0].fields)[fewest]]
    if all(map(is_number, values[fewest])):
        return not is_number(value)
    return value not in values[fewest] and len(values[fewest]) < len(rows) - 1


def is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def open_dataset(path: Path, split: str, needed: bool = True) -> Part | None:
    """A split of a `datasets` folder (`save_to_disk`) or of a hub id; class numbers are read as
    their names.

    No remote code is run: `datasets` has no loading scripts any more. None where the split is
    missing and not `needed`.
    """
    import datasets

    try:
        found = (
            datasets.load_from_disk(str(path))
            if path.is_dir()
            else datasets.load_dataset(path.as_posix())
        )
    except Exception as error:  # whatever reader, network or hub raise: to the user it is one thing
        what = (
            "folder written by save_to_disk"
            if path.is_dir()
            else "file or folder, nor to be had from the hub"
        )
        raise BadInput(
            f"{path}: no {what} ({type(error).__name__}); give a file, such a folder or a hub id"
        ) from None
    if isinstance(found, datasets.DatasetDict):
        name = next((name for name in SPLIT_NAMES[split] if name in found), None)
        if name is None:
            if not needed:
                return None
            raise BadInput(
                f"{path}: no split {split} (there: {', '.join(found)}); name its file with "
                f"--{split}"
            )
        found = found[name]
    elif not needed:
        return None
    if not len(found):
        raise BadInput(f"{path}: split {split} is empty; give one with at least one row")
    rows = [decoded(row, found.features) for row in found]
    digest = hashlib.sha256(
        "\n".join(json.dumps(row, sort_keys=True, default=str) for row in rows).encode()
    )
    source = Source(path, (), digest.hexdigest())
    return Part(
        [Record(source, i, row) for i, row in enumerate(rows, 1)], "datasets rows", source.sha256
    )


def decoded(row: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(row)
    for name, feature in features.items():
        names = getattr(feature, "names", None) or getattr(
            getattr(feature, "feature", None), "names", None
        )
        if names and isinstance(values[name], int) and values[name] >= 0:
            values[name] = names[values[name]]
        elif names and isinstance(values[name], list):
            values[name] = [
                names[item] if isinstance(item, int) and item >= 0 else item
                for item in values[name]
            ]
    return values


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
            raise first.mistake("no column of words", "say --task-set text_column=NAME")
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
            raise first.mistake(
                f"which column has the {what}? There are {shown(', '.join(names), 200)}",
                f"say --task-set {what}_column=NAME",
            )
    return Columns(text, pair, labels, id=id, group=group)


def is_index(records: Sequence[Record], name: str) -> bool:
    """An unnamed column that counts the rows, as pandas writes it."""
    return name.startswith("column ") and len(records) > 1 and all(
        record.fields.get(name) == str(i) for i, record in enumerate(records))


def describe(part: Part, columns: Columns) -> str:
    if part.layout.startswith("two columns"):
        return part.layout
    what = [f"{'words' if columns.tags else 'text'} from {columns.text!r}"]
    what += [f"tags from {columns.tags!r}"] if columns.tags else []
    what += [f"pair from {columns.pair!r}"] if columns.pair else []
    what += [f"label from {', '.join(map(repr, columns.labels))}"] if columns.labels else []
    return f"{part.layout}, {', '.join(what)}"


# the words (tags only) and the label of a row
LabelReader = Callable[[Record], tuple[tuple[str, ...], Any]]
Labelling = tuple[str, tuple[str, ...], LabelReader]


def read_tags(records: Sequence[Record], columns: Columns, settings: FilesOptions) -> Labelling:
    """Kind, tag set and the reader of a row's words and tags; scheme and entity types are those of
    train.
    """
    column = columns.tags or ""
    seen = {tag for record in records if isinstance(record.value(column), list)
            for tag in record.fields[column] if isinstance(tag, str) and TAG.fullmatch(tag)}
    scheme = tags.scheme_of(seen)
    labels = tags.tag_set({tags.parts(tag)[1] for tag in seen if tag != "O"}, scheme)
    if len(labels) < 2:
        raise records[0].mistake(
            "no word of the file has an entity tag", "give tags O, B-TYPE, I-TYPE (or IO, or IOBES)"
        )
    places = {tag: i for i, tag in enumerate(labels)}

    def label_of(record: Record) -> tuple[tuple[str, ...], Any]:
        words, found = tagged_words(record, columns.text, column, labels, scheme, settings.repair)
        return words, tuple(places[tag] for tag in found)

    return "tags", labels, label_of


def read_labels(records: Sequence[Record], columns: Columns, settings: FilesOptions) -> Labelling:
    """Kind, label set and the reader of a row's label, from the labels of train."""
    if len(columns.labels) > 1:
        return (
            "multi",
            columns.labels,
            lambda record: ((), tuple(zero_or_one(record, name) for name in columns.labels)),
        )
    name = columns.labels[0]
    values = [record.value(name) for record in records]
    if isinstance(values[0], list):
        return read_sets(records, name)
    found = {class_name(record, name) for record in records}
    labels = sorted(found, key=float) if all(map(is_number, found)) else sorted(found)
    if is_scale(labels, values):
        return "regression", (), lambda record: ((), record.number(name))
    if len(labels) > max(MANY_CLASSES, len(records) / 2):
        raise records[0].mistake(
            f"{len(labels):,} different values of {name} in {len(records):,} rows are no labels",
            "say --task-set label_column=NAME",
        )
    if len(labels) < 2:
        raise records[0].mistake(
            f"{name} is {shown(labels[0])} in every row", "give rows of at least two labels"
        )
    places = {label: i for i, label in enumerate(labels)}

    def label_of(record: Record) -> tuple[tuple[str, ...], Any]:
        label = class_name(record, name)
        if label not in places:
            raise record.mistake(
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
        raise record.mistake(f"{name} is {shown(value)}", "give a label or remove the row")
    return record.clean(name, str(value).strip())


def zero_or_one(record: Record, name: str) -> int:
    value = record.value(name)
    if isinstance(value, bool) or str(value).strip() not in ("0", "1"):
        raise record.mistake(f"{name} is {shown(value)}",
                             "columns of a multi-label task have 0 or 1")
    return int(value)


def read_sets(records: Sequence[Record], name: str) -> Labelling:
    """Label vectors of 0 and 1, or lists of label names."""
    if all(type(item) is int for item in records[0].fields[name]) and records[0].fields[name]:
        width = len(records[0].fields[name])
        return "multi", tuple(map(str, range(width))), lambda record: ((), record.hot(name, width))
    labels = tuple(sorted({label for record in records for label in label_names(record, name)}))
    if not labels:
        raise records[0].mistake(
            f"{name} is empty in every row", "give lists of label names, or of 0 and 1"
        )

    def label_of(record: Record) -> tuple[tuple[str, ...], Any]:
        found = label_names(record, name)
        new = next((label for label in found if label not in labels), None)
        if new is not None:
            raise record.mistake(
                f"unknown {name} {shown(new)}",
                f"those of train are {shown(', '.join(labels), 200)}",
            )
        return (), tuple(int(label in found) for label in labels)

    return "multi", labels, label_of


def label_names(record: Record, name: str) -> list[str]:
    value = record.value(name)
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise record.mistake(f"{name} is {shown(value)}", "give a list of label names in every row")
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
    how_to_get="give --train FILE and --test FILE (JSON lines, CSV, TSV, CoNLL, a datasets folder "
               "or a hub id)",
)
