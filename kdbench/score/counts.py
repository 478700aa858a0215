"""Sums over texts, and the scores that are ratios of such sums: classes, documents, thresholds,
numbers.

Every function `*_counts(gold, predicted, info)` gives (N, K): K sums of each of N texts. They add
up over texts, so the score of any weighted set of texts is `finish(weights @ counts)`. Wherever a
ratio has nothing to divide by (no gold and no predicted label, say) it is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

Finish = Callable[[ndarray], ndarray]  # sums (..., K) -> scores (...)


@dataclass(frozen=True)
class Info:
    """What a metric must know besides gold and predicted labels.

    labels         class names, or tags
    negative       labels that micro-F1 leaves out
    positive_rate  the threshold of the `*_at_rate` metrics: the share of the last class among the
                   examples of the training, whatever is scored
    groups         per example, the document it belongs to
    """

    labels: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    positive_rate: float | None = None
    groups: tuple[str, ...] = ()


# ---- ratios --------------------------------------------------------------------------------------


def ratio(over: ndarray, under: ndarray) -> ndarray:
    """`over / under`, 0 where `under` is 0."""
    over, under = np.asarray(over, dtype=float), np.asarray(under, dtype=float)
    zeros = np.zeros(np.broadcast(over, under).shape)
    return np.divide(over, under, out=zeros, where=under != 0)


def f1(sums: ndarray) -> ndarray:
    """F1 = 2 TP / (gold + predicted) of sums (..., 3): true positives, gold, predicted."""
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def column(over: int, under: int) -> Finish:
    """The score that is one column of its sums over another."""
    return lambda sums: ratio(sums[..., over], sums[..., under])


precision, recall = column(0, 2), column(0, 1)  # TP / predicted and TP / gold, of the sums of `f1`


def mean_over_classes(finish: Finish) -> Finish:
    """The mean of `finish` over the classes of sums (..., 3 C) that occur in gold or prediction.

    As scikit-learn's default.
    """

    def mean(sums: ndarray) -> ndarray:
        by_class = sums.reshape(*sums.shape[:-1], -1, 3)
        occurs = by_class[..., 1] + by_class[..., 2] > 0
        return ratio((finish(by_class) * occurs).sum(axis=-1), occurs.sum(axis=-1))

    return mean


macro = mean_over_classes(f1)


# ---- classes -------------------------------------------------------------------------------------


def one_hot(gold: ndarray, predicted: ndarray) -> tuple[ndarray, ndarray]:
    """Gold and predicted labels as 0/1 matrices (N, C), from single or from multi labels."""
    predicted = np.asarray(predicted)
    if gold.ndim == 2:
        return gold, (predicted > 0).astype(int)
    classes = np.arange(predicted.shape[1])
    chosen = predicted.argmax(axis=1)
    return (gold[:, None] == classes).astype(int), (chosen[:, None] == classes).astype(int)


def agreement(gold: ndarray, predicted: ndarray) -> ndarray:
    """True positives, gold, predicted of 0/1 arrays (...) as (..., 3)."""
    return np.stack([gold * predicted, gold, predicted], axis=-1)


def micro_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """True positives, gold, predicted over all labels but the negative ones."""
    counted = [i for i, label in enumerate(info.labels) if label not in info.negative]
    gold, predicted = one_hot(gold, predicted)
    return agreement(gold[:, counted], predicted[:, counted]).sum(axis=1)


def positive_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """True positives, gold, predicted of the last class."""
    gold, predicted = one_hot(gold, predicted)
    return agreement(gold[:, -1], predicted[:, -1])


def macro_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """True positives, gold, predicted of each class, (N, 3 C)."""
    return agreement(*one_hot(gold, predicted)).reshape(len(gold), -1)


def accuracy_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """1 where the label is right, and 1."""
    right = np.asarray(predicted).argmax(axis=1) == gold
    return np.stack([right, np.ones(len(gold))], axis=1)


# ---- documents -----------------------------------------------------------------------------------


def documents(gold: ndarray, predicted: ndarray, info: Info) -> tuple[ndarray, ndarray, ndarray]:
    """Union of the labels over the examples of each document (D, C), and the row where each
    document begins (D,).
    """
    names = np.array(info.groups, dtype=str)
    _, first, where = np.unique(names, return_index=True, return_inverse=True)

    def union(labels: ndarray) -> ndarray:
        merged = np.zeros((len(first), labels.shape[1]), dtype=int)
        np.maximum.at(merged, where, labels)
        return merged

    in_gold, in_predicted = one_hot(gold, predicted)
    return union(in_gold), union(in_predicted), first


def document_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """A document's sums stand at its first example; its other examples have zeros."""
    gold_union, predicted_union, first = documents(gold, predicted, info)
    counts = np.zeros((len(gold), 3))
    counts[first] = agreement(gold_union, predicted_union).sum(axis=1)
    return counts


