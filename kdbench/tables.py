"""Tables from records alone: mean and SD over seeds, what is kept of the teacher, whether a gain is real.

Scores are fractions in records, CSV and JSON, and points (x 100) where people read. Dev and test are
distinct columns, distinct protocols are distinct groups (`kdbench.rows`), and latencies taken in distinct
ways are distinct columns.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kdbench import render as show
from kdbench.errors import BadInput
from kdbench.registry import unknown
from kdbench.render import STRONG, Value
from kdbench.rows import Group, Row, as_text, at, called, grouped, naive, names, shared_gain, shared_share, trouble

if TYPE_CHECKING:
    from kdbench.statistics import Cache, Interval, Overall

Counts = Callable[[dict[str, Any]], Any]  # record -> (units, counts (U, K)), or None where there are none
FORMATS = ("markdown", "csv", "latex", "json")


@dataclass(frozen=True)
class Column:
    """`of(row, seed)` is a row's figure for one seed; None where the figure is computed from several rows."""

    name: str
    title: str
    about: str
    show: Callable[[Value | None], str]
    of: Callable[[Row, int], float | None] | None = None


def path(*steps: str) -> Callable[[Row, int], float | None]:
    return lambda row, seed: at(row.views[seed], *steps)


def training_seconds(row: Row, seed: int) -> float | None:
    spent = [at(row.views[seed], "cost", f"{role}_seconds") for role in ("teacher", "student")]
    return None if all(seconds is None for seconds in spent) else sum(filter(None, spent))


COLUMNS = {
    column.name: column
    for column in (
        Column("dev", "dev", "score on the dev split, which selects the epoch", show.points, path("score", "dev")),
        Column("test", "test", "score on the test split, taken once a seed", show.points,
               path("score", "test")),
        Column("gain", "Δ plain", "test score minus that of the same student fine-tuned without a teacher, with its "
               "95% interval over seeds and test units; * separable from 0 (Holm within the task, at least 5 seeds)",
               show.gain),
        Column("logit_gain", "Δ logit", "test score minus that of the same student by plain logit distillation",
               show.gain),
        Column("best_gain", "Δ best", "test score minus that of the best student of the task, with its 95% interval",
               show.gain),
        Column("tie", "tie", "letter of the tie group: rows of one letter cannot be told apart; a is the best group "
               "(bold); only rows of at least 5 seeds", lambda value: ""),
        Column("retained", "kept", "share of the teacher's test score", show.percent),
        Column("recovered", "gap", "(test - plain) / (teacher - plain): how much of the teacher's lead over the "
               "undistilled student is made up; empty where the teacher is not separably better", show.percent),
        Column("parameters", "params", "parameters of the deployed model", show.count, path("size", "parameters")),
        Column("megabytes", "MB", "size of the saved weights", show.number, path("size", "megabytes")),
        Column("p50_ms", "p50 ms", "median latency of one text", show.number, path("latency", "p50_ms")),
        Column("p95_ms", "p95 ms", "95th percentile of the latency of one text", show.number,
               path("latency", "p95_ms")),
        Column("student_seconds", "train s", "seconds of training the student", show.number,
               path("cost", "student_seconds")),
        Column("teacher_seconds", "teacher s", "seconds of training the teacher it learned from", show.number,
               path("cost", "teacher_seconds")),
        Column("training_seconds", "all s", "seconds of training the student and its teacher", show.number,
               training_seconds),
    )
}
DEFAULT = tuple(name for name in COLUMNS if name not in ("best_gain", "training_seconds"))
LATENCY = ("p50_ms", "p95_ms")
COMPARED = ("gain", "best_gain", "tie", "recovered")


@dataclass
class Line:
    """A row with its name and its figures by column; `tie` is the letter of its tie group."""

    row: Row
    name: str
    values: dict[str, Value] = field(default_factory=dict)
    tie: str = ""


