"""What of a results folder nobody refers to, and its removal.

Nothing outside the folder is touched, no link is followed, and nothing goes that a running process
may need: a run that is not finished has no record yet, so while any lock of the folder is held, all
stages and signals stay.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from kdbench.base.folders import is_abandoned
from kdbench.runs.inventory import CHECKPOINT, Inventory, files_below, size_of
from kdbench.runs.whereabouts import FOLDER

KEY = re.compile(r"[0-9a-f]{8,64}")
SIGNALS = re.compile(r"([0-9a-f]{8,64})-[\w.+-]+\.safetensors")
WRITTEN = re.compile(r"\..+\.(\d+)\.part")  # by `kdbench.base.folders.new_file`
MADE = re.compile(r"\..+\.[0-9a-f]{8}\.partial")  # by `kdbench.base.folders.new_folder`
DAY = 86400.0

STAGE = "stage"
TRAINING = "checkpoint"
TEACHER = "signals"
PART = "unfinished"
PREDICTIONS = "predictions"
PATHS = "paths"
WHY = {
    STAGE: "no run refers to it",
    TRAINING: "an interrupted training, which the same command would go on with",
    TEACHER: "no run refers to them",
    PART: "what a killed process was writing",
    PREDICTIONS: "their record is gone",
    PATHS: "where the data of a run lie whose record is gone",
}
GUARDED = (STAGE, TRAINING, TEACHER)  # what a run that is not finished may need


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go.

    seconds  since it was last written
    """

    path: Path
    kind: str
    bytes: int
    seconds: float

    @property
    def why(self) -> str:
        """Why it can go."""
        return WHY[self.kind]


@dataclass(frozen=True)
class Survey:
    """What can go, and in words what stays for a reason that the user should know."""

    leftovers: list[Leftover]
    kept: list[str]

    @property
    def bytes(self) -> int:
        """The room that all leftovers take."""
        return sum(leftover.bytes for leftover in self.leftovers)


def survey(inventory: Inventory, older_than: float = 0.0) -> Survey:
    """What can go of a results folder.

    older_than  days: only what was last written before
    """
    kept = reasons_to_keep(inventory)
    found = []
    for leftover in candidates(inventory):
        if kept and leftover.kind in GUARDED:
            continue
        if leftover.seconds >= older_than * DAY:
            found.append(leftover)
    return Survey(found, kept + links(inventory))


def reasons_to_keep(inventory: Inventory) -> list[str]:
    """Why all stages and signals have to stay, where they have to."""
    kept = []
    for key, holder in inventory.at_work().items():
        kept.append(f"{holder} is at work here (locks/{key}.lock): stages and signals stay")
    for path, why in inventory.damaged.items():
        kept.append(f"{path}: {why}, and so what it refers to is not known: stages and signals "
                    "stay. Run it again, or move the file away")
    return kept


def links(inventory: Inventory) -> list[str]:
    """The folders of stages and signals that are links, which are left alone."""
    names = [name for name in ("models", "signals", "records") if leads_out(inventory, name)]
    return [f"{inventory.folder / name}: a link to elsewhere, left alone" for name in names]


def leads_out(inventory: Inventory, name: str) -> bool:
    """Is this folder a link?"""
    return (inventory.folder / name).is_symlink()


def candidates(inventory: Inventory) -> Iterator[Leftover]:
    """All that nobody refers to."""
    for path in entries(inventory, "models"):
        if kind := kind_of_model(path, inventory):
            yield leftover_at(path, kind)
    for path in entries(inventory, "signals"):
        match = SIGNALS.fullmatch(path.name)
        if match and path.is_file() and match[1] not in inventory.users:
            yield leftover_at(path, TEACHER)
        elif is_dead_part(path):
            yield leftover_at(path, PART)
    if not leads_out(inventory, "records"):
        yield from beside_records(inventory)
        yield from paths_without_record(inventory)
    for path in sorted(inventory.folder.glob(".*.part")):
        if is_dead_part(path):
            yield leftover_at(path, PART)


def entries(inventory: Inventory, name: str) -> list[Path]:
    """What lies in `models` or `signals`, without links; nothing of a folder that is one."""
    if leads_out(inventory, name):
        return []
    found = sorted((inventory.folder / name).glob("*"))
    found += sorted((inventory.folder / name).glob(".*"))
    return [path for path in dict.fromkeys(found) if not path.is_symlink()]


def kind_of_model(path: Path, inventory: Inventory) -> str:
    """What a folder in `models` is a leftover of; empty for what stays, and for what we did not
    make.
    """
    if not path.is_dir():
        return ""
    if MADE.fullmatch(path.name):
        return TRAINING
    if KEY.fullmatch(path.name.removesuffix(CHECKPOINT)) and path.name.endswith(CHECKPOINT):
        return TRAINING
    return STAGE if KEY.fullmatch(path.name) and path.name not in inventory.users else ""


def beside_records(inventory: Inventory) -> Iterator[Leftover]:
    """Unfinished files, and predictions whose record is gone."""
    for folder in sorted((inventory.folder / "records").glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            alone = path.suffix == ".npz" and not path.with_suffix(".json").exists()
            if is_dead_part(path):
                yield leftover_at(path, PART)
            elif alone and KEY.fullmatch(path.stem) and path.is_file() and not path.is_symlink():
                yield leftover_at(path, PREDICTIONS)


def paths_without_record(inventory: Inventory) -> Iterator[Leftover]:
    """Side files of runs whose record is gone."""
    if leads_out(inventory, FOLDER):
        return
    for path in sorted((inventory.folder / FOLDER).glob("*/*.json")):
        record = inventory.folder / "records" / path.parent.name / path.name
        regular = path.is_file() and not (path.is_symlink() or path.parent.is_symlink())
        if regular and KEY.fullmatch(path.stem) and not record.exists():
            yield leftover_at(path, PATHS)


def is_dead_part(path: Path) -> bool:
    """Is this an unfinished file of a process that has ended?"""
    match = WRITTEN.fullmatch(path.name)
    ended = match is not None and not psutil.pid_exists(int(match[1]))
    return ended and path.is_file() and is_abandoned(path)


def leftover_at(path: Path, kind: str) -> Leftover:
    """A leftover with its size and age."""
    times = [each.lstat().st_mtime for each in files_below(path)]
    newest = max(times, default=path.lstat().st_mtime)
    return Leftover(path, kind, size_of([path]), max(0.0, time.time() - newest))


# ---- removal -------------------------------------------------------------------------------------


def remove(inventory: Inventory, leftovers: list[Leftover]) -> list[Leftover]:
    """Delete leftovers; returns those that went.

    What a process has begun to work on since the survey stays.
    """
    gone = []
    for leftover in leftovers:
        inside = leftover.path.parent.resolve().is_relative_to(inventory.folder.resolve())
        guarded = leftover.kind in GUARDED and bool(inventory.at_work())
        if not inside or guarded or leftover.path.is_symlink():
            continue
        if leftover.path.is_dir():
            shutil.rmtree(leftover.path)
        else:
            leftover.path.unlink(missing_ok=True)
        gone.append(leftover)
    return gone
