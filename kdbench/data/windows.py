"""Windows: a text of more tokens than a model reads at once, read in overlapping parts.

A word is answered by the window in which it stands most central: the one with the most context on
the word's nearer side (the `max context` of Devlin et al. 2019's SQuAD code). A text's own answer
is the mean or the maximum over its windows.

A text that a model reads whole is one window, and nothing is done to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from kdbench.base.errors import BadInput
from kdbench.data.lengths import POOLING

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    Input = str | tuple[str, str] | list[str]  # a text, a pair, or the words of a sentence

NONE = -1  # the word of a special token, or of one that another window answers


@dataclass(frozen=True)
class Windows:
    """How a text that is too long is read.

    stride   tokens that a window shares with the one before it
    pooling  of a text's label: mean or maximum over its windows
    """

    stride: int
    pooling: str = POOLING[0]


@dataclass(frozen=True)
class Reading:
    """How much a model reads: `max_length` tokens at once, special ones included, and more in
    windows; without them, the rest is cut off.
    """

    max_length: int
    windows: Windows | None = None


def default_stride(room: int, tagging: bool) -> int:
    """The overlap of windows of `room` tokens, special ones not counted.

    tags    a half: at every word, a quarter of the window or more stands on either cut side
    labels  a quarter: a sentence on a border is whole in one of the two windows, and the middle of
            a text does not count twice
    """
    return room // 2 if tagging else room // 4


# ---- from a text to its windows ------------------------------------------------------------------


def in_windows(tokenizer: Tokenizer, inputs: Sequence[Input], limit: int, stride: int,
               words: bool = False) -> list[list[Encoding]]:
    """The windows of each text, of at most `limit` tokens; changes the tokenizer's truncation.

    words  the inputs are words of sentences

    Of a pair, the first text is whole in every window and the second is divided. Where the first
    leaves no room for that, the pair is one window and cut (`is_cut`).

    Raises `BadInput` where the library gives the first window of a text alone.
    """
    check_library()
    pairs = [i for i, text in enumerate(inputs) if isinstance(text, tuple)]
    tight = tight_pairs(tokenizer, inputs, pairs, limit, stride)
    singles = sorted(set(range(len(inputs))).difference(pairs))
    found: list[list[Encoding]] = [[] for _ in inputs]

    def encode(chosen: Sequence[int], strategy: str, overlap: int) -> list[Encoding]:
        tokenizer.enable_truncation(limit, stride=overlap, strategy=strategy)
        return tokenizer.encode_batch([inputs[i] for i in chosen], is_pretokenized=words)

    for i, row in zip(singles, encode(singles, "longest_first", stride), strict=True):
        found[i] = [row, *row.overflowing]
    divided = [i for i in pairs if i not in tight]
    for i, row in zip(divided, encode(divided, "only_second", stride), strict=True):
        found[i] = [row, *row.overflowing]
    for i, row in zip(tight, encode(tight, "longest_first", 0), strict=True):
        found[i] = [row]
    return found


@lru_cache(maxsize=1)
def check_library() -> None:
    """`BadInput` for a version of tokenizers that gives the first window of a text alone (0.23.1
    and 0.23.2 do): the rest would be lost without a word.
    """
    import tokenizers
    from tokenizers import models, pre_tokenizers

    probe = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    probe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    probe.enable_truncation(2, stride=1)
    if len(probe.encode("a a a a").overflowing) != 2:
        raise BadInput(f"--long windows: tokenizers {tokenizers.__version__} loses all of a text "
                       "but its first window; pip install 'tokenizers>=0.23.3'")


def tight_pairs(tokenizer: Tokenizer, inputs: Sequence[Input], pairs: Sequence[int], limit: int,
                stride: int) -> list[int]:
    """Which of the pairs have a first text that leaves no room for windows of the second."""
    tokenizer.no_truncation()
    firsts = tokenizer.encode_batch([inputs[i][0] for i in pairs], add_special_tokens=False)
    room = limit - tokenizer.num_special_tokens_to_add(True)
    return [i for i, first in zip(pairs, firsts, strict=True) if room - len(first) <= stride]


def is_cut(windows: Sequence[Encoding]) -> bool:
    """Is a part of the text in none of its windows?"""
    return len(windows) == 1 and bool(windows[0].overflowing)


def central(windows: Sequence[Sequence[int | None]], stride: int) -> list[list[int]]:
    """The word of each token of each window; -1 where another window answers that word.

    windows  the word of each token, None for special ones, as `Encoding.word_ids`

    Of the windows that have the word's first token, the one with the most of its tokens answers;
    then the most central one, then the first.
    """
    ids = [np.array([NONE if word is None else word for word in window]) for window in windows]
    if len(ids) == 1:
        return [ids[0].tolist()]
    sizes = np.array([np.count_nonzero(window >= 0) for window in ids])
    starts = np.arange(len(ids)) * (sizes[0] - stride)
    words = np.full(starts[-1] + sizes[-1], NONE)
    for start, size, window in zip(starts, sizes, ids, strict=True):
        words[start:start + size] = window[window >= 0]
    names, first, count = np.unique(words, return_index=True, return_counts=True)
    best = dict(zip(names.tolist(), most_central(first, first + count, starts, starts + sizes),
                    strict=True))
    kept = []
    for number, window in enumerate(ids):
        kept.append([word if best.get(word) == number else NONE for word in window.tolist()])
    return kept


def most_central(first: np.ndarray, end: np.ndarray, starts: np.ndarray,
                 ends: np.ndarray) -> list[int]:
    """For each word the window that answers it.

    first, end    (W,) the tokens of each word in the whole text, [first, end)
    starts, ends  (K,) those of each window
    """
    most = ends[-1]
    inside = np.minimum(end, ends[:, None]) - first
    # below 0 in a window that ends inside the word
    room = np.minimum(first - starts[:, None], ends[:, None] - end).clip(-1)
    rank = inside * (most + 2) + room
    rank[(first < starts[:, None]) | (inside <= 0)] = -1
    return rank.argmax(0).tolist()


# ---- from windows to their text ------------------------------------------------------------------


def whole(rows: Sequence[np.ndarray], of: Sequence[int], word_ids: Sequence[Sequence[int]] | None,
          task_type: str, pooling: str) -> list[np.ndarray]:
    """What a model says of windows as what it says of texts, one array a text.

    rows      a window's logits (C,); of tags a value or logits for each token, (T,) or (T, C)
    of        the text of each window, in order
    word_ids  tags: as `central` gives them
    """
    if word_ids is None:
        return [pooled([rows[i] for i in own], task_type, pooling) for own in by_text(of)]
    return [joined([rows[i] for i in own], [word_ids[i] for i in own]) for own in by_text(of)]


def whole_word_ids(of: Sequence[int], word_ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """The word of each value of `whole`."""
    found = []
    for own in by_text(of):
        ids = [word_ids[i] for i in own]
        found.append(joined([np.array(row) for row in ids], ids).tolist())
    return found


def by_text(of: Sequence[int]) -> list[list[int]]:
    """The windows of each text."""
    return [list(own) for _, own in groupby(range(len(of)), of.__getitem__)]


def joined(rows: Sequence[np.ndarray], word_ids: Sequence[Sequence[int]]) -> np.ndarray:
    """The values of the tokens that each window answers, end to end; one window as it is."""
    if len(rows) == 1:
        return rows[0]
    kept = [row[:len(ids)][np.asarray(ids) >= 0] for row, ids in zip(rows, word_ids, strict=True)]
    return np.concatenate(kept)


def pooled(rows: Sequence[np.ndarray], task_type: str, pooling: str) -> np.ndarray:
    """The logits (C,) of a text from those of its windows; one window as it is.

    mean  of the logits
    max   of the logits, of one label a text of their log-softmax: logits of two windows have no
          common zero
    """
    if len(rows) == 1:
        return rows[0]
    stacked = np.stack(rows)
    if pooling == "mean":
        return stacked.mean(0)
    if task_type == "single":
        stacked = stacked - stacked.max(-1, keepdims=True)
        stacked = stacked - np.log(np.exp(stacked).sum(-1, keepdims=True))
    return stacked.max(0)