@dataclass
class Section:
    """A group with its lines; the naive predictor's scores stand beside."""

    group: Group
    lines: list[Line]

    @property
    def title(self) -> str:
        """What is compared: task, metric, data."""
        return " · ".join(filter(None, (self.group.task, self.group.metric, f"{self.group.kind} data")))

    @property
    def caption(self) -> str:
        """The protocol in words: splits, files, the unit that statistics resample, the naive predictor."""
        data = self.group.data
        rows = data.get("rows") or {}
        said = [", ".join(f"{split} {rows[split]:,}" for split in rows) + " rows"] if rows else []
        if data.get("published_files") is False:
            said.append("other files than the published ones")
        said += [f"{name}={value}" for name, value in sorted(self.group.options.items()) if value]
        if data.get("unit"):
            said.append(f"resampled by {data['unit']}")
        floor = {split: naive(self.group, split) for split in ("dev", "test")}
        if shown := [f"{split} {100 * score:.1f}" for split, score in floor.items() if score is not None]:
            said.append(f"naive predictor: {', '.join(shown)}")
        return "; ".join([*said, *(str(note) for note in data.get("notes") or ())])


@dataclass
class Across:
    """One configuration over several tasks of one kind of data: `kept` is the share of the teacher's score."""

    kind: str
    name: str
    student: str
    teacher: str
    tasks: tuple[str, ...]
    score: Overall
    kept: Overall | None
    wins: tuple[int, int, int] | None
    p: float | None


@dataclass
class Table:
    """Sections by protocol, the columns that they show, and notes that explain them."""

    columns: tuple[Column, ...]
    sections: list[Section]
    notes: list[str]
    across: list[Across] = field(default_factory=list)


# ---- building --------------------------------------------------------------------------------------------------------


def build(
    records: Iterable[dict[str, Any]], counts: Counts | None = None, columns: Sequence[str] | None = None,
    cache: Cache | None = None,
) -> Table:
    """The table of `records`. With `counts`, differences have intervals and students have tie groups."""
    chosen = pick(columns)
    groups = grouped(records)
    chosen, notes = apart(chosen, groups)
    sections = [Section(group, [Line(row, name) for row, name in zip(group.rows, names(group.rows), strict=True)])
                for group in groups]
    for section in sections:
        for line in section.lines:
            fill(line, section.group, chosen)
        if counts is not None and any(column.name in COMPARED for column in chosen):
            compare(section, counts, cache)
    if cache is not None:
        cache.save()
    return Table(chosen, sections, notes + explain(sections, chosen, counts is not None), across(sections))


def pick(wanted: Sequence[str] | None) -> tuple[Column, ...]:
    for name in wanted or ():
        if name not in COLUMNS:
            raise BadInput(unknown("column", name, COLUMNS))
    return tuple(COLUMNS[name] for name in (wanted or DEFAULT))


def apart(columns: tuple[Column, ...], groups: list[Group]) -> tuple[tuple[Column, ...], list[str]]:
    """Latency columns, one pair for each way in which latency was taken; the notes say which is which."""
    ways = sorted({way for group in groups for row in group.rows for seed in row.views if (way := way_of(row, seed))})
    if not ways:
        return tuple(column for column in columns if column.name not in LATENCY), []
    if len(ways) == 1:
        return columns, [f"latency: {ways[0]}"]

    def taken(column: Column, number: int, way: str) -> Column:
        figure = column.of
        return replace(column, name=f"{column.name}_{number}", title=f"{column.title} [{number}]",
                       of=lambda row, seed: figure(row, seed) if way_of(row, seed) == way else None)

    spread: list[Column] = []
    for column in columns:
        spread += [taken(column, i, way) for i, way in enumerate(ways, 1)] if column.name in LATENCY else [column]
    return tuple(spread), [f"latency [{i}]: {way}" for i, way in enumerate(ways, 1)]


def way_of(row: Row, seed: int) -> str:
    """How a latency was taken, in words: only equal ways are comparable."""
    latency = row.views[seed].get("latency")
    if not latency:
        return ""
    threads = latency.get("threads")
    said = (
        "batch 1",
        f"{latency['protocol']} protocol" if latency.get("protocol") else "",
        f"{latency['lengths']} lengths" if latency.get("lengths") else "",
        latency.get("device"),
        f"{threads} thread{'s' * (threads != 1)}" if threads else "",
        at(row.records[seed], "provenance", "processor"),
    )
    return ", ".join(str(fact) for fact in said if fact)


def fill(line: Line, group: Group, columns: tuple[Column, ...]) -> None:
    """The figures that are means over seeds, or differences and shares of them."""
    row, values = line.row, line.values
    for column in columns:
        if column.of is not None:
            put(values, column.name, Value.of(column.of(row, seed) for seed in row.views))
    share = shared_share(row, group.teacher(row))
    put(values, "retained", None if share is None else Value(share, n=len(row.views)))
    if row.competes:
        put(values, "gain", Value.of(shared_gain(row, group.plain(row))))
        put(values, "logit_gain", Value.of(shared_gain(row, group.logit(row))))


