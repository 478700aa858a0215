"""What a record says of its models: digests, and whether the teacher has read the test texts."""

from __future__ import annotations

from typing import Any

from kdbench.models.encoders import NO, Reading
from kdbench.models.has_read import has_read
from kdbench.runs.cell import Cell, identity


def models_of(cell: Cell) -> dict[str, Any]:
    """`models` of a record: digests of both, `texts` of the task and `teacher_read`, where there is
    a teacher.
    """
    found: dict[str, Any] = {
        "student": identity(cell.student),
        "teacher": identity(cell.teacher) if cell.teacher else None,
    }
    taught = cell.student if cell.role == "teacher" else cell.teacher
    if taught is not None:
        reading = reading_of(cell)
        found["teacher_read"] = {"texts": cell.task.texts, "state": reading.state,
                                 "why": reading.why}
    return found


def reading_of(cell: Cell) -> Reading:
    """Whether the cell's teacher, or the teacher that it is the row of, has read its test texts."""
    if cell.data.origin == "lookalike":
        return Reading(NO, "the texts are generated")
    source = cell.student if cell.role == "teacher" else cell.teacher
    return has_read(source, cell.task.texts, cell.data.digests["test"])
