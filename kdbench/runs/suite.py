"""Suites: a TOML file that names a grid of requests, and what is known of them before they run.

    about = "an ablation of mine"
    gpu_hours = 4                      # an estimate on one GPU of 24 GB; cpu_hours: on two cores
    data = "real"                      # refuses to fall back on look-alike data
    seeds = 5                          # 0-4; or a list
    trials = 20                        # of every method and control, chosen on dev

    [defaults]                         # fields of a request, and settings of the protocol
    epochs = 5
    resources = { gpus = 0.5, cpus = 4, memory_gb = 8 }   # of one cell, for workers and Ray

    [[cells]]                          # a value that is a list is an axis of the grid
    method = ["mine", "other"]
    task = "my_task"
    student = "roberta-large"
    options.mine.transfer = ["vectors", "logits"]
    published = [{ method = "mine", options = { transfer = "vectors" }, metric = "micro_f1",
                   value = 77.42, system = "..." }]

Controls (the teacher, and every method that registers itself as a control) are added to every cell;
`controls = false` of the suite or of an entry leaves them out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.options import MOST_SEEDS, build
from kdbench.base.registry import METHODS, TASKS, unknown
from kdbench.runs import suite_types
from kdbench.runs.listing import SUITES, suites
from kdbench.runs.request import Request
from kdbench.runs.suite_types import GRID_LIMIT, grid_size, mistakes_of_types
from kdbench.train import spec
from kdbench.train.spec import Settings

Table = dict[str, Any]  # of TOML

SETTINGS = {f.name for f in dataclasses.fields(Settings)}
FIELDS = {
    "method", "task", "teacher", "teacher_labels", "teacher_options", "teacher_weights", "student",
    "variant", "recipe", "options", "task_options", "unlabelled"
}
BESIDE = {"seeds", "published", "resources", "controls"}  # of an entry, and no axis
KEYS = FIELDS | SETTINGS | BESIDE
RESOURCES = {"cpus", "gpus", "memory_gb"}
DATA = ("any", "real", "lookalike")
TOP = {"about", "cpu_hours", "gpu_hours", "data", "seeds", "defaults", "cells", "controls",
       "trials", "trial_seconds"}
# Of a published figure: the metric, the score x 100, the system's name in results/reported.csv;
# `over` says what it is where it is no score of one cell (an average over tasks, a difference).
FIGURE = {"metric", "value", "system", "over"}


@dataclass(frozen=True)
class Suite:
    """Requests that are run together.

    data    real (look-alike data are refused), lookalike (a data folder is passed over) or any
    single  a single run of the command line, which is a suite of one request
    trials, trial_seconds  what each method gets to find its settings with; None: it has those given
    """

    name: str
    about: str
    requests: tuple[Request, ...]
    data: str = "any"
    cpu_hours: float | None = None
    gpu_hours: float | None = None
    single: bool = False
    trials: int | None = None
    trial_seconds: float | None = None

    @classmethod
    def of(cls, request: Request) -> Suite:
        """The suite of one request."""
        return cls(f"{request.method} on {request.task}", "one configuration", (request,),
                   single=True)


def find(name: str) -> Path:
    """The suite called `name` in `benchmarks/`, or the file of that path."""
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    known = [entry["name"] for entry in suites()]
    if name in known:
        return SUITES / f"{name}.toml"
    raise BadInput(unknown("suite", name, known) + "; or give the path of a .toml file")


def load(name: str, *, thorough: bool = True) -> Suite:
    """Read and check a suite; all mistakes of the file are reported at once, each with its key.

    Without `thorough`, options and settings are taken as they stand: to check them with a method
    needs PyTorch.
    """
    path = find(name)
    raw = read_toml(path)
    defaults, entries = raw.get("defaults", {}), raw.get("cells", [])
    tables = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not isinstance(defaults, dict) or not tables:
        raise BadInput(f"suite {path}: write [defaults] as one table and [[cells]] as tables")
    mistakes = unknown_keys(raw, TOP)
    wrong = mistakes_of_types(raw, suite_types.TOP)
    wrong += [f"defaults: {mistake}" for mistake in types_of_entry(defaults)]
    if wrong:  # the rest cannot be looked at
        raise BadInput(f"suite {path}: {'; '.join([*mistakes, *wrong])}")
    if raw.get("data", "any") not in DATA:
        mistakes.append(unknown("data", str(raw["data"]), DATA))
    mistakes += [f"defaults: {mistake}" for mistake in unknown_keys(defaults, KEYS)]
    usual = {"seeds": raw.get("seeds", 1), "controls": raw.get("controls", True)}
    usual.update({key: value for key, value in defaults.items() if key in KEYS})
    requests: list[Request] = []
    for number, entry in enumerate(entries, 1):
        try:
            requests += read_entry(entry, usual, raw.get("data") == "lookalike", thorough=thorough)
        except BadInput as error:
            mistakes.append(f"cells[{number}]: {error}")
    if not requests and not mistakes:
        mistakes.append("no [[cells]]: a suite needs at least one")
    if mistakes:
        raise BadInput(f"suite {path}: " + "; ".join(mistakes))
    return Suite(name_of(path), raw.get("about", ""), tuple(requests), raw.get("data", "any"),
                 raw.get("cpu_hours"), raw.get("gpu_hours"), trials=raw.get("trials"),
                 trial_seconds=raw.get("trial_seconds"))


def read_toml(path: Path) -> Table:
    """The content of a TOML file; `BadInput` where it cannot be read."""
    try:
        return reading.toml_table(path)
    except reading.Unreadable as error:
        raise BadInput(f"suite {error}") from error


def name_of(path: Path) -> str:
    """A suite by its place in `benchmarks/`, or by the name of its file."""
    if SUITES in path.resolve().parents:
        return str(path.resolve().relative_to(SUITES).with_suffix(""))
    return path.stem


def unknown_keys(table: Table, valid: Iterable[str]) -> list[str]:
    """One line for each key of a table that means nothing."""
    return [unknown("key", key, valid) for key in table if key not in valid]


def types_of_entry(entry: Table) -> list[str]:
    """One line for each value of an entry that is of the wrong type."""
    return mistakes_of_types(entry, suite_types.ENTRY, suite_types.SETTING)


def read_entry(entry: Table, usual: Table, lookalike: bool, *, thorough: bool) -> list[Request]:
    """The requests of one [[cells]], over the usual values of the file."""
    if mistakes := unknown_keys(entry, KEYS) + types_of_entry(entry):
        raise BadInput("; ".join(mistakes))
    return expand({**usual, **entry}, lookalike, thorough=thorough)


def expand(entry: Table, lookalike: bool = False, *, thorough: bool = True) -> list[Request]:
    """The grid of one entry: the product over every value that is a list. All its mistakes are
    raised as one `BadInput`.
    """
    if "method" not in entry or "task" not in entry:
        raise BadInput("method and task are needed")
    seeds, figures = parse_seeds(entry["seeds"]), entry.get("published", [])
    resources, by_method = entry.get("resources", {}), entry.get("options", {})
    mistakes = [unknown("resource", key, RESOURCES) for key in resources if key not in RESOURCES]
    mistakes += options_of_no_method(entry["method"], by_method)
    requests = []
    for methods in by_method.values():
        check_grid(methods)
    check_grid({key: value for key, value in entry.items() if key not in BESIDE})
    for point in points(entry, by_method):
        request = request_of(point, seeds, entry["controls"], resources)
        if thorough:
            mistakes += mistakes_of(request, lookalike)
        beside = tuple(figure for figure in figures if matches(figure, request))
        requests.append(dataclasses.replace(request, published=beside))
    for figure in figures:
        mistakes += mistakes_of_figure(figure, requests)
    if mistakes:
        raise BadInput("; ".join(dict.fromkeys(mistakes)))
    return requests


def check_grid(axes: Table) -> None:
    """`BadInput` where lists multiply to more cells than anybody runs."""
    if grid_size(axes) > GRID_LIMIT:
        raise BadInput(f"its lists make {grid_size(axes):,} cells, and at most {GRID_LIMIT:,} are "
                       "taken; split the entry")


def options_of_no_method(methods: str | list[str], by_method: Iterable[str]) -> list[str]:
    """One line for each method that has options and is not run by the entry."""
    there = methods if isinstance(methods, list) else [methods]
    return [f"options.{name}: this entry has no method {name!r} (it has {', '.join(there)})"
            for name in by_method if name not in there]


def points(entry: Table, by_method: Mapping[str, Table]) -> Iterator[Table]:
    """The points of the grid: fields and settings by name, with the options of the method."""
    axes = {key: value for key, value in entry.items() if key not in BESIDE | {"options"}}
    for point in product(axes):
        for chosen in product(by_method.get(point["method"], {})):
            yield {**point, "options": chosen}


def product(axes: Table) -> Iterator[Table]:
    """Each combination of the values of the axes, a value that is no list being the only one."""
    choices = [value if isinstance(value, list) else [value] for value in axes.values()]
    for values in itertools.product(*choices):
        yield dict(zip(axes, values, strict=True))


def request_of(point: Table, seeds: tuple[int, ...], controls: bool,
               resources: Table) -> Request:
    """The request of one point of the grid."""
    given = {key: value for key, value in point.items() if key in FIELDS}
    if given.get("unlabelled"):
        given["unlabelled"] = Path(given["unlabelled"])
    settings = {key: value for key, value in point.items() if key in SETTINGS}
    return Request(**given, settings=settings, seeds=seeds, controls=controls, resources=resources)


def parse_seeds(seeds: Any) -> tuple[int, ...]:
    """A number of seeds, or a list of them, as a tuple."""
    if isinstance(seeds, list) and all(isinstance(seed, int) for seed in seeds):
        return tuple(seeds)
    if isinstance(seeds, bool) or not isinstance(seeds, int):
        raise BadInput(f"seeds: {seeds!r} is neither a number of seeds nor a list of them")
    if not 0 < seeds <= MOST_SEEDS:
        raise BadInput(f"seeds: {seeds:,} is no number of seeds; give 1 to {MOST_SEEDS:,}")
    return tuple(range(seeds))


def mistakes_of(request: Request, lookalike: bool) -> list[str]:
    """What is wrong with a request, as far as it shows without data and models."""
    try:
        entry, task = METHODS.entry(request.method), TASKS.get(request.task)
    except BadInput as error:
        return [str(error)]
    checks: list[Callable[[], Any]] = [
        lambda: build(entry.load().Options, request.variant, request.options,
                      f"method {request.method}"),
        lambda: spec.settings(request.settings, task, lookalike=lookalike, recipe=request.recipe,
                              method=entry.name, options=request.options),
    ]
    if request.task_options and task.options is None:
        return [f"task {task.name} has no options; leave task_options out"]
    if request.task_options:
        checks.append(lambda: build(task.options or type(None), "corrected", request.task_options,
                                    f"task {task.name}"))
    mistakes = []
    for check in checks:
        try:
            check()
        except BadInput as error:
            mistakes.append(str(error))
    return mistakes


def mistakes_of_figure(figure: Table, requests: Sequence[Request]) -> list[str]:
    """What is wrong with a published figure of an entry."""
    valid = FIGURE | FIELDS
    mistakes = [unknown("key of published", key, valid) for key in figure if key not in valid]
    if "metric" not in figure or not isinstance(figure.get("value"), int | float):
        mistakes.append(f"published {figure}: metric and value are needed")
    if not any(matches(figure, request) for request in requests):
        mistakes.append(f"published {figure}: belongs to no cell of this entry")
    return mistakes


def matches(published: Table, request: Request) -> bool:
    """Does a published figure belong to this request? Every field and option that it names must
    agree.
    """
    for name, value in published.get("options", {}).items():
        if request.options.get(name) != value:
            return False
    return all(str(getattr(request, key)) == str(value)
               for key, value in published.items() if key in FIELDS and key != "options")
