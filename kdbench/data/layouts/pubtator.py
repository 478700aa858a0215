"""PubTator: documents of a title and an abstract, entities by offset, divided by blank lines.

    9000|t|Metformin and pain.
    9000|a|No vitamin B12 was given.
    9000<tab>0<tab>9<tab>Metformin<tab>Chemical<tab>D008687
    9000<tab>CID<tab>D008687<tab>D010146                      relations: left out and counted

Offsets are over the title, one blank and the abstract. Title and abstract are examples of their
own; an entity of several types at one place, as in ``DiseaseClass,SpecificDisease``, has the type
that stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from kdbench.base.reading import whole_number
from kdbench.data.layouts import spans
from kdbench.data.layouts.part import Part, Tally
from kdbench.data.layouts.spans import Document, Span
from kdbench.data.readers import Record, Source, shown

PASSAGE = re.compile(r"([^|\t]+)\|([a-zA-Z])\|(.*)")


@dataclass
class Open:
    """The document that is being read."""

    id: str
    line: int
    passages: list[str] = field(default_factory=list)
    found: list[Span] = field(default_factory=list)


def looks_like(source: Source) -> bool:
    """Are the first two lines with something in them a title and an abstract of one document?"""
    lines = [line for line in source.lines[:20] if line.strip()][:2]
    matches = [PASSAGE.fullmatch(line) for line in lines]
    if len(matches) < 2 or matches[0] is None or matches[1] is None:
        return False
    return matches[0][1] == matches[1][1] and (matches[0][2], matches[1][2]) == ("t", "a")


def read(source: Source, like: Part | None = None) -> Part:
    """The documents as rows with words and tags."""
    tally = Tally()
    documents = list(_documents(source, tally))
    return spans.tagged(documents, "PubTator", source.sha256, tally, like)


def _documents(source: Source, tally: Tally) -> Iterable[Document]:
    now: Open | None = None
    for number, line in enumerate(source.lines, 1):
        passage = PASSAGE.fullmatch(line)
        if passage is not None:
            if now is None or passage[1] != now.id or passage[2] == "t":
                yield from _closed(source, now, tally)
                now = Open(passage[1], number)
            now.passages.append(passage[3])
        elif line.strip():
            _add_entity(source, number, line, now, tally)
    yield from _closed(source, now, tally)


def _add_entity(source: Source, number: int, line: str, now: Open | None, tally: Tally) -> None:
    columns = line.split("\t")
    place = f"{source.path.name}, line {number}"
    if now is None or columns[0] != now.id:
        raise source.mistake(number, f"{shown(line)} belongs to no document above it",
                           "put annotations below the title and the abstract with their id")
    if len(columns) > 2 and not columns[1].isdecimal() and not columns[2].isdecimal():
        tally.add("relations, left out", place)
        return
    places = list(map(whole_number, columns[1:3]))
    if len(columns) < 5 or places[0] is None or places[1] is None:
        raise source.mistake(number, f"{shown(line)} is no annotation of PubTator",
                           "give id, start, end, text and type with tabs between")
    now.found.append(Span(places[0], places[1], columns[4].strip(), columns[3]))


def _closed(source: Source, now: Open | None, tally: Tally) -> Iterable[Document]:
    """The finished document, if there is one with a text."""
    if now is None:
        return
    text = " ".join(now.passages)
    if not text.strip():
        tally.add("documents without text, left out", f"{source.path.name}, line {now.line}")
        return
    breaks = []
    end = -1
    for passage in now.passages[:-1]:
        end += len(passage) + 1
        breaks.append(end)
    record = Record(source, now.line, {"id": now.id})
    yield Document(record, now.id, text, now.found, breaks=breaks)
