"""Figures and predictions in the form in which they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdbench.score import metrics


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


def finite(value: Any) -> Any:
    """JSON knows no NaN: a figure that is not defined is null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return float(value) if isinstance(value, np.floating) else value
