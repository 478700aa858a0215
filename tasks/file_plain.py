"""Is a file one text a line, or does it have rows with columns? And its lines as rows.

A file has columns where it is JSON, columnar, a folder, of an annotation tool or a tag file; where
its first line names a column of texts (`text`, `note`, the one of training); where it has the
columns of a training file without a header; and where it is called .csv or .tsv. All others are
plain text.
"""

from __future__ import annotations

import csv
from pathlib import Path

from kdbench.base.reading import parsed
from kdbench.data import readers
from kdbench.data.layouts import bioc_xml, datasets_folder, docbin, long_table, pubtator, textfile
from kdbench.data.layouts.tables import TEXTS
from kdbench.data.layouts.tagfiles import has_tags
from kdbench.data.readers import Source
from kdbench.data.rows import Row, Rows, Wanted
from kdbench.data.task import Example
from kdbench.tasks.file_options import FilesOptions

TABLES = {".csv", ".tsv"}
DELIMITERS = ("\t", ",", ";")
NO_DELIMITER = "\x1f"  # no text has it


def text_of(path: Path, settings: FilesOptions) -> Source | None:
    """The lines of a text file; None of a folder, and of a file that is no text."""
    if not path.is_file():
        return None
    content = textfile.read_bytes(path)
    if datasets_folder.looks_columnar(content) or docbin.looks_like(path, content):
        return None
    return textfile.source_of(path, content, settings.encoding)


def is_plain(path: Path, settings: FilesOptions, wanted: Wanted) -> bool:
    """Is it one text a line, by the rule of this module?"""
    source = text_of(path, settings)
    if source is None:
        return False
    if is_json(source) or bioc_xml.looks_like(source) or pubtator.looks_like(source):
        return False
    if wanted.task_type == "tags" and (long_table.looks_like(source) or has_tags(source)):
        return False
    table = TABLES & {suffix.lower() for suffix in path.suffixes}
    return not (table or header_of(source, settings, wanted) or is_like_train(source, wanted))


def is_json(source: Source) -> bool:
    """Does it begin with an object, or with a list that ends?"""
    first = next(line for line in source.lines if line.strip()).strip()
    if not first.startswith("["):
        return first.startswith("{")
    for text in (first, "\n".join(source.lines)):
        try:
            return isinstance(parsed(text), list)
        except ValueError:
            continue
    return False


def header_of(source: Source, settings: FilesOptions, wanted: Wanted) -> list[str]:
    """The first line's column names where one of them is a name of texts; else nothing."""
    first = next(line for line in source.lines if line.strip())
    trained = (wanted.reading.get("columns") or {}).get("text", "")
    names = {*TEXTS, "tokens", "words", trained.lower(), settings.text_column.lower()} - {""}
    for cells in split_ways(first):
        if names & {cell.strip().lower() for cell in cells}:
            return cells
    return []


def split_ways(line: str) -> list[list[str]]:
    """The cells of a line by each delimiter that it has, the whole line at last."""
    found = []
    for delimiter in DELIMITERS:
        cells = next(csv.reader([line[:readers.FIELD_LIMIT]], delimiter=delimiter), [])
        if len(cells) > 1:
            found.append(cells)
    return [*found, [line.strip().strip('"')]]


def is_like_train(source: Source, wanted: Wanted) -> bool:
    """Has every line the columns of a training file that had no header?"""
    if wanted.reading.get("headed") is not False:
        return False
    delimiter = "\t" if "TSV" in wanted.reading["layout"] else ","
    delimiter = ";" if "semicolons" in wanted.reading["layout"] else delimiter
    width = len(wanted.reading["fields"])
    rows = csv.reader(source.lines, delimiter=delimiter)
    try:
        return all(len(row) in (0, width) for row in rows)
    except csv.Error:
        return False


def headed(path: Path, settings: FilesOptions, wanted: Wanted) -> str:
    """The option `header` for this file: by its own first line, where that names a column."""
    source = text_of(path, settings) if settings.header == "auto" else None
    if source is None:
        return settings.header
    if header_of(source, settings, wanted):
        return "yes"
    return "no" if wanted.reading.get("headed") is False else "auto"


def is_one_column(path: Path, settings: FilesOptions, wanted: Wanted) -> bool:
    """Is it a table whose only column is that of the texts?"""
    source = text_of(path, settings)
    if source is None:
        return False
    return not is_json(source) and len(header_of(source, settings, wanted)) == 1


def one_column(path: Path, encoding: str) -> Rows:
    """The rows of a table with a single column below its header."""
    source = textfile.source_of(path, textfile.read_bytes(path), encoding)
    rows = readers.table(source, NO_DELIMITER)
    name = next(iter(rows[0].fields))
    found = [Row(number, None, Example(str(number - 1), record.text(name).strip()))
             for number, record in enumerate(rows, 1)]
    return Rows(tuple(found), (f"read as a table with one column, {name!r}",))


def plain_rows(path: Path, encoding: str) -> Rows:
    """The lines with something in them, numbered as lines; `BadInput` where there are none."""
    source = textfile.source_of(path, textfile.read_bytes(path), encoding)
    rows = [Row(number, None, Example(str(number), line.strip()))
            for number, line in enumerate(source.lines, 1) if line.strip()]
    return Rows(tuple(rows), ("read as plain text, one text a line",))
