"""`list` and `show`: what there is, and all about one of them. To show a method needs torch."""

from __future__ import annotations

import dataclasses
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from kdbench.base import options
from kdbench.base.errors import BadInput
from kdbench.base.places import shipped
from kdbench.base.registry import METHODS, TASKS, Entry, unknown
from kdbench.data.task import Task
from kdbench.models.encoders import KINDS, UNKNOWN, encoder_of, in_words
from kdbench.models.zoo import MODELS
from kdbench.train.spec import Settings

SUITES = shipped("benchmarks")
WIDTH = 100  # columns

# name, about; kinds and aliases where there are any; of models also what is known of them
Listed = dict[str, Any]


def suites() -> list[dict[str, str]]:
    """The suites in `benchmarks/`: their names and what the file says of itself."""
    found = []
    for path in sorted(SUITES.rglob("*.toml")):
        with path.open("rb") as stream:
            about = tomllib.load(stream).get("about", "")
        found.append({"name": str(path.relative_to(SUITES).with_suffix("")), "about": about})
    return found


def everything() -> dict[str, list[Listed]]:
    """All methods, tasks, models and suites, as `list --json` prints them."""
    found: dict[str, list[Listed]] = {}
    for noun, registry in (("methods", METHODS), ("tasks", TASKS), ("models", MODELS)):
        found[noun] = [listed(entry) for entry in registry.entries()]
    for model in found["models"]:
        model |= facts_of_model(model["name"])
    found["suites"] = [dict(suite) for suite in suites()]
    return found


def listed(entry: Entry) -> Listed:
    """One entry of a registry for programs."""
    found: Listed = {"name": entry.name, "about": entry.about}
    if entry.task_types:
        found["kinds"] = list(entry.task_types)
    if entry.aliases:
        found["aliases"] = list(entry.aliases)
    return found


def render(nouns: dict[str, list[Listed]]) -> str:
    """Names in one column, what they are in the other; fits 100 columns."""
    lines = []
    for noun, entries in nouns.items():
        lines.append(f"{noun}:")
        width = max((len(entry["name"]) for entry in entries), default=0)
        for entry in entries:
            line = f"  {entry['name']:<{width}}  {entry['about']}"
            if entry.get("hub"):
                line += f" ({entry['size']})"
            if entry.get("aliases"):
                line += f" (also: {', '.join(entry['aliases'])})"
            lines += textwrap.wrap(line, WIDTH, subsequent_indent=" " * (width + 4))
        lines.append("")
    return "\n".join(lines).rstrip()


def show(name: str) -> str:
    """Everything about a method, task or model of that name (several where the name has
    several).
    """
    parts = []
    if name in METHODS:
        parts.append(show_method(name))
    if name in TASKS:
        parts.append(show_task(name))
    if name in MODELS:
        parts.append(show_model(name))
    if not parts:
        raise BadInput(unknown("name", name, [*METHODS.names(), *TASKS.names(), *MODELS.names()]))
    return "\n\n".join(parts)


def show_model(name: str) -> str:
    """Where the weights of a model come from, what is known of them, its configuration and its
    learning rate.
    """
    recipe = MODELS.get(name)
    lines = [f"model {name}: {MODELS.entry(name).about}",
             f"  weights: {recipe.hub or recipe.origin or 'random'}"]
    lines += [f"  {key}: {number}" for key, number in recipe.config.items()]
    facts = facts_of_model(MODELS.entry(name).name)
    if facts:
        lines += [f"  size and licence: {facts['size']}", f"  has read: {facts['read']}",
                  f"  has read biomedical abstracts: {facts['abstracts']}",
                  f"  has read clinical notes: {facts['notes']}"]
    return "\n".join([*lines, f"  learning rate: {recipe.lr:g}"])


def facts_of_model(name: str) -> Listed:
    """What is known of an encoder, `size` with its licence in words; empty of a model that is
    built.
    """
    encoder = encoder_of(name)
    if encoder is None:
        return {}
    licence = encoder.licence if encoder.licence != UNKNOWN else None
    return {"hub": encoder.hub, "millions": encoder.millions or None, "licence": licence,
            "size": in_words(encoder), "read": encoder.read, "abstracts": encoder.abstracts,
            "notes": encoder.notes}


# --- methods --------------------------------------------------------------------------------------


def show_method(name: str) -> str:
    """What a method is, its options with their sources, and what differs between the variants."""
    method = METHODS.get(name)
    lines = [
        *folded(f"method {method.name}: {method.title}"), *folded(f"  {method.citation}"), "",
        "equations", textwrap.indent(textwrap.dedent(method.equations).strip("\n"), "  "), "",
        *folded(f"needs: {method.needs}"), f"task types: {', '.join(method.task_types)}", "",
    ]
    rows = options.describe(method.Options)
    if rows:
        lines.append("options (--set NAME=VALUE)")
    for row in rows:
        lines += lines_of_option(row)
    lines += ["", "searched of the protocol too (shrink, run --trials): lr as a multiple of the "
              "student's own,", "epochs where no number of steps is given", *protocol_lines()]
    lines += ["", "corrected against published (--variant): the paper's intent, or the protocol of "
              "the comparison"]
    changed = [f"  {row['name']}: {value(row['default'])} | {value(row['published'])} "
               f"({row['why']})" for row in options.differing(method.Options)]
    lines += changed or ["  no difference"]
    lines += ["", "variants of ours: off in both"]
    ours = [f"  {row['name']}: {value(row['default'])}; or {other(row)}"
            for row in options.alternatives(method.Options)]
    lines += ours or ["  none"]
    lines += ["", "not reproduced"]
    for what, reason in method.not_reproduced:
        lines += textwrap.wrap(f"{what}: {reason}", WIDTH, initial_indent="  ",
                               subsequent_indent="    ")
    return "\n".join(lines if method.not_reproduced else [*lines, "  nothing"])


