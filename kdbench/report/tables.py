"""Tables from records alone: mean and SD over seeds, what is kept of the teacher, which gains are
significant.

Scores are fractions in records, CSV and JSON, and points (x 100) where people read. Dev and test
are distinct columns, distinct protocols are distinct groups (`kdbench.report.groups`), and
latencies that were measured by distinct protocols are distinct columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kdbench.base import render as show
from kdbench.base.activity import doing
from kdbench.base.errors import BadInput
from kdbench.base.registry import METHODS, unknown
from kdbench.base.render import STRONG, Value
from kdbench.base.visible import one_line, without_html
from kdbench.report.across import Across, across
from kdbench.report.columns import (
    COLUMNS,
    LATENCY,
    OVER,
    RAW_TEXT,
    Column,
    columns_named,
    data_columns,
    is_tested,
    split_latencies,
    value_of,
    without_unused,
)
from kdbench.report.contrasts import Counts, add_statistics
from kdbench.report.frames import frame
from kdbench.report.groups import Group, Section, grouped, naive_score
from kdbench.report.names import Name, differing_options, old_versions, row_names
from kdbench.report.rows import (
    Line,
    Record,
    Row,
    failure,
    nested,
    shared_gain,
    shared_share,
)
from kdbench.report.teachers import teacher_notes
from kdbench.score.statistics import LEAST_SEEDS, Cache, Overall

FORMATS = ("text", "markdown", "csv", "latex", "json")


@dataclass
class Table:
    """Sections by protocol, the columns that they show, and notes that explain them.

    data_columns  further columns of CSV and JSON
    """

    columns: tuple[Column, ...]
    sections: list[Section]
    notes: list[str]
    across: list[Across]
    data_columns: tuple[Column, ...] = ()

    @property
    def origins(self) -> list[str]:
        """Where the data of the figures across tasks come from, in order."""
        return list(dict.fromkeys(row.origin for row in self.across))


# ---- building ------------------------------------------------------------------------------------


def build(
    records: Iterable[Record],
    counts: Counts | None = None,
    columns: Sequence[str] | None = None,
    cache: Cache | None = None,
    chosen_names: Sequence[Name] = (),
) -> Table:
    """The table of `records`. With `counts`, differences have intervals and students have tie
    groups.
    """
    groups = grouped(records)
    wanted = without_unused(columns_named(columns), groups)
    shown, notes = split_latencies(wanted, groups)
    more = data_columns(shown, groups)
    tested = any(map(is_tested, shown))
    over = [column for column in shown if column.name.startswith(OVER)]
    sections = []
    for group in groups:
        section = named_section(group, chosen_names)
        for line in section.lines:
            add_figures(line, group, (*shown, *more))
        others = {column.name: rows_over(column, section.lines) for column in over}
        if counts is not None and tested:
            with doing(f"intervals of {section.title}"):
                add_statistics(group, section.lines, counts, cache, others)
        sections.append(section)
    check_rows_over(over, sections)
    name_files(sections)
    if cache is not None:
        cache.save()
    notes += reading_notes(sections, shown, counts is not None)
    for section in sections:
        notes += teacher_notes(section.group, section.lines)
    notes += name_notes(sections, chosen_names) + retry_notes(sections)
    return Table(shown, sections, notes, across(sections), more)


def named_section(group: Group, chosen_names: Sequence[Name]) -> Section:
    """A group with a line a row, still without figures."""
    names = row_names(group.rows, chosen_names)
    return Section(group, [Line(row, name) for row, name in zip(group.rows, names, strict=True)])


def name_files(sections: list[Section]) -> None:
    """Name the test file of sections that have the same words otherwise."""
    words = [(section.title, section.caption) for section in sections]
    times = Counter(words)
    for section, own in zip(sections, words, strict=True):
        if times[own] > 1:
            data = section.group.data.get("sha256") or {}
            test = data.get("test") or section.group.digests.get("test") or "unknown"
            section.files = f"test file {test[:12]}"


def add_figures(line: Line, group: Group, columns: Sequence[Column]) -> None:
    """The figures that are means over seeds, or differences and shares of them."""
    row, teacher = line.row, group.teacher(line.row)
    values: dict[str, Value | None] = {}
    for column in (COLUMNS["test"], *columns):  # which is tested, whether it is shown or not
        if column.figure is not None:
            values[column.name] = value_of(column, row)
        if column.share is not None:
            values[column.name] = share_of(row, teacher, *column.share)
    values["retained"] = share_of(row, teacher)
    if row.is_student:
        values["gain"] = Value.of(shared_gain(row, group.baseline(row)))
        values["logit_gain"] = Value.of(shared_gain(row, group.distillation(row)))
    line.values |= {name: value for name, value in values.items() if value is not None}


def rows_over(column: Column, lines: Sequence[Line]) -> list[Row | None]:
    """For each student of a section, in order, the row that the column compares it with; its
    figures are put on the lines, still without intervals.
    """
    name = column.name.removeprefix(OVER)
    found: list[Row | None] = []
    for line in lines:
        if not line.row.is_student:
            continue
        other = next((one.row for one in lines if one.name == name and one is not line
                      and one.row.student == line.row.student
                      and one.row.teacher_name in ("", line.row.teacher_name)), None)
        found.append(other)
        if (gain := Value.of(shared_gain(line.row, other))) is not None:
            line.values[column.name] = gain
    return found


def check_rows_over(columns: Sequence[Column], sections: Sequence[Section]) -> None:
    """`BadInput` where no row has the name that a column compares with."""
    names = [line.name for section in sections for line in section.lines]
    for column in columns:
        if names and column.name.removeprefix(OVER) not in names:
            raise BadInput(unknown("row", column.name.removeprefix(OVER), names))


def share_of(
    row: Row, teacher: Row | None, split: str = "test", metric: str | None = None
) -> Value | None:
    """The share of the teacher's score that a row keeps."""
    share = shared_share(row, teacher, split, metric)
    return None if share is None else Value(share, n=len(row.views))


