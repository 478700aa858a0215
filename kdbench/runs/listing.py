"""`list` and `show`: what there is, and all about one of them. Imports no torch unless a method is
shown.
"""

from __future__ import annotations

import textwrap
from typing import Any

from kdbench.base import options
from kdbench.base.errors import BadInput
from kdbench.base.places import shipped
from kdbench.base.registry import METHODS, TASKS, unknown
from kdbench.data.task import Task
from kdbench.models.zoo import MODELS

SUITES = shipped("benchmarks")


def suites() -> list[dict[str, str]]:
    """The suites in `benchmarks/`: their names and what the file says of itself."""
    import tomllib

    found = []
    for path in sorted(SUITES.rglob("*.toml")):
        with path.open("rb") as stream:
            about = tomllib.load(stream).get("about", "")
        found.append({"name": str(path.relative_to(SUITES).with_suffix("")), "about": about})
    return found


def everything() -> dict[str, list[dict[str, Any]]]:
    nouns: dict[str, list[dict[str, Any]]] = {}
    for noun, registry in (("methods", METHODS), ("tasks", TASKS), ("models", MODELS)):
        nouns[noun] = [{
            "name": e.name, "about": e.about,
            **({"kinds": list(e.task_types)} if e.task_types else {}),
            **({"aliases": list(e.aliases)} if e.aliases else {})
        } for e in registry.entries()]
    nouns["suites"] = suites()
    return nouns


def render(nouns: dict[str, list[dict[str, Any]]]) -> str:
    """Names in one column, what they are in the other; fits 100 columns."""
    lines = []
    for noun, entries in nouns.items():
        lines.append(f"{noun}:")
        width = max((len(e["name"]) for e in entries), default=0)
        for e in entries:
            alias = f" (also: {', '.join(e['aliases'])})" if e.get("aliases") else ""
            lines += textwrap.wrap(f"  {e['name']:<{width}}  {e['about']}{alias}", 100,
                                   subsequent_indent=" " * (width + 4))
        lines.append("")
    return "\n".join(lines).rstrip()


def show_recipe(method: str, task: str) -> str:
    """What `--recipe paper` takes for a method on a task, and for its modes, with sources."""
    name, found = METHODS.entry(method).name, TASKS.get(task)
    modes = [key.split(" ", 1)[1] for key in found.recipes if key.startswith(f"{name} ")]
    return "\n\n".join([recipe_of(name, found), *(recipe_of(name, found, mode) for mode in modes)])


def recipe_of(method: str, task: Task, mode: str = "") -> str:
    """The settings of a method on a task as lines; `mode` is NAME=VALUE or empty."""
    import dataclasses

    from kdbench.train import spec

    chosen = dict([mode.split("=", 1)]) if mode else {}
    taken = spec.settings({}, task, lookalike=False, recipe="paper", method=method, options=chosen)
    recipe = task.recipe(method, chosen)
    assert recipe is not None  # or it has been refused
    rows = []
    for field in dataclasses.fields(taken):
        source = recipe.sources.get(
            field.name, recipe.source) if field.name in recipe.values else "default of the protocol"
        rows.append((field.name, value(getattr(taken, field.name)), source))
    rows += [(f"--set {name}", value(given), recipe.sources.get(f"--set {name}", recipe.source))
             for name, given in recipe.options.items()]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    first = f"{method} on {task.name} with --recipe paper{f' --set {mode}' if mode else ''}"
    if method not in task.recipes:
        first += f": no settings of {method} are published, these are those of fine-tuning"
    lines = [first, *([f"  {recipe.note}"] if recipe.note else [])]
    lines += [
        f"  {name:<{widths[0]}}  {chosen:<{widths[1]}}  {source}" for name, chosen, source in rows
    ]
    return "\n".join(lines)


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
        recipe = MODELS.get(name)
        parts.append("\n".join([
            f"model {name}: {MODELS.entry(name).about}",
            f"  weights: {recipe.hub or recipe.origin or 'random'}",
            *(f"  {k}: {v}" for k, v in recipe.config.items()), f"  learning rate: {recipe.lr:g}"
        ]))
    if not parts:
        raise BadInput(unknown("name", name, [*METHODS.names(), *TASKS.names(), *MODELS.names()]))
    return "\n\n".join(parts)