def put(values: dict[str, Value], name: str, value: Value | None) -> None:
    if value is not None:
        values[name] = value


# ---- what is separable -----------------------------------------------------------------------------------------------


def compare(section: Section, counts: Counts, cache: Cache | None) -> None:
    """Intervals of each student's two contrasts (minus plain fine-tuning, minus the best), tie groups, gaps.

    Holm's family is one contrast over the students of the section. Metrics that are no function of sums
    (AUROC, say) have no counts and so no intervals.
    """
    from kdbench import statistics
    from kdbench.metrics import METRICS

    group, metric = section.group, METRICS.get(section.group.metric)
    students = [line for line in section.lines if line.row.competes and "test" in line.values]
    if metric is None or metric.finish is None or not students:
        return
    runs: dict[int, dict[int, Any]] = {}

    def runs_of(row: Row) -> dict[int, Any]:
        if id(row) not in runs:
            found = {seed: counts(record) for seed, record in row.records.items()}
            runs[id(row)] = {seed: one for seed, one in found.items() if one is not None}
        return runs[id(row)]

    def contrast(row: Row, other: Row | None) -> Interval | None:
        if other is None or other is row or row.part or other.part:
            return None
        a, b = runs_of(row), runs_of(other)
        if cache is not None:
            return cache.contrast(a, b, metric.name, metric.finish)
        return statistics.contrast(a, b, metric.finish)

    better = 1 if metric.higher_is_better else -1
    best = max(students, key=lambda line: better * line.values["test"].mean)
    for name, other in (("gain", group.plain), ("best_gain", lambda row: best.row)):
        found = {id(line): contrast(line.row, other(line.row)) for line in students}
        judged = [key for key, interval in found.items() if interval and interval.judged]
        adjusted = dict(zip(judged, statistics.holm([found[key].p for key in judged]), strict=True))
        for line in students:
            interval, p = found[id(line)], adjusted.get(id(line))
            if interval is not None:
                line.values[name] = Value(interval.delta, None, interval.seeds, interval.low, interval.high, p,
                                          p is not None and p < 1 - statistics.LEVEL)
    for line in students:
        teacher, plain = group.teacher(line.row), group.plain(line.row)
        gap = contrast(teacher, plain) if teacher and plain else None
        if gap and line.row is not plain:
            means = [Value.of(row.scores().values()) for row in (line.row, plain, teacher)]
            recovered = statistics.gap_recovered(*(mean.mean for mean in means), gap)
            put(line.values, "recovered", None if recovered is None else Value(recovered, n=gap.seeds))
    enough = {str(i): line for i, line in enumerate(students)
              if len(line.row.seeds) >= statistics.LEAST_SEEDS and runs_of(line.row)}
    scores = {key: better * line.values["test"].mean for key, line in enough.items()}

    def p_value(leader: str, name: str) -> float | None:
        interval = contrast(enough[leader].row, enough[name].row)
        return interval.p if interval and interval.judged else None

    for letter, tied in zip(letters(), statistics.tie_groups(scores, p_value), strict=False):
        for key in tied:
            enough[key].tie = letter


def letters() -> Iterator[str]:
    """a, b, ..., z, aa, ab, ..."""
    for length in itertools.count(1):
        yield from ("".join(word) for word in itertools.product(string.ascii_lowercase, repeat=length))


