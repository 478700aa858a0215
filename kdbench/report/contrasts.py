"""Which differences of a group are significant: intervals, tie groups, the gap that is made up."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Iterator, Mapping, Sequence

from numpy import ndarray

from kdbench.base.render import Value
from kdbench.report.groups import Group
from kdbench.report.rows import Line, Record, Row
from kdbench.score import statistics
from kdbench.score.metrics import METRICS
from kdbench.score.statistics import Cache, Finish, Interval

UnitCounts = tuple[Sequence[str], ndarray]  # units, and their counts (U, K)
Counts = Callable[[Record], UnitCounts | None]  # of a record; None where there are none


class Contrasts:
    """Intervals between the rows of one group; the counts of a row are read once."""

    def __init__(self, metric: str, finish: Finish, counts: Counts, cache: Cache | None):
        self.metric, self.finish, self.counts, self.cache = metric, finish, counts, cache
        self._runs: dict[int, dict[int, UnitCounts]] = {}

    def runs(self, row: Row) -> dict[int, UnitCounts]:
        """Units and counts by seed, of the seeds that have counts; none of a part, as its records
        hold those of the whole.
        """
        if id(row) not in self._runs:
            found = {}
            for seed, record in row.records.items():
                counts = None if row.part else self.counts(record)
                if counts is not None:
                    found[seed] = counts
            self._runs[id(row)] = found
        return self._runs[id(row)]

    def between(self, row: Row, other: Row | None) -> Interval | None:
        """The interval of `row` minus `other`; None where there is nothing to compare."""
        if other is None or other is row:
            return None
        a, b = self.runs(row), self.runs(other)
        if self.cache is not None:
            return self.cache.contrast(a, b, self.metric, self.finish)
        return statistics.contrast(a, b, self.finish)


def add_statistics(
    group: Group, lines: Sequence[Line], counts: Counts, cache: Cache | None,
    others: Mapping[str, Sequence[Row | None]]
) -> None:
    """Put intervals, gaps and tie groups on the students of a group.

    others  columns of further contrasts: the row that each student is compared with

    Metrics that are no function of sums (AUROC, say) have no counts, and so no intervals.
    """
    metric = METRICS.get(group.metric)
    every = [line for line in lines if line.row.is_student]
    students = [line for line in every if "test" in line.values]
    if metric is None or metric.finish is None or not students:
        return
    contrasts = Contrasts(metric.name, metric.finish, counts, cache)
    sign = 1 if metric.higher_is_better else -1
    best = max(students, key=lambda line: sign * line.values["test"].mean)
    add_contrasts(contrasts, "gain", students, [group.baseline(line.row) for line in students])
    add_contrasts(contrasts, "best_gain", students, [best.row] * len(students))
    for name, rows in others.items():
        add_contrasts(contrasts, name, every, list(rows))
    for line in students:
        add_gap_recovered(contrasts, group, line)
    add_tie_groups(contrasts, students, sign)


def add_contrasts(
    contrasts: Contrasts, name: str, students: list[Line], others: list[Row | None]
) -> None:
    """One contrast of every student, judged together: Holm's family is the students of the
    group.
    """
    found: list[tuple[Line, Interval]] = []
    for line, other in zip(students, others, strict=True):
        interval = contrasts.between(line.row, other)
        if interval is not None:
            found.append((line, interval))
    adjusted = holm_adjusted([interval for _, interval in found])
    for (line, one), p in zip(found, adjusted, strict=True):
        star = p is not None and p < 1 - statistics.LEVEL
        line.values[name] = Value(one.delta, None, one.seeds, one.low, one.high, p, star)


def holm_adjusted(intervals: Sequence[Interval]) -> list[float | None]:
    """The adjusted p-value of each interval; None of one with too few seeds for a verdict."""
    judged = [one.p for one in intervals if one.judged and one.p is not None]
    adjusted = iter(statistics.holm(judged))
    return [next(adjusted) if one.judged and one.p is not None else None for one in intervals]


def add_gap_recovered(contrasts: Contrasts, group: Group, line: Line) -> None:
    """How much of the teacher's lead over the undistilled student a student makes up."""
    teacher, baseline = group.teacher(line.row), group.baseline(line.row)
    if teacher is None or baseline is None or baseline is line.row:
        return
    lead = contrasts.between(teacher, baseline)
    recovered = statistics.gap_recovered(
        mean_score(line.row), mean_score(baseline), mean_score(teacher), lead
    )
    if recovered is not None and lead is not None:
        line.values["recovered"] = Value(recovered, n=lead.seeds)


def mean_score(row: Row) -> float:
    """The mean test score over seeds; 0 where there is none."""
    value = Value.of(row.scores().values())
    return value.mean if value else 0.0


def add_tie_groups(contrasts: Contrasts, students: list[Line], sign: int) -> None:
    """Letters of tie groups, for the students that have seeds enough for a verdict.

    sign  -1 where a lower score is better
    """
    judged = {}
    for i, line in enumerate(students):
        if len(contrasts.runs(line.row)) >= statistics.LEAST_SEEDS:
            judged[str(i)] = line
    scores = {key: sign * line.values["test"].mean for key, line in judged.items()}

    def p_value(leader: str, name: str) -> float | None:
        interval = contrasts.between(judged[leader].row, judged[name].row)
        return interval.p if interval and interval.judged else None

    for letter, tied in zip(letters(), statistics.tie_groups(scores, p_value), strict=False):
        for key in tied:
            judged[key].tie = letter


def letters() -> Iterator[str]:
    """a, b, ..., z, aa, ab, ..."""
    for length in itertools.count(1):
        for word in itertools.product(string.ascii_lowercase, repeat=length):
            yield "".join(word)
