"""One page of a study: what to use under which budget, trade-offs, tables, curves, seeds, where it
comes from.

A single HTML file that opens offline: inline SVG and CSS, no script, no request to any network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base import render as show
from kdbench.base.registry import METHODS
from kdbench.base.render import STRONG, Value
from kdbench.report import plots
from kdbench.report.columns import COLUMNS, DEFAULT, DIAGNOSTIC, LATENCY
from kdbench.report.contrasts import Counts
from kdbench.report.rows import Group, Line, Name, Section, at, called, naive, shared_share, trouble
from kdbench.report.tables import Table, build, matrix, summary
from kdbench.score.metrics import METRICS

if TYPE_CHECKING:
    from kdbench.report.reported import Comparison
    from kdbench.score.statistics import Cache

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Budget:
    """A cost that a reader may be bound by: the table's column, its name, the axis and an amount in
    words.
    """

    column: str
    noun: str
    axis: str
    limit: str


BUDGETS = (Budget("p50_ms", "latency", "median latency, ms a text",
                  "{} ms a text"), Budget("megabytes", "size", "size, MB", "{} MB"),
           Budget("training_seconds", "training cost", "training of student and teacher, s",
                  "{} s of training"),
           )


def report(records: Iterable[dict[str, Any]], counts: Counts | None = None, *,
           title: str = "Report", comparisons: Iterable[Comparison] = (),
           cache: Cache | None = None, chosen_names: Sequence[Name] = (),
           ) -> str:
    """The page, as HTML. `counts` gives intervals and tie groups; `comparisons` are published
    figures beside ours.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from kdbench.report.reported import HEAD, told

    records = list(records)
    table = build(records, counts, [*DEFAULT, "training_seconds"], cache, chosen_names)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    numbers = itertools.count(1)
    # ids stay unique
    environment.filters["picture"] = lambda svg: Markup(svg.replace(plots.IDS, f"p{next(numbers)}-")
                                                        )
    page = environment.get_template("report.html")
    return page.render(
        title=title, light=Markup(plots.LIGHT), dark=Markup(plots.DARK), counted=counted(records),
        sections=[view(section, table, number) for number, section in enumerate(table.sections)],
        across=[
            across(table, origin) for origin in dict.fromkeys(row.origin for row in table.across)
        ], published=told(list(comparisons)), published_head=HEAD, methods=methods(table),
        legend_of=legend_of(table), notes=table.notes, origins=origins(records),
        corpora=[corpus(section.group) for section in table.sections], troubles=[
            trouble(record) for section in table.sections for record in section.group.troubles
        ],
    )


def counted(records: list[dict[str, Any]]) -> str:
    """How much the page stands on, in words."""
    done = [record for record in records if record["status"] == "done"]
    seeds = {record["cell"]["seed"] for record in done}
    origins = {at(record, "data", "kind") for record in done}
    data = {
        frozenset({"real"}): "real data",
        frozenset({"lookalike"}): "look-alike data, generated: no real corpus"
    }
    tasks = {record["cell"]["task"] for record in done}
    parts = [
        plural(len(done), "finished run"),
        plural(len(tasks), "task"),
        plural(len(seeds), "seed"),
        data.get(frozenset(origins), "real and look-alike data, in separate sections")
    ]
    return ", ".join(parts) if done else "no finished run"


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def methods(table: Table) -> list[tuple[str, str]]:
    """What the rows' names stand for, in one line each."""
    rows = [line.row for section in table.sections for line in section.lines]
    named = [row.method for row in rows if row.role != "teacher"]
    said = [("teacher", "the larger model, fine-tuned, that students learn from")] * any(
        row.role == "teacher" for row in rows)
    return said + [(name, METHODS.entry(name).about if name in METHODS else "a plugin's method")
                   for name in sorted(set(named))]


def legend_of(table: Table) -> list[tuple[str, str]]:
    """The columns that some table of the page shows, explained."""
    heads = {
        text
        for section in table.sections if section.lines for text in matrix(section, table.columns)[0]
    }
    shown = [column.name for column in table.columns if column.title in heads]
    return [(column.title, column.about)
            for column in COLUMNS.values()
            if any(name == column.name or column.name in LATENCY and name.startswith(column.name)
                   for name in shown)]


