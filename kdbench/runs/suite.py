"""Suites: a TOML file that names a grid of cells, and what is known of them before they run.

    about = "DoKTra's ablation on ChemProt" gpu_hours = 4                      # expected on one GPU
    of 24 GB; cpu_hours: on two cores. Estimates data = "real"                      # refuses to
    fall back on look-alike data seeds = 5                          # 0-4; or a list

    [defaults]                         # fields of a request, and settings of the protocol
    epochs = 5
    resources = { gpus = 0.5, cpus = 4, memory_gb = 8 }   # of one cell, for workers and Ray

    [[cells]]                          # a value that is a list is an axis of the grid method =
    ["doktra", "logit_kd"] task = "chemprot" student = "roberta-large" options.doktra.transfer =
    ["abd", "kld"] published = [{ method = "doktra", options = { transfer = "abd" }, metric =
    "micro_f1", value = 77.42, system = "..." }]

Controls (the teacher, the student without one, logit distillation) are added to every cell;
`controls = false` of the suite or of an entry leaves them out.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.options import build, by_content, written
from kdbench.base.registry import METHODS, TASKS, unknown
from kdbench.models.zoo import MODELS
from kdbench.runs.listing import SUITES, suites
from kdbench.train import spec
from kdbench.train.spec import Settings

SETTINGS = {f.name for f in dataclasses.fields(Settings)}
FIELDS = {
    "method", "task", "teacher", "student", "variant", "recipe", "options", "task_options",
    "unlabelled"
}
BESIDE = {"seeds", "published", "resources", "controls"}  # of an entry, and no axis
RESOURCES = {"cpus", "gpus", "memory_gb"}
TOP = {"about", "cpu_hours", "gpu_hours", "data", "seeds", "defaults", "cells", "controls"}
# Of a published figure: the metric, the score x 100, the system's name in results/reported.csv;
# `over` says what it is where it is no score of one cell (an average over tasks, a difference).
FIGURE = {"metric", "value", "system", "over"}

DEFAULTS = {"teacher": "tiny-teacher", "student": "tiny-student", "variant": "corrected"}
CONTROLS = ("finetune", "logit_kd")  # they have no published reading


@dataclass(frozen=True)
class Planned:
    """One point of the grid: the fields of a `Request`, its seeds, what it takes, and the published
    figures beside it.
    """

    fields: dict[str, Any]
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    published: tuple[dict[str, Any], ...] = ()
    resources: dict[str, float] = field(default_factory=dict)
    controls: bool = True

    @property
    def chosen(self) -> dict[str, Any]:
        """What tells this point from others of the same method, task and student."""
        f = self.fields
        kept = {name: f[name] for name in ("teacher", "variant", "unlabelled") if name in f}
        return {**kept, **f.get("task_options", {}), **f["options"]}


@dataclass(frozen=True)
class Suite:
    name: str
    about: str
    cells: tuple[Planned, ...]
    data: str = "any"  # real, lookalike, any
    cpu_hours: float | None = None
    gpu_hours: float | None = None


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

    Without `thorough` options and settings are taken as they stand: what would be checked with a
    method needs PyTorch.
    """
    path = find(name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"suite {path}: {error}") from error
    mistakes = [unknown("key", key, TOP) for key in raw if key not in TOP]
    if raw.get("data", "any") not in ("any", "real", "lookalike"):
        mistakes.append(unknown("data", str(raw["data"]), ("any", "real", "lookalike")))
    defaults, entries = raw.get("defaults", {}), raw.get("cells", [])
    if not isinstance(defaults, dict) or not isinstance(entries, list) or not all(
            isinstance(entry, dict) for entry in entries):
        raise BadInput(f"suite {path}: write [defaults] as one table and [[cells]] as tables")
    mistakes += [f"defaults: {mistake}" for mistake in strange(defaults)]
    defaults = {key: value for key, value in defaults.items() if key in FIELDS | SETTINGS | BESIDE}
    cells: list[Planned] = []
    for number, entry in enumerate(entries, 1):
        wrong = strange(entry)
        try:
            if not wrong:
                given = {
                    "seeds": raw.get("seeds", 1), "controls": raw.get("controls", True), **defaults,
                    **entry
                }
                cells += expand(given, raw.get("data") == "lookalike", thorough=thorough)
        except BadInput as error:
            wrong = [str(error)]
        mistakes += [f"cells[{number}]: {mistake}" for mistake in wrong]
    if not cells and not mistakes:
        mistakes.append("no [[cells]]: a suite needs at least one")
    if mistakes:
        raise BadInput(f"suite {path}: " + "; ".join(mistakes))
    own = SUITES in path.resolve().parents
    return Suite(
        str(path.resolve().relative_to(SUITES).with_suffix("")) if own else path.stem,
        raw.get("about", ""), tuple(cells), raw.get("data", "any"), raw.get("cpu_hours"),
        raw.get("gpu_hours"))


