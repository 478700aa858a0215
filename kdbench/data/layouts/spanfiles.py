"""Span files in JSON: rows with a text and a list of entities (doccano, Prodigy, spaCy 2, others).

    {"id": 7, "text": "took metformin", "label": [[5, 14, "Drug"]]}      doccano (`labels`,
                                                                         `entities` as well)
    {"id": 7, "text": "...", "entities": [{"start_offset": 5, "end_offset": 14, "label": "Drug"}],
     "relations": []}                                                    doccano with relations
    {"id": 7, "text": "...", "annotations": [{"label": 2, "start_offset": 5, "end_offset": 14}]}
                                                                         doccano before 1.2: numbers
    {"text": "...", "spans": [{"start": 5, "end": 14, "label": "Drug"}], "tokens": [...],
     "answer": "accept"}                                                 Prodigy

A field is the entities' when every row that has it has a list of spans there, and one of them is
not empty. Of Prodigy's answers only `accept` is kept, and of several annotators of one text the
first; the others are counted. Relations are left out. A file with a text
and labels that are no spans is a classification export; `values` reads its labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from kdbench.data.layouts import spans
from kdbench.data.layouts.part import Part, Tally, as_list, place_of
from kdbench.data.layouts.spans import Border, Document, Span
from kdbench.data.readers import Record, shown

STARTS = ("start", "start_offset", "begin", "startOffset")
ENDS = ("end", "end_offset", "endOffset")
LABELS = ("label", "labels", "type", "entity", "entity_group", "tag", "entity_type")
TEXTS = ("text", "data", "sentence", "content", "document", "note", "abstract")
IDS = ("id", "doc_id", "pmid", "_task_hash")
INPUTS, ANNOTATORS = ("_input_hash",), ("_annotator_id", "_session_id")
LEFT_OUT = ("reject", "ignore")


def accepted(records: Sequence[Record], tally: Tally) -> list[Record]:
    """The rows without those that a Prodigy user rejected or passed over."""
    kept = []
    for record in records:
        answer = record.fields.get("answer")
        if answer in LEFT_OUT and _is_prodigy(record):
            tally.add(f"rows with the answer {answer}, left out", place_of(record))
        else:
            kept.append(record)
    if records and not kept:
        raise records[0].mistake("no row has the answer accept", "accept some in Prodigy")
    return _of_one_annotator(kept, tally)


def _of_one_annotator(records: Sequence[Record], tally: Tally) -> list[Record]:
    """The rows without those that another annotator gave for a text of the rows before.

    One annotator may have several rows with one text: a question for each label.
    """
    first: dict[str, object] = {}
    kept = []
    for record in records:
        text, who = (_first(record.fields, names) for names in (INPUTS, ANNOTATORS))
        if text is not None and who is not None and first.setdefault(str(text), who) != who:
            tally.add("rows of further annotators of the same text, left out", place_of(record))
        else:
            kept.append(record)
    return kept


def _is_prodigy(record: Record) -> bool:
    names = {"spans", "_input_hash", "_task_hash", "options", "_view_id", "_session_id"}
    return bool(names & record.fields.keys()) or {"text", "label"} <= record.fields.keys()


def span_field(records: Sequence[Record], like: Part | None = None) -> str | None:
    """The field with entities; None where the rows have none.

    A test file without any entity has them where train has.
    """
    if all(map(has_tagged_words, records)):
        return None  # as `bench.py label` writes them: the words and their scheme count
    before = like.decided.get("entities") if like is not None else None
    if before and all(isinstance(record.fields.get(before), list) for record in records):
        return before
    names = dict.fromkeys(name for record in records for name in record.fields)
    for name in names:
        values = [record.fields[name] for record in records if name in record.fields]
        values = [value for value in values if value is not None]
        if any(values) and all(isinstance(value, list) for value in values) and all(
                is_span(item) for value in values for item in value):
            return name
    return None


def has_tagged_words(record: Record) -> bool:
    """Has the row a tag for each of its words, as `bench.py label` writes them beside spans?"""
    words, tags = record.fields.get("tokens"), record.fields.get("ner_tags")
    return isinstance(words, list) and isinstance(tags, list) and len(words) == len(tags) \
        and all(isinstance(item, str) for item in (*words, *tags))


def is_span(item: object) -> bool:
    """``[5, 14, "Drug"]`` or an object with a start, an end and a label."""
    if isinstance(item, list):
        return len(item) >= 3 and _is_place(item[0]) and _is_place(item[1]) \
            and isinstance(item[2], str)
    if isinstance(item, Mapping):
        placed = _first(item, STARTS) is not None and _first(item, ENDS) is not None
        return placed and any(name in item for name in LABELS)  # a token has no label
    return False


def _is_place(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _first(item: Mapping, names: Sequence[str]) -> object:
    return next((item[name] for name in names if item.get(name) is not None), None)


def read(records: Sequence[Record], name: str, sha256: str, tally: Tally,
         like: Part | None = None) -> Part:
    """The rows as examples with words and tags; `name` is the field with the entities."""
    documents = []
    for number, record in enumerate(records):
        relations = as_list(record, record.fields.get("relations"), "relations")
        tally.add("relations, left out", place_of(record), len(relations))
        documents.append(document_of(record, name, number, tally))
    prodigy = any("answer" in record.fields or "spans" in record.fields for record in records)
    layout = f"{'Prodigy' if prodigy else 'doccano'} spans, entities from {name!r}"
    part = spans.tagged(documents, layout, sha256, tally, like)
    return replace(part, decided={**part.decided, "entities": name})


def document_of(record: Record, name: str, number: int, tally: Tally) -> Document:
    """One row as a document; its id is the file's, else the number of the row from 0."""
    text_name = next((each for each in TEXTS if isinstance(record.fields.get(each), str)), "text")
    text = record.text(text_name)
    found = []
    for item in record.fields.get(name) or ():
        found.append(to_span(record, item, text, tally))
    id_name = next((each for each in IDS if record.fields.get(each) not in (None, "")), None)
    return Document(record, record.id(id_name) if id_name else str(number), text, found,
                    own_words(record, text))


