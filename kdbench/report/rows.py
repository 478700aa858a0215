"""Records as rows: one row a configuration, its seeds together."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kdbench.base.registry import METHODS
from kdbench.base.render import Value
from kdbench.score.metrics import METRICS

Record = dict[str, Any]  # of a cell, as the store has it; also a part of one


@dataclass
class Row:
    """Everything of a cell but its seed; or a `part` of it: a method's own teacher, an exported
    form.

    By seed, `records` has the record, and `views` the score, size, latency and cost of this row in
    it (the record itself, or the entry of its part). `content` is the record's: what no name or
    option shows.
    """

    cell: Record
    role: str
    part: str = ""
    content: Record = field(default_factory=dict)
    records: dict[int, Record] = field(default_factory=dict)
    views: dict[int, Record] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The name of its method."""
        return self.cell["method"]

    @property
    def student(self) -> str:
        """The name of its student; of a teacher's row, of the teacher."""
        return self.cell["student"]

    @property
    def teacher_name(self) -> str:
        """The name of the teacher that it learned from; empty where there is none."""
        return self.cell.get("teacher") or ""

    @property
    def settings(self) -> Record:
        """The settings of its training."""
        return self.cell.get("settings") or {}

    @property
    def options(self) -> Record:
        """The options of its method."""
        return self.cell.get("options") or {}

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds, in order."""
        return tuple(sorted(self.views))

    @property
    def is_teacher(self) -> bool:
        """Whether this is a teacher, or an export of one."""
        return self.role == "teacher"

    @property
    def is_student(self) -> bool:
        """Whether this is a trained student, which the table compares; teachers and parts stand
        beside.
        """
        return not self.part and not self.is_teacher

    @property
    def is_deployable(self) -> bool:
        """Whether this is a model or an export of it, not what a method made on its way."""
        return not self.part or self.part in self.export_names()

    def export_names(self) -> set[str]:
        """The names of all exports in its records."""
        exports = (record.get("artefacts") or () for record in self.records.values())
        return {one["name"] for every in exports for one in every}

    @property
    def part_role(self) -> str | None:
        """What a part is: "teacher", "control"; None for an exported form."""
        if not self.part:
            return None
        return next((view.get("role") for view in self.views.values()), None)

    def same_cell(self, other: Row) -> bool:
        """Do both come from the same records?"""
        return (self.cell, self.role, self.content) == (other.cell, other.role, other.content)

    @cached_property
    def key(self) -> str:
        """Cell and content as text, by which rows are sorted."""
        return canonical([self.cell, self.content])

    def scores(self, split: str = "test", metric: str | None = None) -> dict[int, float]:
        """By seed, the main score on `split` or that of `metric`, where there is one.

        None of a metric that means something else today: an earlier version's figures do not stand
        beside its name.
        """
        made = (self.content.get("code") or {}).get("metrics") or {}
        if metric in METRICS:
            known = METRICS[metric]
            if made.get(metric, made.get(known.of, known.version)) != known.version:
                return {}
        path = ("score", split) if metric is None else ("score", "all", split, metric)
        scores = {seed: nested(view, *path) for seed, view in sorted(self.views.items())}
        return {seed: score for seed, score in scores.items() if score is not None}


@dataclass
class Line:
    """A row with its name and its figures by column; `tie` is the letter of its tie group."""

    row: Row
    name: str
    values: dict[str, Value] = field(default_factory=dict)
    tie: str = ""


def parts(record: Record) -> Iterator[tuple[str, Record]]:
    """The rows that one record carries: its student, and what was scored beside it."""
    yield "", record
    for part in (*(record.get("rows_more") or ()), *(record.get("artefacts") or ())):
        yield part["name"], part


def order(row: Row) -> tuple[int, str, str, str, str]:
    """Teachers first, then the controls as they are registered, then the methods by name; parts
    below their row.
    """
    controls = [entry.name for entry in METHODS.controls()]
    if row.is_teacher:
        rank = 0
    elif row.method in controls:
        rank = 1 + controls.index(row.method)
    else:
        rank = 1 + len(controls)
    return rank, row.method, row.student, row.key, row.part


def failure(record: Record) -> str:
    """One line on a cell that failed or was skipped."""
    cell = record["cell"]
    reason = record.get("reason") or nested(record, "error", "message") or "no reason recorded"
    what = f"{cell['method']} on {cell['student']}, seed {cell['seed']}"
    return f"{what}, {record['status']}: {' '.join(str(reason).split())}"


# ---- two rows ------------------------------------------------------------------------------------


def shared_share(
    row: Row, other: Row | None, split: str = "test", metric: str | None = None
) -> float | None:
    """Mean score of `row` over that of `other`, on the seeds that both have; None unless that is
    above 0, and where `other` scores no better than the naive predictor.
    """
    if other is None or not beats_naive(other, split):
        return None
    ours, theirs = row.scores(split, metric), other.scores(split, metric)
    both = ours.keys() & theirs.keys()
    below = math.fsum(theirs[seed] for seed in both)
    return math.fsum(ours[seed] for seed in both) / below if below > 0 else None


def beats_naive(row: Row, split: str = "test") -> bool:
    """Does a row score better than the naive predictor, by the mean over its seeds? Also where one
    of the two is not known.
    """
    scores = row.scores(split)
    floors = [nested(view, "score", "naive", split) for view in row.views.values()]
    known = [floor for floor in floors if floor is not None]
    if not scores or not known:
        return True
    ahead = math.fsum(scores.values()) / len(scores) - math.fsum(known) / len(known)
    metric = METRICS.get(next((nested(v, "score", "metric") for v in row.views.values()), ""))
    return ahead > 0 if metric is None or metric.higher_is_better else ahead < 0


def shared_gain(row: Row, other: Row | None, split: str = "test") -> list[float]:
    """By shared seed, the score of `row` minus that of `other`."""
    if other is None or other is row:
        return []
    ours, theirs = row.scores(split), other.scores(split)
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


# ---- values of records ---------------------------------------------------------------------------


def nested(value: Any, *path: str) -> Any:
    """What a record has under these keys, one inside the other; None where any is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def canonical(value: object) -> str:
    """JSON with sorted keys: equal values have equal texts."""
    return json.dumps(value, sort_keys=True, default=str)


def first_found(values: Iterable[float | None]) -> float | None:
    """The first that is not None."""
    return next((value for value in values if value is not None), None)
