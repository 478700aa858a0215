"""Your own files: any file or folder that `kdbench.data.layouts` reads, or a hub id.

What a file is, is read from its content, never from its ending: the layout from its first lines
(`kdbench.data.layouts`), the columns from their names or, where two columns are left, from the
length of their texts (`file_columns`), the task type from the labels of train (`file_labels`,
`file_tags`). `Data.notes` tells all of it, and every choice has an option (`file_options`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.registry import TASKS
from kdbench.data import corpora, word_rules
from kdbench.data.layouts import Part, open_layout
from kdbench.data.layouts.part import UNANNOTATED
from kdbench.data.layouts.tables import TEXTS
from kdbench.data.readers import Record, shown, unique_ids
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task
from kdbench.tasks.file_columns import Columns, by_name, describe, find_columns
from kdbench.tasks.file_labels import Labelling, LabelReader, alike, read_labels
from kdbench.tasks.file_options import FilesOptions
from kdbench.tasks.file_rows import read_rows
from kdbench.tasks.file_spare import numbered, open_train, say_what_lacks, unlabelled_rows
from kdbench.tasks.file_tags import read_tags

LONGEST_NAME = 60
# what decides how a file of the same kind is read
KEPT_OPTIONS = ("encoding", "repair", "label_separator")


def load(options: LoadOptions) -> Data:
    """The given files; where there is no dev or test file, a seeded share of train is that split.
    """
    settings: FilesOptions = options.settings or FilesOptions()
    check_name(settings.name)
    parts, spare = open_parts(options.files, settings)
    first = next(iter(parts.values()))  # train; dev, where no row of train has a label
    settings = replace(settings, group_column=settings.group_column or first.group)
    columns = find_columns(first.records, settings)
    labelling = labelling_of(parts, columns, settings)
    examples = {split: build(part.records, columns, labelling.read)
                for split, part in parts.items()}
    notes = layout_notes(parts, columns, labelling.task_type)
    notes += alike(labelling.labels)
    notes += split_off(examples, settings, options.seed)
    data = Data(examples.get("train", ()), examples["dev"], examples["test"], labelling.labels,
                notes=tuple(notes), sha256={split: part.sha256 for split, part in parts.items()},
                reading=reading_of(first, columns, settings))
    return data if spare is None else with_spare(data, spare, columns)


def with_spare(data: Data, spare: Part, columns: Columns) -> Data:
    """`data` with the rows of train that have no label as its rest."""
    count, rows = len(spare.records), len(spare.records) + len(data.train)
    labels = "" if data.train else ", and labels are those of dev"
    data = replace(data, notes=tuple(note for note in data.notes
                                     if not note.startswith(UNANNOTATED)))
    return replace(data, rest=unlabelled_rows(spare, columns, data),
                   sha256={**data.sha256, "train": spare.sha256},
                   notes=(*data.notes, f"train: {count:,} of {rows:,} rows have no label, and are "
                          f"unlabelled text{labels}"))


def check_name(name: str) -> None:
    """`BadInput` where a corpus cannot be called so in tables."""
    if name in TASKS and name != "files":
        raise BadInput(f"--name {name}: a task here has this name; give your corpus another")
    if not name.isprintable() or set(name) & set("/\\|<>") or len(name) > LONGEST_NAME:
        raise BadInput(f"--name {shown(name)}: give up to {LONGEST_NAME} characters on one line, "
                       "without slashes and | < >")


def open_parts(files: Mapping[str, Path],
               settings: FilesOptions) -> tuple[dict[str, Part], Part | None]:
    """The given files, and the other splits of a folder or hub id that is given as train.

    Beside them the rows of train that have no label, where the options let them pass; where none
    has one, train is not among the splits.
    """
    if "train" not in files:
        raise BadInput("task files: no training file; give --train FILE (and --dev FILE and "
                       "--test FILE)")
    path = files["train"]
    divided = None
    if settings.without_label == "text":
        divided = open_train(path, open_split(files, "dev", settings), settings)
    train, spare = divided or (open_layout(path, "train", settings), None)
    parts = {"train": train} if train is not None else {}
    for split in SPLITS[1:]:
        part = open_split(files, split, settings, next(iter(parts.values()), None))
        if part is not None and divided is not None:
            part = replace(part, records=numbered(part.records, settings))
        if part is not None:
            parts[split] = part
    if train is None:
        say_what_lacks(parts, path)
    return parts, spare


def open_split(files: Mapping[str, Path], split: str, settings: FilesOptions,
               like: Part | None = None) -> Part | None:
    """Dev or test, read like train; None where there is none."""
    given = split in files
    if not given and not (like.whole if like is not None else files["train"].is_dir()):
        return None
    return open_layout(files[split] if given else files["train"], split, settings, like,
                       needed=given)


def labelling_of(parts: Mapping[str, Part], columns: Columns, settings: FilesOptions) -> Labelling:
    """Task type and labels, by train and the splits that `labels_from` names."""
    first = next(iter(parts))
    wanted = SPLITS if "all" in settings.labels_from else (first, *settings.labels_from)
    records = [record for split, part in parts.items() if split in wanted
               for record in part.records]
    declared = parts[first].declared.get(columns.tags or columns.labels[0], ())
    if columns.tags:
        return read_tags(records, columns, settings.repair, declared)
    return read_labels(records, columns, declared)


def split_off(examples: dict[str, tuple[Example, ...]], settings: FilesOptions,
              seed: int) -> list[str]:
    """Take the splits that have no file from train; says what was taken."""
    notes = []
    rows = len(examples.get("train", ()))
    for split, share in (("test", settings.split_test), ("dev", settings.split_dev)):
        if split not in examples:
            examples["train"], examples[split] = corpora.split(examples["train"], share, seed,
                                                               split)
            notes.append(f"no {split} file: {len(examples[split]):,} of the {rows:,} rows of "
                         f"train, by seed {seed}")
    return notes


def reading_of(train: Part, columns: Columns, settings: FilesOptions) -> dict[str, Any]:
    """How train was read, for files that the student is asked about later."""
    return {
        "columns": asdict(columns), "fields": list(train.records[0].fields),
        "headed": train.headed, "layout": train.layout, "decided": dict(train.decided),
        "options": {name: getattr(settings, name) for name in KEPT_OPTIONS},
    }


def layout_notes(parts: Mapping[str, Part], columns: Columns, task_type: str) -> list[str]:
    """How train was read, and where the other splits differ from it."""
    train = next(iter(parts.values()))
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
    read_rows=read_rows,
    how_to_get="give --train FILE, and --dev FILE and --test FILE where you have them (JSON, CSV, "
               "TSV, tags, spans of annotation tools, parquet, a datasets folder or a hub id)",
)
