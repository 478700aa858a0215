"""Tables from records alone: mean and SD over seeds, what is kept of the teacher, whether a gain is
real.

Scores are fractions in records, CSV and JSON, and points (x 100) where people read. Dev and test
are distinct columns, distinct protocols are distinct groups (`kdbench.report.rows`), and latencies
taken in distinct ways are distinct columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.base import render as show
from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.base.render import STRONG, Value
from kdbench.report.across import Across, across
from kdbench.report.columns import COLUMNS, COMPARED, LATENCY, Column, apart, beside, pick
from kdbench.report.contrasts import Counts, judge
from kdbench.report.rows import (
    Group,
    Line,
    Name,
    Section,
    as_text,
    at,
    difference,
    grouped,
    naive,
    names,
    old_versions,
    shared_gain,
    shared_share,
    trouble,
)
from kdbench.score.statistics import LEAST_SEEDS, Cache, Overall

FORMATS = ("text", "markdown", "csv", "latex", "json")


@dataclass
class Table:
    """Sections by protocol, the columns that they show, and notes that explain them.

    beside  columns of CSV and JSON alone
    """

    columns: tuple[Column, ...]
    sections: list[Section]
    notes: list[str]
    across: list[Across]
    beside: tuple[Column, ...] = ()


# ---- building ------------------------------------------------------------------------------------


def build(records: Iterable[dict[str, Any]], counts: Counts | None = None,
          columns: Sequence[str] | None = None, cache: Cache | None = None,
          chosen_names: Sequence[Name] = (),
          ) -> Table:
    """The table of `records`. With `counts`, differences have intervals and students have tie
    groups.
    """
    chosen = pick(columns)
    groups = grouped(records)
    chosen, notes = apart(chosen, groups)
    more = beside(chosen, groups)
    sections = [
        Section(group, [
            Line(row, name)
            for row, name in zip(group.rows, names(group.rows, chosen_names), strict=True)
        ])
        for group in groups
    ]
    for section in sections:
        for line in section.lines:
            fill(line, section.group, (*chosen, *more))
        if counts is not None and any(column.name in COMPARED for column in chosen):
            judge(section.group, section.lines, counts, cache)
    for section in sections:
        if sum((other.title, other.caption) == (section.title, section.caption)
               for other in sections) > 1:
            known = (section.group.data.get("sha256")
                     or {}).get("test") or section.group.digests.get("test") or "unknown"
            section.files = f"test file {known[:12]}"
    if cache is not None:
        cache.save()
    notes += explain(sections, chosen, counts is not None)
    notes += meanings(sections, chosen_names) + retries(sections)
    return Table(chosen, sections, notes, across(sections), more)


def fill(line: Line, group: Group, columns: Sequence[Column]) -> None:
    """The figures that are means over seeds, or differences and shares of them."""
    row, values = line.row, line.values
    for column in columns:
        if column.of is not None:
            put(values, column.name, Value.of(column.of(row, seed) for seed in row.views))
    shares = {"retained": shared_share(row, group.teacher(row))}
    shares |= {
        column.name: shared_share(row, group.teacher(row), *column.share)
        for column in columns
        if column.share
    }
    for name, share in shares.items():
        put(values, name, None if share is None else Value(share, n=len(row.views)))
    if row.competes:
        put(values, "gain", Value.of(shared_gain(row, group.plain(row))))
        put(values, "logit_gain", Value.of(shared_gain(row, group.logit(row))))


def put(values: dict[str, Value], name: str, value: Value | None) -> None:
    if value is not None:
        values[name] = value


def explain(sections: list[Section], columns: tuple[Column, ...], judged: bool) -> list[str]:
    """Notes that a reader needs and that hold for this table."""
    names_shown = {column.name for column in columns}
    seeds = [len(line.row.seeds) for section in sections for line in section.lines]
    notes = []
    if {"dev", "test"} & names_shown:
        notes.append("scores in points (x 100), mean ± SD over n seeds")
    if seeds and min(seeds) < LEAST_SEEDS and names_shown & set(COMPARED):
        notes.append(
            f"rows of fewer than {LEAST_SEEDS} seeds are preliminary: no verdict, no tie group")
    if names_shown & set(COMPARED) and not judged:
        notes.append("no intervals: the counts behind the scores were not read")
    if any(old_versions(line.row) for section in sections for line in section.lines):
        notes.append(
            "rows marked with a version or with edited code were made by other code than today's; "
            "the same command makes "
            "them anew")
    return notes


def meanings(sections: list[Section], chosen_names: Sequence[Name]) -> list[str]:
    """What the chosen names stand for, a note each."""
    said = [
        f"{line.name}: {difference(line.row, section.group.rows) or 'the one such row'}"
        for section in sections
        for line in section.lines
        if not line.row.part and any(name.fits(line.row) for name in chosen_names)
    ]
    return list(dict.fromkeys(said))


def retries(sections: list[Section]) -> list[str]:
    """A note for each training that ran out of memory and was made in more parts than asked for."""
    found: dict[str, tuple[dict[str, Any], dict[str, None]]] = {}
    for line in (line for section in sections for line in section.lines if not line.row.part):
        for seed, record in sorted(line.row.records.items()):
            for stage in at(record, "cost", "stages") or ():
                if "accumulate_asked" in stage:
                    rows = found.setdefault(stage["key"], (stage, {}))[1]
                    rows[f"{line.name}, seed {seed}"] = None
    return [f"{stage['name']} ran out of memory and was made in {stage['accumulate']} parts a "
            f"batch instead of {stage['accumulate_asked']}; a loss that acts on each part, as "
            f"VE-KD's tolerance does, is not the one asked for: {'; '.join(rows)}"
            for stage, rows in found.values()]


# ---- showing -------------------------------------------------------------------------------------


def render(table: Table, format: str = "markdown", width: int = show.WIDTH) -> str:
    """`table` as text `width` wide, markdown, latex (needs booktabs and graphicx), csv or json; the
    last two hold the same frame.
    """
    if format == "csv":
        return show.as_csv(frame(table))
    if format == "json":
        return show.as_json(frame(table))
    if format == "latex":
        return "\n\n".join([
            *(show.latex(*matrix(section, table.columns), f"{section.title}. {section.caption}.")
              for section in table.sections
              if section.lines),
            *(show.latex(*summary(table, origin), f"Across tasks, {origin} data.")
              for origin in dict.fromkeys(row.origin for row in table.across)),
            *(f"% {line}" for section in table.sections
              for line in map(trouble, section.group.troubles)), *(f"% {note}"
                                                                   for note in table.notes),
        ]) + "\n"
    if format not in FORMATS:
        raise BadInput(unknown("format", format, FORMATS))
    plain = format == "text"

    def title(words: str) -> str:
        return show.wrap(words, width) if plain else f"### {words}"

    def grid(head: list[str], lines: list[list[str]]) -> str:
        if not plain:
            return show.markdown(head, lines)
        return show.text([f"{head[0]}, {head[1]}", *head[2:]],
                         [[", ".join(filter(None, line[:2])), *line[2:]] for line in lines], width)

    def listed(notes: Iterable[str]) -> str:
        return "\n".join(show.wrap(f"- {note}", width) if plain else f"- {note}" for note in notes)

    blocks = []
    for section in table.sections:
        blocks.append(title(section.title))
        if section.caption:
            blocks.append(
                show.wrap(f"{section.caption}.", width) if plain else f"{section.caption}.")
        if section.lines:
            blocks.append(grid(*matrix(section, table.columns)))
        if section.group.troubles:
            blocks.append(listed(map(trouble, section.group.troubles)))
    for origin in dict.fromkeys(row.origin for row in table.across):
        blocks += [title(f"across tasks · {origin} data"), grid(*summary(table, origin))]
    if table.notes:
        blocks.append(listed(table.notes))
    return "\n\n".join(blocks) + "\n"


def matrix(section: Section, columns: tuple[Column, ...]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of text; the best tie group's test scores are marked strong."""
    head = ["method", "student", "teacher", "n", *(column.title for column in columns)]
    lines = []
    for line in section.lines:
        row = line.row
        text = [line.name, row.student, row.cell.get("teacher") or "", str(len(row.seeds))]
        for column in columns:
            shown = line.tie if column.name == "tie" else column.show(line.values.get(column.name))
            text.append(f"{STRONG}{shown}" if column.name == "test" and line.tie == "a" else shown)
        lines.append(text)
    used = [i for i in range(len(head)) if i < 2 or any(text[i] for text in lines)]
    return [head[i] for i in used], [[text[i] for i in used] for text in lines]


