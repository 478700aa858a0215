"""Label Studio's exports JSON and JSON_MIN.

    [{"id": 7, "data": {"text": "took metformin"}, "annotations": [{"result": [
        {"type": "labels", "value": {"start": 5, "end": 14, "text": "metformin",
                                     "labels": ["Drug"]}}]}]}]               JSON
    [{"id": 7, "text": "took metformin", "label": [
        {"start": 5, "end": 14, "text": "metformin", "labels": ["Drug"]}]}]  JSON_MIN

Results of type `labels` are entities; where the file has none, `choices` are the labels of a
classification. Of a task with several annotations the one marked as ground truth counts, else the
first that was not cancelled; they are counted. Tasks without annotation are left out and counted,
as are predictions, relations and results of other types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from kdbench.data.layouts import spanfiles, spans
from kdbench.data.layouts.part import UNANNOTATED, Part, Tally, as_list, as_object, place_of
from kdbench.data.layouts.spans import Document
from kdbench.data.readers import Record

ENTITIES = ("labels", "hypertextlabels")
SEVERAL = "several choices"  # what is decided for all splits: the fields that are lists
BOOKKEEPING = {"annotator", "annotation_id", "created_at", "updated_at", "lead_time"}


def is_full(records: Sequence[Record]) -> bool:
    """Is it the export JSON: tasks with `data` and a list of annotations?"""
    return any(isinstance(record.fields.get("data"), Mapping) and _annotations(record) is not None
               for record in records)


def is_min(records: Sequence[Record]) -> bool:
    """Is it JSON_MIN: rows with entities that have `labels`, or with Label Studio's bookkeeping?"""
    if any(BOOKKEEPING & record.fields.keys() for record in records):
        return True
    name = spanfiles.span_field(records)
    items = [item for record in records for item in record.fields.get(name or "") or ()]
    return bool(items) and all(isinstance(item, Mapping) and isinstance(item.get("labels"), list)
                               for item in items)


def _annotations(record: Record) -> list | None:
    found = record.fields.get("annotations", record.fields.get("completions"))
    return found if isinstance(found, list) else None


def read_full(records: Sequence[Record], sha256: str, tally: Tally,
              like: Part | None = None) -> Part:
    """The tasks of a JSON export as rows: words with tags, or a text with its choices."""
    annotated, spare = [], []
    for record in records:
        results = chosen(record, tally)
        if results is None:
            spare.append(record)
            tally.add(UNANNOTATED[1], place_of(record))
        else:
            annotated.append((record, results))
    if not annotated:
        raise records[0].mistake("no task of the file is annotated", "export annotated tasks")
    types = {_type(result) for _, results in annotated for result in results}
    if types & {*ENTITIES} or like is not None and like.group:
        part = _entities(annotated, sha256, tally, like)
    elif "choices" in types:
        part = _choices(annotated, sha256, tally)
    else:
        raise records[0].mistake("no task has labels or choices",
                                 "export a project of one of these")
    return replace(part, spare=partial(_texts, spare)) if spare else part


def _texts(records: Sequence[Record]) -> list[Record]:
    """The tasks that nobody has annotated."""
    return [Record(record.source, record.line,
                   {"id": record.id("id"), "text": text_of(record, ())}) for record in records]


def chosen(record: Record, tally: Tally) -> list[Mapping] | None:
    """The results of the annotation that counts; None where the task has none."""
    if record.fields.get("predictions"):
        tally.add("tasks with predictions of a model, which were left out", place_of(record))
    annotations = [one for one in _annotations(record) or ()
                   if isinstance(one, Mapping) and not one.get("was_cancelled")
                   and isinstance(one.get("result"), list)]
    if len(annotations) > 1:
        tally.add("tasks with several annotations: the ground truth, else the first is kept",
                  place_of(record))
    annotations.sort(key=lambda one: not one.get("ground_truth"))
    if not annotations:
        return None
    return [result for result in annotations[0]["result"] if isinstance(result, Mapping)]


def _type(result: Mapping) -> str:
    return str(result.get("type", ""))