def to_span(record: Record, item: object, text: str, tally: Tally) -> Span:
    """The entity of a list or an object; `BadInput` where it has no whole offsets or no label."""
    if isinstance(item, list) and len(item) > 2:
        start, end, label = item[:3]
        own_text = item[3] if len(item) > 3 and isinstance(item[3], str) else ""
    elif isinstance(item, Mapping):
        start, end, label = (_first(item, names) for names in (STARTS, ENDS, LABELS))
        own_text = item["text"] if isinstance(item.get("text"), str) else ""
    else:
        raise record.mistake(f"an entity is {shown(item)}", "give its start, end and label")
    if isinstance(label, list):
        if len(label) > 1:
            tally.add("entities with several labels, of which the first is kept", place_of(record))
        label = label[0] if label else None
    if not _is_place(start) or not _is_place(end):
        raise record.mistake(f"an entity from {shown(start)} to {shown(end)}",
                           "give whole numbers of characters")
    if isinstance(label, bool) or not isinstance(label, (str, int)) or not str(label).strip():
        raise record.mistake(f"an entity with the label {shown(label)}",
                             "give every entity a label")
    return Span(start, end, record.clean("label", str(label).strip()), own_text or "")


def own_words(record: Record, text: str) -> list[Border] | None:
    """The borders of the row's own tokens, as Prodigy writes them; None where it has none."""
    tokens = record.fields.get("tokens")
    if not isinstance(tokens, list) or not tokens:
        return None
    borders = []
    before = 0
    for token in tokens:
        if not isinstance(token, Mapping):
            return None
        start, end = token.get("start"), token.get("end")
        if not _is_place(start) or not _is_place(end):
            return None
        if not before <= start < end <= len(text):
            raise record.mistake(f"a token from {start} to {end}",
                               "give tokens in order and inside of the text")
        borders.append((start, end))
        before = end
    return borders
