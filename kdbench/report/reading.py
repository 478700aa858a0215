"""Has the teacher read what the student is tested on? The column, and the caption."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.base.registry import TASKS
from kdbench.models.encoders import KINDS, NO, YES, encoder_of, of_encoder
from kdbench.report.rows import Row, nested

ABOUT = ("has the teacher read texts as those of the test split, or some of them, before: yes, no "
         "or not known")


def teacher_read(row: Row) -> str:
    """What the row's records say; of one that is older than that, what its teacher's name says.
    Empty where there is no teacher.
    """
    found = [stated(row, seed) for seed in row.seeds]
    return ", ".join(dict.fromkeys(filter(None, found)))


def stated(row: Row, seed: int) -> str:
    """What one record says."""
    record = row.records[seed]
    state = nested(record, "models", "teacher_read", "state")
    if state is not None:
        return str(state)
    name = row.student if row.is_teacher else row.teacher_name
    if not name:
        return ""
    if nested(record, "data", "kind") == "lookalike":
        return NO
    task = row.cell["task"]
    texts = TASKS.get(task).texts if task in TASKS else ""
    return of_encoder(encoder_of(name), texts).state


def caption(rows: Sequence[Row]) -> list[str]:
    """In words, which teachers have read texts as those of the test split, or may have, as the
    records say it. None of older records.
    """
    found: dict[str, list[str]] = {}
    kind = ""
    for row in rows:
        name = row.student if row.is_teacher else row.teacher_name
        for record in row.records.values():
            said = nested(record, "models", "teacher_read") or {}
            state = said.get("state")
            if name and state not in (None, NO) and name not in found.setdefault(state, []):
                found[state].append(name)
                kind = f" ({KINDS[said['texts']]})" if said.get("texts") in KINDS else ""
    yes, others = found.pop(YES, []), [name for names in found.values() for name in names]
    if yes:
        more = f", not known of {', '.join(others)}" if others else ""
        return [f"has read texts like those of test{kind}: {', '.join(yes)}{more}"]
    if others:
        return [f"whether it has read texts like those of test{kind} is not known of the teacher "
                f"{', '.join(others)}"]
    return []
