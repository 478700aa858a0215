"""Suites: a TOML file that names a grid of cells, and what is known of them before they run.

    about = "DoKTra's ablation on ChemProt"
    cpu_hours = 1.5                    # expected, on two cores
    data = "real"                      # refuses to fall back on look-alike data
    seeds = 5                          # 0-4; or a list

    [defaults]                         # fields of a request, and settings of the protocol
    epochs = 5

    [[cells]]                          # a value that is a list is an axis of the grid
    method = ["doktra", "logit_kd"]
    task = "chemprot"
    student = "roberta-large"
    options.doktra.transfer = ["abd", "kld"]
    published = [{ options.transfer = "abd", metric = "micro_f1", value = 77.42, source = "..." }]

Controls (the teacher, the student without one, logit distillation) are added to every cell.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdbench.errors import BadInput
from kdbench.listing import SUITES, suites
from kdbench.registry import METHODS, unknown
from kdbench.spec import Settings
from kdbench.task_index import TASKS

SETTINGS = {f.name for f in dataclasses.fields(Settings)}
FIELDS = {"method", "task", "teacher", "student", "variant", "recipe", "options", "task_options", "unlabelled"}
TOP = {"about", "cpu_hours", "data", "seeds", "defaults", "cells", "controls", "primary"}


@dataclass(frozen=True)
class Planned:
    """One point of the grid: the fields of a `Request`, its seeds, and the published figures beside it."""

    fields: dict[str, Any]
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    published: tuple[dict[str, Any], ...] = ()

    @property
    def label(self) -> str:
        f = self.fields
        options = " ".join(f"{k}={v}" for k, v in sorted(f.get("options", {}).items()))
        return f"{f['method']} {f['task']} {f.get('teacher', '')}->{f.get('student', '')} {options}".strip()


@dataclass(frozen=True)
class Suite:
    name: str
    about: str
    cells: tuple[Planned, ...]
    data: str = "any"
    cpu_hours: float | None = None
    controls: bool = True
    warnings: tuple[str, ...] = field(default_factory=tuple)


def find(name: str) -> Path:
    """The suite called `name` in `benchmarks/`, or the file of that path."""
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    known = [entry["name"] for entry in suites()]
    if name in known:
        return SUITES / f"{name}.toml"
    raise BadInput(unknown("suite", name, known) + "; or give the path of a .toml file")


def load(name: str) -> Suite:
    """Read and check a suite; all mistakes of the file are reported at once, each with its key."""
    path = find(name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"suite {path}: {error}") from error
    mistakes = [unknown("key", key, TOP) for key in raw if key not in TOP]
    defaults = raw.get("defaults", {})
    mistakes += [f"defaults: {unknown('key', key, FIELDS | SETTINGS)}" for key in defaults if key not in FIELDS | SETTINGS]
    defaults = {key: value for key, value in defaults.items() if key in FIELDS | SETTINGS}
    cells: list[Planned] = []
    for number, entry in enumerate(raw.get("cells", []), 1):
        try:
            cells += expand({**defaults, **entry}, raw.get("seeds", 1))
        except BadInput as error:
            mistakes.append(f"cells[{number}]: {error}")
    if not cells and not mistakes:
        mistakes.append("no [[cells]]: a suite needs at least one")
    if mistakes:
        raise BadInput(f"suite {path}: " + "; ".join(mistakes))
    return Suite(path.stem if path.parent == SUITES else name.removesuffix(".toml"), raw.get("about", ""), tuple(cells),
                 raw.get("data", "any"), raw.get("cpu_hours"), raw.get("controls", True))


def expand(entry: dict[str, Any], seeds: Any) -> list[Planned]:
    """The grid of one entry: the product over every value that is a list."""
    entry = dict(entry)
    seeds = parse(entry.pop("seeds", seeds))
    published = tuple(entry.pop("published", ()))
    by_method = entry.pop("options", {})
    wrong = [key for key in entry if key not in FIELDS | SETTINGS]
    if wrong:
        raise BadInput("; ".join(unknown("key", key, FIELDS | SETTINGS | {"seeds", "published"}) for key in wrong))
    if "method" not in entry or "task" not in entry:
        raise BadInput("method and task are needed")
    found = []
    for point in product(entry):
        METHODS.entry(point["method"])
        TASKS.entry(point["task"])
        own = by_method.get(point["method"], {})
        for name in by_method:
            METHODS.entry(name)
        for options in product(own):
            fields = {k: v for k, v in point.items() if k in FIELDS} | {"options": options}
            settings = {k: v for k, v in point.items() if k in SETTINGS}
            found.append(Planned(fields, settings, seeds, tuple(p for p in published if matches(p, fields))))
    return found


def product(axes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = list(axes)
    for values in itertools.product(*(v if isinstance(v, list) else [v] for v in axes.values())):
        yield dict(zip(names, values, strict=True))


def parse(seeds: Any) -> tuple[int, ...]:
    if isinstance(seeds, bool) or not (isinstance(seeds, int) or isinstance(seeds, list) and all(isinstance(s, int) for s in seeds)):
        raise BadInput(f"seeds: {seeds!r} is neither a number of seeds nor a list of them")
    return tuple(seeds) if isinstance(seeds, list) else tuple(range(seeds))


def matches(published: dict[str, Any], fields: dict[str, Any]) -> bool:
    """Does a published figure belong to this point? Every field and option that it names must agree."""
    for key, value in published.items():
        if key == "options" and any(fields["options"].get(name) != wanted for name, wanted in value.items()):
            return False
        if key in FIELDS and key != "options" and fields.get(key) != value:
            return False
    return True


def only(suite: Suite, pattern: str) -> Suite:
    """The cells that ``method=doktra,task=chem*`` picks."""
    wanted = {}
    for part in pattern.split(","):
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in FIELDS - {"options", "task_options"}:
            raise BadInput(f"--only {pattern!r}: write FIELD=PATTERN[,...], a field being one of "
                           f"{', '.join(sorted(FIELDS - {'options', 'task_options'}))}")
        wanted[name.strip()] = value.strip()
    defaults = {"teacher": "tiny-teacher", "student": "tiny-student", "variant": "corrected"}
    kept = tuple(cell for cell in suite.cells
                 if all(fnmatch.fnmatchcase(str(cell.fields.get(k, defaults.get(k, ""))), v) for k, v in wanted.items()))
    if not kept:
        raise BadInput(f"--only {pattern!r}: picks none of the {len(suite.cells)} cells of {suite.name}")
    return dataclasses.replace(suite, cells=kept)
