"""The rows of a file that a student is asked about, as the file has them: with ids, with or without
labels.

Unlike a corpus, such a file may have a single class, rows without a label, ids that repeat, and
rows without a text. What is left open by its content is settled as it was for the student's
training file (`Data.reading`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdbench.base.registry import TASKS
from kdbench.data.task import Example, Task


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