def summary(table: Table, origin: str) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the figures over tasks: means and interquartile means (IQM) with intervals
    over seeds.
    """

    def figures_of(overall: Overall | None) -> list[str]:
        if overall is None:
            return ["", ""]
        pairs = ((overall.mean, overall.mean_interval), (overall.iqm, overall.iqm_interval))
        return [
            f"{100 * value:.1f}" + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else "")
            for value, ends in pairs
        ]

    head = ["method", "student", "teacher", "tasks", "mean", "IQM", "kept %", "kept % IQM",
            "better/tied/worse than plain", "Wilcoxon p"]
    lines = []
    for row in table.across:
        if row.origin != origin:
            continue
        lines.append([
            row.name, row.student, row.teacher,
            str(len(row.tasks)), *figures_of(row.score), *figures_of(row.kept),
            "/".join(map(str, row.wins)) if row.wins else "",
            f"{row.p:.3f}" if row.p is not None else "",
        ])
    used = [i for i in range(len(head)) if i < 2 or any(line[i] for line in lines)]
    return [head[i] for i in used], [[line[i] for i in used] for line in lines]


def frame(table: Table) -> list[dict[str, Any]]:
    """One flat row a line, with the same keys in every row; failed and skipped cells are rows
    too.
    """
    rows = []
    for section in table.sections:
        for line in section.lines:
            row = line.row
            rows.append({
                **identity(section, row.cell, row.role, row.part), "status": "done", "reason": None,
                "seeds": " ".join(map(str, row.seeds)), "n": len(row.seeds),
                **figures(line, (*table.columns, *table.beside))
            })
        for record in section.group.troubles:
            rows.append({
                **identity(section, record["cell"], record.get("role"), ""), "status":
                    record["status"], "reason": trouble(record),
                "seeds": str(record["cell"]["seed"]), "n": 0,
                **figures(None, (*table.columns, *table.beside))
            })
    return rows


def identity(section: Section, cell: dict[str, Any], role: str | None, part: str) -> dict[str, Any]:
    group = section.group
    rows = group.data.get("rows") or {}
    return {
        "task": group.task, "metric": group.metric or None, "data": group.origin,
        "published_files": group.data.get("published_files"), "task_options": as_text(group.options
                                                                                      ),
        **{f"{split}_rows": rows.get(split)
           for split in ("train", "dev", "test")}, "naive_dev": naive(group, "dev"),
        "naive_test": naive(group,
                            "test"), "method": cell["method"], "part": part or None, "role": role,
        "variant": cell.get("variant"), "teacher": cell.get("teacher"), "student": cell["student"],
        "options": as_text(cell.get("options")
                           or {}), "settings": as_text(cell.get("settings") or {}),
    }


def figures(line: Line | None, columns: tuple[Column, ...]) -> dict[str, Any]:
    """Means with their SD, differences with their interval and Holm-adjusted p."""
    values: dict[str, Any] = {}
    for column in columns:
        if column.name == "tie":
            values["tie"] = (line.tie if line else "") or None
            continue
        value = line.values.get(column.name) if line else None
        values[column.name] = value.mean if value else None
        if column.name in ("gain", "best_gain"):
            values |= {
                f"{column.name}_{end}": getattr(value, end, None)
                for end in ("low", "high", "p")
            }
        elif column.of is not None:
            values[f"{column.name}_sd"] = value.sd if value else None
    return values


# ---- after a single run --------------------------------------------------------------------------

CONTROLS = {"finetune": "student, no teacher", "logit_kd": "logit distillation"}


def run_table(records: Iterable[dict[str, Any]]) -> str:
    """The small table printed after a run: the method among its controls, at most 100 columns
    wide.
    """
    return "\n\n".join(run_section(group) for group in grouped(records))


def run_section(group: Group) -> str:
    teachers = sorted({row.student for row in group.rows if row.role == "teacher"})
    students = sorted({row.student for row in group.rows if row.competes})
    seeds = sorted({seed for row in group.rows for seed in row.views})
    title = [group.task, group.metric, f"{group.origin} data"]
    title += [f"teacher {', '.join(teachers)}"
              ] * bool(teachers) + [f"student {', '.join(students)}"] * bool(students)
    title += [f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"] * bool(seeds)
    title += group.cut_short + group.beyond_limit
    head = ["", "dev", "test", "kept", "params", "MB", "p50/p95 ms", "train s", "data"]
    lines = []
    if group.rows:
        floor = [show.points(Value.of([naive(group, split)])) for split in ("dev", "test")]
        lines.append(["naive", *floor, "", "", "", "", "", group.origin])
    figures = [
        COLUMNS[name]
        for name in ("dev", "test", "parameters", "megabytes", *LATENCY, "student_seconds")
    ]
    for row, name in zip(group.rows, names(group.rows), strict=True):
        if name in CONTROLS or row.part:
            name = CONTROLS.get(name) or f"  {row.part}"
        if row.competes and len(students) > 1:
            name = f"{name}, {row.student}"
        line = Line(row, name)
        fill(line, group, figures)
        dev, test, parameters, megabytes, p50, p95, seconds = (c.show(line.values.get(c.name))
                                                               for c in figures)
        kept = show.percent(line.values.get("retained"))
        lines.append([
            name,
            dev.replace(" ", ""),
            test.replace(" ", ""), kept, parameters, megabytes, "/".join(filter(None, (p50, p95))),
            seconds, group.origin
        ])
    return "\n".join([
        show.wrap(" · ".join(filter(None, title))), *([show.plain(head, lines)] if lines else []),
        *(show.wrap(trouble(record)) for record in group.troubles)
    ])
