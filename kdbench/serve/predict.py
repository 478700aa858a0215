"""The answers of a trained student to new texts: labels with probabilities, or entities with
character offsets.

For an ONNX export this imports neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.data.tags import lenient_spans
from kdbench.data.words import first_tokens
from kdbench.score.counts import reaches
from kdbench.serve.labels import Labels
from kdbench.serve.serving import Artefact, open_artefact, softmax
from kdbench.serve.texts import PlainText, Text, plain_text, read_words

FORMATS = ("table", "json")
Answer = dict[str, Any]
WordIds = Sequence[int]  # the word of each token, -1 for special ones


@dataclass(frozen=True)
class Predictor:
    """A student whose answers are labels and entities; see `load_predictor`."""

    artefact: Artefact

    def predict(self, texts: Sequence[Text]) -> list[Answer]:
        """One answer a text, with `truncated` where the length limit cut the text.

        texts  strings; (text, pair) for tasks on two texts; for tags strings or lists of words

        single      {"text", "label", "name", "probability", "labels": {label: probability}}
        multi       {"text", "predicted": [label, ...], "names": [...], "labels": {label:
                    probability}}
        regression  {"text", "value"}
        tags        {"text", "entities": [{"text", "type", "name", "start", "end", "probability"}]};
                    start and end are character offsets [start, end) in "text", which is the
                    original one of an example that has it; the probability is
                    the mean over the entity's words
        """
        if not texts:
            return []
        plain = [plain_text(text) for text in texts]
        read = self.artefact.read(plain)
        logits = self.artefact.answers(read)
        word_ids = read.whole_word_ids or [[] for _ in texts]
        answer_of = ANSWERS[self.artefact.labels.task_type]
        # an example of a tagger has its original text as well
        asked: Sequence[Any] = texts if self.artefact.labels.task_type == "tags" else plain
        answers = []
        for text, ids, values, cut in zip(asked, word_ids, logits, read.cuts, strict=True):
            answer = answer_of(self.artefact.labels, text, ids, values.astype(np.float64))
            if cut:
                answer["truncated"] = True
            answers.append(answer)
        return answers


def cut_note(answers: Sequence[Answer], max_length: int) -> str:
    """A line on the texts that the length limit cut; empty where it cut none."""
    cut = sum(1 for answer in answers if answer.get("truncated"))
    if not cut:
        return ""
    return (f"{cut:,} of {len(answers):,} texts are longer than the {max_length:,} tokens that "
            f"this student reads, and are cut: train it with --long windows, or with a "
            f"larger --max-length")


def load_predictor(folder: str | Path, backend: str | None = None, threads: int | None = None,
                   device: str = "cpu") -> Predictor:
    """The student in `folder` (safetensors or an ONNX export; see
    `kdbench.serve.serving.open_artefact`).
    """
    return Predictor(open_artefact(folder, backend, threads, device))


# ---- answers: each from (labels, text, word ids (T,) of tags, logits (C,) or (T, C)) -------------


def answer_single(labels: Labels, text: PlainText, _: WordIds, logits: np.ndarray) -> Answer:
    """The most probable label; of two classes the last one from the threshold on."""
    probabilities = softmax(logits)
    best = int(probabilities.argmax())
    if labels.threshold is not None and len(probabilities) == 2:
        best = int(reaches(probabilities[1], labels.threshold))
    label = labels.labels[best]
    return {
        **text_fields(text), "label": label, "name": labels.names.get(label, label),
        "probability": rounded(probabilities[best]), "labels": by_label(labels, probabilities),
    }


def answer_multi(labels: Labels, text: PlainText, _: WordIds, logits: np.ndarray) -> Answer:
    """The labels whose probability reaches the threshold, or 0.5 where none is set."""
    probabilities = 1 / (1 + np.exp(-logits))
    limit = 0.5 if labels.threshold is None else labels.threshold
    pairs = zip(labels.labels, probabilities, strict=True)
    predicted = [label for label, probability in pairs if probability >= limit]
    return {
        **text_fields(text), "predicted": predicted,
        "names": [labels.names.get(label, label) for label in predicted],
        "labels": by_label(labels, probabilities),
    }


def answer_regression(_labels: Labels, text: PlainText, _: WordIds, logits: np.ndarray) -> Answer:
    """The predicted number."""
    return {**text_fields(text), "value": rounded(logits[0])}


def answer_tags(labels: Labels, text: Text, word_ids: WordIds, logits: np.ndarray) -> Answer:
    """The entities; a word has the tag of its first token, and O where the text was cut off."""
    plain, words, spans = read_words(text, labels.word_pattern)
    probabilities = softmax(logits)
    tags, certainty = ["O"] * len(words), np.ones(len(words))
    for word, position in enumerate(first_tokens(word_ids, len(words))):
        if position >= 0:
            best = int(probabilities[position].argmax())
            tags[word], certainty[word] = labels.labels[best], probabilities[position, best]
    entities = []
    for first, end, entity_type in lenient_spans(tags):
        start, stop = spans[first][0], spans[end - 1][1]
        entities.append({
            "text": plain[start:stop], "type": entity_type,
            "name": entity_name(labels, entity_type), "start": start, "end": stop,
            "probability": rounded(certainty[first:end].mean()),
        })
    return {"text": plain, "entities": entities}


def entity_name(labels: Labels, entity_type: str) -> str:
    """An entity type in words.

    Tasks name the type itself, or the tag that opens it (B-INT: intervention; B: gene begins).
    """
    if name := labels.names.get(entity_type):
        return name
    opening = f"B-{entity_type}" if entity_type else "B"
    return labels.names.get(opening, entity_type or "entity").removesuffix(" begins")


ANSWERS = {"single": answer_single, "multi": answer_multi, "regression": answer_regression,
           "tags": answer_tags}


def text_fields(text: PlainText) -> dict[str, str]:
    """A text, or two, as an answer repeats them."""
    return {"text": text} if isinstance(text, str) else {"text": text[0], "pair": text[1]}


def by_label(labels: Labels, probabilities: np.ndarray) -> dict[str, float | None]:
    """The probability of each label."""
    return dict(zip(labels.labels, map(rounded, probabilities), strict=True))


def rounded(value: float) -> float | None:
    """Four decimal places; None for a value that is no number, which JSON does not have."""
    return round(float(value), 4) if np.isfinite(value) else None


# ---- in and out ----------------------------------------------------------------------------------


def render(answers: Sequence[Answer], style: str = "table") -> str:
    """Answers for people (`table`) or for programs (`json`: one object a line)."""
    if style not in FORMATS:
        raise BadInput(unknown("format", style, FORMATS))
    if style == "json":
        return "\n".join(map(json_line, answers))
    rows = [row for answer in answers for row in table_rows(answer)]
    lines = [list(rows[0]) if rows else []]
    for row in rows:
        lines.append(list(map(str, row.values())))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def json_line(answer: Answer) -> str:
    """An answer as one line of JSON, also for those who end lines at U+2028, U+2029 and U+0085."""
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False)
    for char in ("\u2028", "\u2029", "\x85"):
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def table_rows(answer: Answer) -> list[dict[str, Any]]:
    """An answer as rows of a table: one a text, or one an entity; first where its file has it."""
    place = {"row": answer.get("id", answer["row"])} if "row" in answer else {}
    return [{**place, **row} for row in answer_rows(answer)]


def answer_rows(answer: Answer) -> list[dict[str, Any]]:
    """An answer as rows of a table, without its place."""
    text = clipped(answer["text"] + (f" | {answer['pair']}" if "pair" in answer else ""))
    if "entities" in answer:
        none = {"text": "", "name": "none", "start": "", "end": "", "probability": ""}
        rows = []
        for entity in answer["entities"] or [none]:
            rows.append({
                "entity": entity["text"], "type": entity["name"], "start": entity["start"],
                "end": entity["end"], "probability": entity["probability"], "in": text,
            })
        return rows
    if "value" in answer:
        return [{"value": answer["value"], "text": text}]
    if "label" in answer:
        return [{
            "label": answer["label"] or "", "name": answer["name"] or "",
            "probability": answer["probability"] or "", "text": text,
        }]
    predicted = zip(answer["predicted"], answer["names"], strict=True)
    labels = ", ".join(f"{name} {answer['labels'][label]}" for label, name in predicted)
    return [{"labels": labels or "none", "text": text}]


def clipped(text: str, most: int = 60) -> str:
    """`text` on one line, cut after `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most - 3] + "..."
