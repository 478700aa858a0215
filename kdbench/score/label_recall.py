"""True positives and mentions of each label, of which recall is made."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from kdbench.score.counts import Info, one_hot
from kdbench.score.scoring import Labels
from kdbench.score.tagging import flat_tags, spans, strict_scheme

UNTYPED = "entity"  # of a tag scheme that has one type and no name for it


def recall_counts(task_type: str, gold: Labels, predicted: Labels,
                  info: Info) -> tuple[list[str], ndarray]:
    """Names of the L labels, and (N, L, 2) true positives and mentions of each in each text.

    Classes and labels without the negative ones; of tags the entity types, spans as seqeval's
    strict mode reads them.
    """
    if task_type == "tags":
        return of_entities(gold, predicted, info)
    kept = [i for i, label in enumerate(info.labels) if label not in info.negative]
    right, given = (each[:, kept] for each in one_hot(gold, np.asarray(predicted)))
    return [info.labels[i] for i in kept], np.stack([right * given, right], axis=-1).astype(float)


def of_entities(gold: Labels, predicted: Labels, info: Info) -> tuple[list[str], ndarray]:
    """`recall_counts` of tags."""
    types = sorted({label[1:] for label in info.labels})
    found = []
    for sequences in (gold, predicted):
        letter, entity_type, sentence = flat_tags(info.labels, sequences)
        first, last = spans(letter, entity_type, strict_scheme(info))
        code = (first * len(letter) + last) * len(types) + entity_type[first]
        found.append((code, entity_type[first], sentence[first]))
    (codes, of_type, rows), (given, *_) = found
    counts = np.zeros((len(gold), len(types), 2))
    right = np.isin(codes, given)
    np.add.at(counts, (rows[right], of_type[right], 0), 1)
    np.add.at(counts, (rows, of_type, 1), 1)
    own = {label[1:] for label in info.labels if label != "O"}
    kept = [i for i, name in enumerate(types) if name in own]
    return [types[i].lstrip("-") or UNTYPED for i in kept], counts[:, kept]
