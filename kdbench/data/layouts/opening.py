"""From a path to the rows of one split: which layout is it, and who reads it.

A file, in this order: parquet or arrow; spaCy's DocBin; then as text (unpacked where it is
gzipped): JSON (BioC, Label Studio, spans of doccano or Prodigy, else rows), BioC XML, PubTator, a
table of words, a tag file, a CSV or TSV table (plain, or with Label Studio's entities in a
column).

A folder: one that `save_to_disk` wrote; brat; files or folders named by split (``train.csv``,
``data/train-00000-of-00002.parquet``, ``train/``). What is no path is a hub id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdbench.base import folders, hub
from kdbench.base.errors import BadInput
from kdbench.data.layouts import (
    bioc,
    bioc_xml,
    brat,
    datasets_folder,
    docbin,
    jsonfile,
    label_lists,
    labelstudio,
    long_table,
    pubtator,
    spanfiles,
    tables,
    tagfiles,
    textfile,
    values,
)
from kdbench.data.layouts.part import Defaults, Part, Settings, Tally
from kdbench.data.readers import Record, Source
from kdbench.data.task import SPLITS

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".conll", ".iob", ".iob2", ".bio", ".xml",
           ".parquet", ".feather", ".arrow", ".spacy", ".pubtator")
IDS = ("id", "idx", "guid")


def open_layout(path: str | Path, split: str, settings: Settings | None = None,
                like: Part | None = None, needed: bool = True) -> Part | None:
    """One split of the corpus at `path`, as rows with the layout, its checksum and notes.

    split     train, dev or test: which part of a folder or hub id is meant
    settings  header, encoding, label_column (`Defaults` where not given)
    like      train as it was read, whose decisions by content hold for the other splits
    needed    False: None instead of an error where a folder lacks the split

    Raises `BadInput` where the path cannot be read, is damaged, or has no layout that is known.
    """
    path = Path(path)
    chosen: Settings = Defaults() if settings is None else settings
    if path.is_dir():
        part = _open_folder(path, split, chosen, like, needed)
    elif datasets_folder.is_hub_id(path):
        part = datasets_folder.read(path, split, needed)
    elif not path.exists():
        close = hub.meant(path.as_posix())
        raise BadInput(f"{path}: cannot be read (No such file or directory); check the path"
                       + f" (is {close} meant?)" * bool(close))
    else:
        part = _open_file(path, chosen, like)
    return None if part is None else values.settled(part, chosen, like)


# -- folders -------------------------------------------------------------------------------------


def _open_folder(path: Path, split: str, settings: Settings, like: Part | None,
                 needed: bool) -> Part | None:
    if datasets_folder.is_saved(path):
        return datasets_folder.read(path, split, needed)
    if brat.is_folder(path):
        return brat.read(path, settings.encoding, like) if needed else None
    files = split_files(path, split)
    if files:
        parts: list[Part | None] = []
        for file in files:
            folder = file.is_dir()
            parts.append(_open_folder(file, split, settings, like, True) if folder
                         else _open_file(file, settings, like or (parts[0] if parts else None)))
        return replace(_joined(path, parts), whole=True)
    if not needed:
        return None
    if not any(split_files(path, each) for each in SPLITS) and brat.is_folder(path, inside=True):
        return brat.read(path, settings.encoding, like)
    there = ", ".join(sorted(each.name for each in path.iterdir())[:5]) or "nothing"
    raise BadInput(f"{path}: no folder written by save_to_disk, no brat folder, and no file of the "
                   f"split {split} (there: {there}); give a file, such a folder or a hub id")


def split_files(path: Path, split: str) -> list[Path]:
    """The files or the folder of a split: in the folder itself, else in its folder `data`."""
    for folder in (path, path / "data"):
        if not folder.is_dir():
            continue
        for name in datasets_folder.SPLIT_NAMES[split]:
            named = re.compile(rf"(.+[-_.])?{name}([-_.].*)?", re.IGNORECASE)
            found = [file for file in sorted(folder.iterdir()) if named.fullmatch(file.name)]
            files = [file for file in found if file.is_file() and set(file.suffixes) & {*ENDINGS}]
            inner = [file for file in found if file.is_dir() and file.name.lower() == name]
            if files or inner:
                return files or inner
    return []


def _joined(path: Path, parts: Sequence[Part | None]) -> Part:
    """The shards of one split as one part."""
    found = [part for part in parts if part is not None]
    if len(found) == 1:
        return found[0]
    if len({part.layout for part in found}) > 1:
        raise BadInput(f"{path}: the files of one split have different layouts "
                       f"({', '.join(sorted({part.layout for part in found}))}); name one of them")
    digest = hashlib.sha256("\n".join(part.sha256 for part in found).encode()).hexdigest()
    records = [record for part in found for record in part.records]
    notes = dict.fromkeys(note for part in found for note in part.notes)
    return replace(found[0], records=records, sha256=digest,
                   notes=(f"{len(found)} files", *notes))


# -- files ---------------------------------------------------------------------------------------


def _open_file(path: Path, settings: Settings, like: Part | None) -> Part:
    content = textfile.read_bytes(path)
    if datasets_folder.looks_columnar(content):
        return _open_rows(datasets_folder.read_columnar(path, content), like)
    if docbin.looks_like(path, content):
        return docbin.read(path, like)
    source = textfile.source_of(path, content, settings.encoding)
    if jsonfile.looks_like(source):
        records, layout = jsonfile.read(source)
        return _open_rows(Part(records, layout, source.sha256), like)
    if bioc_xml.looks_like(source):
        records = bioc_xml.records_of(source)
        return bioc.read(records, source.sha256, Tally(), like, "BioC XML")
    if pubtator.looks_like(source):
        return pubtator.read(source, like)
    if long_table.looks_like(source):
        return long_table.read(source, like)
    return tagfiles.read(source, like) or _open_table(source, settings, like)


def raw_rows(path: str | Path, split: str, settings: Settings) -> Part | None:
    """The rows of a split as they stand in a file of JSON, a table or columns, for
    `settled_rows`; None for layouts without rows of fields, and where a split has several files.
    """
    path = Path(path)
    if path.is_dir():
        if datasets_folder.is_saved(path):
            return datasets_folder.read(path, split, True)
        files = [] if brat.is_folder(path) else split_files(path, split)
        part = raw_rows(files[0], split, settings) if len(files) == 1 else None
        return None if part is None else replace(part, whole=True)
    if not path.exists():
        return None
    content = textfile.read_bytes(path)
    if datasets_folder.looks_columnar(content):
        return datasets_folder.read_columnar(path, content)
    if docbin.looks_like(path, content):
        return None
    source = textfile.source_of(path, content, settings.encoding)
    if jsonfile.looks_like(source):
        records, layout = jsonfile.read(source)
        of_tools = bioc.looks_like, labelstudio.is_full, labelstudio.is_min
        if any(is_one(records) for is_one in of_tools):
            return None
        return Part(records, layout, source.sha256)
    looks = bioc_xml.looks_like, pubtator.looks_like, long_table.looks_like
    if any(look(source) for look in looks) or tagfiles.read(source, None) is not None:
        return None
    return tables.read(source, settings, None)


def settled_rows(raw: Part, settings: Settings, like: Part | None = None) -> Part:
    """Rows of `raw_rows` as `open_layout` gives them."""
    records = label_lists.with_spans(raw.records) if raw.headed is not None else None
    if raw.headed is None or records is not None:
        raw = _open_rows(raw if records is None else replace(raw, records=records), like)
    return values.settled(raw, settings, like)


def _open_table(source: Source, settings: Settings, like: Part | None) -> Part:
    """A table, plain or with entities in its cells, as Label Studio exports it."""
    part = tables.read(source, settings, like)
    records = label_lists.with_spans(part.records)
    return part if records is None else _open_rows(replace(part, records=records), like)


def _open_rows(part: Part, like: Part | None) -> Part:
    """Rows of any fields: of an annotation tool, or plain ones."""
    tally = Tally()
    records, sha256 = part.records, part.sha256
    if bioc.looks_like(records):
        return bioc.read(records, sha256, tally, like)
    if labelstudio.is_full(records):
        return labelstudio.read_full(records, sha256, tally, like)
    if labelstudio.is_min(records):
        return labelstudio.read_min(records, sha256, tally, like)
    records = spanfiles.accepted(records, tally)
    # the rows that are left out may be the only ones with entities
    name = spanfiles.span_field(records, like) or spanfiles.span_field(part.records, like)
    if name is not None:
        return spanfiles.read(records, name, sha256, tally, like)
    return replace(part, records=records, notes=(*part.notes, *tally.notes()))


# -- writing -------------------------------------------------------------------------------------


def convert(path: str | Path, out: str | Path, settings: Settings | None = None) -> list[str]:
    """Write the corpus at `path` as JSON lines; the notes of what was read, by file.

    A file becomes the file `out`, a folder with several splits a new folder ``out`` with
    ``train.jsonl`` and so on. Rows keep their ids; one without gets its number, as
    `--task files` would count it.
    """
    path, out = Path(path), Path(out)
    folders.refuse_source(out, path)
    train = open_layout(path, "train", settings)
    assert train is not None
    if not train.whole:
        folders.write_text(out, json_lines(train))
        return [f"{out}: {train.layout}, {len(train.records):,} rows", *train.notes]
    said = []
    with folders.new_folder(out) as folder:
        for split in SPLITS:
            part = train if split == "train" else open_layout(path, split, settings, train, False)
            if part is not None:
                folders.write_text(folder / f"{split}.jsonl", json_lines(part))
                said += [f"{out / split}.jsonl: {part.layout}, {len(part.records):,} rows",
                         *part.notes]
    return said


def json_lines(part: Part) -> str:
    """The rows of a part, one object a line."""
    return "".join(json_line(number, record) for number, record in enumerate(part.records))


def json_line(number: int, record: Record) -> str:
    """One row; `BadInput` where it holds what neither JSON nor UTF-8 can."""
    try:
        line = json.dumps(row_of(number, record), ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        raise record.mistake("a number that is not finite", "correct it or remove the row"
                             ) from None
    return record.clean("the row", line, len(line)) + "\n"


def row_of(number: int, record: Record) -> dict[str, object]:
    """The fields of a row, words and tags by their usual names, with an id."""
    fields = dict(record.fields)
    if record.vertical:
        fields = {"tokens": fields["words"], "ner_tags": fields["tags"]}
    if not any(name.lower() in IDS for name in fields):
        fields = {"id": str(number), **fields}
    return fields
