"""The words of a sentence as a tokenizer gets them, and from its tokens back to the words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROBES = (("a", "b"), ("the", "dose"), ("Of", "IL"))


def word_prefix(tokenizer: Tokenizer) -> str:
    """What has to stand before every word but the first, so that a list of words has the tokens of
    its text: a blank or nothing.

    A byte-level BPE (GPT-2, RoBERTa, ModernBERT) has the blank in the token of the word after it.
    The words of a list are without blanks, and unless the tokenizer adds one itself, all of them
    are read like the insides of words. How it reads two words tells, whatever its kind.
    """
    def ids(text: str | list[str]) -> list[int]:
        given = isinstance(text, list)
        return tokenizer.encode(text, is_pretokenized=given, add_special_tokens=False).ids

    for one, other in PROBES:
        text = ids(f"{one} {other}")
        if ids([one, other]) != text == ids([one, f" {other}"]):
            return " "
    return ""


def spaced(words: Sequence[str], prefix: str) -> list[str]:
    """The words as a tokenizer gets them, with `word_prefix` before all but the first."""
    return [*words[:1], *(prefix + word for word in words[1:])]


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
