"""Scores: each metric with the sums that statistics resample, and the naive predictor's score
beside it.

A metric that is a function of sums gives them per example (`counts`) and turns any weighted total
into a score (`finish`), so that a bootstrap replicate is one matrix product. The others give the
score (`direct`).

Predictions, for N examples and C labels:
    single      logits (N, C)
    multi       logits (N, C), a label is predicted where its logit is above 0
    regression  values (N,)
    tags        N arrays of tag indices, one a word (a word cut off by the length limit counts as
                O): a `WordTags`, of which the metrics with `pieces` read what was predicted at each
                piece of a word, or which words have one
Precision and recall stand beside every F1, under its name with `precision` or `recall` in the place
of `f1`. Wherever a ratio has nothing to divide by (no gold and no predicted entity, say) it is 0,
as in seqeval and LinkBERT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.data.task import Data, Example, Task


@dataclass(frozen=True)
class Info:
    """What a metric must know besides gold and predicted labels.

    labels         class names, or tags
    negative       labels that micro-F1 leaves out
    positive_rate  share of the last class in train: the threshold of the `*_at_rate` metrics
    groups         per example, the document it belongs to
    """

    labels: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    positive_rate: float | None = None
    groups: tuple[str, ...] = ()


class WordTags(list):
    """Predicted tags: per example an array (W,), a word's tag being that of its first piece.

    pieces  per example and word an array (P,), the tag of each of its word pieces; none where the
            limit cut the word off
    """

    def __init__(self, words: Sequence[ndarray], pieces: Sequence[Sequence[ndarray]]):
        super().__init__(words)
        self.pieces = pieces


def word_tags(tags: Sequence[ndarray], word_ids: Sequence[Sequence[int]], words: Sequence[int],
              outside: int) -> WordTags:
    """Predictions of tokens as those of words.

    tags      per example (T,) the tag of each token; what follows the last word id is padding
    word_ids  per example the word of each token, in their order, -1 for special tokens
    words     per example its number of words;  outside  the tag of a word that has no token
    """
    found = []
    for own, ids, count in zip(tags, word_ids, words, strict=True):
        places = np.asarray(ids, dtype=np.int64)
        inside = places >= 0
        ends = np.bincount(places[inside], minlength=count).cumsum()
        found.append(np.split(np.asarray(own)[:len(places)][inside], ends[:-1])[:count])
    first = [
        np.array([piece[0] if len(piece) else outside
                  for piece in pieces], dtype=np.int64)
        for pieces in found
    ]
    return WordTags(first, found)


@dataclass(frozen=True)
class Metric:
    """One score in [0, 1] (correlations: [-1, 1]; `brier`: lower is better).

    counts(gold, predicted, info) -> (N, K): sums that add up over examples, or None: no function of
    sums finish(sums (..., K)) -> (...) direct(gold, predicted, info) -> float, for metrics without
    counts
    of      the metric beside which this one is reported, whether a task names it or not; they
            share a version
    pieces  it reads `WordTags.pieces`
    """

    name: str
    about: str
    task_types: tuple[str, ...]
    counts: Callable[[Any, Any, Info], ndarray] | None = None
    finish: Callable[[ndarray], ndarray] | None = None
    direct: Callable[[Any, Any, Info], float] | None = None
    higher_is_better: bool = True
    # raise it when the metric means something else; ids of the records that have it change
    version: int = 1
    of: str = ""
    pieces: bool = False

    def score(self, gold: Any, predicted: Any, info: Info) -> float:
        if self.counts is not None and self.finish is not None:
            return float(self.finish(self.counts(gold, predicted, info).sum(axis=0)))
        assert self.direct is not None, f"{self.name} has neither counts nor a direct score"
        return self.direct(gold, predicted, info)


@dataclass(frozen=True)
class Scores:
    """`main` is the task's metric; `counts` (U, K) are its sums by resampling unit, None where it
    has none.
    """

    main: float
    all: dict[str, float]
    counts: ndarray | None
    units: tuple[str, ...]


def evaluate(task: Task, info: Info, examples: Sequence[Example], predictions: Any,
             names: Sequence[str] | None = None) -> Scores:
    """Score `predictions` of `examples` by the task's main metric and by `names`.

    names  default: all of the task's metrics, and what is reported beside each (`beside`)
    """
    if names is None:
        own = (task.metric, *task.metrics)
        there = isinstance(predictions, WordTags)
        names = [*own, *(name for name in beside(own) if there or not METRICS[name].pieces)]
    chosen = {name: metric_of(task, name) for name in (task.metric, *names)}
    if not examples:
        raise BadInput(f"task {task.name}: no examples to score; give a file that has some")
    missing = next((example.id for example in examples if example.label is None), None)
    if missing is not None:
        raise BadInput(
            f"task {task.name}: example {missing!r} has no label, so it cannot be scored")
    if not info.groups:
        info = replace(info, groups=units_of(examples))
    gold = gold_labels(task.task_type, examples)
    check_shapes(task, info, gold, predictions)
    counted: dict[Any, ndarray] = {}  # an F1, its precision and its recall count alike
    scores = {}
    for name, metric in chosen.items():
        if metric.counts is None or metric.finish is None:
            scores[name] = metric.score(gold, predictions, info)
            continue
        if metric.counts not in counted:
            counted[metric.counts] = metric.counts(gold, predictions, info)
        scores[name] = float(metric.finish(counted[metric.counts].sum(axis=0)))
    main = chosen[task.metric]
    units, where = np.unique(np.array(info.groups, dtype=str), return_inverse=True)
    counts = None
    if main.counts is not None:
        rows = counted.get(main.counts)
        rows = main.counts(gold, predictions, info) if rows is None else rows
        counts = np.zeros((len(units), rows.shape[1]))
        np.add.at(counts, where, rows)
    return Scores(scores[task.metric], scores, counts, tuple(units.tolist()))


def naive(task: Task, data: Data, split: str) -> Scores:
    """The score of a predictor that reads no text.

    It knows the labels of train alone: the majority class (with the class shares as probabilities),
    the labels that more than half of the texts carry, the mean, or O everywhere.
    """
    examples = data.split(split)
    info = info_for(task, data, split)
    labels = gold_labels(task.task_type, data.train)
    if task.task_type == "tags":
        outside = data.labels.index("O")
        tags = [np.full(len(example.label), outside) for example in examples]
        # one piece a word
        predicted: Any = WordTags(tags,
                                  [np.split(row, len(row)) if len(row) else [] for row in tags])
    elif task.task_type == "regression":
        predicted = np.full(len(examples), labels.mean())
    elif task.task_type == "multi":
        share = labels.mean(axis=0).clip(1e-9, 1 - 1e-9)
        predicted = np.tile(np.log(share) - np.log1p(-share), (len(examples), 1))
    else:
        share = np.bincount(labels, minlength=len(data.labels)) / len(labels)
        predicted = np.tile(np.log(share.clip(1e-300)), (len(examples), 1))
    return evaluate(task, info, examples, predicted)


def info_for(task: Task, data: Data, split: str) -> Info:
    """What the metrics must know to score `data.split(split)`."""
    rate = None
    if task.task_type == "single" and data.train:
        rate = float(np.mean(gold_labels("single", data.train) == len(data.labels) - 1))
    return Info(tuple(data.labels), tuple(task.negative), rate, units_of(data.split(split)))


def units_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """What statistics resample: the example's group, else the example itself."""
    return tuple(example.group or example.id for example in examples)