def protocol_lines() -> list[str]:
    """What a search tries of the protocol's settings."""
    rows = {field.name: field.metadata.get("search") for field in dataclasses.fields(Settings)}
    return [f"  {name}: {searched(asked)}" for name, asked in rows.items() if asked]


def lines_of_option(row: dict[str, Any]) -> list[str]:
    """An option of a method: name, default and choices, then its help and its source."""
    line = f"  {row['name']} = {value(row['default'])}"
    if row["choices"]:
        line += f" [{'|'.join(map(str, row['choices']))}]"
    source = f" (source: {row['source']})" if row["source"] else ""
    if row["search"]:
        source += f" (searched: {searched(row['search'])})"
    return [line, *textwrap.wrap(f"{row['help']}{source}", 96, initial_indent="      ",
                                 subsequent_indent="      ")]


def searched(asked: Sequence[Any]) -> str:
    """What a search tries of an option, in words."""
    if isinstance(asked, list):
        return ", ".join(map(value, asked))
    return f"{asked[0]:g} to {asked[1]:g}{', on a log scale' if len(asked) == 3 else ''}"


def other(row: dict[str, Any]) -> str:
    """What an option can be besides its default, in words."""
    if row["choices"]:
        return ", ".join(str(choice) for choice in row["choices"] if choice != row["default"])
    return value(not row["default"]) if isinstance(row["default"], bool) else "another value"


def folded(line: str) -> list[str]:
    """A line in pieces of at most 100 columns, each indented two columns more than the first."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, drop_whitespace=True,
                         break_long_words=False)


def show_recipe(method: str, task: str) -> str:
    """What `--recipe paper` takes for a method on a task, and for its modes, with sources."""
    name, found = METHODS.entry(method).name, TASKS.get(task)
    modes = [key.split(" ", 1)[1] for key in found.recipes if key.startswith(f"{name} ")]
    return "\n\n".join([recipe_of(name, found, mode) for mode in ("", *modes)])


def recipe_of(method: str, task: Task, mode: str = "") -> str:
    """The settings of a method on a task as lines; `mode` is NAME=VALUE or empty."""
    rows = list(rows_of_recipe(method, task, mode))
    recipe = task.recipe(method, options_of(mode))
    assert recipe is not None  # or it has been refused
    first = f"{method} on {task.name} with --recipe paper{f' --set {mode}' if mode else ''}"
    if method not in task.recipes:
        first += f": no settings of {method} are published, these are those of fine-tuning"
    lines = [first, *([f"  {recipe.note}"] if recipe.note else [])]
    names, values = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    for name, chosen, source in rows:
        lines.append(f"  {name:<{names}}  {chosen:<{values}}  {source}")
    return "\n".join(lines)


def rows_of_recipe(method: str, task: Task, mode: str) -> Iterator[tuple[str, str, str]]:
    """Name, value and source of each setting, then of each option; `BadInput` where nothing is
    published.
    """
    from kdbench.train import spec

    chosen = options_of(mode)
    settings = spec.settings({}, task, lookalike=False, recipe="paper", method=method,
                             options=chosen)
    recipe = task.recipe(method, chosen)
    assert recipe is not None
    for field in dataclasses.fields(settings):
        source = "default of the protocol"
        if field.name in recipe.values:
            source = recipe.sources.get(field.name, recipe.source)
        yield field.name, value(getattr(settings, field.name)), source
    for name, given in recipe.options.items():
        flag = f"--set {name}"
        yield flag, value(given), recipe.sources.get(flag, recipe.source)


def options_of(mode: str) -> dict[str, str]:
    """`NAME=VALUE` as the options of a method; none where it is empty."""
    name, equals, given = mode.partition("=")
    return {name: given} if equals else {}


# --- tasks ----------------------------------------------------------------------------------------


def show_task(name: str) -> str:
    """What a task is: metric, labels, licence, where it comes from, published scores, options."""
    task: Task = TASKS.get(name)
    lines = [f"task {task.name}: {task.about}", f"  task type: {task.task_type}",
             f"  metric: {task.metric}"]
    for fact, text in facts_of(task).items():
        if text:
            lines += textwrap.wrap(f"{fact}: {text}", 96, initial_indent="  ",
                                   subsequent_indent="    ")
    if task.options:
        lines.append("  options (--task-set NAME=VALUE)")
        lines += [f"    {row['name']} = {value(row['default'])}: {row['help']}"
                  for row in options.describe(task.options)]
    return "\n".join(lines)


def facts_of(task: Task) -> dict[str, str]:
    """The facts of a task by their names; those that it does not have are empty."""
    settings = ""
    if task.recipes:
        settings = f"{', '.join(task.recipes)} (`show METHOD --task {task.name}`)"
    return {
        "also measured": ", ".join(name for name in task.metrics if name != task.metric),
        "labels": ", ".join(task.labels),
        "left out by micro-F1": ", ".join(task.negative),
        "texts": KINDS.get(task.texts, ""),
        "resampled by statistics": task.unit,
        "citation": task.citation,
        "licence": task.licence,
        "source": task.source,
        "how to get it": task.how_to_get,
        "rows": ", ".join(f"{split} {count:,}" for split, count in task.rows.items()),
        "published": "; ".join(f"{system} {score:g}" for system, score in task.published),
        "published settings of": settings,
    }


def value(thing: bool | float | str | Sequence[Any] | None) -> str:
    """An option's value as a page shows it."""
    if isinstance(thing, tuple):
        return ",".join(map(str, thing)) or "none"
    if thing is None:
        return "(not set)"
    if isinstance(thing, bool):
        return "yes" if thing else "no"
    return str(thing)
