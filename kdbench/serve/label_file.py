"""A student's answers as a labelled file: JSON lines that `run --task files` reads.

    single      {"id", "text", "label", "probabilities": {label: probability}}
    multi       {"id", "text", "labels": [label, ...], "probabilities": {label: probability}}
    regression  {"id", "text", "score"}
    tags        {"id", "text", "tokens", "ner_tags", "spans": [{"start", "end", "label", "score"}]};
                offsets are characters of "text"

Of tasks on two texts, "text" is "sentence1" and "sentence2".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.data.rows import Rows
from kdbench.data.tags import encode, scheme_of
from kdbench.data.task import Example
from kdbench.serve.asked import answers
from kdbench.serve.predict import Answer, Predictor, cut_note, json_line
from kdbench.serve.texts import read_words

Labelled = dict[str, Any]


def labelled_file(predictor: Predictor, rows: Rows) -> tuple[str, int, str]:
    """The lines of a labelled file, how many rows had no text and are left out, and a line on the
    texts that the length limit cut (empty: none), as a tagger labels nothing beyond it.

    A row's id is that of the file; where it has none, or one that repeats, it is the row's number.
    """
    ids = [row.id for row in rows.rows]
    unique = None not in ids and len(set(map(str, ids))) == len(ids)
    lines = []
    found = answers(predictor, rows)
    for row, answer in zip(rows.rows, found, strict=True):
        if row.example is None:
            continue
        content: Labelled = {"id": row.id if unique else row.number}
        content |= labelled(predictor, row.example, answer)
        lines.append(json_line(content) + "\n")
    return "".join(lines), len(ids) - len(lines), cut_note(found, predictor.artefact.reads)


def labelled(predictor: Predictor, example: Example, answer: Answer) -> Labelled:
    """One row: its texts and what the student says of them."""
    labels = predictor.artefact.labels
    if labels.task_type == "tags":
        text, words, borders = read_words(example, labels.word_pattern)
        return {"text": text, "tokens": words,
                "ner_tags": tags_of(borders, answer["entities"], scheme_of(labels.labels)),
                "spans": [span_of(entity) for entity in answer["entities"]]}
    texts = {"text": example.text}
    if example.pair is not None:
        texts = {"sentence1": example.text, "sentence2": example.pair}
    if labels.task_type == "regression":
        return {**texts, "score": answer["value"]}
    if labels.task_type == "multi":
        return {**texts, "labels": answer["predicted"], "probabilities": answer["labels"]}
    return {**texts, "label": answer["label"], "probabilities": answer["labels"]}


def tags_of(borders: Sequence[tuple[int, int]], entities: Sequence[Answer],
            scheme: str) -> list[str]:
    """A tag for each word, by the student's own scheme; entities begin and end with words."""
    first = {start: i for i, (start, _) in enumerate(borders)}
    last = {end: i for i, (_, end) in enumerate(borders)}
    spans = [(first[entity["start"]], last[entity["end"]] + 1, entity["type"])
             for entity in entities]
    return encode(spans, len(borders), scheme)


def span_of(entity: Answer) -> Labelled:
    """An entity as the file has it."""
    return {"start": entity["start"], "end": entity["end"], "label": entity["type"],
            "score": entity["probability"]}
