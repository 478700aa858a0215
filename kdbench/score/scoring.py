"""One metric, and its score of one set of predictions.

Entity scores are stated as seqeval computes them, and our counts must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from kdbench.score.counts import Finish, Info, f1, precision, recall
from kdbench.score.tagging import (
    entity_counts,
    of_read_words,
    seqeval_ratios,
    seqeval_strict_ratios,
    strict_entity_counts,
)

# Gold labels or predictions, whose form the task type decides: an array, or an array a sentence.
Labels = Any
CLOSE = 1e-9  # seqeval and our counts divide the same integers, so only rounding may differ

# The entity scores that are stated come from seqeval: by our counts, its function, and by our
# ratio, its name for it. What a plugin makes of other counts or ratios is its own.
read_entity_counts = of_read_words(entity_counts)
SEQEVAL: dict[object, Callable[..., dict[str, float]]] = {
    entity_counts: seqeval_ratios,
    strict_entity_counts: seqeval_strict_ratios,
    read_entity_counts: of_read_words(seqeval_ratios),
}
SEQEVAL_NAMES: dict[object, str] = {precision: "precision", recall: "recall", f1: "f1"}


@dataclass(frozen=True)
class Metric:
    """One score in [0, 1] (correlations: [-1, 1]; `brier`: lower is better).

    counts   (gold, predicted, info) -> (N, K): sums that add up over examples; None where the score
             is no function of sums
    finish   sums (..., K) -> scores (...)
    direct   (gold, predicted, info) -> float, for metrics without counts
    version  raise it when the metric means something else; ids of the records that have it change
    of       the metric beside which this one is reported, whether a task names it or not; they
             share a version
    pieces   it reads `WordTags.pieces`
    """

    name: str
    about: str
    task_types: tuple[str, ...]
    counts: Callable[[Labels, Labels, Info], ndarray] | None = None
    finish: Finish | None = None
    direct: Callable[[Labels, Labels, Info], float] | None = None
    higher_is_better: bool = True
    version: int = 1
    of: str = ""
    pieces: bool = False

    def score(self, gold: Labels, predicted: Labels, info: Info) -> float:
        """The score of `predicted`; `RuntimeError` where seqeval and our counts disagree."""
        return Scorer(gold, predicted, info).score(self)


class Scorer:
    """Scores of one set of predictions; what several metrics share is computed once.

    An F1, its precision and its recall have the same counts, and one call of seqeval.
    """

    def __init__(self, gold: Labels, predicted: Labels, info: Info):
        self.gold, self.predicted, self.info = gold, predicted, info
        self._counts: dict[object, ndarray] = {}
        self._seqeval: dict[object, dict[str, float]] = {}

    def counts(self, metric: Metric) -> ndarray | None:
        """The metric's sums (N, K); None where it has none."""
        function = metric.counts
        if function is None:
            return None
        if function not in self._counts:
            self._counts[function] = function(self.gold, self.predicted, self.info)
        return self._counts[function]

    def score(self, metric: Metric) -> float:
        """The metric's score; `RuntimeError` where seqeval and our counts disagree."""
        counts = self.counts(metric)
        if counts is None or metric.finish is None:
            assert metric.direct is not None, f"{metric.name} has neither counts nor a direct score"
            return metric.direct(self.gold, self.predicted, self.info)
        counted = float(metric.finish(counts.sum(axis=0)))
        stated = self.by_seqeval(metric)
        if stated is None:
            return counted
        if not abs(stated - counted) <= CLOSE:
            raise RuntimeError(
                f"{metric.name}: seqeval gives {stated!r}, our counts give {counted!r}; this is a "
                "defect of the counts: please report it with the tags of the task"
            )
        return stated

    def by_seqeval(self, metric: Metric) -> float | None:
        """seqeval's figure; None of a metric that it does not have."""
        ratios = SEQEVAL.get(metric.counts)
        if ratios is None or metric.finish not in SEQEVAL_NAMES:
            return None
        if ratios not in self._seqeval:
            self._seqeval[ratios] = ratios(self.gold, self.predicted, self.info)
        return self._seqeval[ratios][SEQEVAL_NAMES[metric.finish]]