def gold_labels(task_type: str, examples: Sequence[Example]) -> Any:
    """Gold labels as the metrics take them: (N,) int, (N, C) 0/1, (N,) float, or N arrays of tag
    indices.
    """
    if task_type == "tags":
        return [np.asarray(example.label, dtype=np.int64) for example in examples]
    return np.array([example.label for example in examples],
                    dtype=float if task_type == "regression" else np.int64)


def metric_of(task: Task, name: str) -> Metric:
    """The metric `name`; `BadInput` where there is none or where it does not fit the kind of the
    task.
    """
    if name not in METRICS:
        raise BadInput(unknown("metric", name, METRICS))
    metric = METRICS[name]
    if task.task_type not in metric.task_types:
        raise BadInput(
            f"metric {name} is for {' and '.join(metric.task_types)}, but task {task.name} is "
            f"{task.task_type}"
        )
    return metric


def beside(names: Iterable[str]) -> list[str]:
    """What is reported beside these metrics and not among them.

    Nothing beside one that a plugin put in the place of another.
    """
    given = {name for name in names if name in METRICS and METRICS[name] is BUILT_IN.get(name)}
    return [one.name for one in METRICS.values() if one.of in given and one.name not in given]


def beyond_limit(
    labels: Sequence[str], examples: Sequence[Example], predicted: WordTags
) -> dict[str, int]:
    """How much of tagged `examples` was not read: no piece of the word is inside the length limit.

    words     words of which nothing was read, of all_words
    entities  entities (seqeval's default mode) with such a word, of all_entities
    """
    unread: list[bool] = []
    for pieces in predicted.pieces:
        unread += [*(len(piece) == 0 for piece in pieces), False]  # and the O that `flat_tags` adds
    flat = np.array(unread, dtype=np.int64)
    before = np.concatenate([[0], flat.cumsum()])
    gold = gold_labels("tags", examples)
    letter, entity_type, _ = flat_tags(tuple(labels), gold)
    first, last = spans(letter, entity_type, "default")
    lost = before[last + 1] > before[first]
    return {"words": int(flat.sum()), "all_words": sum(map(len, gold)),
            "entities": int(lost.sum()), "all_entities": len(first)}


