"""From a tokenizer's tokens to the words of a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def word_indices(word_ids: Sequence[int | None]) -> list[int]:
    """The word of each token, -1 for special tokens; takes `word_ids` of a fast tokenizer."""
    return [-1 if word is None else word for word in word_ids]


def first_tokens(word_ids: Sequence[int], words: int) -> np.ndarray:
    """(W,) the position of each word's first token; -1 for a word that was cut off.

    word_ids  the word of each token, -1 for special tokens
    words     W, the number of words of the sentence
    """
    present, positions = np.unique(np.asarray(word_ids, dtype=np.int64), return_index=True)
    first = np.full(words, -1, dtype=np.int64)
    inside = present >= 0
    first[present[inside]] = positions[inside]
    return first
