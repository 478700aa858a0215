"""The score of a tagger on texts that nobody has cut into words for it.

The table scores a tagger on the words of the corpus. It is served texts, and cuts them by the rule
that `kdbench.data.word_rules` has learned. Where the rule gives back the words of every test text,
both are one; where it does not, the texts are tagged by the rule's words, and entities are compared
by their characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdbench.data.tags import lenient_spans
from kdbench.data.task import Example
from kdbench.data.word_rules import Border, aligned, borders, raw_text
from kdbench.models.load import Model
from kdbench.score.metrics import WordTags
from kdbench.train.lab import Lab

Entity = tuple[int, int, str]  # first character, the one after the last, type
METRIC = "entity_f1"


def score(lab: Lab, model: Model, predicted: WordTags) -> dict[str, Any]:
    """What a record's `score` says of words and raw texts.

    predicted  the model's tags of the test split's own words

    Returns {"words": {"rule", "original" (the corpus has the texts; else its words are joined by
    blanks), "train" and "test" (share of the texts that are cut into the words of the corpus)}},
    and where test is below 1 also {"raw_text": {"metric": "entity_f1", "test", "texts" (how many
    are cut otherwise)}}.
    """
    rule, examples = lab.data.word_rule, lab.data.test
    cuts = [borders(raw_text(example), rule.pattern) for example in examples]
    others = [i for i, cut in enumerate(cuts) if not is_same(examples[i], cut)]
    words = {"rule": rule.name, "original": rule.original, "train": rule.share,
             "test": round(1 - len(others) / len(examples), 4)}
    if not others:
        return {"words": words}
    texts = [recut(examples[i], cuts[i]) for i in others]
    found = dict(zip(others, lab.predict(model, texts), strict=True))
    counts = [0, 0, 0]
    for i, example in enumerate(examples):
        own = word_borders(example)
        gold = entities(lab, example.label, own)
        given = entities(lab, found[i], cuts[i]) if i in found else entities(lab, predicted[i], own)
        for place, group in enumerate((gold & given, gold, given)):
            counts[place] += len(group)
    both, gold_count, given_count = counts
    value = 2 * both / (gold_count + given_count) if gold_count + given_count else 0.0
    return {"words": words,
            "raw_text": {"metric": METRIC, "test": value, "texts": len(others)}}


def is_same(example: Example, cut: Sequence[Border]) -> bool:
    """Are these the borders of the example's own words in its raw text?"""
    text = raw_text(example)
    return [text[first:end] for first, end in cut] == list(example.words)


def recut(example: Example, cut: Sequence[Border]) -> Example:
    """The example with the words of these borders, without a label."""
    text = raw_text(example)
    return Example(example.id, words=tuple(text[first:end] for first, end in cut))


def word_borders(example: Example) -> Sequence[Border]:
    """Where the example's own words lie in its raw text."""
    found = aligned(example.words, raw_text(example))
    assert found is not None, f"{example.id}: the text does not consist of the words"
    return found


def entities(lab: Lab, tags: Sequence[int] | np.ndarray, cut: Sequence[Border]) -> set[Entity]:
    """Entities in characters; `tags` are indices of the task's labels, one a word of `cut`."""
    found = set()
    for first, end, entity_type in lenient_spans([lab.data.labels[tag] for tag in tags]):
        found.add((cut[first][0], cut[end - 1][1], entity_type))
    return found
