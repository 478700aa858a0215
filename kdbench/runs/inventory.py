"""What lies in a results folder: runs, what each refers to, and how much room it takes."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kdbench.base import holders, reading
from kdbench.base.errors import BadInput
from kdbench.base.folders import write_text
from kdbench.runs.stored import Record, damage_of_predictions, read_or_why

EXPORTS = "exports.json"  # where exports were written: paths, which no record holds
CHECKPOINT = ".partial"  # ends the folder of a training that was interrupted


@dataclass
class Inventory:
    """The content of a results folder.

    paths    the record files by id
    damaged  files in the place of records that cannot be read as such, with the reason
    lost     predictions that are not what was stored with their record, with the reason
    """

    folder: Path
    records: list[Record] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)
    lost: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Inventory:
        """Read a results folder; `BadInput` where there is none."""
        if not folder.is_dir():
            raise BadInput(f"results folder {folder}: no such folder; run something first, or give "
                           "another with --results-dir")
        found = cls(folder)
        for path in sorted(folder.glob("records/*/*.json")):
            record, why = read_or_why(path)
            if record is None:
                found.damaged[path] = why
            else:
                found.records.append(record)
                found.paths[record["id"]] = path
                if wrong := damage_of_predictions(path, record):
                    found.lost[path.with_suffix(".npz")] = wrong
        found.records.sort(key=found.age_key)
        return found

    def age_key(self, record: Record) -> tuple[str, float]:
        """By what runs are sorted: the oldest first."""
        return self.when(record), self.time_of(record)

    def time_of(self, record: Record) -> float:
        """When the files of a run were written: of its predictions, as an export writes the record
        once more.
        """
        path = self.paths[record["id"]]
        predictions = path.with_suffix(".npz")
        return (predictions if predictions.is_file() else path).stat().st_mtime

    def when(self, record: Record) -> str:
        """Day and minute of a run; the day alone where its files are copies from elsewhere."""
        day = str((record.get("provenance") or {}).get("date") or "")
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time_of(record)))
        return written if not day or written.startswith(day) else day

    # ---- what a run refers to ----

    @cached_property
    def users(self) -> Counter[str]:
        """By key of a stage or of signals, how many runs refer to it."""
        return Counter(key for record in self.records for key in keys_of(record))

    def files_of(self, record: Record) -> list[Path]:
        """The record and its predictions."""
        path = self.paths[record["id"]]
        return [each for each in (path, path.with_suffix(".npz")) if each.is_file()]

    def places_of(self, key: str) -> list[Path]:
        """The folder of a stage, or the files of signals, of this key."""
        stage = self.folder / "models" / key
        signals = sorted((self.folder / "signals").glob(f"{key}-*.safetensors"))
        return [*([stage] if stage.is_dir() else []), *signals]

    def bytes_of(self, record: Record) -> int:
        """The room that all takes that a run refers to, stages of several runs included."""
        places = [place for key in keys_of(record) for place in self.places_of(key)]
        return size_of([*self.files_of(record), *places])

    def own_bytes_of(self, record: Record) -> int:
        """The room that nothing else but this run needs."""
        own = [key for key in keys_of(record) if self.users[key] == 1]
        places = [place for key in own for place in self.places_of(key)]
        return size_of([*self.files_of(record), *places])

    def student_of(self, record: Record) -> Path | None:
        """The folder of a run's student; None where there is none."""
        key = record.get("artefact") or ""
        folder = self.folder / "models" / key
        return folder if key and folder.is_dir() else None

    # ---- what is under way ----

    def at_work(self) -> dict[str, str]:
        """By key, the processes that hold a lock of this folder."""
        found = {}
        for path in sorted((self.folder / "locks").glob("*.lock")):
            holder = holders.read(holders.note_of(path))
            if is_held(path) or holder is not None:
                found[path.stem] = str(holder or "another process")
        return found

    def interrupted(self) -> list[Path]:
        """The checkpoints of trainings that were stopped, and that no process goes on with."""
        held = self.at_work()
        places = sorted((self.folder / "models").glob(f"[0-9a-f]*{CHECKPOINT}"))
        return [place for place in places if place.name.removesuffix(CHECKPOINT) not in held]


def keys_of(record: Record) -> set[str]:
    """The keys of all stages and signals that a record refers to, its student's among them."""
    keys = {str(record.get("artefact") or "")}
    for part in (record, *listed(record.get("rows_more"))):
        cost = part.get("cost") if isinstance(part, dict) else None
        stages = cost.get("stages") if isinstance(cost, dict) else None
        keys |= {str(stage.get("key") or "") for stage in listed(stages)}
    return {key for key in keys if key.isalnum()}


def listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none of anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def size_of(places: Iterable[Path]) -> int:
    """Bytes of files and of all files below folders; links count nothing."""
    return sum(path.lstat().st_size for place in places for path in files_below(place))


def files_below(place: Path) -> Iterator[Path]:
    """The file itself, or the files below a folder, without links."""
    below = place.rglob("*") if place.is_dir() and not place.is_symlink() else [place]
    for path in below:
        if path.is_file() and not path.is_symlink():
            yield path


def is_held(lock: Path) -> bool:
    """Does a process hold this lock?"""
    try:
        with FileLock(lock).acquire(blocking=False):
            return False
    except Timeout:
        return True


# ---- where exports are ---------------------------------------------------------------------------


def remember_exports(folder: Path, run: str, places: dict[str, Path]) -> None:
    """Note where the exports of a run were written, by name."""
    known = exports_of(folder)
    known[run] = {**known.get(run, {}), **{name: str(at.absolute()) for name, at in places.items()}}
    write_text(folder / EXPORTS, json.dumps(known, indent=1, sort_keys=True) + "\n")


def exports_of(folder: Path) -> dict[str, dict[str, str]]:
    """By run and name, where exports were written; nothing where the note is missing or damaged."""
    try:
        found = reading.json_object(folder / EXPORTS)
        return {run: dict(places) for run, places in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
