"""What a suite would run: its cells, what is finished, what is missing, how long it may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput, one_line
from kdbench.base.progress import clock
from kdbench.runs import ray_engine, store, trackers
from kdbench.runs.cell import Cell, LeftOut
from kdbench.runs.planning import teacher_name
from kdbench.runs.request import Request
from kdbench.runs.suite import Suite

Key = tuple[str, str, str]  # method, task, student: cells of one key take about equally long


@dataclass(frozen=True)
class Outlook:
    """What is known of a cell before it runs.

    state    finished, missing, skipped or to run
    lacking  what has to be fetched first
    """

    cell: Cell | LeftOut
    state: str
    lacking: tuple[str, ...] = ()


def dry_run(suite: Suite, planned: Sequence[Cell | LeftOut], folder: Path, engine: str = "local",
            tracker: str | None = None) -> str:
    """What would run, as text: a line a cell with the figures published for it, what is missing,
    and how long it may take.
    """
    outlooks = [outlook(cell, folder) for cell in planned]
    lines = [f"suite {suite.name}: {' '.join(suite.about.split())}"]
    if suite.cpu_hours:
        lines.append(f"expected: {suite.cpu_hours:g} CPU-hours on two cores (an estimate)")
    if suite.gpu_hours:
        lines.append(f"expected: {suite.gpu_hours:g} GPU-hours (an estimate)")
    lines += [line_of(each) for each in outlooks]
    missing = missing_things(outlooks, engine, tracker)
    if missing:
        lines += ["missing:", *(f"  {line}" for line in missing)]
    return "\n".join([*lines, summary(outlooks, seconds_by_key(folder))])


def lacking(planned: Sequence[Cell | LeftOut], folder: Path, engine: str = "local",
            tracker: str | None = None) -> list[str]:
    """What the cells that are not finished lack on this machine, each with the way to get it."""
    outlooks = [outlook(cell, folder) for cell in planned]
    return missing_things(outlooks, engine, tracker)


def outlook(cell: Cell | LeftOut, folder: Path) -> Outlook:
    """What is known of one cell, with the results of `folder`."""
    if isinstance(cell, LeftOut) and cell.reason:
        return Outlook(cell, "skipped")
    if isinstance(cell, Cell):
        record = store.find(folder, cell.id, cell.task.name)
        if record is not None and record["status"] in store.FINISHED:
            return Outlook(cell, "finished")
    lacking = [cell.missing] if isinstance(cell, LeftOut) else []
    reads_teacher = isinstance(cell, LeftOut) or cell.request.controls or cell.teacher is not None
    lacking += missing_models(cell.request, reads_teacher)
    return Outlook(cell, "missing" if lacking else "to run", tuple(lacking))


def line_of(known: Outlook) -> str:
    """One cell as a line. A control shows neither options nor published figures."""
    cell = known.cell
    line = f"  {known.state:<9} {cell.label}"
    if isinstance(cell, Cell) and cell.role != "method":
        return line
    for name, value in cell.request.differences().items():
        line += f", {name}={value}"
    if isinstance(cell, LeftOut) and cell.reason:
        line += f": {cell.reason}"
    for figure in cell.request.published:
        line += f"; published: {figure['metric']} {figure['value']:g}"
        if figure.get("over"):
            line += f" ({figure['over']})"
    return line


def missing_things(outlooks: Sequence[Outlook], engine: str, tracker: str | None) -> list[str]:
    """What has to be fetched or installed first, each once."""
    found = [line for each in outlooks for line in each.lacking]
    if engine == "ray" and not ray_engine.installed():
        found.append("extra ray: `pip install kdbench[ray]`")
    if tracker:
        try:
            trackers.check(tracker)
        except BadInput as error:
            found.append(one_line(error))
    return list(dict.fromkeys(found))


def missing_models(request: Request, reads_teacher: bool = True) -> list[str]:
    """Models that are not on this machine, each with the way to get it."""
    from huggingface_hub import try_to_load_from_cache

    from kdbench.models.teachers import parts_of, resolve_teacher

    lacking = []
    teachers = [teacher_name(request)[0]] if reads_teacher else []
    for name in (*teachers, request.student):
        try:
            sources = list(parts_of(resolve_teacher(name)))
        except BadInput as error:
            lacking.append(one_line(error))
            continue
        for source in sources:
            hub = source.hub or (source.base.hub if source.base else "")
            if hub and not isinstance(try_to_load_from_cache(hub, "config.json"), str):
                lacking.append(f"model {source.name}: `hf download {hub}`, or its folder in the "
                               f"folder that KDBENCH_MODELS names")
    return lacking


def summary(outlooks: Sequence[Outlook], seconds: dict[Key, float]) -> str:
    """How many cells there are in each state, and how long those to run may take."""
    states = Counter(each.state for each in outlooks)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    line = f"{len(outlooks)} cells: {counts}"
    keys = [key_of(each.cell.description) for each in outlooks
            if each.state == "to run" and isinstance(each.cell, Cell)]
    if not keys:
        return line
    unknown = sum(key not in seconds for key in keys)
    if unknown == len(keys):
        return f"{line}; to run: no earlier record tells how long"
    line += f"; to run: about {clock(sum(seconds.get(key, 0.0) for key in keys))}"
    line += " by earlier records"
    return f"{line}, which know none of {unknown} of them" if unknown else line


def key_of(cell: dict[str, Any]) -> Key:
    """What a record's `cell` shares with cells that take about equally long."""
    return cell["method"], cell["task"], cell["student"]


def seconds_by_key(folder: Path) -> dict[Key, float]:
    """Mean seconds of the finished cells of `folder`."""
    found: dict[Key, list[float]] = {}
    for record in store.records(folder) if folder.is_dir() else ():
        if record["status"] == "done":
            seconds = record["cost"]["wall_seconds"]
            found.setdefault(key_of(record["cell"]), []).append(seconds)
    return {key: sum(seconds) / len(seconds) for key, seconds in found.items()}