def code_of_metric(name: str) -> Any:
    """The version of a metric; of one that a plugin added, or put in the place of another, the code
    of its functions.
    """
    metric = METRICS[name]
    if metric is BUILT_IN.get(name):
        return metric.version
    from kdbench.base import code

    functions = [f for f in (metric.counts, metric.finish, metric.direct) if f is not None]
    return [metric.higher_is_better, *(code.describe(f) for f in functions)]


def check_shapes(task: Task, info: Info, gold: Any, predicted: Any) -> None:
    """Refuse predictions that do not line up with the gold labels: a shifted score is worse than
    none.
    """
    if task.task_type == "tags":
        fits = len(gold) == len(predicted) and all(
            len(a) == len(b) for a, b in zip(gold, predicted, strict=True))
    elif task.task_type == "regression":
        fits = np.shape(predicted) == gold.shape
    else:
        fits = np.shape(predicted) == (len(gold), len(info.labels))
    if not fits:
        raise ValueError(
            f"task {task.name}: the predictions do not have the shape of the gold labels")


# ---- ratios --------------------------------------------------------------------------------------


def ratio(over: ndarray, under: ndarray) -> ndarray:
    """`over / under`, 0 where `under` is 0."""
    over, under = np.asarray(over, dtype=float), np.asarray(under, dtype=float)
    return np.divide(over, under, out=np.zeros(np.broadcast(over, under).shape), where=under != 0)


def f1(sums: ndarray) -> ndarray:
    """F1 = 2 TP / (gold + predicted) of sums (..., 3): true positives, gold, predicted."""
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def column(over: int, under: int) -> Callable[[ndarray], ndarray]:
    """The finish of a metric that is one column of its sums over another."""
    return lambda sums: ratio(sums[..., over], sums[..., under])


precision, recall = column(0, 2), column(0, 1)  # TP / predicted and TP / gold, of the sums of `f1`


def mean_over_classes(finish: Callable[[ndarray], ndarray]) -> Callable[[ndarray], ndarray]:
    """The mean of `finish` over the classes of sums (..., 3 C) that occur in gold or prediction.

    As scikit-learn's default.
    """

    def mean(sums: ndarray) -> ndarray:
        by_class = sums.reshape(*sums.shape[:-1], -1, 3)
        occurs = by_class[..., 1] + by_class[..., 2] > 0
        return ratio((finish(by_class) * occurs).sum(axis=-1), occurs.sum(axis=-1))

    return mean


macro = mean_over_classes(f1)


# ---- texts ---------------------------------------------------------------------------------------


def one_hot(gold: ndarray, predicted: ndarray) -> tuple[ndarray, ndarray]:
    """Gold and predicted labels as 0/1 matrices (N, C), from single or from multi labels."""
    predicted = np.asarray(predicted)
    if gold.ndim == 2:
        return gold, (predicted > 0).astype(int)
    classes = np.arange(predicted.shape[1])
    return (gold[:, None] == classes).astype(int), (predicted.argmax(
        axis=1)[:, None] == classes).astype(int)


def agreement(gold: ndarray, predicted: ndarray) -> ndarray:
    """True positives, gold, predicted of 0/1 arrays (...) as (..., 3)."""
    return np.stack([gold * predicted, gold, predicted], axis=-1)


def micro_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    counted = [i for i, label in enumerate(info.labels) if label not in info.negative]
    gold, predicted = one_hot(gold, predicted)
    return agreement(gold[:, counted], predicted[:, counted]).sum(axis=1)


def positive_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    gold, predicted = one_hot(gold, predicted)
    return agreement(gold[:, -1], predicted[:, -1])


