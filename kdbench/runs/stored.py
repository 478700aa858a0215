"""What is read back of a record: its JSON file and the predictions beside it, held against their
checksums and against the shape that everything else relies on.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base import reading
from kdbench.base.checksums import damage_of_files, files_of, read_object
from kdbench.base.progress import say_once

if TYPE_CHECKING:
    import numpy as np

# A record is what its JSON file holds. Its keys: format, id, status (done, failed or skipped), role
# (teacher, control or method), reason or error, cell and content (what the id is the hash of),
# data, models, score, size, latency, cost, curves, notes, provenance, artefact (the key of the
# student's folder in models/), diagnostics, rows_more (further models of the method), artefacts
# (exports), checksums (of itself and its predictions; older records have none).
Record = dict[str, Any]

FORMAT = 1
STATUSES = ("done", "failed", "skipped")
REMEDY = reading.RUN_AGAIN

# what tables read of every record, and of a finished one, with its types
SHAPE: dict[str, type | tuple[type, ...]] = {
    "cell": dict, "cell.method": str, "cell.task": str, "cell.student": str, "cell.seed": int,
    "data": dict,
}
SHAPE_DONE: dict[str, type | tuple[type, ...]] = {
    "score": dict, "score.metric": str, "score.test": (float, int, type(None)), "size": dict,
}


def read_or_why(path: Path) -> tuple[Record | None, str]:
    """The record in `path`, or None and the reason why it is none.

    The id, task and artefact of a record name files that are read and written, so a record from
    elsewhere must not choose them.
    """
    if is_linked(path):
        return None, "a link, which is not followed"
    try:
        record = read_object(path)
    except ValueError as error:
        return None, "cannot be read: " + str(error).removeprefix(f"{path.name}: ")
    if record.get("format") != FORMAT:
        return None, "not a record of this version"
    if wrong := wrong_shape(record):
        return None, wrong
    if (record.get("id"), nested(record, "cell.task")) != (path.stem, path.parent.name):
        return None, "another file's content"
    if not re.fullmatch(r"[0-9a-f]*", str(record.get("artefact") or "")):
        return None, "its artefact is no key"
    return record, ""


def is_linked(path: Path) -> bool:
    """Is a record's file, or the folder of its task, a link? Neither is followed."""
    return path.is_symlink() or path.parent.is_symlink()


def wrong_shape(record: Mapping[str, Any]) -> str:
    """What a record lacks, or has of another type than it should; empty where nothing is wrong."""
    if record.get("status") not in STATUSES:
        return "it has no known status"
    wanted = {**SHAPE, **SHAPE_DONE} if record["status"] == "done" else SHAPE
    for name, types in wanted.items():
        value = nested(record, name)
        number = isinstance(value, float) and not math.isfinite(value)
        if not isinstance(value, types) or isinstance(value, bool) or number:
            return f"its {name} is not what it should be"
    return ""


def nested(record: Mapping[str, Any], name: str) -> Any:
    """The value under a name with dots; `...` where there is none."""
    value: Any = record
    for part in name.split("."):
        value = value.get(part, ...) if isinstance(value, dict) else ...
    return value


# ---- predictions ---------------------------------------------------------------------------------


def predictions(path: Path, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays beside a record by name; `ValueError` with the reason where they are damaged.

    path  their file, of which the record has the checksum unless it is older than checksums
    """
    if wrong := damage_of_files(record, path.parent):
        raise ValueError(wrong)
    try:
        arrays = reading.arrays(path)
    except reading.Unreadable as error:
        raise ValueError(error.why) from error
    if wrong := wrong_arrays(arrays):
        raise ValueError(wrong)
    return arrays


def wrong_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with predictions; empty where nothing is."""
    import numpy as np

    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"{name} has numbers that are none (NaN or infinite)"
    if "test_counts" in arrays:
        counts, units = arrays["test_counts"], arrays.get("test_units")
        if counts.ndim != 2 or counts.dtype.kind not in "fiu":
            return "test_counts is no table of numbers"
        if units is None or units.shape != counts.shape[:1]:
            return "test_units and test_counts are not of one length"
    return ""


def wrong_predictions(arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with the arrays that `Runner.scores` stores; empty where nothing is."""
    stored = arrays.get("test_predictions")
    if stored is None or stored.dtype.kind not in "fiub" or stored.ndim not in (1, 2):
        return "test_predictions is no table of numbers"
    for lengths, values in (("test_lengths", "test_predictions"),
                            ("test_piece_lengths", "test_pieces")):
        found = arrays.get(lengths)
        if found is None:
            continue
        whole = found.ndim == 1 and found.dtype.kind in "iu" and not (found < 0).any()
        if not whole or values not in arrays or found.sum() != len(arrays[values]):
            return f"{lengths} is not what divides {values}"
    pieces = arrays.get("test_piece_lengths")
    if pieces is not None and len(pieces) != len(stored):  # a word has one length
        return "test_pieces is not what belongs to test_predictions"
    return "" if pieces is not None or "test_pieces" not in arrays else "test_pieces has no lengths"


def damage_of_predictions(path: Path, record: Mapping[str, Any]) -> str:
    """Why the predictions beside the record in `path` are not what was stored with it; empty where
    they are. A record from before there were checksums may have lost its predictions.
    """
    beside = path.with_suffix(".npz")
    if files_of(record):
        return damage_of_files(record, path.parent)
    if not beside.is_file():
        return f"{beside.name} is no regular file" if os.path.lexists(beside) else ""
    try:
        predictions(beside, record)
    except ValueError as error:
        return f"{beside.name} {error}"
    return ""


def tell(path: Path, why: str) -> None:
    """Name a damaged file on standard error, once a command."""
    say_once(f"damaged, left out: {path}: {why}; {REMEDY}")
