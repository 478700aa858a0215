"""Your own files: JSON lines, CSV, TSV, two-column CoNLL, a `datasets` folder or a hub id.

What a file is, is read from its content, never from its ending: the layout from its first lines
(`file_layouts`), the columns from their names or, where two columns are left, from the length of
their texts (`file_columns`), the task type from the labels of train (`file_labels`, `file_tags`).
`Data.notes` tells all of it, and every choice has an option (`file_options`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdbench.data import corpora
from kdbench.data.readers import Record, unique_ids
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.tasks.file_columns import Columns, describe, find_columns
from kdbench.tasks.file_labels import LabelReader, read_labels
from kdbench.tasks.file_layouts import Part, open_parts
from kdbench.tasks.file_options import FilesOptions
from kdbench.tasks.file_tags import read_tags


def load(options: LoadOptions) -> Data:
    """The given files; where there is no dev file, a seeded share of train is dev."""
    settings: FilesOptions = options.settings or FilesOptions()
    parts = open_parts(options.files, settings)
    train = parts["train"].records
    columns = find_columns(train, settings)
    if columns.tags:
        labelling = read_tags(train, columns, settings.repair)
    else:
        labelling = read_labels(train, columns)
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


def layout_notes(parts: Mapping[str, Part], columns: Columns, task_type: str) -> list[str]:
    """How train was read, and the layout of the splits that have another."""
    layout = parts["train"].layout
    notes = [f"read as {task_type}: {describe(layout, columns)}"]
    notes += [f"{split}: {part.layout}" for split, part in parts.items() if part.layout != layout]
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
            text="" if words else record.text(columns.text),
            pair=record.text(columns.pair) if columns.pair else None,
            group=record.id(columns.group) if columns.group else id))
    return tuple(examples)


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
    how_to_get="give --train FILE and --test FILE (JSON lines, CSV, TSV, CoNLL, a datasets folder "
               "or a hub id)",
)
