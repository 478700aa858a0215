"""Published figures beside ours: `results/reported.csv`, and what may be said of each.

A published figure is one number without a variance. It is *consistent* with ours if it lies in our
prediction interval (where one further run of ours would fall), else it lies above or below; and it
is *not comparable* where the metric, the split, the files or the kind of data differ, or where the
row is another reading of the method, learned from another teacher or has options that the figure
has not, which is said first. With which teacher and options a figure was made stands in the suites
of `benchmarks/papers/`, which name it.
"""

from __future__ import annotations

import csv
import fnmatch
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.base import render as show
from kdbench.base.errors import BadInput
from kdbench.base.options import written
from kdbench.base.registry import METHODS, TASKS, unknown
from kdbench.models.zoo import MODELS
from kdbench.report.rows import Group, Name, Row, grouped, names
from kdbench.runs.listing import suites

CONTROLS = ("finetune", "logit_kd")  # ours, without a published reading
FILE = Path("results") / "reported.csv"


@dataclass(frozen=True)
class Reported:
    """A row of `reported.csv`: scores x 100.

    source, year, system, role, paper_task, paper_metric   as published
    certainty      paper, readme, abstract, third party (quoted by somebody else) or derived
    where          where it can be read
    corpora        our tasks on the same corpus, comparable or not task, task_options, metric,
                   split, sha256   our name for exactly that protocol; the split is found by the
                   checksum of its file where one is given, because what one calls dev another calls
                   test
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
    """One published figure beside one row of ours; `ours` is None where nothing can be set beside
    it.
    """

    reported: Reported
    row: str
    ours: show.Value | None
    verdict: str  # consistent, above, below, one run, not comparable or not run
    why: str


def load(path: Path) -> list[Reported]:
    """The rows of `reported.csv`; `BadInput` with file and line where one has no figure or no
    source.
    """
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; published figures are in results/reported.csv of the project")
    fields = set(Reported.__dataclass_fields__)
    rows = []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if missing := fields - set(reader.fieldnames or ()):
            raise BadInput(
                f"{path}: line 1: no column {min(missing)!r}; take the head of results/reported.csv"
            )
        for row in reader:
            try:
                value = float(row["value"])
            except (TypeError, ValueError):
                raise BadInput(
                    f"{path}: line {reader.line_num}: value {row['value']!r} is no number"
                ) from None
            if not row["where"]:
                raise BadInput(
                    f"{path}: line {reader.line_num}: no source; name it in the column `where`")
            facts: dict[str, Any] = {name: row[name] or "" for name in fields}
            facts.update(value=value, corpora=tuple(facts["corpora"].split()),
                         options=pairs(facts["options"]), task_options=pairs(facts["task_options"]))
            rows.append(Reported(**facts))
    return rows


def pairs(text: str) -> dict[str, str]:
    """``a=1;b=2`` as a dict."""
    return dict(part.split("=", 1) for part in text.split(";") if part)


def against(records: Iterable[dict[str, Any]], reported: Sequence[Reported],
            chosen_names: Sequence[Name] = ()) -> list[Comparison]:
    """Every published figure on the corpora of `records`, beside our rows of the same method and
    model.
    """
    found = []
    for group in grouped(records):
        called = dict(zip(map(id, group.rows), names(group.rows, chosen_names), strict=True))
        for figure in reported:
            if group.task not in figure.corpora:
                continue
            rows = [row for row in group.rows if not row.part and stands_for(figure, row)]
            reason = mismatch(figure, group)
            split = split_of(figure, group) or ""
            for row in rows:
                name = f"{called[id(row)]}, {row.student}"
                if why := reason or not_as_published(figure, row) or cut_down(row):
                    found.append(Comparison(figure, name, None, "not comparable", why))
                    continue
                found.append(judge(figure, name, row.scores(split, figure.metric), split, group))
                # the figure that our table shows is another one: say so beside it
                if figure.metric != group.metric:
                    found.append(
                        Comparison(figure, name, None, "not comparable",
                                   other_metric(figure, group)))
            if not rows and reason:
                found.append(Comparison(figure, "", None, "not comparable", reason))
            elif not rows:
                found.append(Comparison(figure, "", None, "not run", f"no run of {wanted(figure)}"))
    return found


def stands_for(figure: Reported, row: Row) -> bool:
    """Whether our row is an attempt at the published one: method, model, and the options that the
    figure names.

    An option that our row does not have is an empty text; None is a default.
    """
    if (row.cell.get("settings") or {}).get("unlabelled"):  # no published figure has that
        return False
    options = row.cell.get("options") or {}
    # a method may build its own student; no pattern is a model that we have no name for
    models = {row.student.lower(), str(options.get("student") or row.student).lower()}
    return (row.method in figure.method.split("|") and any(
        fnmatch.fnmatchcase(model, pattern)
        for model in models
        for pattern in figure.model.lower().split("|")) and all(
            written(options.get(name, "")) in value.split("|")
            for name, value in figure.options.items()))


def wanted(figure: Reported) -> str:
    options = ", ".join(f"{name}={value.strip('|')}" for name, value in figure.options.items())
    models = figure.model.replace("|", " or ") or "that model"
    return f"{figure.method.replace('|', ' or ')}{f' ({options})' if options else ''} with {models}"


def mismatch(figure: Reported, group: Group) -> str:
    """Why no score of this group can be set beside the figure; empty where one can."""
    if figure.not_comparable:
        return figure.not_comparable
    if group.task != figure.task:
        return (f"theirs: {figure.protocol}, our task {figure.task}; here: {group.metric} on test "
                f"of {group.task}{about(group.metric)}")
    if group.data.get("kind") != "real":
        return f"theirs: the real corpus; here: {group.origin} data"
    if group.data.get("published_files") is False:
        return "here: other files than the published ones"
    for name, value in figure.task_options.items():
        if str(group.options.get(name, value)) != value:
            return f"theirs: {name} {value}; here: {name} {group.options[name]}"
    if split_of(figure, group) is None:
        return f"theirs: {figure.protocol}; that file is neither dev nor test here"
    return ""


def cut_down(row: Row) -> str:
    """What our row was trained with less of than the published one."""
    settings = row.cell.get("settings") or {}
    if most := settings.get("max_train_examples"):
        return f"theirs: all training rows; here: {most:,} of them"
    if most := settings.get("max_dev_examples"):
        return f"theirs: all dev rows; here: {most:,} of them"
    if steps := settings.get("max_steps"):
        return f"theirs: whole trainings; here: at most {steps:,} steps each"
    return ""


def not_as_published(figure: Reported, row: Row) -> str:
    """How variant, teacher or options of our row differ from the figure's; empty: in nothing."""
    variant = row.cell.get("variant")
    if row.method not in CONTROLS and variant != "published":
        return f"theirs: what the authors' code computes; here: the {variant} variant"
    every = made_by().get((figure.system, figure.value), [])
    cells = [cell for cell in every if cell.task == figure.task]
    if not cells:
        unknown_teacher = "no suite of benchmarks/papers says with which teacher it was made"
        return unknown_teacher if row.cell.get("teacher") is not None else ""
    found = [differing(figure, row, cell) for cell in cells]
    return "" if "" in found else found[0]


