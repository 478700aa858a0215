"""Are probabilities what they say? Expected calibration error and Brier score."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

BINS = 15


def probabilities(task_type: str, logits: ndarray) -> ndarray:
    """(N, C) of logits (N, C): over the classes, or of several labels each by itself."""
    logits = np.asarray(logits, dtype=np.float64)
    if task_type == "multi":
        return np.where(logits >= 0, 1 / (1 + np.exp(-np.abs(logits))),
                        np.exp(-np.abs(logits)) / (1 + np.exp(-np.abs(logits))))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def calibration_error(confidence: ndarray, right: ndarray, bins: int = BINS) -> float:
    """Σ over bins of equal width of |bin| / N · |mean right - mean confidence| (Guo et al. 2017,
    equation 3); confidence and right (N,).
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    size = np.bincount(place, minlength=bins)
    gap = np.bincount(place, right - confidence, minlength=bins)
    return float(np.abs(gap[size > 0]).sum() / len(confidence))


def calibration(task_type: str, gold: ndarray, logits: ndarray) -> dict[str, float]:
    """`ece` and `brier` of logits (N, C): of one label (gold (N,)) by the most probable class and
    by Σ_c (p_c - y_c)²; of several labels (gold (N, C)) by each label's decision, and by the mean
    of (p - y)².
    """
    found = probabilities(task_type, logits)
    if task_type == "multi":
        decided, truth = found >= 0.5, gold.astype(bool)
        confidence = np.where(decided, found, 1 - found).ravel()
        right = (decided == truth).astype(float).ravel()
        return {"ece": calibration_error(confidence, right),
                "brier": float(((found - gold) ** 2).mean())}
    chosen = found.argmax(axis=1)
    truth = (gold[:, None] == np.arange(found.shape[1])).astype(float)
    right = (chosen == gold).astype(float)
    return {"ece": calibration_error(found.max(axis=1), right),
            "brier": float(((found - truth) ** 2).sum(axis=1).mean())}