def across(sections: list[Section]) -> list[Across]:
    """Configurations that stand in at least two tasks, per kind of data.

    A task with several protocols in the table says nothing as one figure and is left out, and so is a
    configuration that a task has with several settings.
    """
    from kdbench import statistics

    found: dict[tuple, dict[str, list[tuple[Section, Line]]]] = {}
    for section in sections:
        kind = section.group.kind
        if sum(other.group.task == section.group.task and other.group.kind == kind for other in sections) > 1:
            continue
        for line in section.lines:
            if line.row.competes and "test" in line.values:
                cell = line.row.cell
                key = (kind, called(line.row), cell["student"], cell.get("teacher") or "", as_text(cell.get("options")))
                found.setdefault(key, {}).setdefault(section.group.task, []).append((section, line))
    rows = []
    for (kind, name, student, teacher, _), by_task in sorted(found.items()):
        if len(by_task) < 2 or any(len(lines) > 1 for lines in by_task.values()):
            continue
        chosen = {task: lines[0] for task, lines in by_task.items()}
        scores = {task: list(line.row.scores().values()) for task, (_, line) in chosen.items()}
        shares = {task: share_by_seed(line.row, section.group.teacher(line.row))
                  for task, (section, line) in chosen.items()}
        gains = [line.values["gain"] for _, line in chosen.values() if "gain" in line.values]
        judged = [gain for gain in gains if gain.p is not None]
        won = [sum(gain.star and gain.mean > 0 for gain in judged), sum(gain.star and gain.mean < 0 for gain in judged)]
        rows.append(Across(
            kind, name, student, teacher, tuple(chosen), statistics.overall(scores),
            statistics.overall(shares) if all(shares.values()) else None,
            (won[0], len(judged) - sum(won), won[1]) if judged else None,
            statistics.wilcoxon([gain.mean for gain in gains]) if len(gains) == len(chosen) else None,
        ))
    return rows


def share_by_seed(row: Row, teacher: Row | None) -> list[float]:
    ours, theirs = row.scores(), teacher.scores() if teacher else {}
    return [ours[seed] / theirs[seed] for seed in sorted(ours.keys() & theirs.keys()) if theirs[seed]]


def explain(sections: list[Section], columns: tuple[Column, ...], judged: bool) -> list[str]:
    """Notes that a reader needs and that hold for this table."""
    from kdbench.statistics import LEAST_SEEDS

    names_shown = {column.name for column in columns}
    seeds = [len(line.row.seeds) for section in sections for line in section.lines]
    notes = []
    if {"dev", "test"} & names_shown:
        notes.append("scores in points (x 100), mean ± SD over n seeds")
    if seeds and min(seeds) < LEAST_SEEDS and names_shown & set(COMPARED):
        notes.append(f"rows of fewer than {LEAST_SEEDS} seeds are preliminary: no verdict, no tie group")
    if names_shown & set(COMPARED) and not judged:
        notes.append("no intervals: the counts behind the scores were not read")
    return notes


# ---- showing ---------------------------------------------------------------------------------------------------------


def render(table: Table, format: str = "markdown") -> str:
    """`table` as markdown, latex (needs booktabs and graphicx), csv or json; the last two hold the same frame."""
    if format == "csv":
        return show.as_csv(frame(table))
    if format == "json":
        return show.as_json(frame(table))
    if format == "latex":
        return "\n\n".join([
            *(show.latex(*matrix(section, table.columns), f"{section.title}. {section.caption}.") for section in
              table.sections if section.lines),
            *(show.latex(*summary(table, kind), f"Across tasks, {kind} data.")
              for kind in dict.fromkeys(row.kind for row in table.across)),
            *(f"% {line}" for section in table.sections for line in map(trouble, section.group.troubles)),
            *(f"% {note}" for note in table.notes),
        ]) + "\n"
    if format != "markdown":
        raise BadInput(unknown("format", format, FORMATS))
    blocks = []
    for section in table.sections:
        blocks.append(f"### {section.title}")
        if section.caption:
            blocks.append(f"{section.caption}.")
        if section.lines:
            blocks.append(show.markdown(*matrix(section, table.columns)))
        if section.group.troubles:
            blocks.append("\n".join(f"- {trouble(record)}" for record in section.group.troubles))
    for kind in dict.fromkeys(row.kind for row in table.across):
        blocks += [f"### across tasks · {kind} data", show.markdown(*summary(table, kind))]
    if table.notes:
        blocks.append("\n".join(f"- {note}" for note in table.notes))
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