@functools.cache
def made_by() -> dict[tuple[str, float], list[Any]]:
    """By system and value, the requests of suites that are to make a published figure."""
    from kdbench.runs import suite

    found: dict[tuple[str, float], list[Any]] = {}
    for name in (entry["name"] for entry in suites() if entry["name"].startswith("papers")):
        for cell in suite.load(name, thorough=False).requests:
            for figure in cell.published:
                key = figure.get("system", ""), float(figure["value"])
                found.setdefault(key, []).append(cell)
    return found


def differing(figure: Reported, row: Row, cell: Any) -> str:
    """The teacher, or the first option, in which our row is not the suite's cell.

    Options that neither figure nor suite names are as in the published variant, or in the published
    settings of the task.
    """
    teacher, theirs = row.cell.get("teacher"), cell.teacher
    if teacher is not None and hub_of(teacher) != hub_of(theirs):
        return f"theirs: teacher {theirs}; here: {teacher}"
    if row.method in CONTROLS:
        return ""
    from kdbench.base.options import describe

    settings = TASKS.get(cell.task).recipe(row.method)
    recipe = settings.options if settings else {}
    own = row.cell.get("options") or {}
    named = cell.options
    for fact in describe(METHODS.get(row.method).Options):
        name = fact["name"]
        if name in figure.options or name not in own:  # the figure's own are judged by `stands_for`
            continue
        usual = [fact["published"], recipe.get(name, fact["published"])]
        allowed = [written(value) for value in ([named[name]] if name in named else usual)]
        if (ours := written(own[name])) not in allowed:
            return f"theirs: {name} {allowed[-1] or 'none'}; here: {ours or 'none'}"
    return ""


def hub_of(model: str) -> str:
    """A model's name on the hub, where it has one of ours."""
    return (MODELS.get(model).hub if model in MODELS else "") or model


