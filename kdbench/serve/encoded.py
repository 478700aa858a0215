"""Texts as a student reads them: a row of tokens each, or several windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.data.windows import central, is_cut, whole, whole_word_ids
from kdbench.data.words import word_indices

if TYPE_CHECKING:
    from tokenizers import Encoding

    from kdbench.serve.labels import Labels
    from kdbench.serve.texts import Text


@dataclass(frozen=True)
class EncodedTexts:
    """Texts and their rows, with the names of `kdbench.train.batching.Corpus`.

    examples       the texts
    tokens, types  of each row; of an ensemble, a list for each member
    word_ids       tags: the word of each token, -1 for special ones, and for words that another
                   window answers
    cuts           of each text: is a part of it in no row?
    of             the text of each row; None where each text has one row
    members        of an ensemble that reads in windows: the texts as each member reads them; it
                   has no rows of its own
    """

    examples: Sequence[Text]
    labels: Labels
    tokens: list[Any]
    types: list[Any]
    word_ids: list[list[int]] | None
    cuts: list[bool]
    of: list[int] | None = None
    members: tuple[EncodedTexts, ...] = ()

    @property
    def cut(self) -> int:
        """How many texts the length limit cuts."""
        return sum(self.cuts)

    @property
    def divided(self) -> int:
        """How many texts are read in several windows; of an ensemble, by any member."""
        parts = self.members or (self,)
        counts = [Counter(own.of or ()) for own in parts]
        return sum(any(count[text] > 1 for count in counts) for text in range(len(self.examples)))

    def whole(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        """The logits of rows as those of texts."""
        if self.of is None:
            return rows
        return whole(rows, self.of, self.word_ids, self.labels.task_type, self.labels.pooling)

    @property
    def whole_word_ids(self) -> list[list[int]] | None:
        """Tags: the word of each of a text's logits."""
        if self.of is None or self.word_ids is None:
            return self.word_ids
        return whole_word_ids(self.of, self.word_ids)

    def rows(self, text: int) -> list[int]:
        """The rows of a text."""
        if self.of is None:
            return [text]
        return [row for row, own in enumerate(self.of) if own == text]


def one_row_each(texts: Sequence[Text], labels: Labels, rows: Sequence[Any]) -> EncodedTexts:
    """Texts of one row each, which may be cut."""
    tagging = labels.task_type == "tags"
    words = [word_indices(row.word_ids) for row in rows] if tagging else None
    return EncodedTexts(texts, labels, [row.ids for row in rows], [row.type_ids for row in rows],
                        words, [bool(row.overflowing) for row in rows])


def windows_each(texts: Sequence[Text], labels: Labels,
                 windows: Sequence[Sequence[Encoding]]) -> EncodedTexts:
    """Texts of one or more windows each."""
    rows: list[Encoding] = []
    of: list[int] = []
    words: list[list[int]] = []
    for number, own in enumerate(windows):
        rows += own
        of += [number] * len(own)
        if labels.task_type == "tags":
            words += central([row.word_ids for row in own], labels.stride or 0)
    return EncodedTexts(texts, labels, [row.ids for row in rows], [row.type_ids for row in rows],
                        words if labels.task_type == "tags" else None,
                        [is_cut(own) for own in windows], of)