def strange(entry: dict[str, Any]) -> list[str]:
    valid = FIELDS | SETTINGS | BESIDE
    return [unknown("key", key, valid) for key in entry if key not in valid]


def expand(entry: dict[str, Any], lookalike: bool = False, *,
           thorough: bool = True) -> list[Planned]:
    """The grid of one entry: the product over every value that is a list. All its mistakes are
    raised as one `BadInput`.
    """
    axes = {key: value for key, value in entry.items() if key not in BESIDE and key != "options"}
    seeds, figures, resources = parse(entry["seeds"]), entry.get("published",
                                                                 []), entry.get("resources", {})
    by_method: dict[str, Any] = entry.get("options", {})
    if "method" not in axes or "task" not in axes:
        raise BadInput("method and task are needed")
    mistakes = dict.fromkeys(
        unknown("resource", key, RESOURCES) for key in resources if key not in RESOURCES)
    methods = axes["method"] if isinstance(axes["method"], list) else [axes["method"]]
    for name in by_method:
        if name not in methods:
            there = f"this entry has no method {name!r} (it has {', '.join(methods)})"
            mistakes[f"options.{name}: {there}"] = None
    found = []
    for point in product(axes):
        for options in product(by_method.get(point["method"], {})):
            fields = {k: v for k, v in point.items() if k in FIELDS} | {"options": options}
            settings = {k: v for k, v in point.items() if k in SETTINGS}
            if thorough:
                mistakes.update(dict.fromkeys(wrong(fields, settings, lookalike)))
            beside = tuple(figure for figure in figures if matches(figure, fields))
            found.append(Planned(fields, settings, seeds, beside, resources, entry["controls"]))
    for figure in figures:
        mistakes.update(
            dict.fromkeys(
                unknown("key of published", key, FIGURE | FIELDS)
                for key in figure
                if key not in FIGURE | FIELDS))
        if "metric" not in figure or not isinstance(figure.get("value"), int | float):
            mistakes[f"published {figure}: metric and value are needed"] = None
        if not any(matches(figure, cell.fields) for cell in found):
            mistakes[f"published {figure}: belongs to no cell of this entry"] = None
    if mistakes:
        raise BadInput("; ".join(mistakes))
    return found


def wrong(fields: dict[str, Any], settings: dict[str, Any], lookalike: bool) -> list[str]:
    """What is wrong with one point, as far as it shows without data and models."""
    mistakes = []
    try:
        METHODS.entry(fields["method"])
        TASKS.entry(fields["task"])
    except BadInput as error:
        return [str(error)]
    cls, task = METHODS.get(fields["method"]), TASKS.get(fields["task"])
    checks = [
        lambda: build(cls.Options, fields.get("variant", "corrected"), fields[
            "options"], f"method {fields['method']}"), lambda: spec.settings(
                settings, task, lookalike=lookalike, recipe=fields.get("recipe", "default"), method=
                METHODS.entry(fields["method"]).name, options=fields["options"]),
    ]
    if fields.get("task_options"):
        checks.append(lambda: build(task.options or type(None), "corrected", fields["task_options"],
                                    f"task {task.name}"))
    for check in checks:
        try:
            check()
        except BadInput as error:
            mistakes.append(str(error))
    return mistakes


