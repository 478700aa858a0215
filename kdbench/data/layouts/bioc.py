"""BioC in JSON: documents of passages with offsets (PubMed's and PubTator's downloads).

    {"documents": [{"id": "9000", "passages": [
        {"offset": 0, "text": "Metformin and pain.", "infons": {"type": "title"}, "annotations": [
            {"text": "Metformin", "infons": {"type": "Chemical"},
             "locations": [{"offset": 0, "length": 9}]}]}]}]}

One document a line is read as well. Every passage is an example of its own, or every sentence of
it where the file has sentences. Offsets are those of the document. An annotation with several
locations that are not next to each other is discontinuous: left out and counted, as are relations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kdbench.data.layouts import spans
from kdbench.data.layouts.part import Part, Tally, place_of
from kdbench.data.layouts.spans import Document, Span
from kdbench.data.readers import Record, shown


def looks_like(records: Sequence[Record]) -> bool:
    """Have the rows passages?"""
    return all(isinstance(record.fields.get("passages"), list) for record in records)


def read(records: Sequence[Record], sha256: str, tally: Tally, like: Part | None = None) -> Part:
    """The passages as rows with words and tags."""
    documents: list[Document] = []
    for record in records:
        if record.fields.get("relations"):
            tally.add("relations, left out", place_of(record), len(record.fields["relations"]))
        documents += _passages(record, tally)
    if not documents:
        raise records[0].wrong("no passage has a text", "give BioC with text in its passages")
    return spans.tagged(documents, "BioC JSON", sha256, tally, like)


def _passages(record: Record, tally: Tally) -> Iterable[Document]:
    id = record.id("id")
    units: list[Mapping] = []
    for passage in record.fields["passages"]:
        if not isinstance(passage, Mapping):
            raise record.wrong(f"a passage is {shown(passage)}", "give objects with offset, text")
        sentences = passage.get("sentences")
        units += sentences if sentences and not passage.get("text") else [passage]
        if passage.get("relations"):
            tally.add("relations, left out", place_of(record), len(passage["relations"]))
    units = [unit for unit in units if str(unit.get("text") or "").strip()]
    for number, unit in enumerate(units, 1):
        text = Record(record.source, record.line, unit).text("text")
        found = _annotations(record, unit, tally)
        name = id if len(units) == 1 else f"{id}.{number}"
        yield Document(record, name, text, found, whole=id)


def _annotations(record: Record, unit: Mapping, tally: Tally) -> list[Span]:
    begin = unit.get("offset", 0)
    found = []
    for annotation in unit.get("annotations") or ():
        places = []
        for location in annotation.get("locations") or ():
            places.append((location.get("offset"), location.get("length")))
        infons = annotation.get("infons") or {}
        numbers = [number for place in places for number in (*place, begin)]
        if not places or not all(type(number) is int for number in numbers):
            raise record.wrong(f"the annotation {shown(annotation.get('text'))} has no place",
                               "give locations with offset and length")
        if len(places) > 1:
            tally.add("entities in pieces (discontinuous), left out", place_of(record))
            continue
        start = places[0][0] - begin
        label = infons.get("type")
        if not isinstance(label, str) or not label.strip():
            raise record.wrong(f"the annotation {shown(annotation.get('text'))} has no type",
                               "give every annotation infons.type")
        found.append(Span(start, start + places[0][1], label, str(annotation.get("text") or "")))
    return found
