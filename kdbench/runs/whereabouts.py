"""Where the data of a run lie: a side file for each record, as records hold no path.

``RESULTS/paths/TASK/ID.json`` has the absolute paths of the user's files by split (an id of the hub
as it is), and the folder of the corpora. `export` and `evaluate` find the data of a run by it. It
belongs to one machine: the folder tells git to ignore it, and a run that finds its record finished
writes the paths of now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.base import reading
from kdbench.base.folders import write_text
from kdbench.runs.request import absolute
from kdbench.runs.store import Record

if TYPE_CHECKING:
    from kdbench.runs.cell import Cell

FOLDER = "paths"


@dataclass(frozen=True)
class Whereabouts:
    """The files by split, and the folder of the corpora; empty where nothing is known."""

    files: Mapping[str, Path] = field(default_factory=dict)
    data_dir: Path | None = None


def path_of(results_dir: Path, record: Record) -> Path:
    """The side file of a record."""
    return results_dir / FOLDER / record["cell"]["task"] / f"{record['id']}.json"


def remember(results_dir: Path, cell: Cell, record: Record) -> None:
    """Write where the data of a cell lie, unless that is what the side file says already."""
    request = cell.request
    if not request.files and request.data_dir is None:
        return
    files = {split: absolute(path) for split, path in sorted(request.files.items())}
    folder = None if request.data_dir is None else absolute(request.data_dir)
    content = json.dumps({"files": files, "data_dir": folder}, indent=1) + "\n"
    path = path_of(results_dir, record)
    try:
        if reading.text(path) == content:
            return
    except reading.Unreadable:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    ignored = results_dir / FOLDER / ".gitignore"
    if not ignored.is_file():
        write_text(ignored, "*\n")
    write_text(path, content)


def recall(results_dir: Path, record: Record) -> Whereabouts:
    """Where the data of a record lay when it was last run; empty where that is not known."""
    try:
        found = reading.json_object(path_of(results_dir, record))
        files = {split: Path(path) for split, path in found["files"].items()}
        folder = found["data_dir"]
        return Whereabouts(files, Path(folder) if folder else None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Whereabouts()
