"""In which layout a file holds its rows: JSON lines, CSV, TSV, two columns or a `datasets` folder.

The layout is read from the content, never from the ending of the name.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base.errors import BadInput
from kdbench.data.readers import Record, Source, json_lines, read, table, two_columns
from kdbench.data.task import SPLITS
from kdbench.tasks.file_columns import IDS, LABELS, TEXTS
from kdbench.tasks.file_labels import is_number
from kdbench.tasks.file_options import FilesOptions
from kdbench.tasks.file_tags import TAG

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SPLIT_NAMES = {"train": ("train",), "dev": ("validation", "dev", "val"), "test": ("test",)}
DELIMITED = {"\t": "TSV", ",": "CSV", ";": "CSV with semicolons"}


@dataclass(frozen=True)
class Part:
    """One split as rows, with the layout that they are in."""

    records: Sequence[Record]
    layout: str
    sha256: str
    headed: bool = False


def open_parts(files: Mapping[str, Path], settings: FilesOptions) -> dict[str, Part]:
    """The given files, and what a `datasets` folder or hub id given as train has besides."""
    if "train" not in files:
        raise BadInput("task files: no training file; give --train FILE --test FILE (and --dev "
                       "FILE)")
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
    """The rows of one file, folder or hub id.

    headed  does it have a header row? None: decide it from the rows
    """
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
    return open_table(source, find_delimiter(source, first), settings, headed)


def open_table(source: Source, delimiter: str, settings: FilesOptions,
               headed: bool | None) -> Part:
    """The rows of a CSV or TSV file; `headed` as in `open_part`, but the options come first."""
    if settings.header != "auto":
        headed = settings.header == "yes"
    elif headed is None:
        headed = has_header(table(source, delimiter, header=False))
    layout = f"{DELIMITED[delimiter]} {'with' if headed else 'without'} header"
    return Part(table(source, delimiter, headed), layout, source.sha256, headed)


def is_hub_id(path: Path) -> bool:
    """Is it ``owner/name``, and no path here: nothing of that name, no folder `owner`, no ending of
    a file?
    """
    named = bool(re.fullmatch(r"[\w.-]+/[\w.-]+", path.as_posix()))
    return named and not path.parent.exists() and not path.suffix


def looks_tagged(source: Source) -> bool:
    """Do nearly all lines have two columns of which the second is a tag? (Nearly: a file with one
    bad tag is still read as such, so that the message can name the tag.)
    """
    lines = [line for line in source.lines if line.strip() and not line.startswith("-DOCSTART-")]
    tags = []
    for line in lines:
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) == 2 and TAG.fullmatch(columns[1].strip()):
            tags.append(columns[1].strip())
    return len(tags) >= 0.9 * len(lines) and "O" in tags


def find_delimiter(source: Source, first: str) -> str:
    """Tab, comma or semicolon, by the first line; `BadInput` where none of them parts it."""
    if "\t" in first:
        return "\t"
    counts = {delimiter: len(next(csv.reader([first], delimiter=delimiter), []))
              for delimiter in (",", ";")}
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
    first = list(rows[0].fields.values())
    if {str(value).strip().lower() for value in first} & {*TEXTS, *LABELS, *IDS}:
        return True
    columns = []
    for name in rows[0].fields:
        columns.append({row.fields[name] for row in rows[1:]})
    fewest = min(range(len(columns)), key=lambda i: len(columns[i]))
    value, others = first[fewest], columns[fewest]
    if all(map(is_number, others)):
        return not is_number(value)
    return value not in others and len(others) < len(rows) - 1


def open_dataset(path: Path, split: str, needed: bool = True) -> Part | None:
    """A split of a `datasets` folder (`save_to_disk`) or of a hub id; class numbers are read as
    their names.

    None where the split is missing and not `needed`.
    """
    import datasets

    dataset = load_dataset(path)
    if isinstance(dataset, datasets.DatasetDict):
        name = next((name for name in SPLIT_NAMES[split] if name in dataset), None)
        if name is None:
            if not needed:
                return None
            raise BadInput(f"{path}: no split {split} (there: {', '.join(dataset)}); name its "
                           f"file with --{split}")
        dataset = dataset[name]
    elif not needed:
        return None
    if not len(dataset):
        raise BadInput(f"{path}: split {split} is empty; give one with at least one row")
    rows = [decoded(row, dataset.features) for row in dataset]
    lines = [json.dumps(row, sort_keys=True, default=str) for row in rows]
    source = Source(path, (), hashlib.sha256("\n".join(lines).encode()).hexdigest())
    records = [Record(source, i, row) for i, row in enumerate(rows, 1)]
    return Part(records, "datasets rows", source.sha256)


def load_dataset(path: Path) -> Dataset | DatasetDict:
    """What lies in the folder, or what the hub has under the id.

    No remote code is run: `datasets` has no loading scripts any more.
    """
    import datasets

    try:
        if path.is_dir():
            return datasets.load_from_disk(str(path))
        return datasets.load_dataset(path.as_posix())
    except Exception as error:  # readers, network and hub have many errors of their own
        what = ("folder written by save_to_disk" if path.is_dir() else
                "file or folder, nor to be had from the hub")
        raise BadInput(f"{path}: no {what} ({type(error).__name__}); give a file, such a folder "
                       "or a hub id") from None


def decoded(row: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the names of classes in the place of their numbers.

    features  of the data set, by column: a class label knows its names, a list has one inside
    """
    values = dict(row)
    for name, feature in features.items():
        inner = getattr(feature, "feature", None)
        names = getattr(feature, "names", None) or getattr(inner, "names", None)
        if names and isinstance(values[name], list):
            values[name] = [class_name(item, names) for item in values[name]]
        elif names:
            values[name] = class_name(values[name], names)
    return values


def class_name(value: Any, names: Sequence[str]) -> Any:
    """The name of a class number; what is no class number (-1: no label) stays as it is."""
    return names[value] if isinstance(value, int) and value >= 0 else value
