"""Records: one JSON file a cell, written whole or not at all, and one compressed file of
predictions beside it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base import checksums
from kdbench.base.errors import BadInput, one_line
from kdbench.base.folders import new_file
from kdbench.runs.stored import FORMAT as FORMAT
from kdbench.runs.stored import (
    REMEDY,
    Record,
    damage_of_predictions,
    is_linked,
    predictions,
    read_or_why,
    tell,
)
from kdbench.runs.units import pairing_names

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FINISHED = ("done", "skipped")  # statuses that need no further run
WORKER_DIED = "WorkerDied"  # the error of a cell whose process ended without a word


def check_writable(folder: Path) -> None:
    """`BadInput` unless records can be written to `folder`; makes nothing."""
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise BadInput(f"results folder {folder}: not writable; give another with --results-dir")


def path_of(folder: Path, record_id: str, task: str) -> Path:
    """The file of a record in a results folder."""
    return folder / "records" / task / f"{record_id}.json"


def write(folder: Path, record: Record, arrays: Mapping[str, Any] | None = None) -> Path:
    """Write the predictions, then the record; each by renaming a complete file into place.

    The record gets its `checksums`, and keeps those of predictions that were written before.
    """
    path = path_of(folder, record["id"], record["cell"]["task"])
    if path.parent.is_symlink():
        raise BadInput(f"{path.parent}: a link, which is not followed; remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    files = checksums.files_of(record)
    if arrays:
        import numpy as np

        beside = path.with_suffix(".npz")
        with new_file(beside, binary=True) as stream:
            np.savez_compressed(stream, **arrays)
        files = checksums.facts_of_files(path.parent, [beside.name])
    record.update(checksums.sealed(record, files))
    with new_file(path) as stream:
        json.dump(record, stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
    return path


def no_room(error: BaseException) -> OSError | None:
    """The error of a full disk, a quota or a file-size limit that is behind `error`, if it is one.

    safetensors raises an error of its own, with the number of the system's error in its text.
    """
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError) and error.errno in full:
        return error
    if type(error).__name__ != "SafetensorError":
        return None
    found = re.search(r"\(os error (\d+)\)|code: (\d+)", str(error))
    number = int(found[1] or found[2]) if found else 0
    return OSError(number, os.strerror(number), "a model file") if number in full else None


def read(path: Path) -> Record | None:
    """The record in `path`; None where there is none, or none of this format that belongs into this
    very file.

    The id, task and artefact of a record name files that are read and written, so a record from
    elsewhere must not choose them.
    """
    return read_or_why(path)[0]


def find(folder: Path, record_id: str, task: str) -> Record | None:
    """The record of that id and task; None where there is none."""
    return read(path_of(folder, record_id, task))


def records(folder: Path) -> Iterator[Record]:
    """All records below `folder`, in the order of their paths.

    Files in the place of records that are damaged, and links, which are not followed, are left out
    and told of.
    """
    for path in record_files(folder):
        record, why = read_or_why(path)
        if record is None:
            tell(path, why)
        else:
            yield record


def damaged(folder: Path) -> list[str]:
    """A line for each file among the records and predictions of a folder that is not what was
    written: which (from the folder on), why, and what to do.
    """
    lines = []
    for path in record_files(folder):
        record, why = read_or_why(path)
        if record is not None:
            why = damage_of_predictions(path, record)
        if why:
            lines.append(f"{path.relative_to(folder)}: damaged, left out: {why}; {REMEDY}")
    return lines


def record_files(folder: Path) -> list[Path]:
    """The files in the place of records below `folder`, links among them; `BadInput` where there
    is no such folder.
    """
    if not folder.is_dir():
        raise BadInput(f"results folder {folder}: no such folder; run something first")
    return sorted((folder / "records").glob("*/*.json"))


def find_record(results_dir: Path, run: str) -> Record:
    """The one record whose id begins with `run`."""
    found = [path for path in record_files(results_dir) if path.stem.startswith(run)]
    both = [read_or_why(path) for path in found]
    readable = [record for record, _ in both if record is not None]
    if run and len(readable) == 1:
        return readable[0]
    why = "no such record"
    if found and not readable:
        reason = both[0][1].removeprefix("cannot be read: ")
        why = f"{found[0].name} cannot be read ({reason}); {REMEDY}; it lies"
    elif run and readable:
        ids = ", ".join(record["id"] for record in readable[:5])
        why = f"several records begin so ({ids}); give more of the id"
    raise BadInput(
        f"run {run!r}: {why} "
        f"in {results_dir}; a run's id is printed at its end and is its record's name in "
        f"{results_dir / 'records'}")


def counts(folder: Path, record: Record) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The units (U,) that statistics resample, as `pairing_names`, and the metric's sums for each
    (U, K); None where there are none, or where they are damaged, of which it is told.
    """
    path = path_of(folder, record["id"], record["cell"]["task"]).with_suffix(".npz")
    if is_linked(path) or (not path.exists() and not checksums.files_of(record)):
        return None
    try:
        arrays = predictions(path, record)
    except ValueError as error:
        tell(path, one_line(error))
        return None
    if "test_counts" not in arrays:
        return None
    return pairing_names(record, arrays["test_units"].tolist()), arrays["test_counts"]


def load(folder: str | Path = "results/local") -> pd.DataFrame:
    """All records of a results folder as a DataFrame, one row a record, nested names joined by
    dots.
    """
    import pandas as pd

    return pd.json_normalize(list(records(Path(folder))))