def document_example_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """Precision, recall and 1 of each document that has a gold label, at its first example."""
    gold_union, predicted_union, first = documents(gold, predicted, info)
    both, in_gold, in_predicted = agreement(gold_union, predicted_union).sum(axis=1).T
    judged = in_gold > 0
    of_document = [ratio(both, in_predicted) * judged, ratio(both, in_gold), judged]
    counts = np.zeros((len(gold), 3))
    counts[first] = np.stack(of_document, axis=1)
    return counts


def f1_of_means(sums: ndarray) -> ndarray:
    """F1 of mean precision and mean recall, from the sums of `document_example_counts`."""
    p, r = ratio(sums[..., 0], sums[..., 2]), ratio(sums[..., 1], sums[..., 2])
    return ratio(2 * p * r, p + r)


# ---- two classes and a threshold -----------------------------------------------------------------


def positive_probability(logits: ndarray) -> ndarray:
    """softmax(logits)[:, -1], in float64."""
    logits = np.asarray(logits, dtype=float)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers[:, -1] / powers.sum(axis=1)


def reaches(probability: ndarray, threshold: float) -> ndarray:
    """Is the last class predicted at this probability?

    A tolerance keeps a probability that equals the threshold positive, whatever the softmax rounds.
    """
    return probability >= threshold - 1e-12


def at_rate_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """True positives, gold, predicted, right, 1; predicted positive iff p >= the positive rate of
    train.
    """
    if info.positive_rate is None:
        raise ValueError("the *_at_rate metrics need the positive rate of train")
    positive = gold == len(info.labels) - 1
    above = reaches(positive_probability(predicted), info.positive_rate)
    sums = [positive & above, positive, above, positive == above, np.ones(len(gold))]
    return np.stack(sums, axis=1).astype(float)


def brier_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """Squared error of the last class's probability, and 1."""
    error = positive_probability(predicted) - (gold == len(info.labels) - 1)
    return np.stack([error**2, np.ones(len(gold))], axis=1)


def auroc(gold: ndarray, predicted: ndarray, info: Info) -> float:
    """Area under the ROC curve of the last class; nan where gold has one class."""
    from sklearn.metrics import roc_auc_score

    positive = gold == len(info.labels) - 1
    if positive.all() or not positive.any():
        return float("nan")
    return float(roc_auc_score(positive, positive_probability(predicted)))


def auprc(gold: ndarray, predicted: ndarray, info: Info) -> float:
    """Average precision of the last class; nan where gold has none of it."""
    from sklearn.metrics import average_precision_score

    positive = gold == len(info.labels) - 1
    if not positive.any():
        return float("nan")
    return float(average_precision_score(positive, positive_probability(predicted)))


# ---- numbers -------------------------------------------------------------------------------------


def pearson_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """1, x, y, xx, yy, xy of the centred values."""
    # a correlation does not change with the origin; centred sums lose no digits
    x, y = gold - gold.mean(), np.asarray(predicted, dtype=float) - np.mean(predicted)
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)


def pearson(sums: ndarray) -> ndarray:
    """Pearson's r of sums (..., 6): n, x, y, xx, yy, xy; 0 where either side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
    spread = np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)
    constant = spread <= 1e-24 * (n * xx) * (n * yy)
    return ratio(n * xy - x * y, np.sqrt(np.where(constant, 0, spread)))


def spearman(gold: ndarray, predicted: ndarray, info: Info) -> float:
    """Pearson's r of the ranks."""
    from scipy.stats import rankdata

    counts = pearson_counts(rankdata(gold), rankdata(predicted), info)
    return float(pearson(counts.sum(axis=0)))