def product(axes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = list(axes)
    for values in itertools.product(*(v if isinstance(v, list) else [v] for v in axes.values())):
        yield dict(zip(names, values, strict=True))


def parse(seeds: Any) -> tuple[int, ...]:
    if isinstance(seeds, bool) or not (isinstance(seeds, int) or isinstance(seeds, list)
                                       and all(isinstance(s, int) for s in seeds)):
        raise BadInput(f"seeds: {seeds!r} is neither a number of seeds nor a list of them")
    return tuple(seeds) if isinstance(seeds, list) else tuple(range(seeds))


def matches(published: dict[str, Any], fields: dict[str, Any]) -> bool:
    """Does a published figure belong to this point? Every field and option that it names must
    agree.
    """
    for key, value in published.items():
        if key == "options" and any(fields["options"].get(name) != wanted
                                    for name, wanted in value.items()):
            return False
        if key in FIELDS and key != "options" and fields.get(key) != value:
            return False
    return True


def only(suite: Suite, pattern: str) -> Suite:
    """The cells that ``method=doktra,task=chem*`` picks: by fields, and by options and settings
    that the suite's file gives.
    """
    given = [values_of(cell) for cell in suite.cells]
    known = {name for values in given for name in values}
    wanted = {}
    for part in pattern.split(","):
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in known:
            raise BadInput(
                f"--only {pattern!r}: write NAME=PATTERN[,...], a name being one of "
                f"{', '.join(sorted(known))}"
            )
        wanted[name.strip()] = value.strip()
    kept = tuple(cell for cell, values in zip(suite.cells, given, strict=True)
                 if all(name in values and fnmatch.fnmatchcase(values[name], value)
                        for name, value in wanted.items()))
    if not kept:
        raise BadInput(
            f"--only {pattern!r}: picks none of the {len(suite.cells)} cells of {suite.name}")
    return dataclasses.replace(suite, cells=kept)


def values_of(cell: Planned) -> dict[str, str]:
    """Settings, options and fields of a cell by name, as the command line takes them."""
    fields = {**DEFAULTS, **cell.fields}
    chosen = {**cell.settings, **fields.pop("task_options", {}), **fields.pop("options", {})}
    return {name: written(value) for name, value in {**chosen, **fields}.items()}


def records_of(suite: Suite, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records that cells of the suite and their controls have left, of any seed; by what the
    suite's file says.
    """
    return [
        record for record in records if any(
            left_by(record, planned, suite.data) for planned in suite.cells)
    ]


def left_by(record: dict[str, Any], planned: Planned, data: str) -> bool:
    """Is this the record of the point, or of one of its controls?"""
    cell, fields = record["cell"], {**DEFAULTS, **planned.fields}
    teacher, student, method = name_of(fields["teacher"]), name_of(
        fields["student"]), METHODS.entry(fields["method"]).name
    if cell["task"] != fields["task"] or data not in ("any",
                                                      (record.get("data") or {}).get("kind", data)):
        return False
    if not agrees(planned.settings, cell.get("settings")) or not agrees(
            fields.get("task_options", {}), cell.get("task_options")):
        return False
    same = cell["method"] == method and cell["student"] == student and cell.get("teacher") in (
        teacher, None)
    read = method in CONTROLS or cell.get("variant") == fields["variant"]
    if same and read and agrees(fields["options"], cell.get("options")):
        return True
    if not planned.controls:
        return False
    alike = {"finetune": (teacher, student), "logit_kd": (student,)}
    return cell["student"] in alike.get(cell["method"],
                                        ()) and cell.get("teacher") in (teacher, None)


def name_of(model: str) -> str:
    """A model as records call it: without the folder that holds it, and by no alias."""
    if model in MODELS:
        return MODELS.entry(model).name
    label, _, path = model.rpartition("=")
    return label or (Path(path).name if path.startswith((".", "~", "/")) else path)


def agrees(given: dict[str, Any], found: dict[str, Any] | None) -> bool:
    """Does every value that the file gives stand in the record? Settings that decide no result do
    not stand there.
    """
    there = found or {}
    return all(same_value(value, there[name]) for name, value in given.items() if name in there)


def same_value(given: Any, found: Any) -> bool:
    """A value of a suite's file and one of a record, which knows a file by its content."""
    if isinstance(found, str) and found.startswith("sha256:"):
        return Path(str(given)).is_file() and by_content(str(given)) == found
    return given == found or written(found) == written(given)