# ---- notes ---------------------------------------------------------------------------------------


def reading_notes(
    sections: list[Section], columns: tuple[Column, ...], with_counts: bool
) -> list[str]:
    """Notes that a reader needs and that hold for this table."""
    shown = {column.name for column in columns}
    lines = [line for section in sections for line in section.lines]
    fewest = min((len(line.row.seeds) for line in lines), default=LEAST_SEEDS)
    tested = any(map(is_tested, columns))
    notes = []
    if {"dev", "test"} & shown:
        notes.append("scores in points (x 100), mean ± SD over n seeds")
    if fewest < LEAST_SEEDS and tested:
        notes.append(
            f"rows of fewer than {LEAST_SEEDS} seeds are preliminary: no verdict, no tie group"
        )
    if tested and not with_counts:
        notes.append("no intervals: the counts behind the scores were not read")
    if any(old_versions(line.row) for line in lines):
        notes.append(
            "rows marked with a version or with edited code were made by other code than today's; "
            "the same command makes them anew"
        )
    return notes


def name_notes(sections: list[Section], chosen_names: Sequence[Name]) -> list[str]:
    """What the chosen names stand for, a note each."""
    notes = []
    for section in sections:
        for line in section.lines:
            if not line.row.part and any(name.fits(line.row) for name in chosen_names):
                options = differing_options(line.row, section.group.rows)
                notes.append(f"{line.name}: {options or 'the one such row'}")
    return list(dict.fromkeys(notes))


def retry_notes(sections: list[Section]) -> list[str]:
    """A note for each training that ran out of memory and was made in more parts than asked for."""
    stages: dict[str, Record] = {}
    runs: dict[str, dict[str, None]] = {}
    for line in (line for section in sections for line in section.lines if not line.row.part):
        for seed, record in sorted(line.row.records.items()):
            for stage in nested(record, "cost", "stages") or ():
                if "accumulate_asked" in stage:
                    stages.setdefault(stage["key"], stage)
                    runs.setdefault(stage["key"], {})[f"{line.name}, seed {seed}"] = None
    return [retry_note(stages[key], list(runs[key])) for key in stages]


def retry_note(stage: Record, runs: list[str]) -> str:
    """How a training was made otherwise than asked for, and which runs have it."""
    return (
        f"{stage['name']} ran out of memory and was made in {stage['accumulate']} parts a batch "
        f"instead of {stage['accumulate_asked']}; a loss that is computed on each part by itself "
        f"is not the one asked for: {'; '.join(runs)}"
    )


