"""The columns of tables: what each shows, how it is written, and where its figure is read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kdbench.base import render as show
from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.base.render import Value
from kdbench.report import reading
from kdbench.report.groups import Group
from kdbench.report.rows import Line, Row, nested
from kdbench.score.metrics import METRICS

Figure = Callable[[Row, int], float | None]  # of a row and one of its seeds


@dataclass(frozen=True)
class Column:
    """What a table shows under `title`.

    show    writes its figure
    figure  the figure of a row for one seed; None where it is computed from several rows
    share   (split, metric) of which it shows the share that a row keeps of its teacher's
    text    words of a line, in place of a figure
    """

    name: str
    title: str
    about: str
    show: Callable[[Value | None], str]
    figure: Figure | None = None
    share: tuple[str, str] | None = None
    text: Callable[[Line], str] | None = None


def figure_at(*path: str) -> Figure:
    """The figure under these keys of a record."""
    return lambda row, seed: nested(row.views[seed], *path)


def score_of(split: str, metric: str) -> Figure:
    """The score of a metric."""
    return lambda row, seed: row.scores(split, metric).get(seed)


def training_seconds(row: Row, seed: int) -> float | None:
    """Seconds of training student and teacher."""
    names = ("teacher_seconds", "student_seconds")
    spent = [nested(row.views[seed], "cost", name) for name in names]
    known = [seconds for seconds in spent if seconds is not None]
    return sum(filter(None, known)) if known else None


def student_steps(row: Row, seed: int) -> float | None:
    """Optimiser steps of all trainings of the student."""
    stages = nested(row.views[seed], "cost", "stages") or ()
    steps = [stage["steps"] for stage in stages if stage.get("role") == "student"]
    return sum(steps) if steps else None


def ratio_of(split: str, what: str) -> Figure:
    """Precision or recall behind a row's main metric, where that is an F1 with these beside it."""

    def figure(row: Row, seed: int) -> float | None:
        main = nested(row.views[seed], "score", "metric") or ""
        name = main.replace("f1", what)
        if name not in METRICS or METRICS[name].of != main:
            return None
        return row.scores(split, name).get(seed)

    return figure


# ---- the list ------------------------------------------------------------------------------------


def ratio_columns() -> Iterator[Column]:
    """Precision and recall on both splits."""
    for split in ("dev", "test"):
        for what, short in (("precision", "P"), ("recall", "R")):
            about = f"{what} on {split}, of the F1 that is the task's metric"
            figure = ratio_of(split, what)
            yield Column(f"{split}_{what}", f"{split} {short}", about, show.points, figure)


RATIOS = tuple(ratio_columns())

SCORES = (
    Column("dev", "dev", "score on the dev split, which selects the epoch",
           show.points, figure_at("score", "dev")),
    Column("test", "test", "score on the test split, taken once a seed",
           show.points, figure_at("score", "test")),
    Column("raw_text", "raw",
           "entity F1 on the test split's raw texts, cut into words by the rule that the student "
           "is served with; shown where that is not how the corpus is cut",
           show.points, figure_at("score", "raw_text", "test")),
    Column("gain", "Δ plain",
           "test score minus that of the same student fine-tuned without a teacher, with its 95% "
           "interval over seeds and test units; * significantly different from 0 (Holm within the "
           "task, at least 5 seeds)",
           show.gain),
    Column("logit_gain", "Δ logit",
           "test score minus that of the same student by plain logit distillation", show.gain),
    Column("best_gain", "Δ best",
           "test score minus that of the best student of the task, with its 95% interval",
           show.gain),
    Column("tie", "tie",
           "letter of the tie group: rows that do not differ significantly from the best row of "
           "their group; a is the best group (bold); only rows of at least 5 seeds",
           lambda value: "", text=lambda line: line.tie),
    Column("retained", "kept", "share of the teacher's test score", show.percent),
    Column("recovered", "gap",
           "(test - plain) / (teacher - plain): how much of the teacher's lead over the "
           "undistilled student is made up; empty where the teacher is not significantly better",
           show.percent),
)

COSTS = (
    Column("parameters", "params", "parameters of the deployed model",
           show.count, figure_at("size", "parameters")),
    Column("megabytes", "MB", "size of the saved weights",
           show.number, figure_at("size", "megabytes")),
    Column("p50_ms", "p50 ms", "median latency of one text",
           show.number, figure_at("latency", "p50_ms")),
    Column("p95_ms", "p95 ms", "95th percentile of the latency of one text",
           show.number, figure_at("latency", "p95_ms")),
    Column("steps", "steps", "optimiser steps of all trainings of the student",
           show.whole, student_steps),
    Column("student_seconds", "train s", "seconds of training the student",
           show.number, figure_at("cost", "student_seconds")),
    Column("teacher_seconds", "teacher s", "seconds of training the teacher it learned from",
           show.number, figure_at("cost", "teacher_seconds")),
    Column("training_seconds", "all s", "seconds of training the student and its teacher",
           show.number, training_seconds),
)

