"""The rows of a file that a student is asked about, as the file has them: with ids, with or without
labels.

Unlike a corpus, such a file may have a single class, rows without a label, ids that repeat, and
rows without a text. What is left open by its content is settled as it was for the student's
training file (`Data.reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.registry import TASKS
from kdbench.data.task import Example, Task

Check = Callable[[Any], bool]


def is_text(value: object) -> bool:
    """A text."""
    return isinstance(value, str)


def is_texts(value: object) -> bool:
    """A list of texts."""
    return isinstance(value, list | tuple) and all(map(is_text, value))


def is_object(value: object) -> bool:
    """An object of JSON."""
    return isinstance(value, dict)


@dataclass(frozen=True)
class Wanted:
    """What a student says of a file that is to be read.

    task_type  single, multi, regression or tags
    labels     the student's, in its own order
    reading    how its training file was read; empty where it had none
    options    options of task `files` by name, over those of the training
    labelled   are labels wanted; without, a column of labels is not looked at
    plain      may the file be plain text, one text a line
    """

    task_type: str
    labels: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    labelled: bool = False
    plain: bool = False

    def __post_init__(self) -> None:
        """`BadInput` where `reading`, which comes from a file, is not what `Data.reading` is."""
        if self.reading and (wrong := wrong_reading(self.reading)):
            raise BadInput(f"how the training file was read: {wrong}; train the student again, or "
                           "delete its task.json to have the file read by itself")


# what `Data.reading` has, and of its columns
PARTS: Mapping[str, Check] = {
    "columns": is_object, "fields": is_texts, "headed": lambda value: value in (None, True, False),
    "layout": is_text, "options": is_object,
    "decided": lambda value: is_object(value) and is_texts(list(value.values())),
}
COLUMNS: Mapping[str, Check] = {
    "text": is_text, "labels": is_texts,
    **dict.fromkeys(("pair", "tags", "id", "group"), lambda value: value is None or is_text(value)),
}


def wrong_reading(reading: Mapping[str, Any]) -> str:
    """What is wrong with an account of how a file was read; empty where nothing is."""
    for name, check in PARTS.items():
        if name not in reading or not check(reading[name]):
            return f"{name} is not what it should be"
    columns = reading["columns"]
    if columns.keys() != COLUMNS.keys():
        return "its columns are not those that are known here"
    wrong = [name for name, check in COLUMNS.items() if not check(columns[name])]
    return f"the column {wrong[0]} is not what it should be" if wrong else ""


@dataclass(frozen=True)
class Row:
    """One row of a file.

    number   counted from 1; of plain text the line
    id       as the file has it; None where it has none
    example  with label None where the row has none; None where the row has no text
    """

    number: int
    id: str | int | None
    example: Example | None


@dataclass(frozen=True)
class Rows:
    """The rows of a file; `notes` say how it was read, one line each."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def reader_task() -> Task:
    """The task that reads users' own files."""
    return TASKS.get("files")