# ---- one task ------------------------------------------------------------------------------------


def view(section: Section, table: Table, number: int) -> dict[str, Any]:
    """All that the page shows of one section."""
    series = plots.series_of([label(line, section) for line in section.lines if line.row.served])
    head, lines = matrix(section, table.columns) if section.lines else ([], [])
    return {
        "anchor": f"task-{number}", "title": section.title,
        "metric": METRICS[section.group.metric].about if section.group.metric in METRICS else "",
        "caption": section.caption, "advice": advice(section) if section.lines else [], "legend": [
            (plots.key(one), one.name) for one in series.values()
        ], "trade_offs": trade_offs(section, table, series), "head": head, "lines": [[
            (text.lstrip(STRONG), text.startswith(STRONG)) for text in line
        ] for line in lines], "right": show.numeric(lines), "gains": gains_of(section, series),
        "spread": spread(section, series), "curves": learning(section),
        "diagnostics": diagnostics(section, table),
        "troubles": [trouble(record) for record in section.group.troubles],
    }


def label(line: Line, section: Section) -> str:
    """The name of a row in pictures: student and teacher are said where the task has several."""
    others = [other.row for other in section.lines if other.row.competes]
    several = len({row.student for row in others}) > 1
    teacher = line.row.cell.get("teacher")
    teachers = {row.cell.get("teacher") for row in others} - {None}
    name = line.name
    if several and line.row.role != "teacher":
        name += f", {line.row.student}"
    return f"{name}, from {teacher}" if teacher and len(teachers) > 1 else name


def trade_offs(section: Section, table: Table, series: dict[str,
                                                            plots.Series]) -> list[tuple[str, str]]:
    """Score against each cost that at least two rows have: title and picture."""
    pictures = []
    for budget in BUDGETS:
        for column in table.columns:
            if column.name == budget.column or column.name.startswith(
                    f"{budget.column}_") and budget.column in LATENCY:
                points = points_of(section, column.name, series)
                if len(points) > 1:
                    # " [2]" where latency was taken in several ways
                    way = column.title.partition(" ms")[2]
                    pictures.append(
                        (f"Score against {budget.noun}{way}", plots.pareto(points, budget.axis)))
    return pictures


def sheets(table: Table) -> dict[str, str]:
    """The trade-offs of every section as an SVG file, by the name that the file is given."""
    made: dict[str, str] = {}
    for section in table.sections:
        series = plots.series_of(
            [label(line, section) for line in section.lines if line.row.served])
        panels = trade_offs(section, table, series)
        if gains := gains_of(section, series, named=False):
            panels.insert(0, ("Gain over no teacher, 95% interval; filled: separable", gains))
        if panels:
            task = section.group.task
            name = f"trade-offs-{task}.svg"
            if name in made:
                name = f"trade-offs-{task}-{len(made) + 1}.svg"
            made[name] = plots.sheet(section.title, panels, list(series.values()))
    return made


def gains_of(section: Section, series: dict[str, plots.Series], named: bool = True) -> str:
    """The picture of the gains over the same student without a teacher."""
    def scaled(fraction: float | None) -> float | None:
        return None if fraction is None else 100 * fraction

    rows = [
        plots.Gain(series[name], 100 * gain.mean, scaled(gain.low), scaled(gain.high), gain.star)
        for line in section.lines
        if (name := label(line, section)) in series and (
            gain := line.values.get("gain")) is not None
    ]
    return plots.gains(rows, named) if rows else ""


def points_of(section: Section, column: str, series: dict[str, plots.Series]) -> list[plots.Point]:
    points = []
    for line in section.lines:
        cost, score = line.values.get(column), line.values.get("test")
        if line.row.served and cost is not None and score is not None and cost.mean > 0:
            points.append(plots.Point(series[label(line, section)], cost.mean, 100 * score.mean,
                                      None if score.sd is None else 100 * score.sd))
    return points


def spread(section: Section, series: dict[str, plots.Series]) -> str:
    scores = {label(line, section): [100 * score for score in line.row.scores().values()]
              for line in section.lines if line.row.served}
    rows = [(series[name], found) for name, found in scores.items() if found]
    return plots.spread(rows) if any(len(found) > 1 for _, found in rows) else ""


