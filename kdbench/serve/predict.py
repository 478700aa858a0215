"""What a trained student says about new texts: labels with probabilities, or entities with
character offsets.

From an ONNX artefact this imports neither torch nor transformers.
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
from kdbench.serve.serving import Artefact, Labels, Text, open_artefact, plain_text, words_of

FORMATS = ("table", "json")
Words = str | Sequence[str]  # a text, a pair of texts, or the words of one


@dataclass(frozen=True)
class Predictor:
    """A student that answers in words; see `load_predictor`."""

    artefact: Artefact

    def predict(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """One answer a text; `truncated` where the length limit cut the text.

        texts  strings; (text, pair) for tasks on two texts; for tags strings or lists of words

        single      {"text", "label", "name", "probability", "labels": {label: probability}}
        multi       {"text", "predicted": [label, ...], "names": [...], "labels": {label:
                    probability}}
        regression  {"text", "value"}
        tags        {"text", "entities": [{"text", "type", "name", "start", "end", "probability"}]};
                    start and end are character offsets [start, end) in "text", the probability is
                    the mean over the entity's words
        """
        if not texts:
            return []
        plain = [plain_text(text) for text in texts]
        encoded = self.artefact.encode(plain)
        logits = self.artefact.logits([row.ids for row in encoded],
                                      [row.type_ids for row in encoded])
        answer = ANSWERS[self.artefact.labels.task_type]
        found = []
        for text, row, values in zip(plain, encoded, logits, strict=True):
            said = answer(self.artefact.labels, text, row, values.astype(np.float64))
            if row.overflowing:
                said["truncated"] = True
            found.append(said)
        return found


def load_predictor(folder: str | Path, backend: str | None = None, threads: int | None = None,
                   device: str = "cpu") -> Predictor:
    """The student in `folder` (safetensors or an ONNX export; see
    `kdbench.serve.serving.open_artefact`).
    """
    return Predictor(open_artefact(folder, backend, threads, device))


# ---- answers: (labels, text, encoding, logits (C,) or (T, C)) -> one row -------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def single(labels: Labels, text: Words, _row: Any, logits: np.ndarray) -> dict[str, Any]:
    chances = softmax(logits)
    best = int(chances.argmax())
    if labels.threshold is not None and len(chances) == 2:
        best = int(chances[1] >= labels.threshold)
    label = labels.labels[best]
    return {
        **shown(text), "label": label, "name": labels.names.get(label, label),
        "probability": chance(chances[best]), "labels": by_label(labels, chances)
    }


def multi(labels: Labels, text: Words, _row: Any, logits: np.ndarray) -> dict[str, Any]:
    chances = 1 / (1 + np.exp(-logits))
    limit = 0.5 if labels.threshold is None else labels.threshold
    predicted = [
        label for label, value in zip(labels.labels, chances, strict=True) if value >= limit
    ]
    return {
        **shown(text), "predicted": predicted,
        "names": [labels.names.get(label, label) for label in predicted],
        "labels": by_label(labels, chances)
    }


def regression(_labels: Labels, text: Words, _row: Any, logits: np.ndarray) -> dict[str, Any]:
    return {**shown(text), "value": round(float(logits[0]), 4)}


def tags(labels: Labels, text: Words, row: Any, logits: np.ndarray) -> dict[str, Any]:
    words, spans = words_of(text)
    plain = text if isinstance(text, str) else " ".join(words)
    chances = softmax(logits)
    found, certain = ["O"] * len(words), np.ones(len(words))
    # backwards, so that a word's first token stays
    for position in range(len(row.word_ids) - 1, -1, -1):
        word = row.word_ids[position]
        if word is not None:
            best = int(chances[position].argmax())
            found[word], certain[word] = labels.labels[best], chances[position, best]
    entities = []
    for first, end, entity_type in lenient_spans(found):
        begin, stop = spans[first][0], spans[end - 1][1]
        entities.append({
            "text": plain[begin:stop], "type": entity_type,
            "name": entity_name(labels, entity_type), "start": begin, "end": stop,
            "probability": chance(certain[first:end].mean())
        })
    return {"text": plain, "entities": entities}


def entity_name(labels: Labels, entity_type: str) -> str:
    """An entity type in words; tasks name the tag that opens it (B-INT: intervention; B: gene
    begins).
    """
    opening = f"B-{entity_type}" if entity_type else "B"
    return labels.names.get(entity_type) or labels.names.get(opening, entity_type
                                                      or "entity").removesuffix(" begins")


ANSWERS = {"single": single, "multi": multi, "regression": regression, "tags": tags}


def shown(text: Words) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "pair": text[1]}


def by_label(labels: Labels, chances: np.ndarray) -> dict[str, float]:
    return {label: chance(value) for label, value in zip(labels.labels, chances, strict=True)}


def chance(value: float) -> float:
    return round(float(value), 4)


# ---- in and out ----------------------------------------------------------------------------------


def read_texts(path: str | Path, task_type: str) -> list[Words]:
    """Texts to predict on: a line each, or JSON lines in LinkBERT's layout, labels not needed.

    A JSON line has `sentence` or `text`; `sentence1` and `sentence2`; or, for tags, `tokens`. Empty
    lines are left out.
    """
    path = Path(path).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})"
                       ) from error
    texts = [
        read_line(line, f"{path}, line {number}", task_type)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not texts:
        raise BadInput(f"{path}: holds no text")
    return texts


def read_line(line: str, where: str, task_type: str) -> Words:
    if not line.lstrip().startswith("{"):
        return line.strip()
    try:
        values = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{where}: not valid JSON ({error})") from error
    if task_type == "tags" and is_words(values.get("tokens")):
        return values["tokens"]
    if all(isinstance(values.get(name), str) for name in ("sentence1", "sentence2")):
        return values["sentence1"], values["sentence2"]
    text = values.get("sentence", values.get("text"))
    if not isinstance(text, str):
        raise BadInput(f"{where}: has no `sentence` or `text`, no `sentence1` and `sentence2`"
                       + (", no `tokens`" if task_type == "tags" else ""))
    return text


def is_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def render(answers: Sequence[dict[str, Any]], style: str = "table") -> str:
    """Answers for people (`table`) or for programs (`json`: one object a line)."""
    if style not in FORMATS:
        raise BadInput(unknown("format", style, FORMATS))
    if style == "json":
        return "\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    rows = [row for answer in answers for row in table_rows(answer)]
    lines = [
        list(rows[0]) if rows else [], *([str(value) for value in row.values()] for row in rows)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def table_rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """An answer as rows of a table: one a text, or one an entity."""
    text = clipped(answer["text"] + (f" | {answer['pair']}" if "pair" in answer else ""))
    if "entities" in answer:
        none = {"text": "", "name": "none", "start": "", "end": "", "probability": ""}
        return [{
            "entity": entity["text"], "type": entity["name"], "start": entity["start"],
            "end": entity["end"], "probability": entity["probability"], "in": text
        } for entity in answer["entities"] or [none]]
    if "value" in answer:
        return [{"value": answer["value"], "text": text}]
    if "label" in answer:
        return [{
            "label": answer["label"], "name": answer["name"], "probability": answer["probability"],
            "text": text
        }]
    predicted = zip(answer["predicted"], answer["names"], strict=True)
    said = ", ".join(f"{name} {answer['labels'][label]}" for label, name in predicted)
    return [{"labels": said or "none", "text": text}]


def clipped(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most - 3] + "..."
