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
from kdbench.data.layouts.part import Part, Tally, as_list, as_object, place_of
from kdbench.data.layouts.spans import Document, Span
from kdbench.data.readers import Record, shown


def looks_like(records: Sequence[Record]) -> bool:
    """Have the rows passages?"""
    return all(isinstance(record.fields.get("passages"), list) for record in records)


def read(records: Sequence[Record], sha256: str, tally: Tally, like: Part | None = None,
         layout: str = "BioC JSON") -> Part:
    """The passages as rows with words and tags."""
    documents: list[Document] = []
    for record in records:
        documents += _passages(record, tally)
    if not documents:
        raise records[0].mistake("no passage has a text", "give BioC with text in its passages")
    return spans.tagged(documents, layout, sha256, tally, like)


def _passages(record: Record, tally: Tally) -> Iterable[Document]:
    id = record.id("id")
    _count_relations(record, record.fields, tally)
    units: list[Mapping] = []
    for item in record.fields["passages"]:
        passage = as_object(record, item, "a passage")
        _count_relations(record, passage, tally)
        sentences = as_list(record, passage.get("sentences"), "sentences")
        for unit in [passage] if passage.get("text") else sentences:
            if as_object(record, unit, "a sentence").get("text"):
                units.append(unit)
    for number, unit in enumerate(units, 1):
        text = Record(record.source, record.line, unit).text("text")
        found = _annotations(record, unit, tally)
        name = id if len(units) == 1 else f"{id}.{number}"
        yield Document(record, name, text, found, whole=id)


def _count_relations(record: Record, around: Mapping, tally: Tally) -> None:
    relations = as_list(record, around.get("relations"), "relations")
    tally.add("relations, left out", place_of(record), len(relations))


def _annotations(record: Record, unit: Mapping, tally: Tally) -> list[Span]:
    begin = unit.get("offset", 0)
    found = []
    for item in as_list(record, unit.get("annotations"), "annotations"):
        annotation = as_object(record, item, "an annotation")
        own_text = annotation.get("text")
        numbers = [begin]
        locations = as_list(record, annotation.get("locations"), "locations")
        for location in locations:
            place = as_object(record, location, "a location")
            numbers += [place.get("offset"), place.get("length")]
        if not locations or not all(type(number) is int for number in numbers):
            raise record.mistake(f"the annotation {shown(own_text)} has no place",
                               "give locations with offset and length")
        if len(locations) > 1:
            tally.add("entities in pieces (discontinuous), left out", place_of(record))
            continue
        label = as_object(record, annotation.get("infons"), "infons").get("type")
        if not isinstance(label, str) or not label.strip():
            raise record.mistake(f"the annotation {shown(own_text)} has no type",
                               "give every annotation infons.type")
        start = numbers[1] - begin
        found.append(Span(start, start + numbers[2], record.clean("type", label.strip()),
                          own_text if isinstance(own_text, str) else ""))
    return found
