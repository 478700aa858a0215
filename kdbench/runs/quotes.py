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
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.base.places import PACKAGE
from kdbench.data.task import LEAST_TEXTS, Data, Example
from kdbench.models.teachers import FileSource, parts_of
from kdbench.runs.request import REST

if TYPE_CHECKING:
    from kdbench.runs.cell import Cell

WORD = re.compile(r"\w+")
# what stands in quotes, also where `kdbench.data.readers.shown` has cut it, and digits with what
# people write between those of a telephone number
QUOTED = re.compile(r"""(["'])(.{2,}?)(?:\1|\.\.\. \(\d+ characters\))""")
NUMBER = re.compile(r"\d(?:[ ()./+-]{0,3}\d){5,}")
BETWEEN_DIGITS = re.compile(r"[ ()./+-]+")
HIDDEN = "..."
PLACE = re.compile(r" \(first: .*\)$", re.S)  # as `Tally.notes` ends a note


def kept(message: str, cell: Cell, folder: Path) -> str:
    """The message of an error as the record of `cell` in the results folder `folder` keeps it."""
    message = without_quotes(without_paths(message, cell, folder), cell)
    return without_rare_words(message, cell)


def reason_kept(reason: str, cell: Cell, folder: Path) -> str:
    """Why a cell was skipped, as its record keeps it: words of the program, which may quote."""
    return without_quotes(without_paths(reason, cell, folder), cell)


def without_paths(message: str, cell: Cell, folder: Path) -> str:
    """`message` without the places that the user named for this cell, and without those of the
    program, the user and temporary files.
    """
    request = cell.request
    named = [folder, *request.files.values(), request.data_dir, request.unlabelled]
    for source in (*parts_of(cell.student), *parts_of(cell.teacher)):
        named += [source.folder, source.path if isinstance(source, FileSource) else None]
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
    """`message` as a record keeps it: of a cell on one's own text, without quotes and numbers that
    fewer than `LEAST_TEXTS` texts or groups hold.
    """
    examples = own_examples(cell)
    parts = [*map(itemgetter(1), QUOTED.findall(message)), *NUMBER.findall(message)]
    for part in dict.fromkeys(parts):
        if is_of_few(part, examples):
            message = message.replace(part, HIDDEN)
    return message


def without_rare_words(message: str, cell: Cell) -> str:
    """`message` as a record keeps it: of a cell on one's own text, without words that fewer than
    `LEAST_TEXTS` texts or groups hold, and without names of rows and groups.
    """
    hidden = told_by(own_examples(cell), message)
    return WORD.sub(lambda found: HIDDEN if found[0].casefold() in hidden else found[0], message)


def own_examples(cell: Cell) -> tuple[Example, ...]:
    """All that a cell on one's own text has read; nothing of public text."""
    data = cell.data
    if not (data.own_text or cell.own_unlabelled):
        return ()
    return (*data.train, *data.dev, *data.test, *cell.unlabelled)


def is_of_few(part: str, examples: Iterable[Example]) -> bool:
    """Do some texts hold this part of a message, but fewer than `LEAST_TEXTS` units, or is it the
    name of a row or group? What stands between the digits of a number does not count.
    """
    number = NUMBER.fullmatch(part) is not None
    wanted = BETWEEN_DIGITS.sub("", part) if number else part
    holders = set()
    for example in examples:
        if part in names_of(example):
            return True
        text = read_of(example)
        if wanted in (BETWEEN_DIGITS.sub("", text) if number else text):
            holders.add(example.unit)
    return 0 < len(holders) < LEAST_TEXTS


def names_of(example: Example) -> list[str]:
    """The names of a row and of its group, without the numbers of rows."""
    return [name for name in (example.id, example.group) if not name.isdigit() or len(name) > 5]


def read_of(example: Example) -> str:
    """All that an example has a model read."""
    return " ".join((*example.words, example.text, example.pair or ""))


def told_by(examples: Iterable[Example], message: str) -> set[str]:
    """The words of `message` that tell of single texts, case apart."""
    wanted = words_of(message)
    holders: dict[str, set[str]] = defaultdict(set)
    names: set[str] = set()
    for example in examples:
        for word in words_of(read_of(example)) & wanted:
            holders[word].add(example.unit)
        for name in names_of(example):
            names |= words_of(name) & wanted
    return names | {word for word, units in holders.items() if len(units) < LEAST_TEXTS}


def words_of(text: str) -> set[str]:
    """The words and numbers of a text, case apart."""
    return {word.casefold() for word in WORD.findall(text)}