def _entities(annotated: Sequence[tuple[Record, list[Mapping]]], sha256: str, tally: Tally,
              like: Part | None) -> Part:
    documents = []
    for record, results in annotated:
        text = text_of(record, results)
        found = []
        for result in results:
            value = result.get("value")
            if _type(result) in ENTITIES and isinstance(value, Mapping):
                places = as_object(record, value.get("globalOffsets") or {}, "globalOffsets")
                item = {**value, **places, "label": value.get(_type(result))}
                found.append(spanfiles.to_span(record, item, text, tally))
            else:
                tally.add(f"results of type {_type(result)}, left out", place_of(record))
        documents.append(Document(record, record.id("id"), text, found))
    return spans.tagged(documents, "Label Studio JSON", sha256, tally, like)


def text_of(record: Record, results: Sequence[Mapping]) -> str:
    """The task's text: `text`, else the one that holds most entities, of equal ones the longest."""
    inside = as_object(record, record.value("data"), "data")
    data = {name: value for name, value in inside.items() if isinstance(value, str)}
    inner = Record(record.source, record.line, data)
    if "text" in data or not data:
        return inner.text("text")
    values = [result.get("value") for result in results]
    entities = [value.get("text") for value in values if isinstance(value, Mapping)]

    def entities_in(name: str) -> tuple[int, int]:
        held = sum(isinstance(text, str) and text in data[name] for text in entities)
        return held, len(data[name])

    return inner.text(max(data, key=entities_in))


def _choices(annotated: Sequence[tuple[Record, list[Mapping]]], sha256: str,
             tally: Tally) -> Part:
    records = []
    for record, results in annotated:
        labels: list[str] = []
        for result in results:
            value = result.get("value")
            if _type(result) == "choices" and isinstance(value, Mapping):
                labels += as_list(record, value.get("choices"), "choices")
            else:
                tally.add(f"results of type {_type(result)}, left out", place_of(record))
        fields = {"id": record.id("id"), "text": text_of(record, results),
                  "label": [str(label) for label in labels]}
        records.append(Record(record.source, record.line, fields))
    return Part(records, "Label Studio JSON, choices", sha256, tuple(tally.notes()))


def read_min(records: Sequence[Record], sha256: str, tally: Tally,
             like: Part | None = None) -> Part:
    """The rows of a JSON_MIN export; of several rows with one id (annotators) the first."""
    seen = set()
    kept = []
    for record in records:
        id = record.id("id") if "id" in record.fields else None
        if id is not None and id in seen:
            tally.add("further annotations of the same task, left out", place_of(record))
            continue
        seen.add(id)
        kept.append(record)
    name = spanfiles.span_field(kept)
    if name is not None:
        documents = []
        for number, record in enumerate(kept):
            if name not in record.fields:
                tally.add("tasks without annotation, left out", place_of(record))
            else:
                documents.append(spanfiles.document_of(record, name, number, tally))
        return spans.tagged(documents, f"Label Studio JSON_MIN, entities from {name!r}", sha256,
                            tally, like)
    return _min_choices(kept, sha256, tally, like)


def _min_choices(records: Sequence[Record], sha256: str, tally: Tally,
                 like: Part | None) -> Part:
    """Rows with choices; where a task has several, here or in train, all have a list of them."""
    rows = []
    several = {name for record in records for name in record.fields if _choices_of(record, name)}
    if like is not None:
        several |= {*like.decided.get(SEVERAL, "").splitlines()}
    for record in records:
        fields = {}
        for name, value in record.fields.items():
            if name in several:
                value = _choices_of(record, name) or [value]
            if name not in BOOKKEEPING:
                fields[name] = value
        rows.append(Record(record.source, record.line, fields))
    return Part(rows, "Label Studio JSON_MIN, choices", sha256, tuple(tally.notes()),
                decided={SEVERAL: "\n".join(sorted(several))})


def _choices_of(record: Record, name: str) -> list[str]:
    """The choices of a task that has several; one alone is written as a text."""
    value = record.fields[name]
    if not isinstance(value, Mapping):
        return []
    return [str(choice) for choice in as_list(record, value.get("choices"), "choices")]
