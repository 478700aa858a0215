"""Rows of a head without names, ordered by how they agree with the labels of training texts.

A head whose rows are called `LABEL_0` and `LABEL_1` does not say which is which, and the order of
the task's labels is often another. Each row's answers are compared with the labels of some training
texts, and the order that agrees best is taken where it agrees by far better than chance. Dev and
test are not read.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from kdbench.base.identity import digest
from kdbench.data.task import Example
from kdbench.models.load import Model
from kdbench.models.merged import ZERO, Rows
from kdbench.models.rows import Match, hint, listed
from kdbench.train.prediction import logits_of
from kdbench.train.scoring import Scoring
from kdbench.train.windows import windows_content

MOST = 256  # texts that are read
LEAST = 0.2  # agreement above chance, as a share of what there is above chance
TIE = 1e-6  # in favour of the order as it stands

_FOUND: dict[str, Match] = {}  # every cell loads its models anew


@dataclass(frozen=True)
class Agreement:
    """How rows agree with labels.

    shares  (C, R) of each label, for each row
    counts  (C,) on how many texts or words
    chance  what a row has that does not read the text
    """

    shares: np.ndarray
    counts: np.ndarray
    chance: float

    @property
    def order(self) -> list[int]:
        """The row of each label that agrees best, all labels together."""
        _, rows = linear_sum_assignment(-(self.shares + TIE * np.eye(len(self.shares))))
        return rows.tolist()

    def mean(self, order: Sequence[int]) -> float:
        """The mean share over the labels that there are texts of."""
        seen = [self.shares[i, row] for i, row in enumerate(order) if self.counts[i]]
        return float(np.mean(seen)) if seen else 0.0

    @property
    def convinces(self) -> bool:
        """Is the best order by far better than chance, for so many texts?"""
        above = (self.mean(self.order) - self.chance) / (1 - self.chance)
        size = self.counts.sum()
        if len(self.counts) > 1:  # most words are O, and tell nothing of the others
            size -= self.counts.max()
        return bool(size and above >= max(LEAST, 2 / (2 * size) ** 0.5))


def ordered(lab: Scoring, identity: object, model: Model, found: Match) -> Match:
    """`found` with the rows in the order that agrees with the training labels, or without rows.

    identity  what decides the model's weights
    model     with the head as it came
    """
    key = digest([identity, lab.data.digests["train"], lab.data.labels, lab.settings.max_length,
                  lab.task.task_type, windows_content(lab.settings)])
    if key not in _FOUND:
        examples = sample(lab.data.train, lab.task.task_type)
        _FOUND[key] = judged(lab.data.labels, found, agreement(lab, model, examples))
    return _FOUND[key]


def sample(examples: Sequence[Example], task_type: str) -> list[Example]:
    """At most `MOST` labelled texts, drawn by a fixed seed; of one label a text, from each label
    in turn.
    """
    drawn = [example for example in examples if example.label is not None]
    random.Random("agreement").shuffle(drawn)
    if task_type == "single":
        turn: dict[int, int] = {}
        places = []
        for example in drawn:
            turn[example.label] = turn.get(example.label, 0) + 1
            places.append(turn[example.label])
        drawn = [drawn[i] for i in np.argsort(places, kind="stable")]
    return drawn[:MOST]


def agreement(lab: Scoring, model: Model, examples: Sequence[Example]) -> Agreement:
    """How the rows of `model` agree with the labels of `examples`."""
    corpus = lab.corpus(model, examples, lab.limit(model), lab.windows(model))
    rows = logits_of(model, corpus, lab.accelerator, lab.autocast(model),
                     f"{lab.label}{model.name}, order of its labels")
    labels = len(lab.data.labels)
    if lab.task.task_type == "tags":
        return of_answers(*tags_of_words(corpus.whole_word_ids or [], rows, examples), labels)
    logits, gold = np.stack(rows), np.array([example.label for example in examples])
    if lab.task.task_type == "multi":
        return of_several(gold, logits)
    said = logits.argmax(-1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(int)
    return of_answers(gold, said, labels)


def tags_of_words(word_ids: Sequence[Sequence[int]], rows: Sequence[np.ndarray],
                  examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    """The gold tag of each word that was read, and the answer of its first token."""
    gold, said = [], []
    for ids, row, example in zip(word_ids, rows, examples, strict=True):
        seen: set[int] = set()
        for place, word in enumerate(ids):
            if word >= 0 and word not in seen:
                seen.add(word)
                gold.append(example.label[word])
                said.append(int(row[place]))
    return np.array(gold), np.array(said)


def of_answers(gold: np.ndarray, said: np.ndarray, labels: int) -> Agreement:
    """Of one label a text, or a word: the share of a label's texts on which the row is the
    answer.
    """
    table = np.zeros((labels, labels))
    np.add.at(table, (gold, said), 1)
    counts = table.sum(1)
    return Agreement(table / np.maximum(counts, 1)[:, None], counts, 1 / labels)


def of_several(gold: np.ndarray, logits: np.ndarray) -> Agreement:
    """Of any number of labels a text: the mean of two shares, that of the texts with the label
    whose logit is above 0, and that of the texts without it whose logit is not.
    """
    above, has = (logits > 0).astype(float), gold.astype(float)
    counts = has.sum(0)
    there = has.T @ above / np.maximum(counts, 1)[:, None]
    absent = (1 - has).T @ (1 - above) / np.maximum(len(has) - counts, 1)[:, None]
    few = np.minimum(counts, len(has) - counts)
    return Agreement((there + absent) / 2, few, 0.5)


def judged(labels: Sequence[str], found: Match, seen: Agreement) -> Match:
    """The rows in their best order, where that is clearly better than chance."""
    order = seen.order
    texts = "agreement with the training labels"
    best = f"{seen.mean(order):.0%} of each label"
    if not seen.convinces:
        return Match(said=f"new head trained: its rows have no names ({listed(found.own)}), and in "
                          f"no order do they agree with the training labels ({best}, "
                          f"{seen.chance:.0%} by chance); {hint(found.own, labels)}")
    as_stands = list(range(len(order)))
    how = ", the order as it stands"
    if order != as_stands:
        how = f"; in the order as it stands {seen.mean(as_stands):.0%}"
    assert found.rows is not None
    rows = Rows(tuple(found.rows.groups[i] for i in order))
    return Match(rows, f"head used, rows matched by {texts} ({best}{how}): "
                       f"{pairs_of(found, rows, labels)}", own=found.own)


def pairs_of(found: Match, rows: Rows, labels: Sequence[str]) -> str:
    """Which row is which label, in words."""
    names = {ZERO: "none", **dict(enumerate(found.own))}
    pairs = zip(rows.groups, labels, strict=True)
    return listed([f"{names[group[0]]} = {label}" for group, label in pairs])
