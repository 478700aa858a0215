"""One's runs as people and programs read them: a list, one run in detail, what can be cleaned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbench.base.progress import clock
from kdbench.report.groups import ORIGINS, name_of
from kdbench.report.lettering import letters
from kdbench.report.rows import failure, nested
from kdbench.runs.clean import DAY, Leftover, Survey, survey
from kdbench.runs.inventory import Inventory, exports_of, keys_of, listed, size_of
from kdbench.runs.store import Record
from kdbench.runs.stored import REMEDY

Entry = dict[str, Any]  # a run as JSON has it
HEAD = ("run", "when", "task", "what", "seed", "test", "size")
FLEXIBLE = (3, 2)  # columns that are cut where the terminal is narrow, the first one first
LEAST = 12  # letters that a cut column keeps


def as_entry(inventory: Inventory, record: Record) -> Entry:
    """A run for programs."""
    cell, student = record["cell"], inventory.student_of(record)
    return {
        "id": record["id"], "when": inventory.when(record), "status": record["status"],
        "task": cell["task"], "name": name_of(record), "method": cell["method"],
        "variant": cell.get("variant"), "role": record.get("role"),
        "teacher": cell.get("teacher"), "student": cell["student"], "seed": cell["seed"],
        "data": nested(record, "data", "kind"),
        "metric": nested(record, "score", "metric"), "dev": nested(record, "score", "dev"),
        "test": nested(record, "score", "test"),
        "reason": None if record["status"] == "done" else failure(record),
        "bytes": inventory.bytes_of(record), "own_bytes": inventory.own_bytes_of(record),
        "record": str(inventory.paths[record["id"]]),
        "student_folder": str(student) if student else None,
    }


def as_json(inventory: Inventory, records: Sequence[Record]) -> Entry:
    """The list for programs: the oldest run first."""
    return {
        "runs": [as_entry(inventory, record) for record in records],
        "damaged": [{"path": str(path), "reason": why} for path, why in damaged(inventory)],
        "at_work": inventory.at_work(),
        "interrupted": [str(path) for path in inventory.interrupted()],
        "bytes": folder_sizes(inventory.folder),
    }


def damaged(inventory: Inventory) -> list[tuple[Path, str]]:
    """Records, and predictions beside records, that are not what was written, with the reason."""
    return [*inventory.damaged.items(), *inventory.lost.items()]


def folder_sizes(folder: Path) -> dict[str, int]:
    """Bytes of models, signals and records."""
    return {name: size_of([folder / name]) for name in ("models", "signals", "records")
            if (folder / name).is_dir()}


# ---- the list ------------------------------------------------------------------------------------


def as_text(inventory: Inventory, records: Sequence[Record], width: int) -> str:
    """The list for people, at most `width` columns wide, and below it what else to know."""
    if not records and not inventory.damaged:
        return f"{inventory.folder}: no runs yet"
    short = short_ids([record["id"] for record in inventory.records])
    lines = [line_of(inventory, record, short[record["id"]]) for record in records]
    parts = [fitted([list(HEAD), *lines], width)] if lines else []
    return "\n".join([*parts, "", *foot(inventory, records)])


def line_of(inventory: Inventory, record: Record, name: str) -> list[str]:
    """The cells of one run."""
    cell = record["cell"]
    test = nested(record, "score", "test")
    score = record["status"] if record["status"] != "done" else ""
    if test is not None:
        score = f"{100 * test:.1f}"
    return [name, inventory.when(record), name_of(record), what_of(record), str(cell["seed"]),
            score, amount(inventory.bytes_of(record))]


def what_of(record: Record) -> str:
    """Method and models of a run."""
    cell = record["cell"]
    if record.get("role") == "teacher":
        return f"teacher {cell['student']}"
    variant = " (published)" if cell.get("variant") == "published" else ""
    teacher = f" from {cell['teacher']}" if cell.get("teacher") else ""
    return f"{cell['method']}{variant}: {cell['student']}{teacher}"


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Each id's beginning, eight letters or as many as tell it from the others."""
    long = next((n for n in range(8, 65) if len({one[:n] for one in ids}) == len(set(ids))), 64)
    return {one: one[:long] for one in ids}


def fitted(rows: list[list[str]], width: int) -> str:
    """Rows of cells as aligned text; the flexible columns are cut to fit."""
    widths = [max(map(letters, column)) for column in zip(*rows, strict=True)]
    for column in FLEXIBLE:
        over = sum(widths) + 2 * (len(widths) - 1) - width
        if over > 0:
            widths[column] = max(min(LEAST, widths[column]), widths[column] - over)
    shown = []
    for row in rows:
        cells = [padded(cell, most, i >= 4) for i, (cell, most) in
                 enumerate(zip(row, widths, strict=True))]
        shown.append("  ".join(cells).rstrip())
    return "\n".join([shown[0], "-" * max(map(letters, shown)), *shown[1:]])


def padded(cell: str, most: int, right: bool) -> str:
    """A cell in a width of its own, cut where it is longer."""
    while letters(cell) > most:
        cell = cell[:-2] + "…"
    room = " " * (most - letters(cell))
    return room + cell if right else cell + room


