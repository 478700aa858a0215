"""A folder of brat: a text and its stand-off annotations for each document.

    doc1.txt    took metformin and café-mab .
    doc1.ann    T1<tab>Drug 5 14<tab>metformin
                T2<tab>Drug 19 27<tab>café-mab
                T3<tab>Drug 5 9;19 22<tab>took caf      discontinuous: left out and counted
                R1<tab>interacts Arg1:T1 Arg2:T2        relations, events, attributes, notes: same

An entity in pieces with only blanks between them, as brat writes one that runs over a line break,
is one entity. A text without its .ann is left out and counted; an .ann without its text is an
error. Documents of folders inside belong to it, as brat's collections do: their ids have the path
(``ward2/doc1``), and they are counted. The folder may have a folder for each split (train, dev,
test) instead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.data.layouts import spans, textfile
from kdbench.data.layouts.part import UNANNOTATED, Part, Tally
from kdbench.data.layouts.spans import Document, Span
from kdbench.data.readers import Record, Source, shown

ENTITY = re.compile(r"(\S+) (\d{1,15} \d{1,15}(?:;\d{1,15} \d{1,15})*)")
OTHERS = {"R": "relations", "*": "relations", "E": "events", "A": "attributes", "M": "attributes",
          "N": "normalizations", "#": "notes"}
BY_NUMBER = re.compile(r"(\d+)")


def is_folder(path: Path, inside: bool = False) -> bool:
    """Does the folder have .ann files, or those inside of it?"""
    return any(path.rglob("*.ann") if inside else path.glob("*.ann"))


def _names(path: Path, ending: str) -> list[str]:
    """The documents of this folder and those inside, with their paths."""
    files = sorted(path.rglob(f"*{ending}"))
    return [file.relative_to(path).as_posix().removesuffix(ending) for file in files]


def read(path: Path, encoding: str = "", like: Part | None = None) -> Part:
    """The documents of the folder as rows with words and tags, in the order of their names."""
    tally = Tally()
    documents = []
    digest = hashlib.sha256()
    names, spare = {*_names(path, ".ann")}, []
    for name in _names(path, ".txt"):
        if name not in names:
            spare.append(name)
            tally.add(UNANNOTATED[0], f"{name}.txt")
    for name in sorted(names, key=_by_number):
        tally.add("documents of folders inside", f"{name}.ann", int("/" in name))
    for name in sorted(names, key=_by_number):
        text, source, checksums = _files(path, name, encoding)
        digest.update("\n".join([name, *checksums]).encode("utf-8", "surrogateescape"))
        record = Record(source, 1, {"id": name, "text": text})
        if not text.strip():
            tally.add("texts with nothing in them, left out", f"{name}.txt")
            continue
        documents.append(Document(record, name, text, entities(source, text, tally)))
    if not documents:
        raise BadInput(f"{path}: no document has a text; give a .txt for every .ann")
    part = spans.tagged(documents, "brat folder", digest.hexdigest(), tally, like)
    return replace(part, spare=partial(_texts, path, spare, encoding)) if spare else part


def _texts(path: Path, names: Sequence[str], encoding: str) -> list[Record]:
    """The texts that nobody has annotated, without those with nothing in them."""
    found = []
    for name in sorted(names, key=_by_number):
        content = textfile.read_bytes(file := path / f"{name}.txt")
        text = textfile.decoded(file, content, encoding)
        source = Source(file, (text,), hashlib.sha256(content).hexdigest())
        if text.strip():
            found.append(Record(source, 1, {"id": name, "text": text}))
    return found


def _by_number(name: str) -> list[tuple[int, str]]:
    """doc2 before doc10."""
    pieces = BY_NUMBER.split(name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def _files(path: Path, name: str, encoding: str) -> tuple[str, Source, list[str]]:
    """The text, the annotations and the checksums of both."""
    text_file, annotations = path / f"{name}.txt", path / f"{name}.ann"
    if not text_file.is_file():
        raise BadInput(f"{annotations}: has no text; put {text_file.name} beside it")
    content, marks = textfile.read_bytes(text_file), textfile.read_bytes(annotations)
    text = textfile.decoded(text_file, content, encoding)
    lines = tuple(textfile.decoded(annotations, marks, encoding).split("\n"))
    checksums = [hashlib.sha256(each).hexdigest() for each in (content, marks)]
    return text, Source(annotations, lines, checksums[1]), checksums


def entities(source: Source, text: str, tally: Tally) -> Sequence[Span]:
    """The T lines of an .ann file as entities; the others are counted."""
    found = []
    for number, line in enumerate(source.lines, 1):
        line = line.rstrip("\r")
        place = f"{source.path.name}, line {number}"
        if not line.strip():
            continue
        if line[0] != "T":
            tally.add(f"{OTHERS.get(line[0], 'lines of another kind')}, left out", place)
            continue
        columns = line.split("\t")
        match = ENTITY.fullmatch(columns[1].strip()) if len(columns) > 1 else None
        if match is None:
            raise source.mistake(number, f"{shown(line)} is no entity of brat",
                               "give T1, a tab, TYPE START END, a tab and the text")
        pieces = [tuple(map(int, piece.split())) for piece in match[2].split(";")]
        between = [text[one[1]:other[0]] for one, other in zip(pieces, pieces[1:], strict=False)]
        if any(piece.strip() for piece in between):
            tally.add("entities in pieces (discontinuous), left out", place)
            continue
        own_text = columns[2] if len(columns) > 2 else ""
        found.append(Span(pieces[0][0], pieces[-1][1], match[1], own_text))
    return found