READ = Column("teacher_read", "teacher has read", reading.ABOUT, lambda value: "",
              text=lambda line: reading.teacher_read(line.row))

COLUMNS = {column.name: column for column in (*SCORES, *COSTS, *RATIOS, READ)}
LATENCY = ("p50_ms", "p95_ms")
TESTED = ("gain", "best_gain", "tie", "recovered")  # they need the counts behind the scores
# shown only where somebody names them
OPTIONAL = ("best_gain", "steps", "training_seconds", READ.name,
            *(column.name for column in RATIOS))
DEFAULT = tuple(name for name in COLUMNS if name not in OPTIONAL)
BESIDE = "†"  # follows a latency that was only measured beside other work
BESIDE_WORK = ", beside "  # what the machine did meanwhile follows it in a record's protocol
BESIDE_NOTE = (
    f"{BESIDE}: this latency was measured while the machine did other work, and is too long rather "
    "than too short"
)
RAW_TEXT = "raw_text"
DIAGNOSTIC, OVER = "diagnostic:", "over:"
SPLITS = ("dev", "test")


def columns_named(names: Sequence[str] | None) -> tuple[Column, ...]:
    """The columns of these names; the usual ones where none are given."""
    return tuple(column_named(name) for name in names or DEFAULT)


def column_named(name: str) -> Column:
    """The column of a name: one of `COLUMNS`, or of these forms.

    dev:METRIC, test:METRIC   a task's further metrics; `kept:` before these: the teacher's share
    diagnostic:dev:NAME, diagnostic:test:NAME   what a method watches of its student
    over:ROW                  the gain over another row of the same student, by its name
    """
    if name in COLUMNS:
        return COLUMNS[name]
    if name.startswith(DIAGNOSTIC):
        return diagnostic_column(name)
    if name.startswith(OVER) and name != OVER:
        row = name.removeprefix(OVER)
        about = (f"test score minus that of `{row}` with the same student, with its 95% interval "
                 "over seeds and test units")
        return Column(name, f"Δ {row}", about, show.gain)
    split, _, metric = name.removeprefix("kept:").partition(":")
    if split not in SPLITS:
        forms = ("dev:METRIC", "test:METRIC", "kept:dev:METRIC", "kept:test:METRIC", "over:ROW")
        raise BadInput(unknown("column", name, [*COLUMNS, *forms]))
    if metric not in METRICS:
        raise BadInput(unknown("column", name, METRICS))
    if name.startswith("kept:"):
        about = f"share of the teacher's {metric} on {split}"
        title = f"kept {split} {metric}"
        return Column(name, title, about, show.percent, share=(split, metric))
    about = f"{metric} on the {split} split"
    return Column(name, f"{split} {metric}", about, show.points, score_of(split, metric))


def diagnostic_column(name: str) -> Column:
    """The column of ``diagnostic:SPLIT:NAME``."""
    split, _, what = name.removeprefix(DIAGNOSTIC).partition(":")
    if split not in SPLITS or not what:
        raise BadInput(f"column {name!r}: write diagnostic:dev:NAME or diagnostic:test:NAME")
    about = f"{what} of the trained student on {split}, a diagnostic"
    figure = figure_at("diagnostics", what, split)
    return Column(name, f"{split} {what}", about, show.percent, figure)


def data_columns(columns: Sequence[Column], groups: list[Group]) -> tuple[Column, ...]:
    """What CSV and JSON hold beside `columns`: precision, recall and diagnostics that records
    have.
    """
    rows = [row for group in groups for row in group.rows]
    found = [*RATIOS, *map(column_named, diagnostic_names(rows))]
    shown = {column.name for column in columns}
    return tuple(column for column in found if column.name not in shown and has_any(column, rows))


def diagnostic_names(rows: Sequence[Row]) -> list[str]:
    """The names of the columns of all diagnostics in the records of `rows`."""
    names = set()
    for row in rows:
        for view in row.views.values():
            for what, by_split in (view.get("diagnostics") or {}).items():
                names |= {f"{DIAGNOSTIC}{split}:{what}" for split in by_split}
    return sorted(names)


def without_unused(columns: Sequence[Column], groups: list[Group]) -> tuple[Column, ...]:
    """The columns without that of raw texts, where no row has been scored on them."""
    rows = [row for group in groups for row in group.rows]
    return tuple(column for column in columns
                 if column.name != RAW_TEXT or has_any(column, rows))