def macro_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    return agreement(*one_hot(gold, predicted)).reshape(len(gold), -1)


def accuracy_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    right = np.asarray(predicted).argmax(axis=1) == gold
    return np.stack([right, np.ones(len(gold))], axis=1)


def documents(gold: ndarray, predicted: ndarray, info: Info) -> tuple[ndarray, ndarray, ndarray]:
    """Union of the labels over the examples of each document (D, C), and the row where each
    document begins (D,).
    """
    _, first, where = np.unique(np.array(info.groups, dtype=str), return_index=True,
                                return_inverse=True)

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
    counts = np.zeros((len(gold), 3))
    counts[first] = np.stack([ratio(both, in_predicted) * judged,
                              ratio(both, in_gold), judged], axis=1)
    return counts


def f1_of_means(sums: ndarray) -> ndarray:
    p, r = ratio(sums[..., 0], sums[..., 2]), ratio(sums[..., 1], sums[..., 2])
    return ratio(2 * p * r, p + r)


# ---- two classes and a threshold -----------------------------------------------------------------


def positive_probability(logits: ndarray) -> ndarray:
    """softmax(logits)[:, -1], in float64."""
    logits = np.asarray(logits, dtype=float)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers[:, -1] / powers.sum(axis=1)


def at_rate_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    """True positives, gold, predicted, right, 1; predicted positive iff p >= the positive rate of
    train.
    """
    if info.positive_rate is None:
        raise ValueError("the *_at_rate metrics need the positive rate of train")
    positive = gold == len(info.labels) - 1
    # the tolerance keeps a probability that *is* the rate on its side, whatever the rounding of the
    # softmax
    above = positive_probability(predicted) >= info.positive_rate - 1e-12
    return np.stack([positive & above, positive, above, positive == above,
                     np.ones(len(gold))], axis=1).astype(float)


def brier_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
    error = positive_probability(predicted) - (gold == len(info.labels) - 1)
    return np.stack([error**2, np.ones(len(gold))], axis=1)


def auroc(gold: ndarray, predicted: ndarray, info: Info) -> float:
    from sklearn.metrics import roc_auc_score

    positive = gold == len(info.labels) - 1
    if positive.all() or not positive.any():
        return float("nan")
    return float(roc_auc_score(positive, positive_probability(predicted)))


def auprc(gold: ndarray, predicted: ndarray, info: Info) -> float:
    from sklearn.metrics import average_precision_score

    positive = gold == len(info.labels) - 1
    if not positive.any():
        return float("nan")
    return float(average_precision_score(positive, positive_probability(predicted)))


# ---- numbers -------------------------------------------------------------------------------------


def pearson_counts(gold: ndarray, predicted: ndarray, info: Info) -> ndarray:
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
    from scipy.stats import rankdata

    return METRICS["pearson"].score(rankdata(gold), rankdata(predicted), info)


# ---- tags ----------------------------------------------------------------------------------------


def flat_tags(labels: tuple[str, ...],
              sequences: Sequence[ndarray]) -> tuple[ndarray, ndarray, ndarray]:
    """All sentences end to end, each followed by one O: prefix letter, entity type and sentence of
    each word.
    """
    outside = labels.index("O")
    flat = np.concatenate(
        [part for tags in sequences for part in (np.asarray(tags, dtype=np.int64), [outside])])
    sentence = np.repeat(np.arange(len(sequences)), [len(tags) + 1 for tags in sequences])
    types = sorted({label[1:] for label in labels})
    letter = np.array([label[0] for label in labels])
    entity_type = np.array([types.index(label[1:]) for label in labels])
    return letter[flat], entity_type[flat], sentence


def spans(letter: ndarray, entity_type: ndarray, scheme: str) -> tuple[ndarray, ndarray]:
    """First and last word of each entity, over the flat tags.

    scheme "default": conlleval's and seqeval's lenient reading, in which an entity also begins
    where an I or an E follows O or another type. "IOB2" and "IOBES": seqeval's strict mode, in
    which it must begin with B (or be an S), keep its type, and in IOBES end with E.
    """
    before = np.concatenate([["O"], letter[:-1]])
    same = np.concatenate([[True], entity_type[1:] == entity_type[:-1]])
    place = np.arange(len(letter))
    if scheme == "default":
        ends = np.isin(before, list("ES")) | (np.isin(before, list("BI")) &
                                              (np.isin(letter, list("BSO")) | ~same))
        starts = np.isin(letter, list("BS")) | (np.isin(letter, list("IE")) &
                                                (np.isin(before, list("ESO")) | ~same))
        begun = np.maximum.accumulate(np.where(starts, place, 0))
        last = place[ends] - 1
        return begun[last], last
    inside = np.isin(before, list("BI")) & np.isin(letter,
                                                   list("I" if scheme == "IOB2" else "IE")) & same
    first = place[np.isin(letter, list("B" if scheme == "IOB2" else "BS"))]
    # next word that continues nothing
    broken = np.minimum.accumulate(np.where(inside, len(letter), place)[::-1])[::-1]
    last = broken[first + 1] - 1
    whole = np.isin(letter[last], list("ES")) if scheme == "IOBES" else np.ones(
        len(first), dtype=bool)
    return first[whole], last[whole]