def learning(section: Section) -> list[tuple[str, list[str]]]:
    """Name and curves of each student, of its first seed: loss terms and dev score by epoch, stages
    end to end.
    """
    pictures = []
    for line in section.lines:
        if line.row.part or not line.row.records:
            continue
        seed = min(line.row.records)
        entries = [entry for entry in line.row.records[seed].get("curves") or ()
                   if line.row.role == "teacher" or entry.get("role", "student") == "student"]
        if len(entries) < 2:
            continue
        stages: dict[str, float] = {}
        for epoch, entry in enumerate(entries, 1):
            stages.setdefault(entry["stage"], epoch)
        terms = {
            name: curve([(entry.get("terms") or {}).get(name) for entry in entries])
            for name in dict.fromkeys(
                name for entry in entries for name in entry.get("terms") or ())
        }
        dev = curve([entry.get("dev") for entry in entries], 100)
        both = [plots.curves(terms, stages, "loss terms")] * bool(terms)
        both += [plots.curves({"dev score": dev}, stages, "dev score")] * bool(dev)
        pictures.append((f"{label(line, section)}, seed {seed}", both))
    return pictures


def diagnostics(section: Section, table: Table) -> list[tuple[str, str, str]]:
    """What methods watch of their trained students: row, split and name, mean over seeds."""
    every = (*table.columns, *table.beside)
    columns = [column for column in every if column.name.startswith(DIAGNOSTIC)]
    return [(label(line, section), column.title, column.show(line.values[column.name]))
            for line in section.lines for column in columns if column.name in line.values]


def curve(values: list[float | None], scale: float = 1) -> list[plots.Pair]:
    """(epoch, value) from the first number to the last; between them what is no number leaves a
    gap.
    """
    points = [(epoch, scale * value if value is not None and math.isfinite(value) else math.nan)
              for epoch, value in enumerate(values, 1)]
    there = [epoch for epoch, value in points if not math.isnan(value)]
    return [point for point in points if there and there[0] <= point[0] <= there[-1]]


# ---- in words ------------------------------------------------------------------------------------


def advice(section: Section) -> list[str]:
    """What to use, in sentences: the best student, whether distillation helped, the choice under
    each budget.
    """
    students = [line for line in section.lines if line.row.competes and "test" in line.values]
    if not students:
        return []
    best = max(students, key=lambda line: line.values["test"].mean)
    floor = naive(section.group, "test")
    if floor is not None and best.values["test"].mean <= floor:
        return [
            f"No student scores more than the naive predictor, which reads no text "
            f"({100 * floor:.1f}): "
            "nothing can be said of the methods."
        ]
    return [*leaders(section, students, best), *gains(section, students), *budgets(section)]


def leaders(section: Section, students: list[Line], best: Line) -> list[str]:
    equal = [
        label(line, section)
        for line in students
        if line.values["test"].mean == best.values["test"].mean
    ]
    rank = "" if len(students) == 1 else " best of the students:" if len(students) > len(
        equal) else " alike:"
    said = (f"{enumerated(equal)} score{'s' * (len(equal) == 1)}{rank} "
            f"{show.points(best.values['test'])} on test")
    if kept := best.values.get("retained"):
        said += f", {show.percent(kept)} of the teacher's score"
    tied = [
        name for line in students if line.tie == "a" and (name := label(line, section)) not in equal
    ]
    if best.tie and tied:
        said += (f". {'It' if len(equal) == 1 else 'They'} cannot be told apart from "
                 f"{enumerated(tied)}")
    elif best.tie and len(equal) == 1 < len(students):
        said += ". No other student is as good"
    elif len(students) > 1:
        said += (f". With {plural(len(best.row.seeds), 'seed')} this is preliminary: no ranking "
                 f"can "
                 f"be concluded")
    return [f"{said}."]


