"""What in a results folder holds text that a run has read, or derives from it.

The page "Where a note's text ends up" says the same in general; here it is said file by file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdbench.models.common_words import own_pieces
from kdbench.runs.clean import MADE, WRITTEN
from kdbench.runs.inventory import (
    CHECKPOINT,
    EXPORTS,
    Inventory,
    exports_of,
    keys_of,
    size_of,
)
from kdbench.runs.stored import Record
from kdbench.runs.units import SALT, is_own, is_own_text, salt_behind
from kdbench.runs.whereabouts import FOLDER as PATHS
from kdbench.runs.whereabouts import path_of

OWN, PUBLIC, UNKNOWN = "own", "public", "unknown"


@dataclass(frozen=True)
class Holding:
    """A file or folder.

    holds  in words, what of a text is in it
    text   whose: `OWN`, `PUBLIC` (a published corpus, or generated), or `UNKNOWN` where no run
           refers to it
    runs   the ids of the runs that do
    """

    path: Path
    holds: str
    text: str
    runs: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The room that it takes."""
        return size_of([self.path])


def holdings(inventory: Inventory) -> list[Holding]:
    """All that holds text or derives from it, one's own first."""
    found = [*of_records(inventory), *of_paths(inventory), *of_models(inventory),
             *of_signals(inventory), *of_exports(inventory), *of_leftovers(inventory)]
    order = (OWN, UNKNOWN, PUBLIC)
    return sorted(found, key=lambda one: (order.index(one.text), str(one.path)))


def whose(records: list[Record]) -> str:
    """Whose text these runs have read."""
    if not records:
        return UNKNOWN
    return OWN if any(map(is_own_text, records)) else PUBLIC


def ids_of(records: list[Record]) -> tuple[str, ...]:
    """The ids of runs."""
    return tuple(record["id"] for record in records)


def users_of(inventory: Inventory, key: str) -> list[Record]:
    """The runs that refer to a stage or to signals."""
    return [record for record in inventory.records if key in keys_of(record)]


# ---- kinds of places -----------------------------------------------------------------------------


def of_records(inventory: Inventory) -> Iterator[Holding]:
    """Records and predictions: errors that may quote, names of units, and the key to hashed
    ones.
    """
    hashed = [record for record in inventory.records if salt_behind(record)]
    if (inventory.folder / SALT).is_file():
        yield Holding(inventory.folder / SALT, "the key to the hashed names of test units: with it "
                      "and a list of names, they can be told", OWN, ids_of(hashed))
    for record in inventory.records:
        path, run = inventory.paths[record["id"]], (record["id"],)
        error = record.get("error")
        if isinstance(error, dict) and error.get("message"):
            yield Holding(path, "the message of an error, which may quote common words of a text",
                          whose([record]), run)
        arrays = path.with_suffix(".npz")
        if is_own(record) and not salt_behind(record) and has_units(arrays):
            yield Holding(arrays, "the names of test units in clear: it is of an older version",
                          OWN, run)
    for path in predictions_alone(inventory.folder):
        yield Holding(path, "predictions without their record; they may name test units", UNKNOWN)
    for path in inventory.damaged:
        yield Holding(path, "unknown: it cannot be read as a record", UNKNOWN)


def predictions_alone(folder: Path) -> list[Path]:
    """The files of predictions whose record is gone."""
    found = sorted((folder / "records").glob("*/*.npz"))
    return [path for path in found if not path.with_suffix(".json").exists()]


def has_units(arrays: Path) -> bool:
    """Does a file of predictions name units? Also where it cannot be read."""
    if not arrays.is_file() or arrays.is_symlink():
        return False
    try:
        with np.load(arrays, allow_pickle=False) as found:
            return "test_units" in found.files
    except Exception:  # numpy and zipfile raise many kinds for a damaged file
        return True


def of_paths(inventory: Inventory) -> Iterator[Holding]:
    """Side files with the places of one's own files, whose names may be those of patients."""
    by_place = {path_of(inventory.folder, record): record for record in inventory.records}
    for path in sorted((inventory.folder / PATHS).glob("*/*.json")):
        users = [by_place[path]] if path in by_place else []
        yield Holding(path, "no text: the names and places of the files that were read",
                      whose(users), ids_of(users))
    if (inventory.folder / EXPORTS).is_file():
        yield Holding(inventory.folder / EXPORTS, "no text: where exports were written",
                      whose(inventory.records), tuple(exports_of(inventory.folder)))


def of_models(inventory: Inventory) -> Iterator[Holding]:
    """Trained models and checkpoints: weights, and vocabularies that were learned."""
    for place in sorted((inventory.folder / "models").glob("[0-9a-f]*")):
        if not place.is_dir() or place.is_symlink():
            continue
        key = place.name.removesuffix(CHECKPOINT)
        users = users_of(inventory, key)
        if place.name.endswith(CHECKPOINT):
            holds = "weights and the optimiser's state of a training that was stopped"
        else:
            holds = f"weights; {vocabulary_in_words(place)}"
        yield Holding(place, holds, whose(users), ids_of(users))


def vocabulary_in_words(folder: Path) -> str:
    """Where the entries of a model's vocabulary come from."""
    noted = []
    for path in sorted(folder.rglob("tokenizer_config.json")):
        try:
            noted.append(own_pieces(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, AttributeError):
            noted.append(None)
    least = [found[1] for found in noted if found is not None]
    if not least:
        return "tokenizer.json: it notes nothing that was learned from one's own text"
    if min(least) == 0:
        return "tokenizer.json: a vocabulary with entries from a file of one's own"
    texts = f"at least {min(least)} texts hold" if min(least) > 1 else "any text holds"
    return f"tokenizer.json: a vocabulary with pieces of words that {texts}"


def of_signals(inventory: Inventory) -> Iterator[Holding]:
    """What teachers said of texts."""
    for path in sorted((inventory.folder / "signals").glob("*.safetensors")):
        users = users_of(inventory, path.name.partition("-")[0])
        yield Holding(path, "of each text its SHA-1, and what a teacher said of it", whose(users),
                      ids_of(users))


def of_exports(inventory: Inventory) -> Iterator[Holding]:
    """Exports that are where they were written."""
    by_id = {record["id"]: record for record in inventory.records}
    for run, places in exports_of(inventory.folder).items():
        users = [by_id[run]] if run in by_id else []
        for place in map(Path, places.values()):
            if place.is_dir():
                holds = f"an export: weights; {vocabulary_in_words(place)}"
                yield Holding(place, holds, whose(users), (run,))


def of_leftovers(inventory: Inventory) -> Iterator[Holding]:
    """What killed processes were writing."""
    for place in sorted(inventory.folder.rglob(".*")):
        if WRITTEN.fullmatch(place.name) or MADE.fullmatch(place.name):
            yield Holding(place, "unknown: what a killed process was writing", UNKNOWN)
