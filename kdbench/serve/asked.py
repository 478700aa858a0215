"""Answers for the rows of a file: each with the row's number and id, also where it has no text."""

from __future__ import annotations

from kdbench.data.rows import Rows
from kdbench.serve.predict import Answer, Predictor

# of a row without a text
NOTHING: dict[str, Answer] = {
    "single": {"label": None, "name": None, "probability": None, "labels": {}},
    "multi": {"predicted": [], "names": [], "labels": {}},
    "regression": {"value": None},
    "tags": {"entities": []},
}


def answers(predictor: Predictor, rows: Rows) -> list[Answer]:
    """One answer a row, in order: `row` (from 1; of plain text the line), `id` where the file has
    ids, and what `Predictor.predict` gives. A row without a text has `missing` and no answer.
    """
    texts = [row.example for row in rows.rows if row.example is not None]
    given = iter(predictor.predict(texts))
    nothing = {"text": "", **NOTHING[predictor.artefact.labels.task_type], "missing": "no text"}
    found = []
    for row in rows.rows:
        place: Answer = {"row": row.number}
        if row.id is not None:
            place["id"] = row.id
        found.append({**place, **(nothing if row.example is None else next(given))})
    return found