def gains(section: Section, students: list[Line]) -> list[str]:
    """Does distillation help? By the rows whose difference from plain fine-tuning is judged."""
    judged = [
        line for line in students
        if (gain := line.values.get("gain")) is not None and gain.p is not None
    ]
    if not judged:
        return []
    helped = [
        label(line, section)
        for line in judged
        if line.values["gain"].star and line.values["gain"].mean > 0
    ]
    harmed = [
        label(line, section)
        for line in judged
        if line.values["gain"].star and line.values["gain"].mean < 0
    ]
    unclear = [label(line, section) for line in judged if not line.values["gain"].star]
    sentences = []
    if helped:
        sentences.append(
            f"Better than the same student without a teacher, beyond chance: {enumerated(helped)}.")
    if harmed:
        sentences.append(
            f"Worse than the same student without a teacher, beyond chance: {enumerated(harmed)}.")
    if unclear:
        sentences.append(
            f"No separable gain over the same student without a teacher: {enumerated(unclear)}.")
    return sentences


def budgets(section: Section) -> list[str]:
    """One sentence a budget, along its frontier: what so much buys."""
    series = plots.series_of([label(line, section) for line in section.lines])
    sentences = []
    for budget in BUDGETS:
        points = points_of(section, budget.column, series)
        steps = plots.frontier(points)
        bought = [
            f"{budget.limit.format(show.number(Value(p.cost)))} for {p.score:.1f} points "
            f"({p.series.name})"
            for p in steps
        ]
        if len(steps) > 1:
            sentences.append(f"What a budget of {budget.noun} buys: {'; '.join(bought)}.")
        elif len({p.cost for p in points}) > 1:
            sentences.append(f"Least {budget.noun} and best score together: {bought[0]}.")
    return sentences


def enumerated(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ---- all tasks -----------------------------------------------------------------------------------


def across(table: Table, origin: str) -> dict[str, Any]:
    """The summary over tasks of one kind of data, with the picture of what is kept of the
    teacher.
    """
    head, lines = summary(table, origin)
    groups = [section.group for section in table.sections if section.group.origin == origin]
    shares: dict[tuple[str, str], dict[str, float]] = {}
    for group in groups:
        for row in group.students:
            if (share := shared_share(row, group.teacher(row))) is not None:
                shares.setdefault((called(row), row.student),
                                  {}).setdefault(group.task, 100 * share)
    tasks = sorted({task for kept in shares.values() for task in kept})
    several = len({student for _, student in shares}) > 1
    names = {key: f"{key[0]}, {key[1]}" if several else key[0] for key in shares}
    series = plots.series_of(list(names.values()))
    rows = [(series[names[key]], [kept.get(task)
                                  for task in tasks])
            for key, kept in shares.items()]
    return {
        "kind": origin, "head": head, "lines": lines, "right": show.numeric(lines),
        "picture": plots.retention(tasks, rows) if rows else "",
        "legend": [(plots.key(one), one.name) for one in series.values()],
    }


def origins(records: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Versions and machine of the runs, in words, with the number of runs of each and the code's
    commits.
    """
    found: dict[str, list[str]] = {}
    for record in records:
        facts = record.get("provenance") or {}
        packages = ", ".join(
            f"{name} {version}" for name, version in (facts.get("packages") or {}).items())
        said = [
            f"kdbench {facts.get('kdbench', '?')}", f"Python {facts.get('python', '?')}", packages,
            facts.get("processor"),
            facts.get("system"),
            facts.get("device"),
            plural(facts["threads"], "thread") if facts.get("threads") else ""
        ]
        commit = facts["commit"][:10] if facts.get("commit") else "unknown"
        found.setdefault("; ".join(str(fact) for fact in said if fact), []).append(
            commit + (" with changes" if facts.get("dirty") else ""))
    return sorted(
        ((len(commits),
          f"{line}; commit{'s' * (len(set(commits)) > 1)} {', '.join(sorted(set(commits)))}")
         for line, commits in found.items()), key=lambda pair: (-pair[0], pair[1]))


def corpus(group: Group) -> dict[str, Any]:
    """The data of one section: files by checksum."""
    data = group.data
    published = {"True": "the published files", "False": "other files than the published ones"}
    return {
        "task": group.task, "kind": group.origin,
        "files": published.get(str(data.get("published_files")), ""),
        "licence": data.get("licence") or "", "sums": ", ".join(
            f"{name} {str(sum_)[:12]}" for name, sum_ in sorted((data.get("sha256") or {}).items())
        ),
    }
