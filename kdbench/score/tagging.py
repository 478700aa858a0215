"""Predicted tags, and the counts of entities, words and word pieces in them.

Entity scores that are reported come from seqeval (`seqeval_ratios`). The statistics need counts by
sentence, which seqeval does not give: `entity_counts` has them, and `kdbench.score.metrics` holds
the two equal whenever it scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy import ndarray

from kdbench.data.task import Example
from kdbench.score.counts import Info, agreement, f1, ratio

Tags = Sequence[ndarray]  # per sentence an array (W,) of tag indices
Found = TypeVar("Found")


class WordTags(list[ndarray]):
    """Predicted tags: per example an array (W,), a word's tag being that of its first piece.

    pieces  per example and word an array (P,), the tag of each of its word pieces; none where the
            limit cut the word off
    """

    def __init__(self, words: Tags, pieces: Sequence[Sequence[ndarray]]):
        super().__init__(words)
        self.pieces = pieces


def word_tags(
    tags: Tags, word_ids: Sequence[Sequence[int]], words: Sequence[int], outside: int
) -> WordTags:
    """Predictions of tokens as those of words.

    tags      per example (T,) the tag of each token; what follows the last word id is padding
    word_ids  per example the word of each token, in their order, -1 for special tokens
    words     per example its number of words
    outside   the tag of a word that has no token
    """
    first, pieces = [], []
    for of_tokens, ids, count in zip(tags, word_ids, words, strict=True):
        places = np.asarray(ids, dtype=np.int64)
        inside = places >= 0
        ends = np.bincount(places[inside], minlength=count).cumsum()
        own = np.split(np.asarray(of_tokens)[: len(places)][inside], ends[:-1])[:count]
        of_words = [piece[0] if len(piece) else outside for piece in own]
        pieces.append(own)
        first.append(np.array(of_words, dtype=np.int64))
    return WordTags(first, pieces)


# ---- entities ------------------------------------------------------------------------------------


def seqeval_ratios(gold: Tags, predicted: Tags, info: Info) -> dict[str, float]:
    """Precision, recall and F1 over the entities of all types, by seqeval's default mode."""
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    found = precision_recall_fscore_support(
        *names_for_seqeval(gold, predicted, info), average="micro", zero_division=0
    )
    return ratios_by_name(found)


def seqeval_strict_ratios(gold: Tags, predicted: Tags, info: Info) -> dict[str, float]:
    """The same by seqeval's strict mode: IOB2, or IOBES where the tags have E or S."""
    from seqeval.metrics.v1 import precision_recall_fscore_support
    from seqeval.scheme import IOB2, IOBES

    found = precision_recall_fscore_support(
        *names_for_seqeval(gold, predicted, info),
        average="micro",
        zero_division=0,
        scheme=IOBES if strict_scheme(info) == "IOBES" else IOB2,
    )
    return ratios_by_name(found)


def names_for_seqeval(
    gold: Tags, predicted: Tags, info: Info
) -> tuple[list[list[str]], list[list[str]]]:
    """The tags by name, but of several words that are O in both only the first: they hold no
    entity, and seqeval takes most of its time for them.
    """
    outside, shorter = info.labels.index("O"), []
    for one, other in zip(gold, predicted, strict=True):
        empty = (np.asarray(one) == outside) & (np.asarray(other) == outside)
        kept = ~(empty & np.concatenate([[False], empty[:-1]]))
        shorter.append((np.asarray(one)[kept], np.asarray(other)[kept]))
    return (tag_names(info, [one for one, _ in shorter]),
            tag_names(info, [other for _, other in shorter]))


def tag_names(info: Info, sequences: Tags) -> list[list[str]]:
    """Tag indices as the tags that they stand for."""
    names = np.array(info.labels, dtype=object)
    return [names[np.asarray(tags, dtype=np.int64)].tolist() for tags in sequences]


def ratios_by_name(found: Sequence[float]) -> dict[str, float]:
    """seqeval's precision, recall, F1 and support, without the last, by name."""
    return {"precision": float(found[0]), "recall": float(found[1]), "f1": float(found[2])}


def strict_scheme(info: Info) -> str:
    """The scheme in which strict mode reads the tags."""
    return "IOBES" if any(label[0] in "ES" for label in info.labels) else "IOB2"


def flat_tags(labels: tuple[str, ...], sequences: Tags) -> tuple[ndarray, ndarray, ndarray]:
    """All sentences end to end, each followed by one O: prefix letter, entity type and sentence of
    each word.
    """
    outside = labels.index("O")
    parts: list[ndarray | list[int]] = []
    for tags in sequences:
        parts += [np.asarray(tags, dtype=np.int64), [outside]]
    flat = np.concatenate(parts)
    lengths = [len(tags) + 1 for tags in sequences]
    sentence = np.repeat(np.arange(len(sequences)), lengths)
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
    same = np.concatenate([[True], entity_type[1:] == entity_type[:-1]])
    before = np.concatenate([["O"], letter[:-1]])
    if scheme == "default":
        return lenient_spans(letter, before, same)
    return strict_spans(letter, before, same, scheme)


