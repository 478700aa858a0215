"""Published figures beside ours: `results/reported.csv`, and what may be said of each.

A published figure is one number without a variance. It is *consistent* with ours if it lies in our
prediction interval (where one further run of ours would fall), else it lies above or below; and it
is *not comparable* where metric, split, files or data differ, or where our row is another variant,
learned from another teacher or has other options (`kdbench.report.comparability`).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base import render as show
from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.base.visible import without_html
from kdbench.report.comparability import (
    less_training,
    missing_run,
    not_as_published,
    other_metric,
    other_protocol,
    split_of,
    stands_for,
)
from kdbench.report.groups import Group, grouped
from kdbench.report.names import Name, row_names
from kdbench.report.rows import Record

FILE = Path("results") / "reported.csv"
FORMATS = ("text", "markdown", "csv", "latex", "json")


@dataclass(frozen=True)
class Reported:
    """A row of `reported.csv`: scores x 100.

    source, year, system, role, paper_task, paper_metric   as published
    certainty      paper, readme, abstract, third party (quoted by somebody else) or derived
    where          where it can be read
    corpora        our tasks on the same corpus, comparable or not
    task, task_options, metric, split, sha256   our name for exactly that protocol; the split is
                   found by the checksum of its file where one is given, because what one calls dev
                   another calls test
    protocol       the same in words
    method, model, options   which of our rows it stands for; | is "or", models are patterns
    not_comparable why no protocol of ours fits, where none does
    """

    source: str
    year: str
    system: str
    role: str
    paper_task: str
    paper_metric: str
    value: float
    runs: str
    parameters_m: str
    disk_mb: str
    latency_ms: str
    certainty: str
    notes: str
    where: str
    corpora: tuple[str, ...]
    task: str
    task_options: dict[str, str]
    metric: str
    split: str
    sha256: str
    protocol: str
    method: str
    model: str
    options: dict[str, str]
    not_comparable: str


@dataclass(frozen=True)
class Comparison:
    """One published figure beside one row of ours; `ours` is None where they cannot be compared.

    verdict  consistent, above, below, one run, not comparable or not run
    """

    reported: Reported
    row: str
    ours: show.Value | None
    verdict: str
    why: str


# ---- the file ------------------------------------------------------------------------------------


def load(path: Path) -> list[Reported]:
    """The rows of `reported.csv`; `BadInput` with file and line where one has no figure or no
    source.
    """
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; published figures are in results/reported.csv of the project"
        )
    fields = set(Reported.__dataclass_fields__)
    reader = csv.DictReader(io.StringIO(reading.text(path), newline=""))
    try:
        if missing := fields - set(reader.fieldnames or ()):
            raise BadInput(
                f"{path}: line 1: no column {min(missing)!r}; take the head of results/reported.csv"
            )
        return [reported_row(row, f"{path}: line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise BadInput(f"{path}: line {reader.line_num}: not a CSV row ({error}); "
                       "close every quote") from None


def reported_row(row: dict[str, str | None], where: str) -> Reported:
    """One row of the file; `where` names it in messages."""
    try:
        value = float(row["value"] or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{where}: value {row['value']!r} is no number")
    if not row["where"]:
        raise BadInput(f"{where}: no source; name it in the column `where`")
    facts: dict[str, Any] = {name: row[name] or "" for name in Reported.__dataclass_fields__}
    facts["value"] = value
    facts["corpora"] = tuple(facts["corpora"].split())
    for name in ("options", "task_options"):
        facts[name] = pairs(facts[name], where)
    return Reported(**facts)


def pairs(text: str, where: str) -> dict[str, str]:
    """``a=1;b=2`` as a dict; `where` names the row in messages."""
    found = {}
    for part in filter(None, text.split(";")):
        name, equals, value = part.partition("=")
        if not equals:
            raise BadInput(f"{where}: {part[:40]!r} is not name=value")
        found[name] = value
    return found


# ---- comparing -----------------------------------------------------------------------------------


def against(
    records: Iterable[Record], reported: Sequence[Reported], chosen_names: Sequence[Name] = ()
) -> list[Comparison]:
    """Every published figure on the corpora of `records`, beside our rows of the same method and
    model.
    """
    found: list[Comparison] = []
    for group in grouped(records):
        names = row_names(group.rows, chosen_names)
        for figure in reported:
            if group.task in figure.corpora:
                found += compared_with_group(figure, group, names)
    return found


def compared_with_group(
    figure: Reported, group: Group, names: Sequence[str]
) -> Iterator[Comparison]:
    """One figure beside the rows of a group, which have these names."""
    reason = other_protocol(figure, group)
    split = split_of(figure, group) or ""
    any_row = False
    for row, own_name in zip(group.rows, names, strict=True):
        if row.part or not stands_for(figure, row):
            continue
        any_row = True
        name = f"{own_name}, {row.student}"
        if why := reason or not_as_published(figure, row) or less_training(row):
            yield Comparison(figure, name, None, "not comparable", why)
            continue
        yield compare(figure, name, row.scores(split, figure.metric), split)
        # the figure that our table shows is another one: say so beside it
        if figure.metric != group.metric:
            yield Comparison(figure, name, None, "not comparable", other_metric(figure, group))
    if any_row:
        return
    if reason:
        yield Comparison(figure, "", None, "not comparable", reason)
    else:
        yield Comparison(figure, "", None, "not run", missing_run(figure))


def compare(figure: Reported, name: str, scores: dict[int, float], split: str) -> Comparison:
    """The published value against our runs of the same metric on the same split.

    name  what our row is called
    """
    ours = show.Value.of(scores.values())
    if ours is None:
        why = f"theirs: {figure.protocol}; {figure.metric} on {split} was not recorded here"
        return Comparison(figure, name, None, "not comparable", why)
    from kdbench.score.statistics import prediction_interval

    what = f"{figure.metric} on {split}"
    if figure.sha256 and split != figure.split:
        what += f" (their {figure.split})"
    interval = prediction_interval(list(scores.values()))
    off = figure.value - 100 * ours.mean
    if interval is None:
        why = f"{what}; theirs {off:+.1f}; one run of ours has no interval"
        return Comparison(figure, name, ours, "one run", why)
    low, high = (100 * end for end in interval)
    where = f"{what}; ours would fall in [{low:.1f}, {high:.1f}]"
    if low <= figure.value <= high or math.isclose(off, 0, abs_tol=0.05):
        return Comparison(figure, name, ours, "consistent", where)
    verdict = "above" if off > 0 else "below"
    return Comparison(figure, name, ours, verdict, f"theirs {off:+.1f}; {where}")


# ---- showing -------------------------------------------------------------------------------------

HEAD = ("source", "system", "published", "ours", "our row", "n", "verdict", "on what")


def lines_and_reasons(comparisons: Sequence[Comparison]) -> tuple[list[list[str]], list[str]]:
    """For people: lines under `HEAD`, and one sentence a reason with the figures that cannot be
    compared.
    """
    lines: list[list[str]] = []
    reasons: dict[str, dict[str, None]] = {}
    for one in comparisons:
        if one.ours:
            lines.append(line_of(one, one.ours))
        else:
            figure = f"{one.reported.system} {one.reported.value:.1f}"
            reasons.setdefault(reason_of(one), {})[figure] = None
    return lines, [f"{reason}: {'; '.join(figures)}." for reason, figures in reasons.items()]


def line_of(one: Comparison, ours: show.Value) -> list[str]:
    """The cells of a comparison under `HEAD`."""
    published = one.reported
    figures = [f"{published.value:.1f}", show.points(ours), one.row, str(ours.n)]
    return [published.source, published.system, *figures, one.verdict, one.why]


def reason_of(one: Comparison) -> str:
    """Why there is nothing to compare; "not run" needs no reason for each model."""
    why = "" if one.verdict == "not run" else f" ({one.why})"
    return f"{one.reported.source}, {one.reported.paper_task}: {one.verdict}{why}"


def fields_of(one: Comparison) -> Record:
    """A comparison as a row of CSV and JSON, scores as fractions."""
    published, ours = one.reported, one.ours
    return {
        "source": published.source,
        "system": published.system,
        "paper_task": published.paper_task,
        "paper_metric": published.paper_metric,
        "published": published.value / 100,
        "row": one.row or None,
        "ours": ours.mean if ours else None,
        "ours_sd": ours.sd if ours else None,
        "n": ours.n if ours else 0,
        "verdict": one.verdict,
        "why": one.why,
        "certainty": published.certainty,
        "where": published.where,
    }


def render(
    comparisons: Sequence[Comparison], format: str = "markdown", width: int = show.WIDTH
) -> str:
    """The comparisons as text `width` wide, markdown, latex, csv or json; `above` says that the
    published figure is the higher one.
    """
    if format not in FORMATS:
        raise BadInput(unknown("format", format, FORMATS))
    if format in ("csv", "json"):
        rows = [fields_of(one) for one in comparisons]
        return show.as_csv(rows) if format == "csv" else show.as_json(rows)
    lines, reasons = lines_and_reasons(comparisons)
    if format == "latex":
        table = [show.latex(HEAD, lines, "Published figures beside ours.")] if lines else []
        return "\n".join([*table, *(f"% {reason}" for reason in reasons)]) + "\n"
    if not comparisons:
        return "No published figure on these corpora.\n"
    items = [f"- {reason}" for reason in reasons]
    if format == "text":
        table = [show.text(HEAD, lines, width)] if lines else []
        items = [show.wrap(item, width) for item in items]
    else:
        table = [show.markdown(HEAD, lines)] if lines else []
        items = list(map(without_html, items))
    return "\n\n".join(filter(None, [*table, "\n".join(items)])) + "\n"
