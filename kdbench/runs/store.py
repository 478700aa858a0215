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

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.folders import new_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# A record is what its JSON file holds. Its keys: format, id, status (done, failed or skipped), role
# (teacher, control or method), reason or error, cell and content (what the id is the hash of),
# data, models, score, size, latency, cost, curves, notes, provenance, artefact (the key of the
# student's folder in models/), diagnostics, rows_more (further models of the method), artefacts
# (exports).
Record = dict[str, Any]

FORMAT = 1
FINISHED = ("done", "skipped")  # statuses that need no further run


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
    """Write the predictions, then the record; each by renaming a complete file into place."""
    path = path_of(folder, record["id"], record["cell"]["task"])
    if path.parent.is_symlink():
        raise BadInput(f"{path.parent}: a link, which is not followed; remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    if arrays:
        import numpy as np

        with new_file(path.with_suffix(".npz"), binary=True) as stream:
            np.savez_compressed(stream, **arrays)
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
    try:
        record = reading.json_object(path)
        found = record["format"], record["id"], record["cell"]["task"]
        own = found == (FORMAT, path.stem, path.parent.name)
        return record if own and re.fullmatch(r"[0-9a-f]*", record.get("artefact") or "") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def find(folder: Path, record_id: str, task: str) -> Record | None:
    """The record of that id and task; None where there is none."""
    path = path_of(folder, record_id, task)
    return None if is_linked(path) else read(path)


def records(folder: Path) -> Iterator[Record]:
    """All records below `folder`, in the order of their paths; links that lead elsewhere are not
    followed.
    """
    for path in record_files(folder):
        if (record := read(path)) is not None:
            yield record


def record_files(folder: Path) -> list[Path]:
    """The files of records below `folder`, links left out; `BadInput` where there is none."""
    if not folder.is_dir():
        raise BadInput(f"results folder {folder}: no such folder; run something first")
    found = sorted((folder / "records").glob("*/*.json"))
    return [path for path in found if not is_linked(path)]


def is_linked(path: Path) -> bool:
    """Is a record's file, or the folder of its task, a link? Neither is followed."""
    return path.is_symlink() or path.parent.is_symlink()


def find_record(results_dir: Path, run: str) -> Record:
    """The one record whose id begins with `run`."""
    found = [path for path in record_files(results_dir) if path.stem.startswith(run)]
    readable = [record for path in found if (record := read(path)) is not None]
    if run and len(readable) == 1:
        return readable[0]
    why = "no such record"
    if found and not readable:
        why = f"{found[0].name} cannot be read; run it again, or move the file away; it lies"
    elif run and readable:
        ids = ", ".join(record["id"] for record in readable[:5])
        why = f"several records begin so ({ids}); give more of the id"
    raise BadInput(
        f"run {run!r}: {why} "
        f"in {results_dir}; a run's id is printed at its end and is its record's name in "
        f"{results_dir / 'records'}")


def counts(folder: Path, record: Record) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The units (U,) that statistics resample and the metric's sums for each (U, K); None where
    there are none.
    """

    path = path_of(folder, record["id"], record["cell"]["task"]).with_suffix(".npz")
    if not path.is_file() or is_linked(path):
        return None
    arrays = reading.arrays(path)
    if "test_counts" not in arrays:
        return None
    return tuple(arrays["test_units"].tolist()), arrays["test_counts"]


def load(folder: str | Path = "results/local") -> pd.DataFrame:
    """All records of a results folder as a DataFrame, one row a record, nested names joined by
    dots.
    """
    import pandas as pd

    return pd.json_normalize(list(records(Path(folder))))
