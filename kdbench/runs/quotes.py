"""What of an error's message a record keeps: no path of this machine, and of one's own text no word
that few texts hold.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.base.places import PACKAGE
from kdbench.data.task import LEAST_TEXTS, Data, Example
from kdbench.runs.request import REST

if TYPE_CHECKING:
    from kdbench.runs.cell import Cell

WORD = re.compile(r"\w+")
HIDDEN = "..."
PLACE = re.compile(r" \(first: .*\)$", re.S)  # as `Tally.notes` ends a note


def kept(message: str, cell: Cell, folder: Path) -> str:
    """The message of an error as the record of `cell` in the results folder `folder` keeps it."""
    return without_quotes(without_paths(message, cell, folder), cell)


def without_paths(message: str, cell: Cell, folder: Path) -> str:
    """`message` without the places that the user named for this cell, and without those of the
    program, the user and temporary files.
    """
    request = cell.request
    named = [folder, *request.files.values(), request.data_dir, request.unlabelled]
    named += [source.folder for source in (cell.student, cell.teacher) if source is not None]
    named += map(Path, [*files_of(cell.method.options), *files_of(cell.task_options)])
    places = {str(PACKAGE.parent), str(Path.home()), sys.prefix, tempfile.gettempdir()}
    for place in named:
        if place is not None and str(place) != REST:
            places |= {str(place), str(place.absolute()), str(place.resolve())}
    for text in sorted(filter(is_path, places), key=len, reverse=True):
        message = message.replace(text, HIDDEN)
    return message


def is_path(text: str) -> bool:
    """Is this a place, and not a word that a message may have for other reasons?"""
    return len(text) > 2 and ("/" in text or os.sep in text or bool(Path(text).suffix))


def files_of(options: object) -> list[str]:
    """The files that an instance of an options class names."""
    if not dataclasses.is_dataclass(options):
        return []
    values = [getattr(options, field.name) for field in dataclasses.fields(options)
              if field.metadata.get("file")]
    return [str(value) for value in values if value]


def notes_kept(data: Data) -> list[str]:
    """How the data were read, as a record keeps it: of one's own without the place where something
    first happened, as files are often named by patients.
    """
    if not data.own_text:
        return list(data.notes)
    return [PLACE.sub("", note) for note in data.notes]


def without_quotes(message: str, cell: Cell) -> str:
    """`message` as a record keeps it: of a cell on one's own text, without words that fewer than
    `LEAST_TEXTS` texts or groups hold, and without names of rows and groups.
    """
    if not (cell.data.own_text or cell.own_unlabelled):
        return message
    data = cell.data
    hidden = told_by((*data.train, *data.dev, *data.test, *cell.unlabelled), message)
    return WORD.sub(lambda found: HIDDEN if found[0].casefold() in hidden else found[0], message)


def told_by(examples: Iterable[Example], message: str) -> set[str]:
    """The words of `message` that tell of single texts, case apart."""
    wanted = words_of(message)
    holders: dict[str, set[str]] = defaultdict(set)
    names: set[str] = set()
    for example in examples:
        for word in words_of(" ".join((*example.words, example.text, example.pair or ""))) & wanted:
            holders[word].add(example.unit)
        for name in (example.id, example.group):
            if not name.isdigit() or len(name) > 5:  # shorter ones are the numbers of rows
                names |= words_of(name) & wanted
    return names | {word for word, units in holders.items() if len(units) < LEAST_TEXTS}


def words_of(text: str) -> set[str]:
    """The words and numbers of a text, case apart."""
    return {word.casefold() for word in WORD.findall(text)}