def show_method(name: str) -> str:
    method = METHODS.get(name)
    lines = [
        *folded(f"method {method.name}: {method.title}"), *folded(f"  {method.citation}"), "",
        "equations",
        textwrap.indent(textwrap.dedent(method.equations).strip("\n"), "  "), "",
        *folded(f"needs: {method.needs}"), f"task types: {', '.join(method.task_types)}", ""
    ]
    rows = options.describe(method.Options)
    if rows:
        lines.append("options (--set NAME=VALUE)")
        for row in rows:
            choices = f" [{'|'.join(map(str, row['choices']))}]" if row["choices"] else ""
            lines.append(f"  {row['name']} = {value(row['default'])}{choices}")
            source = f" (source: {row['source']})" if row["source"] else ""
            lines += textwrap.wrap(f"{row['help']}{source}", 96, initial_indent="      ",
                                   subsequent_indent="      ")
    lines += [
        "",
        "corrected against published (--variant): the paper's intent, or the protocol of the "
        "comparison"
    ]
    lines += [f"  {row['name']}: {value(row['default'])} | {value(row['published'])} ({row['why']})"
              for row in options.differing(method.Options)] or ["  no difference"]
    lines += ["", "variants of ours: off in both"]
    lines += [
        f"  {row['name']}: {value(row['default'])}; or {other(row)}"
        for row in options.alternatives(method.Options)
    ] or ["  none"]
    lines += ["", "not reproduced"]
    for what, reason in method.not_reproduced:
        lines += textwrap.wrap(f"{what}: {reason}", 100, initial_indent="  ",
                               subsequent_indent="    ")
    return "\n".join(lines if method.not_reproduced else [*lines, "  nothing"])


def other(row: dict[str, Any]) -> str:
    """What an option can be besides its default, in words."""
    if row["choices"]:
        return ", ".join(str(choice) for choice in row["choices"] if choice != row["default"])
    return value(not row["default"]) if isinstance(row["default"], bool) else "another value"


def folded(line: str) -> list[str]:
    """A line in pieces of at most 100 columns, each as far in as the first, and two more."""
    inside = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, 100, subsequent_indent=inside, drop_whitespace=True,
                         break_long_words=False)


def show_task(name: str) -> str:
    task = TASKS.get(name)
    lines = [
        f"task {task.name}: {task.about}", f"  task type: {task.task_type}",
        f"  metric: {task.metric}"
    ]
    facts = {
        "also measured": ", ".join(m for m in task.metrics if m != task.metric),
        "labels": ", ".join(task.labels), "left out by micro-F1": ", ".join(task.negative),
        "resampled by statistics": task.unit, "citation": task.citation, "licence": task.licence,
        "source": task.source, "how to get it": task.how_to_get,
        "rows": ", ".join(f"{k} {v:,}" for k, v in task.rows.items()),
        "published": "; ".join(f"{system} {score:g}" for system, score in task.published),
        "published settings of": ", ".join(task.recipes) + " (`show METHOD --task " + task.name +
                                 "`)" if task.recipes else "",
    }
    for fact, text in facts.items():
        if text:
            lines += textwrap.wrap(f"{fact}: {text}", 96, initial_indent="  ",
                                   subsequent_indent="    ")
    if task.options:
        lines.append("  options (--task-set NAME=VALUE)")
        lines += [
            f"    {row['name']} = {value(row['default'])}: {row['help']}"
            for row in options.describe(task.options)
        ]
    return "\n".join(lines)


def value(thing: Any) -> str:
    if isinstance(thing, tuple):
        return ",".join(map(str, thing)) or "none"
    return {True: "yes", False: "no", None: "(not set)"}.get(thing, str(thing)) if isinstance(
        thing, (bool, type(None))) else str(thing)