def split_of(figure: Reported, group: Group) -> str | None:
    """The split of ours that the figure was taken on, by the checksum of its file where that is
    known.
    """
    sums = group.data.get("sha256") or {}
    if not figure.sha256:
        return figure.split
    return next((split for split in ("test", "dev") if sums.get(split) == figure.sha256), None)


def other_metric(figure: Reported, group: Group) -> str:
    return (f"theirs: {figure.protocol}; the table's {group.metric} on test is another "
            f"measure{about(group.metric)}")


def about(metric: str) -> str:
    """What a metric counts, behind its name: what makes two scores on one corpus incomparable."""
    from kdbench.score.metrics import METRICS

    return f": {METRICS[metric].about}" if metric in METRICS else ""


def judge(figure: Reported, name: str, scores: dict[int, float], split: str,
          group: Group) -> Comparison:
    """The published value against our runs of the same metric on the same split."""
    ours = show.Value.of(scores.values())
    if ours is None:
        return Comparison(
            figure, name, None, "not comparable",
            f"theirs: {figure.protocol}; {figure.metric} on {split} was not recorded here")
    from kdbench.score.statistics import prediction_interval

    what = f"{figure.metric} on {split}"
    if figure.sha256 and split != figure.split:
        what += f" (their {figure.split})"
    interval = prediction_interval(list(scores.values()))
    off = figure.value - 100 * ours.mean
    if interval is None:
        return Comparison(figure, name, ours, "one run",
                          f"{what}; theirs {off:+.1f}; one run of ours has no interval")
    low, high = (100 * end for end in interval)
    where = f"{what}; ours would fall in [{low:.1f}, {high:.1f}]"
    if low <= figure.value <= high or math.isclose(off, 0, abs_tol=0.05):
        return Comparison(figure, name, ours, "consistent", where)
    return Comparison(figure, name, ours, "above" if off > 0 else "below",
                      f"theirs {off:+.1f}; {where}")


HEAD = ("source", "system", "published", "ours", "our row", "n", "verdict", "on what")


def told(comparisons: Sequence[Comparison]) -> tuple[list[list[str]], list[str]]:
    """For people: lines under `HEAD`, and one sentence a reason for the figures that nothing can be
    set beside.
    """
    lines: list[list[str]] = []
    alone: dict[str, dict[str, None]] = {}
    for c in comparisons:
        published, figure = c.reported, f"{c.reported.system} {c.reported.value:.1f}"
        if c.ours:
            lines.append([
                published.source, published.system, f"{published.value:.1f}",
                show.points(c.ours), c.row,
                str(c.ours.n), c.verdict, c.why
            ])
        else:  # "not run" needs no reason for each model
            why = "" if c.verdict == "not run" else f" ({c.why})"
            alone.setdefault(f"{published.source}, {published.paper_task}: {c.verdict}{why}",
                             {})[figure] = None
    return lines, [f"{reason}: {'; '.join(figures)}." for reason, figures in alone.items()]


def render(comparisons: Sequence[Comparison], format: str = "markdown",
           width: int = show.WIDTH) -> str:
    """The comparisons as text `width` wide, markdown, latex, csv or json; `above` says that the
    published figure is the higher one.
    """
    if format in ("csv", "json"):
        rows = [{
            "source": c.reported.source, "system": c.reported.system,
            "paper_task": c.reported.paper_task, "paper_metric": c.reported.paper_metric,
            "published": c.reported.value / 100, "row": c.row or None,
            "ours": c.ours.mean if c.ours else None, "ours_sd": c.ours.sd if c.ours else None,
            "n": c.ours.n if c.ours else 0, "verdict": c.verdict, "why": c.why,
            "certainty": c.reported.certainty, "where": c.reported.where
        } for c in comparisons]
        return show.as_csv(rows) if format == "csv" else show.as_json(rows)
    lines, rest = told(comparisons)
    if format == "latex":
        table = [show.latex(HEAD, lines, "Published figures beside ours.")] if lines else []
        return "\n".join([*table, *(f"% {line}" for line in rest)]) + "\n"
    if format == "text":
        blocks = [
            show.text(HEAD, lines, width) if lines else "",
            "\n".join(show.wrap(f"- {line}", width) for line in rest)
        ]
    elif format == "markdown":
        blocks = [
            show.markdown(HEAD, lines) if lines else "", "\n".join(f"- {line}" for line in rest)
        ]
    else:
        raise BadInput(unknown("format", format, ("text", "markdown", "csv", "latex", "json")))
    return "\n\n".join(filter(
        None, blocks)) + "\n" if comparisons else "No published figure on these corpora.\n"
