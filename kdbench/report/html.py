"""One page of a study: what to use under which budget, trade-offs, tables, curves, seeds, where it
comes from.

A single HTML file that opens offline: inline SVG and CSS, no script, no request to any network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base import render as show
from kdbench.base.activity import doing
from kdbench.base.registry import METHODS
from kdbench.base.render import STRONG
from kdbench.report import label_curves, plots, svg
from kdbench.report.advice import advice, plural
from kdbench.report.columns import COLUMNS, DEFAULT, DIAGNOSTIC, LATENCY
from kdbench.report.contrasts import Counts
from kdbench.report.groups import Group, Section
from kdbench.report.names import Name, method_name
from kdbench.report.pictures import (
    expected,
    gains,
    label,
    learning,
    series_of,
    spread,
    trade_offs,
)
from kdbench.report.rows import Record, failure, nested, shared_share
from kdbench.report.tables import Table, build, matrix, summary
from kdbench.score.metrics import METRICS

if TYPE_CHECKING:
    from jinja2 import Environment

    from kdbench.report.reported import Comparison
    from kdbench.score.statistics import Cache

TEMPLATES = Path(__file__).resolve().parent / "templates"
View = dict[str, Any]  # what the template shows of one thing
Models = tuple[str, str, str]  # method, student, and teacher or nothing


def report(
    records: Iterable[Record],
    counts: Counts | None = None,
    *,
    title: str = "Report",
    comparisons: Iterable[Comparison] = (),
    cache: Cache | None = None,
    chosen_names: Sequence[Name] = (),
    damaged: Sequence[str] = (),
) -> str:
    """The page, as HTML. `counts` gives intervals and tie groups; `comparisons` are published
    figures beside ours; `damaged` are lines on records that could not be read.
    """
    from markupsafe import Markup

    from kdbench.report.reported import HEAD, lines_and_reasons

    records = list(records)
    table = build(records, counts, [*DEFAULT, "training_seconds"], cache, chosen_names)
    groups = [section.group for section in table.sections]
    unfinished = [record for group in groups for record in group.unfinished]
    return environment().get_template("report.html").render(
        title=title,
        light=Markup(svg.LIGHT),
        dark=Markup(svg.DARK),
        extent=extent(records),
        sections=views(table),
        label_curves=label_curves.curves(table.sections),
        across=[across_view(table, origin) for origin in table.origins],
        published=lines_and_reasons(list(comparisons)),
        published_head=HEAD,
        methods=methods(table),
        legend_of=column_legend(table),
        notes=table.notes,
        environments=environments(records),
        corpora=[corpus_view(group) for group in groups],
        unfinished=[*map(failure, unfinished), *damaged],
    )


def environment() -> Environment:
    """The templates; their filter `picture` gives each picture ids of its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = itertools.count(1)

    def picture(text: str) -> Markup:
        return Markup(text.replace(svg.IDS, f"p{next(numbers)}-"))

    made.filters["picture"] = picture
    return made


def extent(records: list[Record]) -> str:
    """How much the page stands on, in words."""
    done = [record for record in records if record["status"] == "done"]
    if not done:
        return "no finished run"
    origins = {nested(record, "data", "kind") for record in done}
    data = "real and look-alike data, in separate sections"
    if origins == {"real"}:
        data = "real data"
    elif origins == {"lookalike"}:
        data = "look-alike data, generated: no real corpus"
    tasks = {record["cell"]["task"] for record in done}
    seeds = {record["cell"]["seed"] for record in done}
    counts = [
        plural(len(done), "finished run"),
        plural(len(tasks), "task"),
        plural(len(seeds), "seed"),
    ]
    return ", ".join([*counts, data])


def methods(table: Table) -> list[tuple[str, str]]:
    """What the rows' names stand for, in one line each."""
    rows = [line.row for section in table.sections for line in section.lines]
    found = []
    if any(row.is_teacher for row in rows):
        found.append(("teacher", "the larger model, fine-tuned, that students learn from"))
    for name in sorted({row.method for row in rows if not row.is_teacher}):
        about = METHODS.entry(name).about if name in METHODS else "a plugin's method"
        found.append((name, about))
    return found


def column_legend(table: Table) -> list[tuple[str, str]]:
    """The columns that some table of the page shows, explained."""
    heads: set[str] = set()
    for section in table.sections:
        if section.lines:
            heads.update(matrix(section, table.columns)[0])
    shown = [column.name for column in table.columns if column.title in heads]
    legend = []
    for column in COLUMNS.values():
        numbered = column.name in LATENCY and any(name.startswith(column.name) for name in shown)
        if column.name in shown or numbered:
            legend.append((column.title, column.about))
    return legend


# ---- one task ------------------------------------------------------------------------------------


def views(table: Table) -> list[View]:
    """What the page shows of each section."""
    with doing("drawing the pictures"):
        return [view(section, table, i) for i, section in enumerate(table.sections)]


