"""A teacher that is a file: its lines, and the texts and ids that they are about.

A line is a JSON object. It is about the text that it holds, whatever its id: `text` (or
`sentence`), with `pair` for the second of two (or `sentence1` and `sentence2`), or `tokens` (or
`words`). Texts are compared by what can be seen of them, so that blanks and line ends do not
matter, and the words of a sentence are its text. A line without a text is about the example of its
`id`, in the `split` that it may name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.identity import canonical
from kdbench.data.readers import Record, json_lines, read, shown
from kdbench.data.task import SPLITS, Example

TEXTS, PAIRS, WORDS = ("text", "sentence", "sentence1"), ("pair", "sentence2"), ("tokens", "words")
# blanks and what nobody sees: control characters, soft hyphens, joiners, marks of direction
UNSEEN = re.compile("[\\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]+")
BETWEEN = "\x1f"  # the two texts of a pair; `UNSEEN` takes it out of each of them


@dataclass(frozen=True)
class Line:
    """One line of the file.

    key    what can be seen of its text; empty where it has none
    id     of the example; empty where it has none
    split  in which the id is looked up; empty: in all
    """

    record: Record
    key: str
    id: str
    split: str

    @property
    def fields(self) -> Any:
        """What the line says, by name."""
        return self.record.fields


@dataclass(frozen=True)
class Lines:
    """All lines of a file, and the SHA-256 of what they say, in any order: line ends and blanks
    between them decide nothing.
    """

    lines: tuple[Line, ...]
    content: str


def read_lines(path: Path) -> Lines:
    """The lines of the file; `BadInput` where it cannot be read, or a line is no such line."""
    found = path.stat() if path.is_file() else None
    return kept_lines(path, (found.st_mtime_ns, found.st_size) if found else None)


@lru_cache(maxsize=4)
def kept_lines(path: Path, stamp: tuple[int, int] | None) -> Lines:
    """As `read_lines`; of a file that did not change since it was read, from memory."""
    reading.regular(path)
    lines = tuple(line_of(record) for record in json_lines(read(path)))
    sha256 = hashlib.sha256()
    for text in sorted(canonical(dict(line.fields)) for line in lines):
        sha256.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return Lines(lines, sha256.hexdigest())


def line_of(record: Record) -> Line:
    """One line, with what it is about."""
    key = key_of_line(record)
    id = record.id("id") if record.fields.get("id") is not None else ""
    if not key and not id:
        raise record.mistake("neither a text nor an id", "say which example it answers")
    split = record.fields.get("split") or ""
    if split and split not in SPLITS:
        raise record.mistake(f"split is {shown(split)}", f"it is one of {', '.join(SPLITS)}")
    return Line(record, key, id, split)


def key_of_line(record: Record) -> str:
    """What can be seen of a line's text, or of its words; empty where it has neither."""
    if name := field_of(record, TEXTS):
        key = visible(record.text(name))
        other = field_of(record, PAIRS)
        return f"{key}{BETWEEN}{visible(record.text(other))}" if other else key
    if name := field_of(record, WORDS):
        return visible("".join(words_of(record, name)))
    return ""


def field_of(record: Record, names: Sequence[str]) -> str:
    """The first of these fields that the line has with a value; empty where it has none."""
    return next((name for name in names if record.fields.get(name) is not None), "")


def words_of(record: Record, name: str) -> list[str]:
    """A field that is a list of words."""
    value = record.fields[name]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise record.mistake(f"{name} is {shown(value)}, not a list of texts",
                             "give one text a word")
    return [record.clean(name, word) for word in value]


def visible(text: str) -> str:
    """What can be seen of a text, without the blanks."""
    return UNSEEN.sub("", text)


def key_of(example: Example) -> str:
    """What can be seen of an example: the `key` of the lines about it."""
    if example.words:
        return visible("".join(example.words))
    key = visible(example.text)
    return key if example.pair is None else f"{key}{BETWEEN}{visible(example.pair)}"
