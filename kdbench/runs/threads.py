"""How many CPU threads a cell gets with `--threads auto`.

A tiny model's operators are too short to share: on two cores, busy with other work, 100 steps of
`tiny-student` took 2.5 s with one thread and 4.7 s with two. A wider model gets the cores that
nobody else uses when the cell begins.

Results depend on the number in their last digits, so it is kept until the cell is finished: one
that was killed goes on with as many.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.base import reading
from kdbench.models.sources import Source, on_disk
from kdbench.models.teachers import is_model, parts_of
from kdbench.train.scoring import WIDE

if TYPE_CHECKING:
    from kdbench.runs.cell import Cell

AUTO = "auto"
SAMPLE = 0.5  # seconds in which others are watched
STAT = Path("/proc/stat")  # Linux
MOST = 1024  # threads that anybody has cores for


def threads_of(cell: Cell, folder: Path, most: int) -> int:
    """The threads of a cell, `most` at most: as many as when it was begun, else by its widest model
    and by what is free.
    """
    kept = kept_at(cell, folder)
    number = kept_number(kept)
    if number is not None:
        return number
    number = 1
    if most > 1 and widest(cell) >= WIDE:
        number = max(1, min(most, free_cores()))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(number))
    return number


def kept_number(kept: Path) -> int | None:
    """The number in such a file; None where there is none, or none of threads."""
    try:
        number = reading.whole_number(reading.text(kept)) or 0
    except reading.Unreadable:
        return None
    return number if 1 <= number <= MOST else None


def kept_at(cell: Cell, folder: Path) -> Path:
    """Where the number of an unfinished cell is kept."""
    return folder / "locks" / f"{cell.id}.threads"


def widest(cell: Cell) -> int:
    """Hidden units of the widest model that the cell trains or reads."""
    sources = [source for source in (cell.student, cell.teacher) if source is not None]
    return max(hidden_units(source) for source in sources)


def hidden_units(source: Source) -> int:
    """Hidden units of a model, by its configuration alone; 0 where that does not say."""
    if not is_model(source):
        return max((hidden_units(part) for part in parts_of(source) if is_model(part)), default=0)
    if source.cut:
        return hidden_units(source.base) if source.base else 0  # else the teacher's
    config = dict(source.recipe.config) if source.recipe else {}
    folder = source.folder or (on_disk(source.hub) if source.hub else None)
    if folder is not None:
        try:
            config = reading.json_object(folder / "config.json")
        except reading.Unreadable:
            return 0
    return int(config.get("hidden_size") or config.get("dim") or 0)


def free_cores() -> int:
    """Cores of this process that were idle while it slept for a moment, rounded."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not cores or not STAT.is_file():
        total = os.cpu_count() or 1
        return round(total - min(os.getloadavg()[0], total)) if hasattr(os, "getloadavg") else total
    before = ticks(cores)
    time.sleep(SAMPLE)
    free = 0.0
    for (idle, total), (idle_after, total_after) in zip(before, ticks(cores), strict=True):
        free += (idle_after - idle) / max(total_after - total, 1)
    return round(free)


def ticks(cores: list[int]) -> list[tuple[int, int]]:
    """Of each core the ticks in which it was idle, and all; proc(5), /proc/stat."""
    names = {f"cpu{core}" for core in cores}
    found = []
    for line in STAT.read_text().splitlines():
        name, *counts = line.split()
        if name in names:
            numbers = [int(count) for count in counts]
            found.append((numbers[3] + numbers[4], sum(numbers[:8])))  # idle and iowait
    return found