def has_any(column: Column, rows: Sequence[Row]) -> bool:
    """Whether any of `rows` has a figure for a column."""
    figure = column.figure
    if figure is None:
        return False
    return any(figure(row, seed) is not None for row in rows for seed in row.views)


# ---- latencies -----------------------------------------------------------------------------------


def split_latencies(
    columns: tuple[Column, ...], groups: list[Group]
) -> tuple[tuple[Column, ...], list[str]]:
    """Latency columns, one pair for each protocol by which latency was measured; the notes say
    which is which, and what the mark of a latency is.

    Whether the machine did other work meanwhile makes no protocol, or teacher and student could
    stand in two columns: it makes the mark.
    """
    rows = [row for group in groups for row in group.rows]
    found = {latency_protocol(row, seed) for row in rows for seed in row.views}
    protocols = sorted(found - {""})
    if not protocols:
        return tuple(column for column in columns if column.name not in LATENCY), []
    marked = [BESIDE_NOTE] * any(latency_mark(row) for row in rows)
    if len(protocols) == 1:
        return columns, [f"latency: {protocols[0]}", *timed_lengths(rows), *marked]
    spread: list[Column] = []
    for column in columns:
        if column.name in LATENCY:
            for number, protocol in enumerate(protocols, 1):
                spread.append(latency_column(column, number, protocol))
        else:
            spread.append(column)
    notes = [f"latency [{number}]: {protocol}" for number, protocol in enumerate(protocols, 1)]
    return tuple(spread), notes + timed_lengths(rows) + marked


def is_tested(column: Column) -> bool:
    """Whether a column needs the counts behind the scores."""
    return column.name in TESTED or column.name.startswith(OVER)


def is_latency(column: str) -> bool:
    """Whether a column of this name shows a latency, of one protocol or of any."""
    return column in LATENCY or column.rpartition("_")[0] in LATENCY


def value_of(column: Column, row: Row) -> Value | None:
    """What a column shows of a row: the mean over its seeds.

    A latency is the mean over the seeds of which it was measured alone on the machine; where there
    is none of them, over all, and marked.
    """
    if column.figure is None:
        return None
    figures = {seed: column.figure(row, seed) for seed in row.views}
    if not is_latency(column.name):
        return Value.of(figures.values())
    known = [seed for seed, figure in figures.items() if figure is not None]
    alone = [seed for seed in known if not was_beside(row, seed)]
    value = Value.of(figures[seed] for seed in alone or known)
    return value if value is None or alone else replace(value, mark=BESIDE)


def latency_mark(row: Row) -> str:
    """The mark of a row whose latency was only measured beside other work; empty for others."""
    timed = [seed for seed in row.views if row.views[seed].get("latency")]
    return BESIDE if timed and all(was_beside(row, seed) for seed in timed) else ""


def was_beside(row: Row, seed: int) -> bool:
    """Whether the machine did other work while the latency of this seed was measured."""
    return BESIDE_WORK in (nested(row.views[seed], "latency", "protocol") or "")


def timed_lengths(rows: Sequence[Row]) -> list[str]:
    """A note on how long the timed texts were; none for records that do not say it."""
    found: dict[str, None] = {}
    for row in rows:
        for view in row.views.values():
            latency = view.get("latency") or {}
            if "tokens" in latency:
                found[f"{row.student} {latency['tokens']:,} of at most "
                      f"{latency['max_length']:,}"] = None
    if not found:
        return []
    return [f"latency is of each text at its own length, in tokens (median): {', '.join(found)}"]


def latency_column(column: Column, number: int, protocol: str) -> Column:
    """A latency column of one protocol, which has a number."""
    measured = figure_at("latency", column.name)

    def figure(row: Row, seed: int) -> float | None:
        return measured(row, seed) if latency_protocol(row, seed) == protocol else None

    title = f"{column.title} [{number}]"
    return replace(column, name=f"{column.name}_{number}", title=title, figure=figure)


def latency_protocol(row: Row, seed: int) -> str:
    """How a latency was measured, in words: only equal protocols are comparable."""
    latency = row.views[seed].get("latency")
    if not latency:
        return ""
    threads = latency.get("threads")
    protocol = (latency.get("protocol") or "").partition(BESIDE_WORK)[0]
    facts = (
        "batch 1",
        f"{protocol} protocol" if protocol else "",
        f"{latency['lengths']} lengths" if latency.get("lengths") else "",
        latency.get("device"),
        f"{threads} thread{'s' * (threads != 1)}" if threads else "",
        nested(row.records[seed], "provenance", "processor"),
    )
    return ", ".join(str(fact) for fact in facts if fact)