def summary(table: Table, kind: str) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the figures over tasks: means and interquartile means (IQM) with intervals over seeds."""

    def figures_of(overall: Overall | None) -> list[str]:
        if overall is None:
            return ["", ""]
        pairs = ((overall.mean, overall.mean_interval), (overall.iqm, overall.iqm_interval))
        return [f"{100 * value:.1f}" + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else "")
                for value, ends in pairs]

    head = ["method", "student", "teacher", "tasks", "mean", "IQM", "kept %", "kept % IQM",
            "better/tied/worse than plain", "Wilcoxon p"]
    lines = []
    for row in table.across:
        if row.kind != kind:
            continue
        lines.append([
            row.name, row.student, row.teacher, str(len(row.tasks)), *figures_of(row.score), *figures_of(row.kept),
            "/".join(map(str, row.wins)) if row.wins else "", f"{row.p:.3f}" if row.p is not None else "",
        ])
    used = [i for i in range(len(head)) if i < 2 or any(line[i] for line in lines)]
    return [head[i] for i in used], [[line[i] for i in used] for line in lines]


def frame(table: Table) -> list[dict[str, Any]]:
    """One flat row a line, with the same keys in every row; failed and skipped cells are rows too."""
    rows = []
    for section in table.sections:
        for line in section.lines:
            row = line.row
            rows.append({**identity(section, row.cell, row.role, row.part), "status": "done", "reason": None,
                         "seeds": " ".join(map(str, row.seeds)), "n": len(row.seeds), **figures(line, table.columns)})
        for record in section.group.troubles:
            rows.append({**identity(section, record["cell"], record.get("role"), ""), "status": record["status"],
                         "reason": trouble(record), "seeds": str(record["cell"]["seed"]), "n": 0,
                         **figures(None, table.columns)})
    return rows


def identity(section: Section, cell: dict[str, Any], role: str | None, part: str) -> dict[str, Any]:
    group = section.group
    rows = group.data.get("rows") or {}
    return {
        "task": group.task, "metric": group.metric or None, "data": group.kind,
        "published_files": group.data.get("published_files"), "task_options": as_text(group.options),
        **{f"{split}_rows": rows.get(split) for split in ("train", "dev", "test")},
        "naive_dev": naive(group, "dev"), "naive_test": naive(group, "test"),
        "method": cell["method"], "part": part or None, "role": role, "variant": cell.get("variant"),
        "teacher": cell.get("teacher"), "student": cell["student"], "options": as_text(cell.get("options") or {}),
        "settings": as_text(cell.get("settings") or {}),
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
            values |= {f"{column.name}_{end}": getattr(value, end, None) for end in ("low", "high", "p")}
        elif column.of is not None:
            values[f"{column.name}_sd"] = value.sd if value else None
    return values


# ---- after a single run ----------------------------------------------------------------------------------------------

CONTROLS = {"finetune": "student, no teacher", "logit_kd": "logit distillation"}


def run_table(records: Iterable[dict[str, Any]]) -> str:
    """The small table printed after a run: the method among its controls, at most 100 columns wide."""
    return "\n\n".join(run_section(group) for group in grouped(records))


def run_section(group: Group) -> str:
    teachers = sorted({row.student for row in group.rows if row.role == "teacher"})
    students = sorted({row.student for row in group.rows if row.competes})
    seeds = sorted({seed for row in group.rows for seed in row.views})
    title = [group.task, group.metric, f"{group.kind} data"]
    title += [f"teacher {', '.join(teachers)}"] * bool(teachers) + [f"student {', '.join(students)}"] * bool(students)
    title += [f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"] * bool(seeds)
    head = ["", "dev", "test", "kept", "params", "MB", "p50/p95 ms", "train s", "data"]
    lines = []
    if group.rows:
        floor = [show.points(Value.of([naive(group, split)])) for split in ("dev", "test")]
        lines.append(["naive", *floor, "", "", "", "", "", group.kind])
    for row, name in zip(group.rows, names(group.rows), strict=True):
        if name in CONTROLS or row.part:
            name = CONTROLS.get(name) or f"  {row.part}"
        if row.competes and len(students) > 1:
            name = f"{name}, {row.student}"

        def mean(*steps: str, row: Row = row) -> Value | None:
            return Value.of(at(view, *steps) for view in row.views.values())

        share = shared_share(row, group.teacher(row))
        lines.append([
            name,
            show.points(mean("score", "dev")).replace(" ", ""),
            show.points(mean("score", "test")).replace(" ", ""),
            show.percent(None if share is None else Value(share)),
            show.count(mean("size", "parameters")),
            show.number(mean("size", "megabytes")),
            "/".join(filter(None, (show.number(mean("latency", name)) for name in LATENCY))),
            show.number(mean("cost", "student_seconds")),
            group.kind,
        ])
    return "\n".join([show.wrap(" · ".join(filter(None, title))), *([show.plain(head, lines)] if lines else []),
                      *(show.wrap(trouble(record)) for record in group.troubles)])