# ---- showing -------------------------------------------------------------------------------------


def render(table: Table, format: str = "markdown", width: int = show.WIDTH) -> str:
    """`table` as text `width` wide, markdown, latex (needs booktabs and graphicx), csv or json; the
    last two hold the same frame.
    """
    if format not in FORMATS:
        raise BadInput(unknown("format", format, FORMATS))
    if format == "latex":
        return as_latex(table)
    if format in ("csv", "json"):
        rows = frame(table.sections, (*table.columns, *table.data_columns))
        return show.as_csv(rows) if format == "csv" else show.as_json(rows)
    return as_text(table, width) if format == "text" else as_markdown(table)


def as_latex(table: Table) -> str:
    """Tables in LaTeX; what is no table stands in comments."""
    blocks = []
    for section in table.sections:
        if section.lines:
            caption = f"{section.title}. {section.caption}."
            blocks.append(show.latex(*matrix(section, table.columns), caption))
    for origin in table.origins:
        blocks.append(show.latex(*summary(table, origin), f"Across tasks, {origin} data."))
    for section in table.sections:
        blocks += [f"% {one_line(failure(record))}" for record in section.group.unfinished]
    blocks += [f"% {one_line(note)}" for note in table.notes]
    return "\n\n".join(blocks) + "\n"


def as_markdown(table: Table) -> str:
    """Headings, captions, pipe tables and lists."""
    blocks = []
    for section in table.sections:
        blocks.append(f"### {section.title}")
        if section.caption:
            blocks.append(f"{section.caption}.")
        if section.lines:
            blocks.append(show.markdown(*matrix(section, table.columns)))
        blocks.append(listed(map(failure, section.group.unfinished)))
    for origin in table.origins:
        blocks.append(f"### across tasks · {origin} data")
        blocks.append(show.markdown(*summary(table, origin)))
    blocks.append(listed(table.notes))
    return without_html("\n\n".join(filter(None, blocks)) + "\n")


def as_text(table: Table, width: int) -> str:
    """The same for a terminal `width` wide; method and student share a column."""
    blocks = []
    for section in table.sections:
        blocks.append(show.wrap(section.title, width))
        if section.caption:
            blocks.append(show.wrap(f"{section.caption}.", width))
        if section.lines:
            blocks.append(show.text(*joined(*matrix(section, table.columns)), width))
        blocks.append(listed(map(failure, section.group.unfinished), width))
    for origin in table.origins:
        blocks.append(show.wrap(f"across tasks · {origin} data", width))
        blocks.append(show.text(*joined(*summary(table, origin)), width))
    blocks.append(listed(table.notes, width))
    return "\n\n".join(filter(None, blocks)) + "\n"