def span_counts(gold: Sequence[ndarray], predicted: Sequence[ndarray], info: Info,
                scheme: str) -> ndarray:
    """True positives, gold, predicted entities of each sentence; type, first and last word must
    agree.
    """
    codes, places = [], []
    for sequences in (gold, predicted):
        letter, entity_type, sentence = flat_tags(info.labels, sequences)
        first, last = spans(letter, entity_type, scheme)
        codes.append((first * len(letter) + last) * len(info.labels) + entity_type[first])
        places.append(sentence[first])
    found = places[0][np.isin(codes[0], codes[1])]
    return np.stack([np.bincount(rows, minlength=len(gold)) for rows in (found, *places)], axis=1)


def entity_counts(gold: Sequence[ndarray], predicted: Sequence[ndarray], info: Info) -> ndarray:
    return span_counts(gold, predicted, info, "default")


def strict_entity_counts(gold: Sequence[ndarray], predicted: Sequence[ndarray],
                         info: Info) -> ndarray:
    scheme = "IOBES" if any(label[0] in "ES" for label in info.labels) else "IOB2"
    return span_counts(gold, predicted, info, scheme)


def piece_tag_counts(gold: Sequence[ndarray], predicted: WordTags, info: Info) -> ndarray:
    """Of word pieces: right entity tags, entity tags of gold, predicted entity tags; every piece
    has its word's gold tag.

    As in biobert-distillation (eval.py), where a piece beyond the length limit leaves gold and
    predictions alike.
    """
    if not isinstance(predicted, WordTags):
        raise ValueError("piece_tag_micro_f1 needs the predicted tag of each word piece (WordTags)")
    outside = info.labels.index("O")
    counts = np.zeros((len(gold), 3))
    for row, (right, pieces) in enumerate(zip(gold, predicted.pieces, strict=True)):
        expected = np.repeat(right, [len(piece) for piece in pieces])
        given = np.concatenate([*pieces, np.empty(0, dtype=np.int64)])
        in_gold, in_predicted = expected != outside, given != outside
        counts[row] = (in_gold & (expected == given)).sum(), in_gold.sum(), in_predicted.sum()
    return counts


def published_names(sums: ndarray) -> dict[str, float]:
    """F1, and the two ratios under the names that biobert-distillation gives them: it exchanges
    precision and recall.
    """
    both, in_gold, in_predicted = sums
    return {"f1": float(f1(sums)), "precision_as_published": float(ratio(both, in_gold)),
            "recall_as_published": float(ratio(both, in_predicted))}


def seen(counts: Callable[..., ndarray]) -> Callable[..., ndarray]:
    """`counts` over the words that the model has read: the others leave gold and predictions alike.

    As in LinkBERT (run_ner.py), which VE-KD repeats: a word has a label at its first piece, and so
    none beyond the limit.
    """

    def of_seen(gold: Sequence[ndarray], predicted: WordTags, info: Info) -> ndarray:
        if not isinstance(predicted, WordTags):
            raise ValueError("the metrics of what was read need the pieces of each word (WordTags)")
        right, given = [], []
        for row, tags, pieces in zip(gold, predicted, predicted.pieces, strict=True):
            read = np.array([len(piece) > 0 for piece in pieces], dtype=bool)
            right.append(row[read])
            given.append(tags[read])
        return counts(right, given, info)

    return of_seen


