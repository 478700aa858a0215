"""One figure over several tasks: means and interquartile means, wins and losses, Wilcoxon's
test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kdbench.base.render import Value
from kdbench.report.groups import Section
from kdbench.report.names import method_name
from kdbench.report.rows import Line, Row, beats_naive, canonical
from kdbench.score import statistics
from kdbench.score.statistics import Overall

Configuration = tuple[str, str, str, str, str]  # origin, name, student, teacher, options


@dataclass
class Across:
    """One configuration over several tasks of data of one origin.

    kept  the share of the teacher's score
    wins  on how many tasks it is significantly better, not significantly different, and worse
          than without a teacher
    p     of Wilcoxon's test of the gains
    """

    origin: str
    name: str
    student: str
    teacher: str
    tasks: tuple[str, ...]
    score: Overall
    kept: Overall | None
    wins: tuple[int, int, int] | None
    p: float | None


def across(sections: Sequence[Section]) -> list[Across]:
    """Configurations that stand in at least two tasks, by the origin of their data.

    A task with several protocols in the table says nothing as one figure and is left out, and so is
    a configuration that a task has with several settings.
    """
    times = Counter((section.group.task, section.group.origin) for section in sections)
    found: dict[Configuration, list[tuple[Section, Line]]] = {}
    for section in sections:
        if times[section.group.task, section.group.origin] > 1:
            continue
        for line in section.lines:
            if line.row.is_student and "test" in line.values:
                key = configuration(section, line.row)
                found.setdefault(key, []).append((section, line))
    rows = []
    for key, lines in sorted(found.items(), key=lambda item: item[0]):
        tasks = {section.group.task for section, _ in lines}
        if len(tasks) > 1 and len(tasks) == len(lines):
            rows.append(one_across(key, lines))
    return rows


def configuration(section: Section, row: Row) -> Configuration:
    """What is one configuration across tasks; settings may differ, as tasks have their own."""
    options = canonical(row.cell.get("options"))
    return section.group.origin, method_name(row), row.student, row.teacher_name, options


def one_across(key: Configuration, lines: Sequence[tuple[Section, Line]]) -> Across:
    """The figures of one configuration, from its line on each task."""
    scores, shares, gains = {}, {}, []
    for section, line in lines:
        task = section.group.task
        scores[task] = list(line.row.scores().values())
        shares[task] = share_by_seed(line.row, section.group.teacher(line.row))
        if "gain" in line.values:
            gains.append(line.values["gain"])
    origin, name, student, teacher, _ = key
    return Across(
        origin=origin,
        name=name,
        student=student,
        teacher=teacher,
        tasks=tuple(scores),
        score=statistics.overall(scores),
        kept=statistics.overall(shares) if all(shares.values()) else None,
        wins=counted_wins(gains),
        p=wilcoxon_p(gains, len(lines)),
    )


def counted_wins(gains: Sequence[Value]) -> tuple[int, int, int] | None:
    """Significant gains, others, significant losses; None where none was tested."""
    tested = [gain for gain in gains if gain.p is not None]
    better = sum(gain.star and gain.mean > 0 for gain in tested)
    worse = sum(gain.star and gain.mean < 0 for gain in tested)
    return (better, len(tested) - better - worse, worse) if tested else None


def wilcoxon_p(gains: Sequence[Value], tasks: int) -> float | None:
    """Wilcoxon's p over the gains; None unless every task has one."""
    return statistics.wilcoxon([gain.mean for gain in gains]) if len(gains) == tasks else None


def share_by_seed(row: Row, teacher: Row | None) -> list[float]:
    """By shared seed, the share of the teacher's score, where that is above 0; none of a teacher
    that scores no better than the naive predictor.
    """
    if teacher is None or not beats_naive(teacher):
        return []
    ours, theirs = row.scores(), teacher.scores()
    both = sorted(ours.keys() & theirs.keys())
    return [ours[seed] / theirs[seed] for seed in both if theirs[seed] > 0]
