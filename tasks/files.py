"""Your own files: any file or folder that `kdbench.data.layouts` reads, or a hub id.

What a file is, is read from its content, never from its ending: the layout from its first lines
(`kdbench.data.layouts`), the columns from their names or, where two columns are left, from the
length of their texts (`file_columns`), the task type from the labels of train (`file_labels`,
`file_tags`). `Data.notes` tells all of it, and every choice has an option (`file_options`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.data import corpora, word_rules
from kdbench.data.layouts import Part, open_layout
from kdbench.data.layouts.tables import TEXTS
from kdbench.data.readers import Record, unique_ids
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task
from kdbench.tasks.file_columns import Columns, by_name, describe, find_columns
from kdbench.tasks.file_labels import LabelReader, read_labels
from kdbench.tasks.file_options import FilesOptions
from kdbench.tasks.file_tags import read_tags


def load(options: LoadOptions) -> Data:
    """The given files; where there is no dev file, a seeded share of train is dev."""
    settings: FilesOptions = options.settings or FilesOptions()
    parts = open_parts(options.files, settings)
    train = parts["train"]
    settings = replace(settings, group_column=settings.group_column or train.group)
    columns = find_columns(train.records, settings)
    declared = train.declared.get(columns.tags or columns.labels[0], ())
    if columns.tags:
        labelling = read_tags(train.records, columns, settings.repair, declared)
    else:
        labelling = read_labels(train.records, columns, declared)
    examples = {split: build(part.records, columns, labelling.read)
                for split, part in parts.items()}
    notes = layout_notes(parts, columns, labelling.task_type)
    if "dev" not in parts:
        rows = len(examples["train"])
        examples["train"], examples["dev"] = corpora.split(
            examples["train"], settings.split_dev, options.seed)
        notes.append(f"no dev file: {len(examples['dev']):,} of the {rows:,} rows of train, by "
                     f"seed {options.seed}")
    return Data(examples["train"], examples["dev"], examples["test"], labelling.labels,
                notes=tuple(notes), sha256={split: part.sha256 for split, part in parts.items()})


def open_parts(files: Mapping[str, Path], settings: FilesOptions) -> dict[str, Part]:
    """The given files, and the other splits of a folder or hub id that is given as train."""
    if "train" not in files:
        raise BadInput(
            "task files: no training file; give --train FILE --test FILE (and --dev FILE)")
    train = open_layout(files["train"], "train", settings)
    assert train is not None
    parts = {"train": train}
    for split in SPLITS[1:]:
        given = split in files
        if given or train.whole:
            path = files[split] if given else files["train"]
            part = open_layout(path, split, settings, train, needed=given)
            if part is not None:
                parts[split] = part
    if "test" not in parts:
        raise BadInput("task files: no test file; give --test FILE")
    return parts


def layout_notes(parts: Mapping[str, Part], columns: Columns, task_type: str) -> list[str]:
    """How train was read, and where the other splits differ from it."""
    train = parts["train"]
    how = train.layout if train.records[0].vertical else describe(train.layout, columns)
    notes = [f"read as {task_type}: {how}"]
    notes += [f"{split}: {part.layout}" for split, part in parts.items()
              if part.layout != train.layout]
    notes += train.notes
    for split, part in parts.items():
        notes += [f"{split}: {note}" for note in part.notes if note not in train.notes]
    return notes


def build(records: Sequence[Record], columns: Columns, read: LabelReader) -> tuple[Example, ...]:
    """The rows of a split as examples; without a column of ids the row number is the id."""
    if columns.id:
        ids = unique_ids(records, columns.id)
    else:
        ids = [str(row) for row in range(len(records))]
    examples = []
    for id, record in zip(ids, records, strict=True):
        words, label = read(record)
        examples.append(Example(
            id=id, words=words, label=label,
            text=own_text(record, words) if words else record.text(columns.text),
            pair=record.text(columns.pair) if columns.pair else None,
            group=record.id(columns.group) if columns.group else id))
    return tuple(examples)


def own_text(record: Record, words: Sequence[str]) -> str:
    """The text of a tagged row as it was before it was cut into words; empty where it is unknown.

    It stands in a field with the usual name of a text, and consists of the words.
    """
    column = by_name(record, TEXTS)
    text = record.fields[column] if column else None
    known = isinstance(text, str) and word_rules.aligned(words, text) is not None
    return record.text(column) if column and known else ""


FILES = Task(
    name="files",
    # both are read from the data and set by `kdbench.data.corpora.settled`
    task_type="",
    about="your own files: one label, several labels, a score or tags; one text or a pair",
    metric="",
    load=load,
    unit="row, or what group_column names",
    licence="yours",
    source="yours",
    options=FilesOptions,
    how_to_get="give --train FILE and --test FILE (JSON, CSV, TSV, tags, spans of annotation "
               "tools, parquet, a datasets folder or a hub id)",
)