def word_counts(gold: Sequence[ndarray], predicted: Sequence[ndarray], info: Info) -> ndarray:
    """Sums of each entity type over words: position in a span (B, I, E, S) does not matter."""
    types = sorted({label[1:] for label in info.labels if label != "O"})
    entity_type = np.array(
        [types.index(label[1:]) if label != "O" else -1 for label in info.labels])
    one = np.arange(len(types))
    counts = np.zeros((len(gold), len(types), 3))
    for row, (right, given) in enumerate(zip(gold, predicted, strict=True)):
        counts[row] = agreement(entity_type[right][:, None] == one,
                                entity_type[np.asarray(given)][:, None] == one).sum(axis=0)
    return counts.reshape(len(gold), -1)


# ---- the list ------------------------------------------------------------------------------------

AT_RATE = "of the last class; positive iff its probability reaches the positive rate of train"
SINGLE, MULTI, EITHER, REGRESSION, TAGS = ("single", ), ("multi", ), ("single", "multi"), (
    "regression", ), ("tags", )

LEFT_OUT = "the words beyond the length limit, which LinkBERT leaves out"

# of each F1, what its precision and its recall are
RATIOS: dict[Any, dict[str, Callable[[ndarray], ndarray]]] = {
    f1: {"precision": precision, "recall": recall},
    macro: {"precision": mean_over_classes(precision), "recall": mean_over_classes(recall)},
    f1_of_means: {"precision": column(0, 2), "recall": column(1, 2)},
}


def with_ratios(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """`metrics`, each F1 followed by its precision and its recall."""
    for metric in metrics:
        yield metric
        for name, finish in RATIOS.get(metric.finish, {}).items():
            about = f"{name} behind {metric.name}, {metric.about}"
            yield replace(metric, name=metric.name.replace("f1", name), about=about,
                          finish=finish, of=metric.of or metric.name)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in with_ratios((
        Metric(
            "micro_f1",
            "micro-averaged F1 over the labels, without the negative class where the task has one",
            EITHER, micro_counts, f1),
        Metric("f1_positive", "F1 of the last class; the other classes only count as not positive",
               SINGLE, positive_counts, f1),
        Metric("accuracy", "share of texts whose label is right; all classes count", SINGLE,
               accuracy_counts, column(0, 1)),
        Metric("macro_f1", "mean of the F1 of all classes that occur, the negative one included",
               EITHER, macro_counts, macro),
        Metric("document_micro_f1",
               "micro-averaged F1 over the labels of documents, each the union over its texts",
               MULTI, document_counts, f1),
        Metric(
            "document_example_f1",
            "F1 of mean precision and mean recall over documents with a gold label (BLUE); "
            "precision is 0 where nothing is predicted", MULTI, document_example_counts,
            f1_of_means),
        Metric("pearson", "Pearson correlation; 0 where one side is constant", REGRESSION,
               pearson_counts, pearson),
        Metric("spearman", "Spearman rank correlation; 0 where one side is constant", REGRESSION,
               direct=spearman),
        Metric("entity_f1",
               "micro-averaged F1 over entities of all types, exact spans, seqeval's default mode",
               TAGS, entity_counts, f1),
        Metric(
            "entity_f1_strict",
            "micro-averaged F1 over entities of all types, exact spans, seqeval's strict mode "
            "(IOB2, or IOBES where the tags have E or S)", TAGS, strict_entity_counts, f1),
        Metric("piece_tag_micro_f1",
               "micro-averaged F1 over the tags of word pieces, not over entities; O ignored", TAGS,
               piece_tag_counts, f1, version=2, pieces=True),
        Metric("word_macro_f1", "mean over entity types of the F1 over words; O ignored", TAGS,
               word_counts, macro),
        Metric("entity_f1_seen", f"entity_f1 without {LEFT_OUT}", TAGS, seen(entity_counts), f1,
               of="entity_f1", pieces=True),
        Metric("word_macro_f1_seen", f"word_macro_f1 without {LEFT_OUT}", TAGS, seen(word_counts),
               macro, of="word_macro_f1", pieces=True),
        Metric("f1_at_rate", f"F1 {AT_RATE}", SINGLE, at_rate_counts, f1),
        Metric("accuracy_at_rate", f"accuracy {AT_RATE}", SINGLE, at_rate_counts, column(3, 4)),
        Metric("auroc",
               "area under the ROC curve of the last class; not defined (nan) with one class",
               SINGLE, direct=auroc),
        Metric("auprc", "average precision of the last class; not defined (nan) without a positive",
               SINGLE, direct=auprc),
        Metric("brier", "mean squared error of the last class's probability; lower is better",
               SINGLE, brier_counts, column(0, 1), higher_is_better=False),
    ))
}

BUILT_IN = dict(METRICS)  # what plugins add to, and may not pass off as
