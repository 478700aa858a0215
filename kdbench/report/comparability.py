"""Why a published figure and a row of ours cannot be compared: another method, protocol, variant,
teacher, option, or less training.

With which teacher and options a figure was made stands in the suites of `benchmarks/papers/`, which
name the figure.
"""

from __future__ import annotations

import fnmatch
import functools
from typing import TYPE_CHECKING

from kdbench.base.options import describe, written
from kdbench.base.registry import METHODS, TASKS
from kdbench.models.zoo import MODELS
from kdbench.report.groups import Group
from kdbench.report.rows import Row
from kdbench.runs.listing import suites
from kdbench.runs.request import Request
from kdbench.score.metrics import METRICS

if TYPE_CHECKING:
    from kdbench.report.reported import Reported


def stands_for(figure: Reported, row: Row) -> bool:
    """Whether our row is an attempt at the published one: method, model, and the options that the
    figure names.

    An option that our row does not have is an empty text; None is a default.
    """
    if row.settings.get("unlabelled"):  # no published figure has that
        return False
    if row.method not in figure.method.split("|") or not is_model_of(figure, row):
        return False
    for name, value in figure.options.items():
        if written(row.options.get(name, "")) not in value.split("|"):
            return False
    return True


def is_model_of(figure: Reported, row: Row) -> bool:
    """Whether the student fits a pattern of the figure; no pattern is a model that we have no name
    for.
    """
    built = row.options.get("student")  # of a method that builds its own
    models = {row.student.lower(), str(built or row.student).lower()}
    patterns = figure.model.lower().split("|")
    return any(fnmatch.fnmatchcase(model, pattern) for model in models for pattern in patterns)


def missing_run(figure: Reported) -> str:
    """The run that a figure could be compared with, where there is none."""
    options = ", ".join(f"{name}={value.strip('|')}" for name, value in figure.options.items())
    method = figure.method.replace("|", " or ") + (f" ({options})" if options else "")
    return f"no run of {method} with {figure.model.replace('|', ' or ') or 'that model'}"


def other_protocol(figure: Reported, group: Group) -> str:
    """Why no score of this group can be compared with the figure; empty where one can."""
    if figure.not_comparable:
        return figure.not_comparable
    if group.task != figure.task:
        here = f"{group.metric} on test of {group.task}{metric_about(group.metric)}"
        return f"theirs: {figure.protocol}, our task {figure.task}; here: {here}"
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


def split_of(figure: Reported, group: Group) -> str | None:
    """The split of ours that the figure was taken on, by the checksum of its file where that is
    known.
    """
    if not figure.sha256:
        return figure.split
    digests = group.data.get("sha256") or {}
    return next((split for split in ("test", "dev") if digests.get(split) == figure.sha256), None)


def other_metric(figure: Reported, group: Group) -> str:
    """Why the figure that our table shows is not the published one."""
    return (
        f"theirs: {figure.protocol}; the table's {group.metric} on test is another "
        f"measure{metric_about(group.metric)}"
    )


def metric_about(metric: str) -> str:
    """What a metric counts, behind its name: what makes two scores on one corpus incomparable."""
    return f": {METRICS[metric].about}" if metric in METRICS else ""


def less_training(row: Row) -> str:
    """What our row was trained with less of than the published one; empty: nothing."""
    if most := row.settings.get("max_train_examples"):
        return f"theirs: all training rows; here: {most:,} of them"
    if count := row.settings.get("labels"):
        return f"theirs: all training labels; here: {count:,} of them"
    if most := row.settings.get("max_dev_examples"):
        return f"theirs: all dev rows; here: {most:,} of them"
    if steps := row.settings.get("max_steps"):
        return f"theirs: whole trainings; here: at most {steps:,} steps each"
    return ""


def is_control(method: str) -> bool:
    """Whether a method is a control: ours, without a published reading."""
    return any(entry.name == method for entry in METHODS.controls())


def not_as_published(figure: Reported, row: Row) -> str:
    """How variant, teacher or options of our row differ from the figure's; empty: in nothing."""
    variant = row.cell.get("variant")
    if not is_control(row.method) and variant != "published":
        return f"theirs: what the authors' code computes; here: the {variant} variant"
    every = published_requests().get((figure.system, figure.value), [])
    requests = [request for request in every if request.task == figure.task]
    if not requests and row.cell.get("teacher") is not None:
        return "no suite of benchmarks/papers says with which teacher it was made"
    found = [other_request(figure, row, request) for request in requests]
    return "" if "" in found or not found else found[0]


@functools.cache
def published_requests() -> dict[tuple[str, float], list[Request]]:
    """By system and value, the requests of the suites that are to make a published figure."""
    from kdbench.runs import suite

    found: dict[tuple[str, float], list[Request]] = {}
    names = [entry["name"] for entry in suites() if entry["name"].startswith("papers")]
    for name in names:
        for request in suite.load(name, thorough=False).requests:
            for figure in request.published:
                key = figure.get("system", ""), float(figure["value"])
                found.setdefault(key, []).append(request)
    return found


def other_request(figure: Reported, row: Row, request: Request) -> str:
    """The teacher, or the first option, in which our row is not what a suite requests.

    Options that neither figure nor suite names are as in the published variant, or in the published
    settings of the task.
    """
    teacher, theirs = row.cell.get("teacher"), request.teacher
    if teacher is not None and hub_name(teacher) != hub_name(theirs):
        return f"theirs: teacher {theirs}; here: {teacher}"
    if is_control(row.method):
        return ""
    settings = TASKS.get(request.task).recipe(row.method)
    recipe = settings.options if settings else {}
    for fact in describe(METHODS.get(row.method).Options):
        name = fact["name"]
        # the figure's own options are compared by `stands_for`
        if name in figure.options or name not in row.options:
            continue
        usual = [fact["published"], recipe.get(name, fact["published"])]
        values = [request.options[name]] if name in request.options else usual
        allowed = [written(value) for value in values]
        if (ours := written(row.options[name])) not in allowed:
            return f"theirs: {name} {allowed[-1] or 'none'}; here: {ours or 'none'}"
    return ""


def hub_name(model: str | None) -> str | None:
    """A model's name on the hub, where it has one of ours."""
    own = MODELS.get(model).hub if model is not None and model in MODELS else ""
    return own or model