def joined(head: list[str], lines: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Head and lines with the first two columns as one."""
    rows = [[", ".join(filter(None, line[:2])), *line[2:]] for line in lines]
    return [f"{head[0]}, {head[1]}", *head[2:]], rows


def listed(notes: Iterable[str], width: int | None = None) -> str:
    """Notes as a list, wrapped where a width is given."""
    lines = [f"- {note}" for note in notes]
    return "\n".join(lines if width is None else [show.wrap(line, width) for line in lines])


def matrix(section: Section, columns: tuple[Column, ...]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of text; the best tie group's test scores are marked strong."""
    head = ["method", "student", "teacher", "n", *(column.title for column in columns)]
    lines = []
    for line in section.lines:
        row = line.row
        fixed = [line.name, row.student, row.teacher_name, str(len(row.seeds))]
        lines.append([*fixed, *(shown(line, column) for column in columns)])
    return without_empty(head, lines)


def shown(line: Line, column: Column) -> str:
    """The text of one cell."""
    if column.text is not None:
        return column.text(line)
    value = line.values.get(column.name)
    text = column.show(value) + (value.mark if value else "")
    return f"{STRONG}{text}" if column.name == "test" and line.tie == "a" else text


def without_empty(head: list[str], lines: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Head and lines without the columns in which no line has anything; the first two stay."""
    columns = [list(column) for column in zip(head, *lines, strict=True)]
    kept = columns[:2] + [column for column in columns[2:] if any(column[1:])]
    new_head, *new_lines = map(list, zip(*kept, strict=True))
    return new_head, new_lines


def summary(table: Table, origin: str) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the figures over tasks: means and interquartile means (IQM) with intervals
    over seeds.
    """
    head = ["method", "student", "teacher", "tasks", "mean", "IQM", "kept %", "kept % IQM",
            "better/tied/worse than plain", "Wilcoxon p"]
    lines = []
    for row in table.across:
        if row.origin == origin:
            figures = [*overall_cells(row.score), *overall_cells(row.kept)]
            wins = "/".join(map(str, row.wins)) if row.wins else ""
            p = f"{row.p:.3f}" if row.p is not None else ""
            models = [row.name, row.student, row.teacher, str(len(row.tasks))]
            lines.append([*models, *figures, wins, p])
    return without_empty(head, lines)


def overall_cells(overall: Overall | None) -> tuple[str, str]:
    """Mean and IQM, each with its interval."""
    if overall is None:
        return "", ""
    mean = with_interval(overall.mean, overall.mean_interval)
    return mean, with_interval(overall.iqm, overall.iqm_interval)


def with_interval(value: float, ends: tuple[float, float] | None) -> str:
    """A fraction in points, with its interval where there is one."""
    interval = f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else ""
    return f"{100 * value:.1f}{interval}"


# ---- after a single run --------------------------------------------------------------------------


def run_table(records: Iterable[Record]) -> str:
    """The small table printed after a run: the method among its controls, at most 100 columns
    wide.
    """
    return "\n\n".join(run_section(group) for group in grouped(records))


RUN_HEAD = ["", "dev", "test", "raw", "kept", "params", "MB", "p50/p95 ms", "train s", "data"]


def without_raw(head: list[str], lines: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the small table without the column of raw texts."""
    place = head.index("raw")
    return (head[:place] + head[place + 1:],
            [line[:place] + line[place + 1:] for line in lines])


def run_section(group: Group) -> str:
    """The small table of one protocol, with its title and the cells that did not finish."""
    parts = [show.wrap(" · ".join(filter(None, run_title(group))))]
    if group.rows:
        lines, notes = run_lines(group)
        head = RUN_HEAD
        if not group.raw_texts:
            head, lines = without_raw(head, lines)
        parts.append(show.plain(head, lines))
        parts += [show.wrap(note) for note in notes]
    parts += [show.wrap(failure(record)) for record in group.unfinished]
    return "\n".join(parts)


def run_title(group: Group) -> list[str]:
    """What the rows of the small table share."""
    teachers = sorted({row.student for row in group.rows if row.is_teacher})
    students = sorted({row.student for row in group.students})
    seeds = sorted({seed for row in group.rows for seed in row.views})
    title = [group.task, group.metric, f"{group.origin} data"]
    if teachers:
        title.append(f"teacher {', '.join(teachers)}")
    if students:
        title.append(f"student {', '.join(students)}")
    if seeds:
        title.append(f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}")
    return title + group.said


def run_lines(group: Group) -> tuple[list[list[str]], list[str]]:
    """The lines of the small table, the naive predictor's first, and notes on its teacher."""
    floor = [show.points(Value.of([naive_score(group, split)])) for split in ("dev", "test")]
    lines = [["naive", *floor, "", "", "", "", "", "", group.origin]]
    several = len({row.student for row in group.students}) > 1
    teachers = {row.student for row in group.rows if row.is_teacher}
    controls = {entry.name: entry.control for entry in METHODS.controls()}
    names = ("dev", "test", RAW_TEXT, "parameters", "megabytes", *LATENCY, "student_seconds")
    columns = [COLUMNS[name] for name in names]
    figures = []
    for row, name in zip(group.rows, row_names(group.rows), strict=True):
        name = controls.get(name) or (f"  {row.part}" if row.part else name)
        if (row.is_student and several) or (row.is_teacher and len(teachers) > 1):
            name = f"{name}, {row.student}"
        line = Line(row, name)
        add_figures(line, group, columns)
        figures.append(line)
        texts = [column.show(line.values.get(column.name)) for column in columns]
        scores = [text.replace(" ", "") for text in texts[:3]]
        kept = show.percent(line.values.get("retained"))
        latency = "/".join(filter(None, texts[5:7]))
        lines.append([name, *scores, kept, *texts[3:5], latency, texts[7], group.origin])
    return lines, teacher_notes(group, figures)
