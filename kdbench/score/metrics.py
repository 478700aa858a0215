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
as in seqeval.

The other wings import the score's names from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.data.task import Data, Example, Task
from kdbench.score.counts import (
    Finish,
    Info,
    accuracy_counts,
    at_rate_counts,
    auprc,
    auroc,
    brier_counts,
    column,
    document_counts,
    document_example_counts,
    f1,
    f1_of_means,
    macro,
    macro_counts,
    mean_over_classes,
    micro_counts,
    pearson,
    pearson_counts,
    positive_counts,
    precision,
    recall,
    spearman,
)
from kdbench.score.scoring import Labels, Metric, Scorer, read_entity_counts
from kdbench.score.tagging import (
    WordTags,
    beyond_limit,
    entity_counts,
    of_read_words,
    piece_tag_counts,
    published_names,
    strict_entity_counts,
    word_counts,
    word_tags,
)

__all__ = [
    "BUILT_IN",
    "METRICS",
    "Info",
    "Labels",
    "Metric",
    "Scores",
    "WordTags",
    "at_rate",
    "beside",
    "beyond_limit",
    "code_of_metric",
    "evaluate",
    "gold_labels",
    "info_for",
    "metric_of",
    "naive",
    "published_names",
    "units_of",
    "word_tags",
]

@dataclass(frozen=True)
class Scores:
    """`main` is the task's metric; `counts` (U, K) are its sums by resampling unit, None where it
    has none.
    """

    main: float
    all: dict[str, float]
    counts: ndarray | None
    units: tuple[str, ...]


def evaluate(
    task: Task,
    info: Info,
    examples: Sequence[Example],
    predictions: Labels,
    names: Sequence[str] | None = None,
) -> Scores:
    """Score `predictions` of `examples` by the task's main metric and by `names`.

    names  default: all of the task's metrics, and what is reported beside each (`beside`)
    """
    if names is None:
        names = reported_names(task, isinstance(predictions, WordTags))
    chosen = {name: metric_of(task, name) for name in (task.metric, *names)}
    check_examples(task, examples)
    if not info.groups:
        info = replace(info, groups=units_of(examples))
    gold = gold_labels(task.task_type, examples)
    check_shapes(task, info, gold, predictions)
    scorer = Scorer(gold, predictions, info)
    scores = {name: scorer.score(metric) for name, metric in chosen.items()}
    units, counts = by_unit(info.groups, scorer.counts(chosen[task.metric]))
    return Scores(scores[task.metric], scores, counts, units)


def reported_names(task: Task, has_pieces: bool) -> list[str]:
    """The names of all that a record states: the task's metrics, and what stands beside them."""
    own = (task.metric, *task.metrics)
    more = [name for name in beside(own) if has_pieces or not METRICS[name].pieces]
    return [*own, *more]


def check_examples(task: Task, examples: Sequence[Example]) -> None:
    """`BadInput` where there is nothing to score, or an example without a label."""
    if not examples:
        raise BadInput(f"task {task.name}: no examples to score; give a file that has some")
    for example in examples:
        if example.label is None:
            raise BadInput(
                f"task {task.name}: example {example.id!r} has no label, so it cannot be scored"
            )


def by_unit(
    groups: Sequence[str], counts: ndarray | None
) -> tuple[tuple[str, ...], ndarray | None]:
    """The resampling units in order, and the sums (N, K) of examples as those of units (U, K)."""
    units, where = np.unique(np.array(groups, dtype=str), return_inverse=True)
    if counts is None:
        return tuple(units.tolist()), None
    summed = np.zeros((len(units), counts.shape[1]))
    np.add.at(summed, where, counts)
    return tuple(units.tolist()), summed


def naive(task: Task, data: Data, split: str) -> Scores:
    """The score of a predictor that reads no text.

    It knows the labels of train alone (of dev, where train has none): the majority class (with the
    class shares as probabilities), the labels that more than half of the texts carry, the mean, or
    O everywhere.
    """
    examples = data.split(split)
    info = info_for(task, data, split)
    labels = gold_labels(task.task_type, data.train or data.dev)
    predicted: Labels
    if task.task_type == "tags":
        predicted = outside_everywhere(examples, data.labels.index("O"))
    elif task.task_type == "regression":
        predicted = np.full(len(examples), labels.mean())
    elif task.task_type == "multi":
        share = labels.mean(axis=0).clip(1e-9, 1 - 1e-9)
        predicted = np.tile(np.log(share) - np.log1p(-share), (len(examples), 1))
    else:
        share = np.bincount(labels, minlength=len(data.labels)) / len(labels)
        predicted = np.tile(np.log(share.clip(1e-300)), (len(examples), 1))
    return evaluate(task, info, examples, predicted)


def outside_everywhere(examples: Sequence[Example], outside: int) -> WordTags:
    """O at every word, which has one piece."""
    tags, pieces = [], []
    for example in examples:
        row = np.full(len(example.label), outside)
        tags.append(row)
        pieces.append(np.split(row, len(row)) if len(row) else [])
    return WordTags(tags, pieces)


def info_for(task: Task, data: Data, split: str) -> Info:
    """What the metrics must know to score `data.split(split)`."""
    rate = None
    if task.task_type == "single" and data.train:
        rate = float(np.mean(gold_labels("single", data.train) == len(data.labels) - 1))
    return Info(tuple(data.labels), tuple(task.negative), rate, units_of(data.split(split)))


def units_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """What statistics resample: the example's group, else the example itself."""
    return tuple(example.group or example.id for example in examples)


