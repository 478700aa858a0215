"""What of a table is separable: intervals of the fixed contrasts, tie groups, the gap made up."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kdbench.base.render import Value
from kdbench.report.rows import Group, Line, Row
from kdbench.score import statistics
from kdbench.score.metrics import METRICS
from kdbench.score.statistics import Cache, Finish, Interval

# record -> (units, counts (U, K)), or None where there are none
Counts = Callable[[dict[str, Any]], Any]


class Contrasts:
    """Intervals between the rows of one group; the counts of a row are read once."""

    def __init__(self, metric: str, finish: Finish, counts: Counts, cache: Cache | None):
        self.metric, self.finish, self.counts, self.cache = metric, finish, counts, cache
        self._runs: dict[int, dict[int, Any]] = {}

    def runs(self, row: Row) -> dict[int, Any]:
        """{seed: (units, counts)} of the seeds that have counts; a part has none, its records hold
        those of the whole.
        """
        if id(row) not in self._runs:
            found = {} if row.part else {
                seed: self.counts(record)
                for seed, record in row.records.items()
            }
            self._runs[id(row)] = {seed: one for seed, one in found.items() if one is not None}
        return self._runs[id(row)]

    def between(self, row: Row, other: Row | None) -> Interval | None:
        """The interval of `row` minus `other`; None where there is nothing to compare."""
        if other is None or other is row:
            return None
        a, b = self.runs(row), self.runs(other)
        if self.cache is not None:
            return self.cache.contrast(a, b, self.metric, self.finish)
        return statistics.contrast(a, b, self.finish)


def judge(group: Group, lines: Sequence[Line], counts: Counts, cache: Cache | None) -> None:
    """Put intervals, gaps and tie groups on the students of a group.

    Metrics that are no function of sums (AUROC, say) have no counts, and so no intervals.
    """
    metric = METRICS.get(group.metric)
    students = [line for line in lines if line.row.competes and "test" in line.values]
    if metric is None or metric.finish is None or not students:
        return
    contrasts = Contrasts(metric.name, metric.finish, counts, cache)
    better = 1 if metric.higher_is_better else -1
    best = max(students, key=lambda line: better * line.values["test"].mean)
    contrast_all(contrasts, "gain", students, [group.plain(line.row) for line in students])
    contrast_all(contrasts, "best_gain", students, [best.row] * len(students))
    for line in students:
        made_up(contrasts, group, line)
    tie(contrasts, students, better)


def contrast_all(contrasts: Contrasts, name: str, students: list[Line],
                 others: list[Row | None]) -> None:
    """One contrast of every student, judged together: Holm's family is the students of the
    group.
    """
    found = [
        contrasts.between(line.row, other) for line, other in zip(students, others, strict=True)
    ]
    family = {
        i: one.p
        for i, one in enumerate(found)
        if one is not None and one.judged and one.p is not None
    }
    adjusted = dict(zip(family, statistics.holm(list(family.values())), strict=True))
    for i, (line, one) in enumerate(zip(students, found, strict=True)):
        if one is not None:
            p = adjusted.get(i)
            star = p is not None and p < 1 - statistics.LEVEL
            line.values[name] = Value(one.delta, None, one.seeds, one.low, one.high, p, star)


def made_up(contrasts: Contrasts, group: Group, line: Line) -> None:
    """How much of the teacher's lead over the undistilled student a student makes up."""
    teacher, plain = group.teacher(line.row), group.plain(line.row)
    if teacher is None or plain is None or plain is line.row:
        return
    lead = contrasts.between(teacher, plain)
    scores = [Value.of(row.scores().values()) for row in (line.row, plain, teacher)]
    student, without, of_teacher = (value.mean if value else 0.0 for value in scores)
    recovered = statistics.gap_recovered(student, without, of_teacher, lead)
    if recovered is not None and lead is not None:
        line.values["recovered"] = Value(recovered, n=lead.seeds)


def tie(contrasts: Contrasts, students: list[Line], better: int) -> None:
    """Letters of tie groups, for the students that have seeds enough for a verdict."""
    enough = {str(i): line for i, line in enumerate(students)
              if len(contrasts.runs(line.row)) >= statistics.LEAST_SEEDS}
    scores = {key: better * line.values["test"].mean for key, line in enough.items()}

    def p_value(leader: str, name: str) -> float | None:
        interval = contrasts.between(enough[leader].row, enough[name].row)
        return interval.p if interval and interval.judged else None

    for letter, tied in zip(letters(), statistics.tie_groups(scores, p_value), strict=False):
        for key in tied:
            enough[key].tie = letter


def letters() -> Iterator[str]:
    """a, b, ..., z, aa, ab, ..."""
    for length in itertools.count(1):
        yield from ("".join(word)
                    for word in itertools.product(string.ascii_lowercase, repeat=length))
