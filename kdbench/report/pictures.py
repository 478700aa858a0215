"""Which pictures a section of a table has, and what they show of its rows."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from kdbench.report import label_curves, plots, svg
from kdbench.report.columns import LATENCY
from kdbench.report.groups import Section
from kdbench.report.rows import Line, Record
from kdbench.report.svg import Series
from kdbench.report.tables import Table
from kdbench.score.trials import expected_best

Captioned = tuple[str, str]  # caption, picture


@dataclass(frozen=True)
class Budget:
    """A cost that a reader may be bound by: the table's column, its name, the axis and an amount in
    words.
    """

    column: str
    noun: str
    axis: str
    limit: str

    def has(self, column: str) -> bool:
        """Whether a column of this name shows this cost; latencies may have several, with
        numbers.
        """
        numbered = self.column in LATENCY and column.startswith(f"{self.column}_")
        return column == self.column or numbered

    def columns(self, section: Section) -> list[str]:
        """The columns that show this cost of a section's rows, the one that most rows have
        first.
        """
        shown = [name for line in section.lines for name in line.values if self.has(name)]
        return [name for name, _ in Counter(shown).most_common()]


BUDGETS = (
    Budget("p50_ms", "latency", "median latency, ms a text", "{} ms a text"),
    Budget("megabytes", "size", "size, MB", "{} MB"),
    Budget("training_seconds", "training cost", "training of student and teacher, s",
           "{} s of training"),
)


def label(line: Line, section: Section) -> str:
    """The name of a row in pictures, which no other row has: student and teacher are said where the
    task has several.
    """
    name = said_of(line, section)
    same = [other for other in section.lines if said_of(other, section) == name]
    place = next(i for i, other in enumerate(same, 1) if other is line)
    return f"{name} ({place})" if len(same) > 1 else name


def said_of(line: Line, section: Section) -> str:
    """Name, student and teacher of a row, as far as the task has several."""
    row, name = line.row, line.name
    students = {other.student for other in section.group.students}
    teachers = {other.teacher_name for other in section.group.students} - {""}
    teachers |= {other.student for other in section.group.rows if other.is_teacher}
    if row.is_teacher:
        return f"{name}, {row.student}" if len(teachers) > 1 else name
    if len(students) > 1:
        name += f", {row.student}"
    teacher = row.teacher_name
    return f"{name}, from {teacher}" if teacher and len(teachers) > 1 else name


def series_of(section: Section) -> dict[str, Series]:
    """By label, what marks each row that can be deployed."""
    return svg.series_of([label(line, section) for line in section.lines if line.row.is_deployable])


def sheets(table: Table) -> dict[str, str]:
    """The trade-offs of every section and the curves over labels as SVG files, by the name that the
    file is given.
    """
    files: dict[str, str] = {}
    for section in table.sections:
        series = series_of(section)
        panels = trade_offs(section, table, series)
        if picture := gains(section, series, named=False):
            caption = "Gain over no teacher, 95% interval; filled: significant"
            panels.insert(0, (caption, picture))
        if panels:
            name = new_name(files, f"trade-offs-{section.group.task}")
            files[name] = svg.sheet(section.title, panels, list(series.values()))
    for study in label_curves.curves(table.sections):
        panel = ("Score by number of training labels", study.picture)
        name = new_name(files, f"labels-{study.task}")
        files[name] = svg.sheet(study.title, [panel], study.series)
    return files


def new_name(files: Collection[str], name: str) -> str:
    """The name of a further file; users give names to their own corpora."""
    found = re.sub(r"[^\w.-]+", "-", name)
    return f"{found}.svg" if f"{found}.svg" not in files else f"{found}-{len(files) + 1}.svg"


# ---- of one section ------------------------------------------------------------------------------


def trade_offs(section: Section, table: Table, series: dict[str, Series]) -> list[Captioned]:
    """Score against each cost that at least two rows have."""
    pictures = []
    for budget in BUDGETS:
        for column in table.columns:
            points = points_of(section, column.name, series) if budget.has(column.name) else []
            if len(points) > 1:
                # " [2]" where latency was measured by several protocols
                number = column.title.partition(" ms")[2]
                caption = f"Score against {budget.noun}{number}"
                if any(point.hollow for point in points):
                    caption += "; hollow: measured beside other work"
                pictures.append((caption, plots.pareto(points, budget.axis)))
    return pictures


def points_of(section: Section, column: str, series: dict[str, Series]) -> list[plots.Point]:
    """Cost and score of each row that can be deployed and has both."""
    points = []
    for line in section.lines:
        cost, score = line.values.get(column), line.values.get("test")
        if line.row.is_deployable and cost is not None and score is not None and cost.mean > 0:
            own = series[label(line, section)]
            spread = scaled(score.sd)
            points.append(plots.Point(own, cost.mean, 100 * score.mean, spread, bool(cost.mark)))
    return points


def scaled(fraction: float | None) -> float | None:
    """A fraction in points."""
    return None if fraction is None else 100 * fraction


def gains(section: Section, series: dict[str, Series], named: bool = True) -> str:
    """The gains over the same student without a teacher; empty where there are none."""
    rows = []
    for line in section.lines:
        name, gain = label(line, section), line.values.get("gain")
        if name in series and gain is not None:
            low, high = scaled(gain.low), scaled(gain.high)
            rows.append(plots.Gain(series[name], 100 * gain.mean, low, high, gain.star))
    return plots.gains(rows, named) if rows else ""


def spread(section: Section, series: dict[str, Series]) -> str:
    """The scores of every seed; empty where no row has two."""
    rows: dict[str, list[float]] = {}
    for line in section.lines:
        scores = line.row.scores().values()
        if line.row.is_deployable and scores:
            rows[label(line, section)] = [100 * score for score in scores]
    if not any(len(scores) > 1 for scores in rows.values()):
        return ""
    return plots.spread([(series[name], scores) for name, scores in rows.items()])


def expected(section: Section, series: dict[str, Series]) -> str:
    """What n trials of each row can be expected to find; empty where none was tuned."""
    rows = []
    for line in section.lines:
        name, records = label(line, section), line.row.records
        scores: list[float] = next(
            (one["trials"] for one in records.values() if one.get("trials")), [])
        if name in series and len(scores) > 1:
            rows.append((series[name], [100 * score for score in expected_best(scores)]))
    return plots.expected(rows) if rows else ""


# ---- learning curves -----------------------------------------------------------------------------


def learning(section: Section) -> list[tuple[str, list[str]]]:
    """Name and curves of each student, of its first seed: loss terms and dev score by epoch, stages
    end to end.
    """
    pictures = []
    for line in section.lines:
        if line.row.part or not line.row.records:
            continue
        seed = min(line.row.records)
        entries = line.row.records[seed].get("curves") or []
        if not line.row.is_teacher:
            entries = [entry for entry in entries if entry.get("role", "student") == "student"]
        if len(entries) > 1:
            pictures.append((f"{label(line, section)}, seed {seed}", curves_of(entries)))
    return pictures


def curves_of(entries: list[Record]) -> list[str]:
    """The curves of loss terms and of the dev score, where entries, one an epoch, have them."""
    stages: dict[str, float] = {}
    terms: dict[str, list[float | None]] = {}
    for epoch, entry in enumerate(entries, 1):
        stages.setdefault(entry["stage"], epoch)
        terms |= dict.fromkeys(entry.get("terms") or ())
    pictures = []
    if terms:
        lines = {}
        for name in terms:
            lines[name] = curve([(entry.get("terms") or {}).get(name) for entry in entries])
        pictures.append(plots.curves(lines, stages, "loss terms"))
    if dev := curve([entry.get("dev") for entry in entries], 100):
        pictures.append(plots.curves({"dev score": dev}, stages, "dev score"))
    return pictures


def curve(values: list[float | None], scale: float = 1) -> list[plots.Pair]:
    """(epoch, value) from the first number to the last; between them what is no number leaves a
    gap.
    """
    points: list[plots.Pair] = []
    known = []
    for epoch, value in enumerate(values, 1):
        if value is not None and math.isfinite(value):
            known.append(epoch)
            points.append((epoch, scale * value))
        else:
            points.append((epoch, math.nan))
    return points[known[0] - 1 : known[-1]] if known else []
