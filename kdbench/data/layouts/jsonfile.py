"""JSON as rows: one object a line, a list of objects, or an object around such a list.

    {"text": "fever", "label": "a"}          a line each
    [{"text": "fever", "label": "a"}, ...]   a list, on one line or many
    {"documents": [...]}                     BioC; also `PubTator3`, `data`, `annotations`
    ["fever since", {"entities": [...]}]     spaCy 2, as items of a list or of `annotations`
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from kdbench.base.errors import BadInput
from kdbench.base.reading import parsed
from kdbench.data.layouts.part import RowSource
from kdbench.data.readers import Record, Source

AROUND = ("documents", "PubTator3", "data", "annotations")
LINES, LIST = "JSON lines", "JSON list"


def looks_like(source: Source) -> bool:
    """Does the first line with something in it begin an object or a list?"""
    first = next(line for line in source.lines if line.strip())
    return first.lstrip()[0] in "{["


def read(source: Source) -> tuple[list[Record], str]:
    """The objects of the file as rows, and whether they were `LINES` or a `LIST`.

    Raises `BadInput` where the file is no JSON, or holds something else than objects.
    """
    first = next(line for line in source.lines if line.strip()).lstrip()
    if first[0] == "{" and _is_whole(first):
        around = _inside(_parsed(source, first, 1)) if _lines(source) == 1 else None
        return (_items(source, around), LIST) if around is not None else (_by_line(source), LINES)
    if first[0] == "[" and _is_whole(first) and _lines(source) > 1:
        return _by_line(source), LINES
    whole = _parsed(source, "\n".join(source.lines), None)
    items = _inside(whole) if isinstance(whole, dict) else whole
    if not isinstance(items, list):
        raise source.mistake(1, "one JSON object, not rows", "give one object a line, or a list")
    return _items(source, items), LIST


def _lines(source: Source) -> int:
    return sum(1 for line in source.lines if line.strip())


def _is_whole(line: str) -> bool:
    """Is the first line JSON of its own? A line that is cut off in a file of lines counts."""
    try:
        parsed(line)
    except ValueError:
        return line[0] == "{" and len(line.strip()) > 1
    return True


def _by_line(source: Source) -> list[Record]:
    records = []
    for number, line in enumerate(source.lines, 1):
        if line.strip():
            records.append(_record(source, number, _parsed(source, line, number)))
    return records


def _items(source: Source, items: list) -> list[Record]:
    rows = RowSource(source.path, source.lines, source.sha256, "item")
    found = []
    for number, item in enumerate(items, 1):
        if item is not None:  # ner-annotator writes null for a text that was passed over
            found.append(_record(rows, number, item))
    if not found:
        raise source.mistake(1, "a JSON list without items", "give at least one object")
    return found


def _inside(whole: object) -> list | None:
    """The list that an object is around, or None."""
    if not isinstance(whole, Mapping):
        return None
    for name in AROUND:
        inner = whole.get(name)
        if isinstance(inner, list) and inner and "text" not in whole:
            objects = all(isinstance(item, dict) for item in inner)
            if objects and name == "annotations":
                return None  # label-studio's and doccano's annotations of one text
            return inner
    return None


def _record(source: Source, number: int, item: object) -> Record:
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) \
            and isinstance(item[1], dict):
        item = {"text": item[0], **item[1]}
    if not isinstance(item, dict):
        raise source.mistake(number, f"a JSON {type(item).__name__}, not an object",
                           "give one object a row")
    return Record(source, number, item)


def _parsed(source: Source, text: str, number: int | None) -> object:
    """The value of a text; `number` is its line, None where it is the whole file."""
    remedy = "give one whole object a line, or a whole list"
    try:
        return parsed(text)
    except json.JSONDecodeError as error:
        line = error.lineno if number is None else number
        raise source.mistake(line, f"not JSON ({error.msg} at column {error.colno})",
                           remedy) from None
    except ValueError as error:
        raise BadInput(f"{source.path}:{number or 1}: not JSON ({error}); {remedy}") from None