def view(section: Section, table: Table, number: int) -> View:
    """All that the page shows of one section."""
    series = series_of(section)
    metric = section.group.metric
    head, lines = matrix(section, table.columns) if section.lines else ([], [])
    return {
        "anchor": f"task-{number}",
        "title": own_title(section, table),
        "metric": METRICS[metric].about if metric in METRICS else "",
        "caption": section.caption,
        "advice": advice(section) if section.lines else [],
        "legend": [(svg.key(one), one.name) for one in series.values()],
        "trade_offs": trade_offs(section, table, series),
        "head": head,
        "lines": list(map(with_strength, lines)),
        "right": show.numeric(lines),
        "gains": gains(section, series),
        "spread": spread(section, series),
        "expected": expected(section, series),
        "curves": learning(section),
        "diagnostics": diagnostics(section, table),
        "unfinished": list(map(failure, section.group.unfinished)),
    }


def own_title(section: Section, table: Table) -> str:
    """The title of a section; where another has the same, with what its caption has of its own."""
    same = [other for other in table.sections if other.title == section.title]
    others = [other for other in same if other is not section]
    if not others:
        return section.title
    parts = section.caption.split("; ")
    own = [part for part in parts if any(part not in other.caption for other in others)]
    return f"{section.title} ({'; '.join(own) or f'part {same.index(section) + 1}'})"


def with_strength(line: list[str]) -> list[tuple[str, bool]]:
    """The texts of a line, each with whether it is printed bold."""
    return [(text.lstrip(STRONG), text.startswith(STRONG)) for text in line]


def diagnostics(section: Section, table: Table) -> list[tuple[str, str, str]]:
    """What methods watch of their trained students: row, split and name, mean over seeds."""
    columns = [*table.columns, *table.data_columns]
    found = []
    for line in section.lines:
        for column in columns:
            if column.name.startswith(DIAGNOSTIC) and column.name in line.values:
                figure = column.show(line.values[column.name])
                found.append((label(line, section), column.title, figure))
    return found


# ---- all tasks -----------------------------------------------------------------------------------


def across_view(table: Table, origin: str) -> View:
    """The summary over tasks of data of one origin, with the picture of what is kept of the
    teacher.
    """
    head, lines = summary(table, origin)
    groups = [section.group for section in table.sections if section.group.origin == origin]
    shares = shares_of(groups)
    tasks = sorted({task for kept in shares.values() for task in kept})
    names = names_of(list(shares))
    series = svg.series_of(list(names.values()))
    rows = []
    for key, kept in shares.items():
        rows.append((series[names[key]], [kept.get(task) for task in tasks]))
    return {
        "origin": origin,
        "head": head,
        "lines": lines,
        "right": show.numeric(lines),
        "picture": plots.retention(tasks, rows) if rows else "",
        "legend": [(svg.key(one), one.name) for one in series.values()],
    }


def names_of(keys: Sequence[Models]) -> dict[Models, str]:
    """What configurations are called: student and teacher are said where there are several."""
    students = {student for _, student, _ in keys}
    teachers = {teacher for _, _, teacher in keys} - {""}
    names = {}
    for method, student, teacher in keys:
        name = f"{method}, {student}" if len(students) > 1 else method
        several = teacher and len(teachers) > 1
        names[method, student, teacher] = f"{name}, from {teacher}" if several else name
    return names


def shares_of(groups: list[Group]) -> dict[Models, dict[str, float]]:
    """By configuration, and by task, the share of the teacher's score (%)."""
    shares: dict[Models, dict[str, float]] = {}
    for group in groups:
        for row in group.students:
            share = shared_share(row, group.teacher(row))
            if share is not None:
                by_task = shares.setdefault((method_name(row), row.student, row.teacher_name), {})
                by_task.setdefault(group.task, 100 * share)
    return shares


# ---- where it comes from -------------------------------------------------------------------------


def environments(records: list[Record]) -> list[tuple[int, str]]:
    """Versions and machine of the runs, in words, with the number of runs of each and the code's
    commits.
    """
    commits: dict[str, list[str]] = {}
    for record in records:
        facts = record.get("provenance") or {}
        commits.setdefault(versions_and_machine(facts), []).append(commit_of(facts))
    found = []
    for machine, every in commits.items():
        several = sorted(set(every))
        word = "commit" if len(several) == 1 else "commits"
        found.append((len(every), f"{machine}; {word} {', '.join(several)}"))
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))


def versions_and_machine(facts: Record) -> str:
    """A record's provenance in words, without its commit."""
    packages = (facts.get("packages") or {}).items()
    said = [
        f"kdbench {facts.get('kdbench', '?')}",
        f"Python {facts.get('python', '?')}",
        ", ".join(f"{name} {version}" for name, version in packages),
        facts.get("processor"),
        facts.get("system"),
        facts.get("device"),
        plural(facts["threads"], "thread") if facts.get("threads") else "",
    ]
    return "; ".join(str(fact) for fact in said if fact)


def commit_of(facts: Record) -> str:
    """The commit of a record's code, in ten letters."""
    commit = facts["commit"][:10] if facts.get("commit") else "unknown"
    return f"{commit} with changes" if facts.get("dirty") else commit


def corpus_view(group: Group) -> View:
    """The data of one section: files by checksum."""
    data = group.data
    published: dict[object, str]
    published = {True: "the published files", False: "other files than the published ones"}
    sums = sorted((data.get("sha256") or {}).items())
    return {
        "task": group.task,
        "origin": group.origin,
        "files": published.get(data.get("published_files"), ""),
        "licence": data.get("licence") or "",
        "sums": ", ".join(f"{name} {str(digest)[:12]}" for name, digest in sums),
    }
