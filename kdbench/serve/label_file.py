"""A student's answers as a labelled file: JSON lines that `run --task files` reads, and that teach
(`run --teacher predictions:FILE`).

    single      {"id", "text", "label", "probabilities": {label: p}, "offset"}
    multi       {"id", "text", "labels": [label, ...], "probabilities": {label: p}}
    regression  {"id", "text", "score"}
    tags        {"id", "text", "tokens", "ner_tags", "spans": [{"start", "end", "label", "score"}],
                "probabilities": {tag: [p, ...]}, "offset": [...]}; offsets of spans are characters
                of "text"; probabilities are of each word, null for one beyond the length limit

Of tasks on two texts, "text" is "sentence1" and "sentence2". Probabilities are written in full.
`offset` is log Σ exp z, what their logarithms lack of the logits z: with it the logits come back
bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.base.errors import BadInput
from kdbench.data.rows import Rows
from kdbench.data.tags import encode, scheme_of
from kdbench.data.task import SPLITS, Data, Example
from kdbench.data.words import first_tokens, word_indices
from kdbench.serve.labels import Labels
from kdbench.serve.predict import ANSWERS, Answer, Predictor, cut_note, json_line
from kdbench.serve.serving import softmax
from kdbench.serve.texts import plain_text, read_words

if TYPE_CHECKING:
    from tokenizers import Encoding

Labelled = dict[str, Any]
Found = tuple[Answer, "Encoding", np.ndarray]  # the answer, the text in tokens, the logits


def labelled_file(predictor: Predictor, rows: Rows) -> tuple[str, int, str]:
    """The lines of a labelled file, how many rows had no text and are left out, and a line on the
    texts that the length limit cut (empty: none), as a tagger labels nothing beyond it.

    A row's id is that of the file; where it has none, or one that repeats, it is the row's number.
    """
    ids = [row.id for row in rows.rows]
    unique = None not in ids and len(set(map(str, ids))) == len(ids)
    kept = [row for row in rows.rows if row.example is not None]
    examples = [row.example for row in rows.rows if row.example is not None]
    heads = [{"id": row.id if unique else row.number} for row in kept]
    text, note = lines_of(predictor, examples, heads)
    return text, len(ids) - len(kept), note


def labelled_splits(predictor: Predictor, data: Data) -> tuple[str, str]:
    """The lines of a labelled file of all splits of a task, each with the id of its example and its
    split, and a line on the texts that were cut.
    """
    parts, notes = [], []
    for split in SPLITS:
        examples = data.split(split)
        text, note = lines_of(predictor, examples,
                              [{"id": example.id, "split": split} for example in examples])
        parts.append(text)
        notes += [f"{split}: {note}"] * bool(note)
    return "".join(parts), "; ".join(notes)


def check_labels(predictor: Predictor, data: Data) -> None:
    """`BadInput` where a student does not give the labels of a task."""
    labels = predictor.artefact.labels.labels
    if data.labels and set(labels) != set(data.labels):
        raise BadInput(f"the labels of this student are {', '.join(labels)}, those of the task "
                       f"{', '.join(data.labels)}; give --file, or another student")


def lines_of(predictor: Predictor, examples: Sequence[Example],
             heads: Sequence[Labelled]) -> tuple[str, str]:
    """The lines of these examples, each beginning with its head, and a line on those cut."""
    answered = answers(predictor, examples)
    lines = []
    for head, example, found in zip(heads, examples, answered, strict=True):
        lines.append(json_line({**head, **labelled(predictor, example, found)}) + "\n")
    return "".join(lines), cut_note([answer for answer, _, _ in answered],
                                    predictor.artefact.reads)


def answers(predictor: Predictor, examples: Sequence[Example]) -> list[Found]:
    """What the student says of each example.

    Each text is read once, in the batches in which a teacher's signals are computed, so that the
    logits are the same to the last bit.
    """
    artefact, labels = predictor.artefact, predictor.artefact.labels
    distinct = list({example.key: example for example in examples}.values())
    encoded: Sequence[Any] = artefact.encode(distinct) if distinct else []
    order = sorted(range(len(distinct)), key=lambda i: -artefact.length(encoded[i].ids))
    logits: dict[str, tuple[Any, np.ndarray]] = {}
    for start in range(0, len(order), artefact.together):
        batch = order[start:start + artefact.together]
        rows = artefact.logits([encoded[i].ids for i in batch],
                               [encoded[i].type_ids for i in batch])
        for i, own in zip(batch, rows, strict=True):
            logits[distinct[i].key] = encoded[i], own.astype(np.float64)
    answer_of, found = ANSWERS[labels.task_type], []
    for example in examples:
        row, values = logits[example.key]
        asked: Any = example if labels.task_type == "tags" else plain_text(example)
        answer = answer_of(labels, asked, row, values)
        if row.overflowing:
            answer["truncated"] = True
        found.append((answer, row, values))
    return found


# ---- one line ------------------------------------------------------------------------------------


def labelled(predictor: Predictor, example: Example, found: Found) -> Labelled:
    """One row: its texts and what the student says of them."""
    labels, (answer, encoding, logits) = predictor.artefact.labels, found
    if labels.task_type == "tags":
        text, words, borders = read_words(example, labels.word_pattern)
        return {"text": text, "tokens": words,
                "ner_tags": tags_of(borders, answer["entities"], scheme_of(labels.labels)),
                "spans": [span_of(entity) for entity in answer["entities"]],
                **by_word(labels, encoding, logits, len(words))}
    texts = {"text": example.text}
    if example.pair is not None:
        texts = {"sentence1": example.text, "sentence2": example.pair}
    if labels.task_type == "regression":
        return {**texts, "score": float(logits[0])}
    if labels.task_type == "multi":
        probabilities = 1 / (1 + np.exp(-logits))
        return {**texts, "labels": answer["predicted"],
                "probabilities": dict(zip(labels.labels, probabilities.tolist(), strict=True))}
    return {**texts, "label": answer["label"],
            "probabilities": dict(zip(labels.labels, softmax(logits).tolist(), strict=True)),
            "offset": float(log_sum(logits))}


def by_word(labels: Labels, encoding: Encoding, logits: np.ndarray, words: int) -> Labelled:
    """The probabilities of each tag, and the offsets, one a word."""
    first = first_tokens(word_indices(encoding.word_ids), words)
    read = first >= 0
    rows = logits[np.where(read, first, 0)]
    probabilities = {tag: with_nulls(column, read)
                     for tag, column in zip(labels.labels, softmax(rows).T, strict=True)}
    return {"probabilities": probabilities, "offset": with_nulls(log_sum(rows), read)}


def with_nulls(values: np.ndarray, known: np.ndarray) -> list[float | None]:
    """The values as a list, None where nothing is known."""
    return [value if is_known else None
            for value, is_known in zip(values.tolist(), known.tolist(), strict=True)]


def log_sum(logits: np.ndarray) -> np.ndarray:
    """log Σ exp z over the last axis."""
    largest = logits.max(-1)
    return np.asarray(largest + np.log(np.exp(logits - largest[..., None]).sum(-1)))


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
