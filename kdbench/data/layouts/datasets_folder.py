"""What the libraries `datasets` and `pandas` write: folders, hub ids and columnar files.

    saved/dataset_dict.json, saved/train/state.json   `save_to_disk`, of splits or of one
    saved/state.json
    owner/name                                        an id on the hub
    train.parquet, train.feather, train.arrow         columnar files

Numbers of a ClassLabel are read as their names, -1 (no label) as a missing value. The names keep
their order, and one that no row has is still a class. No remote code is run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kdbench.base import hub, reading
from kdbench.base.errors import BadInput, one_line
from kdbench.data.layouts.part import Part, RowSource
from kdbench.data.readers import Record

SPLIT_NAMES = {"train": ("train", "training"), "dev": ("validation", "dev", "val", "valid"),
               "test": ("test", "testing", "eval")}
BATCH = 256  # rows of a parquet file that are unpacked at once
ARROW, PARQUET, FEATHER1 = b"ARROW1", b"PAR1", b"FEA1"


def is_hub_id(path: Path) -> bool:
    """``owner/name`` that is no path here: nothing of that name, and `kdbench.base.hub.is_id`."""
    return not path.exists() and hub.is_id(path.as_posix())


def is_saved(path: Path) -> bool:
    """Was the folder written by `save_to_disk`?"""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def read(path: Path, split: str, needed: bool = True) -> Part | None:
    """A split of a saved folder or of a hub id; None where it is missing and not `needed`."""
    import datasets

    found = _loaded(path)
    whole = isinstance(found, datasets.DatasetDict)
    if whole:
        name = next((name for name in SPLIT_NAMES[split] if name in found), None)
        if name is None and not needed:
            return None
        if name is None:
            raise BadInput(f"{path}: no split {split} (there: {', '.join(found)}); name its file "
                           f"with --{split}")
        found = found[name]
    elif not needed:
        return None
    if not len(found):
        raise BadInput(f"{path}: split {split} is empty; give one with at least one row")
    return _part(path, found, "datasets rows", whole)


def _loaded(path: Path):
    """The `Dataset` or `DatasetDict` of a folder or a hub id."""
    tried = path.is_dir() or hub.switched_off() or was_fetched(path)
    if not tried and (offline := hub.unreachable()):
        raise BadInput(f"{path}: no file or folder here, nor to be had from the hub ({offline}); "
                       "give a file, a folder, or a hub id when it answers")
    import datasets

    for file in files_below(path) if path.is_dir() else ():
        reading.regular(file)  # a pipe in it is waited for
    try:
        if path.is_dir():
            return datasets.load_from_disk(str(path))
        return datasets.load_dataset(path.as_posix())
    except Exception as error:  # whatever reader, network or hub raise: to the user it is one thing
        what = ("folder written by save_to_disk" if path.is_dir()
                else "file or folder, nor to be had from the hub")
        raise BadInput(f"{path}: no {what} ({type(error).__name__}); give a file, such a folder "
                       "or a hub id") from None


def was_fetched(id: Path) -> bool:
    """Has `datasets` put rows of this hub id into its cache?"""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()
    return (cache / id.as_posix().replace("/", "___")).is_dir()


def files_below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and is no folder."""
    return (path for path in folder.rglob("*") if not path.is_dir())


def _part(path: Path, found, layout: str, whole: bool = False) -> Part:
    refuse_damage(path, found.data.table)
    names = {column: class_names(feature) for column, feature in found.features.items()}
    names = {column: own for column, own in names.items() if own}
    rows = [named(row, names) for row in found]
    texts = [json.dumps(row, sort_keys=True, default=str) for row in rows]
    source = RowSource(path, (), hashlib.sha256("\n".join(texts).encode()).hexdigest())
    records = [Record(source, number, row) for number, row in enumerate(rows, 1)]
    return Part(records, layout, source.sha256, declared=names, whole=whole)


def refuse_damage(path: Path, table) -> None:
    """`BadInput` where the columns are damaged; to read such ones may end the whole process."""
    import pyarrow

    try:
        table.validate(full=True)
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path}: damaged columns ({one_line(error)[:80]}); write it anew"
                       ) from None


def class_names(feature: object) -> tuple[str, ...]:
    """The names of a ClassLabel, or of the ClassLabels in a list; empty for other columns."""
    inner = getattr(feature, "feature", None)
    return tuple(getattr(feature, "names", None) or getattr(inner, "names", None) or ())


def named(row: Mapping[str, object], names: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """The row with the names of its classes instead of their numbers."""
    values = dict(row)
    for column, own in names.items():
        value = values[column]
        if isinstance(value, list):
            values[column] = [_name(item, own) for item in value]
        else:
            values[column] = _name(value, own)
    return values


def _name(value: object, names: Sequence[str]) -> object:
    if not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


# -- columnar files ------------------------------------------------------------------------------


def looks_columnar(content: bytes) -> bool:
    """Does the file begin as parquet, feather or an arrow file or stream does?"""
    return content.startswith((ARROW, PARQUET, FEATHER1)) or content[:4] == b"\xff\xff\xff\xff"


def read_columnar(path: Path, content: bytes) -> Part:
    """The rows of a parquet, feather or arrow file."""
    import datasets
    import pyarrow

    try:
        table = _table(content)
        refuse_damage(path, table)
        found = datasets.Dataset(table)
        rows = len(found)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: a damaged columnar file ({one_line(error)[:80]}); write it anew"
                       ) from None
    if not rows:
        raise BadInput(f"{path}: the file is empty; give one with at least one record")
    part = _part(path, found, f"{_kind(content)} rows")
    digest = hashlib.sha256(content).hexdigest()
    index = [name for name in part.records[0].fields if name.startswith("__index_level_")]
    records = []
    for record in part.records:
        fields = {name: value for name, value in record.fields.items() if name not in index}
        records.append(Record(record.source, record.line, fields))
    return Part(records, part.layout, digest, declared=part.declared)


def _kind(content: bytes) -> str:
    return "parquet" if content.startswith(PARQUET) else "arrow"


def _table(content: bytes):
    import pyarrow
    from pyarrow import feather, parquet

    stream = pyarrow.BufferReader(content)
    if content.startswith(PARQUET):
        return _unpacked(parquet.ParquetFile(stream))
    if content.startswith(FEATHER1):
        return feather.read_table(stream)
    if content.startswith(ARROW):
        return pyarrow.ipc.open_file(stream).read_all()
    return pyarrow.ipc.open_stream(stream).read_all()


def _unpacked(file):
    """The table in a parquet file, read in parts, as a few bytes can stand for millions of rows;
    `ValueError` beyond the limits.
    """
    import pyarrow

    parts, size = [], 0
    dictionaries: dict[str, int] = {}  # bytes of the values of each column that has them once
    if file.metadata.num_rows > reading.LINES_LIMIT:
        raise ValueError(f"more than {reading.LINES_LIMIT:,} rows")
    for part in file.iter_batches(batch_size=BATCH):
        parts.append(part)
        for name, column in zip(part.schema.names, part.columns, strict=True):
            if pyarrow.types.is_dictionary(column.type):
                dictionaries[name] = max(dictionaries.get(name, 0), column.dictionary.nbytes)
                column = column.indices
            size += column.nbytes
        if size + sum(dictionaries.values()) > reading.TEXT_LIMIT:
            raise ValueError(f"unpacks to more than {reading.TEXT_LIMIT // reading.MEGABYTE:,} MB")
    return pyarrow.Table.from_batches(parts, schema=file.schema_arrow)


