"""One figure over several tasks: means and interquartile means, wins and losses, Wilcoxon's
test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdbench.report.rows import Line, Row, Section, as_text, called
from kdbench.score import statistics
from kdbench.score.statistics import Overall


@dataclass
class Across:
    """One configuration over several tasks of one kind of data: `kept` is the share of the
    teacher's score.
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
    """Configurations that stand in at least two tasks, per kind of data.

    A task with several protocols in the table says nothing as one figure and is left out, and so is
    a configuration that a task has with several settings.
    """
    found: dict[tuple, dict[str, list[tuple[Section, Line]]]] = {}
    for section in sections:
        origin = section.group.origin
        if sum(other.group.task == section.group.task and other.group.origin == origin
               for other in sections) > 1:
            continue
        for line in section.lines:
            if line.row.competes and "test" in line.values:
                cell = line.row.cell
                key = (origin, called(line.row), cell["student"], cell.get("teacher")
                       or "", as_text(cell.get("options")))
                found.setdefault(key, {}).setdefault(section.group.task, []).append((section, line))
    rows = []
    for (origin, name, student, teacher, _), by_task in sorted(found.items()):
        if len(by_task) < 2 or any(len(lines) > 1 for lines in by_task.values()):
            continue
        chosen = {task: lines[0] for task, lines in by_task.items()}
        scores = {task: list(line.row.scores().values()) for task, (_, line) in chosen.items()}
        shares = {task: share_by_seed(line.row, section.group.teacher(line.row))
                  for task, (section, line) in chosen.items()}
        gains = [line.values["gain"] for _, line in chosen.values() if "gain" in line.values]
        judged = [gain for gain in gains if gain.p is not None]
        won = [
            sum(gain.star and gain.mean > 0 for gain in judged),
            sum(gain.star and gain.mean < 0 for gain in judged)
        ]
        rows.append(
            Across(
                origin, name, student, teacher, tuple(chosen), statistics.overall(scores),
                statistics.overall(shares) if all(shares.values()) else None,
                (won[0], len(judged) - sum(won), won[1]) if judged else None,
                statistics.wilcoxon([gain.mean
                                     for gain in gains]) if len(gains) == len(chosen) else None,
            ))
    return rows


def share_by_seed(row: Row, teacher: Row | None) -> list[float]:
    ours, theirs = row.scores(), teacher.scores() if teacher else {}
    return [
        ours[seed] / theirs[seed]
        for seed in sorted(ours.keys() & theirs.keys())
        if theirs[seed] > 0
    ]