def gold_labels(task_type: str, examples: Sequence[Example]) -> Labels:
    """Gold labels as the metrics take them: (N,) int, (N, C) 0/1, (N,) float, or N arrays of tag
    indices.
    """
    if task_type == "tags":
        return [np.asarray(example.label, dtype=np.int64) for example in examples]
    number = float if task_type == "regression" else np.int64
    return np.array([example.label for example in examples], dtype=number)


def metric_of(task: Task, name: str) -> Metric:
    """The metric `name`; `BadInput` where there is none or where it does not fit the task's
    type.
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


def at_rate(name: str) -> bool:
    """Does this metric need the threshold at which the last class is predicted?"""
    return name.endswith("_at_rate")


def code_of_metric(name: str) -> int | list[Any]:
    """The version of a metric; of one that a plugin added, or put in the place of another, the code
    of its functions.
    """
    metric = METRICS[name]
    if metric is BUILT_IN.get(name):
        return metric.version
    from kdbench.base import code

    functions = (metric.counts, metric.finish, metric.direct)
    described = [code.describe(function) for function in functions if function is not None]
    return [metric.higher_is_better, *described]


def check_shapes(task: Task, info: Info, gold: Labels, predicted: Labels) -> None:
    """Refuse predictions that do not line up with the gold labels: a shifted score is worse than
    none.
    """
    if task.task_type == "tags":
        fits = [len(row) for row in gold] == [len(row) for row in predicted]
    elif task.task_type == "regression":
        fits = np.shape(predicted) == gold.shape
    else:
        fits = np.shape(predicted) == (len(gold), len(info.labels))
    if not fits:
        raise ValueError(
            f"task {task.name}: the predictions do not have the shape of the gold labels"
        )


# ---- the list ------------------------------------------------------------------------------------

SINGLE, MULTI, EITHER = ("single",), ("multi",), ("single", "multi")
REGRESSION, TAGS = ("regression",), ("tags",)

AT_RATE = ("of the last class; positive iff its probability reaches the positive rate of the "
           "training examples")
UNREAD = "the words beyond the length limit, which some published programs leave out"

# of each F1, what its precision and its recall are
RATIOS: dict[object, dict[str, Finish]] = {
    f1: {"precision": precision, "recall": recall},
    macro: {"precision": mean_over_classes(precision), "recall": mean_over_classes(recall)},
    f1_of_means: {"precision": column(0, 2), "recall": column(1, 2)},
}


def with_ratios(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """`metrics`, each F1 followed by its precision and its recall."""
    for metric in metrics:
        yield metric
        for ratio, finish in RATIOS.get(metric.finish, {}).items():
            yield replace(
                metric,
                name=metric.name.replace("f1", ratio),
                about=f"{ratio} behind {metric.name}, {metric.about}",
                finish=finish,
                of=metric.of or metric.name,
            )


OF_TEXTS = (
    Metric("micro_f1",
           "micro-averaged F1 over the labels, without the negative class where the task has one",
           EITHER, micro_counts, f1),
    Metric("f1_positive", "F1 of the last class; the other classes only count as not positive",
           SINGLE, positive_counts, f1),
    Metric("accuracy", "share of texts whose label is right; all classes count",
           SINGLE, accuracy_counts, column(0, 1)),
    Metric("macro_f1", "mean of the F1 of all classes that occur, the negative one included",
           EITHER, macro_counts, macro),
    Metric("document_micro_f1",
           "micro-averaged F1 over the labels of documents, each the union over its texts",
           MULTI, document_counts, f1),
    Metric("document_example_f1",
           "F1 of mean precision and mean recall over documents with a gold label; precision is 0 "
           "where nothing is predicted",
           MULTI, document_example_counts, f1_of_means),
    Metric("pearson", "Pearson correlation; 0 where one side is constant",
           REGRESSION, pearson_counts, pearson),
    Metric("spearman", "Spearman rank correlation; 0 where one side is constant",
           REGRESSION, direct=spearman),
)

OF_TAGS = (
    Metric("entity_f1",
           "micro-averaged F1 over entities of all types, exact spans, seqeval's default mode",
           TAGS, entity_counts, f1),
    Metric("entity_f1_strict",
           "micro-averaged F1 over entities of all types, exact spans, seqeval's strict mode "
           "(IOB2, or IOBES where the tags have E or S)",
           TAGS, strict_entity_counts, f1),
    Metric("piece_tag_micro_f1",
           "micro-averaged F1 over the tags of word pieces, not over entities; O ignored",
           TAGS, piece_tag_counts, f1, version=2, pieces=True),
    Metric("word_macro_f1", "mean over entity types of the F1 over words; O ignored",
           TAGS, word_counts, macro),
    Metric("entity_f1_seen", f"entity_f1 without {UNREAD}",
           TAGS, read_entity_counts, f1, of="entity_f1", pieces=True),
    Metric("word_macro_f1_seen", f"word_macro_f1 without {UNREAD}",
           TAGS, of_read_words(word_counts), macro, of="word_macro_f1", pieces=True),
)

AT_A_THRESHOLD = (
    Metric("f1_at_rate", f"F1 {AT_RATE}", SINGLE, at_rate_counts, f1),
    Metric("accuracy_at_rate", f"accuracy {AT_RATE}", SINGLE, at_rate_counts, column(3, 4)),
    Metric("auroc", "area under the ROC curve of the last class; not defined (nan) with one class",
           SINGLE, direct=auroc),
    Metric("auprc", "average precision of the last class; not defined (nan) without a positive",
           SINGLE, direct=auprc),
    Metric("brier", "mean squared error of the last class's probability; lower is better",
           SINGLE, brier_counts, column(0, 1), higher_is_better=False),
)

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in with_ratios((*OF_TEXTS, *OF_TAGS, *AT_A_THRESHOLD))
}

BUILT_IN = dict(METRICS)  # a plugin may add to these, and may not pass another off as one of them