def lenient_spans(letter: ndarray, before: ndarray, same: ndarray) -> tuple[ndarray, ndarray]:
    """`before` is the letter of the word before, `same` whether that has the same entity type."""
    place = np.arange(len(letter))
    broken = np.isin(letter, list("BSO")) | ~same
    ends = np.isin(before, list("ES")) | (np.isin(before, list("BI")) & broken)
    opened = np.isin(before, list("ESO")) | ~same
    starts = np.isin(letter, list("BS")) | (np.isin(letter, list("IE")) & opened)
    begun = np.maximum.accumulate(np.where(starts, place, 0))
    last = place[ends] - 1
    return begun[last], last


def strict_spans(
    letter: ndarray, before: ndarray, same: ndarray, scheme: str
) -> tuple[ndarray, ndarray]:
    """As `lenient_spans`, for the strict mode of "IOB2" or "IOBES"."""
    place = np.arange(len(letter))
    begin, inner = ("B", "I") if scheme == "IOB2" else ("BS", "IE")
    inside = np.isin(before, list("BI")) & np.isin(letter, list(inner)) & same
    first = place[np.isin(letter, list(begin))]
    # the next word that continues nothing
    broken = np.minimum.accumulate(np.where(inside, len(letter), place)[::-1])[::-1]
    last = broken[first + 1] - 1
    if scheme == "IOB2":
        return first, last
    whole = np.isin(letter[last], list("ES"))
    return first[whole], last[whole]


def span_counts(gold: Tags, predicted: Tags, info: Info, scheme: str) -> ndarray:
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
    columns = [np.bincount(rows, minlength=len(gold)) for rows in (found, *places)]
    return np.stack(columns, axis=1)


def entity_counts(gold: Tags, predicted: Tags, info: Info) -> ndarray:
    """Entities as seqeval's default mode reads them."""
    return span_counts(gold, predicted, info, "default")


def strict_entity_counts(gold: Tags, predicted: Tags, info: Info) -> ndarray:
    """Entities as seqeval's strict mode reads them."""
    return span_counts(gold, predicted, info, strict_scheme(info))


# ---- words and word pieces -----------------------------------------------------------------------


def word_counts(gold: Tags, predicted: Tags, info: Info) -> ndarray:
    """Sums of each entity type over words: position in a span (B, I, E, S) does not matter."""
    types = sorted({label[1:] for label in info.labels if label != "O"})
    places = [types.index(label[1:]) if label != "O" else -1 for label in info.labels]
    entity_type = np.array(places)
    one = np.arange(len(types))
    counts = np.zeros((len(gold), len(types), 3))
    for row, (right, given) in enumerate(zip(gold, predicted, strict=True)):
        in_gold = entity_type[right][:, None] == one
        in_predicted = entity_type[np.asarray(given)][:, None] == one
        counts[row] = agreement(in_gold, in_predicted).sum(axis=0)
    return counts.reshape(len(gold), -1)


def piece_tag_counts(gold: Tags, predicted: WordTags, info: Info) -> ndarray:
    """Of word pieces: right entity tags, entity tags of gold, predicted entity tags; every piece
    has its word's gold tag.

    A piece beyond the length limit is in neither gold nor predictions.
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
    """F1 of `piece_tag_counts`, and its precision and recall under the names that the published
    program gives them: it exchanges the two.
    """
    both, in_gold, in_predicted = sums
    return {
        "f1": float(f1(sums)),
        "precision_as_published": float(ratio(both, in_gold)),
        "recall_as_published": float(ratio(both, in_predicted)),
    }


# ---- the length limit ----------------------------------------------------------------------------


def read_words(gold: Tags, predicted: WordTags) -> tuple[list[ndarray], list[ndarray]]:
    """Gold and predicted tags of the words that the model has read."""
    if not isinstance(predicted, WordTags):
        raise ValueError("the metrics of what was read need the pieces of each word (WordTags)")
    right, given = [], []
    for row, tags, pieces in zip(gold, predicted, predicted.pieces, strict=True):
        read = np.array([len(piece) > 0 for piece in pieces], dtype=bool)
        right.append(row[read])
        given.append(tags[read])
    return right, given


def of_read_words(
    scored: Callable[[Tags, Tags, Info], Found],
) -> Callable[[Tags, WordTags, Info], Found]:
    """`scored` (counts, or seqeval's ratios) over the words that the model has read; gold and
    predictions lose the others alike.
    """

    def of_read(gold: Tags, predicted: WordTags, info: Info) -> Found:
        return scored(*read_words(gold, predicted), info)

    return of_read


def beyond_limit(
    labels: Sequence[str], examples: Sequence[Example], predicted: WordTags
) -> dict[str, int]:
    """How much of tagged `examples` was not read: no piece of the word is inside the length limit.

    words     words of which nothing was read, of all_words
    entities  entities (seqeval's default mode) with such a word, of all_entities
    """
    unread: list[bool] = []
    for pieces in predicted.pieces:
        unread += [len(piece) == 0 for piece in pieces]
        unread.append(False)  # the O that `flat_tags` adds
    flat = np.array(unread, dtype=np.int64)
    before = np.concatenate([[0], flat.cumsum()])
    gold = [np.asarray(example.label, dtype=np.int64) for example in examples]
    letter, entity_type, _ = flat_tags(tuple(labels), gold)
    first, last = spans(letter, entity_type, "default")
    lost = before[last + 1] > before[first]
    return {
        "words": int(flat.sum()),
        "all_words": sum(map(len, gold)),
        "entities": int(lost.sum()),
        "all_entities": len(first),
    }
