"""Figures and predictions in the form in which they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.score import metrics

if TYPE_CHECKING:
    from kdbench.train.lab import Lab


def packed(predictions: Any) -> dict[str, np.ndarray]:
    """Predictions as plain arrays: logits or values as they are; tags end to end with their
    lengths, once for words and once for their pieces.
    """
    if isinstance(predictions, metrics.WordTags):
        words = [piece for pieces in predictions.pieces for piece in pieces]
        return {"test_predictions": np.concatenate(predictions).astype(np.int16),
                "test_lengths": np.array([len(tags) for tags in predictions], dtype=np.int32),
                "test_pieces": np.concatenate(words).astype(np.int16),
                "test_piece_lengths": np.array([len(piece) for piece in words], dtype=np.int16)}
    return {"test_predictions": predictions.astype(np.float32)}


def arrays_of(test: metrics.Scores, predictions: Any) -> dict[str, np.ndarray]:
    """What is stored beside a record: the predictions of test, and its counts by unit where the
    metric has them.
    """
    arrays = packed(predictions)
    if test.counts is not None:
        arrays.update(test_counts=test.counts, test_units=np.array(test.units))
    return arrays


def score_of_record(lab: Lab, scores: Mapping[str, metrics.Scores]) -> dict[str, Any]:
    """The scores of dev (where there are any) and test as a record has them, with those of the
    naive predictor.
    """
    naive = {}
    for split in ("dev", "test"):
        if lab.data.split(split):
            naive[split] = metrics.naive(lab.task, lab.data, split).main
    dev, test = scores.get("dev"), scores["test"]
    return finite({
        "metric": lab.task.metric, "dev": dev.main if dev else None, "test": test.main,
        "naive": naive, "all": {"dev": dev.all if dev else {}, "test": test.all},
    })


def finite(value: Any) -> Any:
    """JSON knows no NaN: a figure that is not defined is null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return float(value) if isinstance(value, np.floating) else value
