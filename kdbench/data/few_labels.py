"""Few labels: the training examples that keep theirs, and the others as unlabelled text.

What a study of few labels asks is how much a teacher and text without labels are worth where labels
are dear. So the draw is a part of what varies: every seed has its own.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.data.apart import with_dev_apart
from kdbench.data.task import Data, Example

PARTS = 5  # of a regression's labels in order, from each of which its share is drawn


def data_of(whole: Data, settings: Mapping[str, Any], seed: int) -> Data:
    """The data of a cell with these settings, as a record has them, and this seed."""
    limited = whole.limited(settings.get("max_train_examples"), settings.get("max_dev_examples"))
    if share := settings.get("dev_apart"):
        limited = with_dev_apart(limited, share, settings["part"])
    count = settings.get("labels")
    if count is None:
        return limited
    return with_few_labels(limited, count, settings.get("labels_seed", seed))


def with_few_labels(data: Data, count: int, seed: int) -> Data:
    """The data with `count` labelled training examples; `rest` has the others, without labels.

    They are drawn by `seed`, in proportion to the strata (`stratum_of`) and at least one of each
    where `count` allows it. The draw of a seed grows with `count`: a smaller one is part of a
    larger one, but for what rounding moves.
    `BadInput` where there are not more labelled examples than that.
    """
    labelled = [example for example in data.train if example.label is not None]
    if count >= len(labelled):
        raise BadInput(f"--labels {count:,}: the training split has {len(labelled):,} labelled "
                       "examples; give a smaller number, or leave it out")
    strata = list(in_strata(labelled, data.labels).values())
    kept: set[str] = set()
    for number, quota in enumerate(quotas([len(each) for each in strata], count)):
        order = [example.id for example in strata[number]]
        random.Random(f"{seed}/labels/{number}").shuffle(order)
        kept.update(order[:quota])
    rest = tuple(replace(example, id=f"unlabelled-{example.id}", label=None)
                 for example in data.train if example.id not in kept)
    return replace(data, train=tuple(e for e in data.train if e.id in kept),
                   rest=(*rest, *data.rest),
                   drawn_from=data.digests["train"])


def in_strata(examples: Sequence[Example],
              labels: Sequence[str]) -> dict[Hashable, list[Example]]:
    """The examples by stratum, in one order whatever theirs is."""
    if isinstance(examples[0].label, float):
        ordered = sorted(examples, key=lambda example: (example.label, example.id))
        return {part: ordered[part * len(ordered) // PARTS:(part + 1) * len(ordered) // PARTS]
                for part in range(PARTS)}
    found: dict[Hashable, list[Example]] = {}
    for example in examples:
        found.setdefault(stratum_of(example, labels), []).append(example)
    return dict(sorted(found.items(), key=repr))


def stratum_of(example: Example, labels: Sequence[str]) -> Hashable:
    """Its label; of several labels, all of them; of a tagged sentence, the types of its
    entities.
    """
    if not example.words:
        return example.label
    types = {labels[tag].partition("-")[2] for tag in example.label if labels[tag] != "O"}
    return tuple(sorted(types))


def quotas(sizes: Sequence[int], count: int) -> list[int]:
    """How many of `count` each stratum gives: its share, rounded by the largest remainders, and
    one where that would be none and there are fewer strata than `count`.
    """
    total = sum(sizes)
    shares = [count * size // total for size in sizes]
    remainders = [count * size % total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -remainders[i])
    for i in by_remainder[:count - sum(shares)]:
        shares[i] += 1
    while 0 in shares and len(sizes) <= count:
        shares[shares.index(max(shares))] -= 1
        shares[shares.index(0)] += 1
    return shares