def foot(inventory: Inventory, records: Sequence[Record]) -> list[str]:
    """How much room all takes, what is under way, and what is wrong."""
    sizes = [f"{name} {amount(size)}" for name, size in folder_sizes(inventory.folder).items()]
    number = len(records)
    lines = [f"{number} run{'s' * (number != 1)} in {inventory.folder} ({', '.join(sizes)})"]
    lines += [f"at work: {holder}" for holder in dict.fromkeys(inventory.at_work().values())]
    for path in inventory.interrupted():
        lines.append(f"interrupted: {path} ({amount(size_of([path]))}); the same command goes on "
                     "from it")
    lines += [f"damaged: {path}: {why}; {REMEDY}" for path, why in damaged(inventory)]
    found = survey(inventory)
    if found.leftovers:
        lines.append(f"{amount(found.bytes)} belong to no run: see `bench.py clean`")
    return lines


# ---- one run -------------------------------------------------------------------------------------


def detail(inventory: Inventory, record: Record) -> Entry:
    """One run for programs: also its stages and exports, with their places and sizes."""
    return {**as_entry(inventory, record), "stages": stages_of(inventory, record),
            "exports": export_entries(inventory, record)}


def stages_of(inventory: Inventory, record: Record) -> list[Entry]:
    """The trainings and signals of a run, each with its place."""
    known = {stage.get("key"): stage for stage in listed(nested(record, "cost", "stages"))}
    found = []
    for key in [*known, *sorted(keys_of(record) - known.keys())]:
        stage, places = known.get(key, {}), inventory.places_of(str(key))
        found.append({
            "key": key, "name": stage.get("name", "student"),
            "role": stage.get("role", "student"), "seconds": stage.get("seconds"),
            "places": [str(place) for place in places], "bytes": size_of(places),
            "runs": inventory.users[str(key)],
        })
    return found


def export_entries(inventory: Inventory, record: Record) -> list[Entry]:
    """The exports of a run; `place` is None where it is not known, or no longer there."""
    places = exports_of(inventory.folder).get(record["id"], {})
    found = []
    for export in listed(record.get("artefacts")):
        place = Path(places[export["name"]]) if export.get("name") in places else None
        there = place is not None and place.is_dir()
        found.append({
            "name": export.get("name"), "test": nested(export, "score", "test"),
            "megabytes": nested(export, "size", "megabytes"),
            "place": str(place) if there else None,
            "bytes": size_of([place]) if place is not None and there else None,
        })
    return found


def detail_text(inventory: Inventory, record: Record) -> str:
    """One run for people."""
    entry = detail(inventory, record)
    data = ORIGINS.get(str(entry["data"]), str(entry["data"]))
    wall = nested(record, "cost", "wall_seconds")
    lines = [f"run {entry['id']}", f"  what      {what_of(record)}",
             f"  task      {entry['name']}, {data} data, seed {entry['seed']}",
             f"  when      {entry['when']}" + (f", in {clock(wall)}" if wall else ""),
             f"  status    {entry['reason'] or entry['status']}"]
    if entry["test"] is not None:
        dev = f", dev {100 * entry['dev']:.1f}" if entry["dev"] is not None else ""
        lines.append(f"  {entry['metric']}  test {100 * entry['test']:.1f}{dev}")
    lines.append(f"  student   {entry['student_folder'] or 'its weights are not kept here'}")
    lines += [f"  record    {path}  {amount(size_of([path]))}" for path in
              inventory.files_of(record)]
    for stage in entry["stages"]:
        for place in stage["places"] or ["not kept here"]:
            lines.append(f"  {stage['name']} ({stage['role']}): {place}  "
                         f"{amount(stage['bytes'])}{shared(stage['runs'])}")
    for export in entry["exports"]:
        place = export["place"] or "its folder is not known, or no longer there"
        lines.append(f"  export {export['name']}: {place}"
                     + (f"  {amount(export['bytes'])}" if export["bytes"] else ""))
    own = amount(entry["own_bytes"])
    lines.append(f"  in all    {amount(entry['bytes'])}, {own} of it this run's alone")
    return "\n".join(lines)


def shared(runs: int) -> str:
    """How many other runs refer to a stage, in words."""
    return f", also of {runs - 1} other run{'s' * (runs != 2)}" if runs > 1 else ""


def amount(size: int) -> str:
    """Bytes for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= 0.9995 * unit:
            return f"{size / unit:.3g} {name}" if size < 999 * unit else f"{size / unit:.0f} {name}"
    return f"{size / 1e3:.1f} kB" if size < 99_950 else f"{size / 1e3:.0f} kB"


# ---- what can be cleaned -------------------------------------------------------------------------


def clean_json(found: Survey, gone: Sequence[Leftover], deleted: bool) -> Entry:
    """What can go, or went, for programs."""
    shown = gone if deleted else found.leftovers
    return {
        "deleted": deleted, "bytes": sum(one.bytes for one in shown), "kept": found.kept,
        "leftovers": [{"path": str(one.path), "kind": one.kind, "bytes": one.bytes,
                       "days": round(one.seconds / DAY, 2), "why": one.why} for one in shown],
    }


def clean_text(found: Survey, gone: Sequence[Leftover], deleted: bool) -> str:
    """What can go, or went, for people."""
    shown = gone if deleted else found.leftovers
    lines = [f"{amount(one.bytes):>8}  {clock(one.seconds)} old  {one.path}: {one.why}"
             for one in shown]
    lines += [f"kept: {reason}" for reason in found.kept]
    total = amount(sum(one.bytes for one in shown))
    number = f"{len(shown)} leftover{'s' * (len(shown) != 1)}"
    if deleted:
        return "\n".join([*lines, f"deleted {number}, {total}"])
    if not shown:
        return "\n".join([*lines, "nothing to clean"])
    return "\n".join([*lines, f"{number}, {total}; nothing was deleted. --yes deletes"])
