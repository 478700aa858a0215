"""What a reader has to know of a teacher before reading what a student keeps of it."""

from __future__ import annotations

from collections.abc import Iterable

from kdbench.base import render as show
from kdbench.base.render import Value
from kdbench.report.groups import Group, naive_score
from kdbench.report.rows import Line, Row, beats_naive
from kdbench.score.metrics import METRICS

MUCH = 1.05  # of the teacher's score: what a student rarely keeps of a teacher that is one


def teacher_notes(group: Group, lines: Iterable[Line]) -> list[str]:
    """A note for each teacher that scores no better than without reading, and one for the students
    that keep more than `MUCH` of theirs.
    """
    notes = []
    floor = show.points(Value.of([naive_score(group, "test")]))
    for row in group.rows:
        if row.is_teacher and not row.part and not beats_naive(row):
            score = show.points(Value.of(row.scores().values()))
            answers = not any(record.get("artefact", "older") for record in row.records.values())
            where = "what it answers" if answers else "how its head was used"
            notes.append(
                f"{group.task}: the teacher {row.student} scores {score} on test and the naive "
                f"predictor {floor}, so that no share of the teacher's score is given; look at "
                f"{where}")
    metric = METRICS.get(group.metric)
    if metric is not None and not metric.higher_is_better:
        return notes
    much = [line for line in lines if keeps_much(line.row, line)]
    if much:
        shares = ", ".join(f"{line.name} {show.percent(line.values['retained'])}" for line in much)
        notes.append(
            f"{group.task}: kept is above {MUCH:.0%} ({shares}): a teacher so far below its "
            "student was hardly trained, or its labels are not the task's (--teacher-labels)")
    return notes


def keeps_much(row: Row, line: Line) -> bool:
    """Is this a student that keeps more than `MUCH` of its teacher's score?"""
    share = line.values.get("retained")
    return row.is_student and share is not None and share.mean > MUCH
