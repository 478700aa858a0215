"""Code-switched words of a text, and where they lie in a teacher's and in a student's tokens."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from kdbench.base.identity import digest
from kdbench.data.task import Example
from kdbench.models.zoo import position_limit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from kdbench.models.load import Model

CLS, SEP, REST = 0, 1, 2  # columns of a word-aligned attention row that are no words
FIRST_WORD = 3


def is_code_switched(word: str) -> bool:
    """Pure ASCII letters; a digit, a hyphen, a full stop or a glued-on particle disqualifies the
    word.
    """
    return word.encode("utf-8", "surrogatepass").isalpha()


def spans_alone(lengths: Sequence[int], limit: int) -> list[tuple[int, int] | None]:
    """Token ranges of words as the published code counts them: from position 1, each word as long
    as it is when tokenised alone; cut at `limit` - 1, and none from the first word on that would
    start there.
    """
    spans: list[tuple[int, int] | None] = []
    start = 1
    for length in lengths:
        inside = start < limit - 1 and length > 0
        spans.append((start, min(start + length, limit - 1)) if inside else None)
        start += length
    return spans


def spans_by_offsets(words: Sequence[tuple[int, int]],
                     offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int] | None]:
    """Token ranges of words from characters: a token belongs to the word in which its last
    character lies.

    words    character range of each word, in order
    offsets  character range of each token of the same text, empty for special tokens
    """
    spans: list[tuple[int, int] | None] = [None] * len(words)
    starts = [start for start, _ in words]
    for position, (start, end) in enumerate(offsets):
        word = bisect_right(starts, end - 1) - 1
        if start < end and word >= 0 and end - 1 < words[word][1]:
            before = spans[word]
            spans[word] = (before[0] if before else position, position + 1)
    return spans


@dataclass(frozen=True)
class Reading:
    """One model's reading of a text: token ranges of its words (None: not read), and its number of
    tokens.
    """

    spans: list[tuple[int, int] | None]
    tokens: int


class Reader:
    """Finds the blank-separated words of texts in one tokenizer's tokens.

    rule  "offsets": by the characters that each token covers; "alone": `spans_alone`, which drifts
          where a tokenizer marks the blank before a word (RoBERTa)
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, limit: int, rule: str):
        self.tokenizer, self.limit, self.rule = tokenizer, limit, rule
        self.bare = without_prefix_space(tokenizer)

    def __call__(self, examples: Sequence[Example]) -> list[Reading]:
        texts = [example.text for example in examples]
        pairs = [example.pair or "" for example in examples] if any(e.pair is not None
                                                                    for e in examples) else None
        encoded = self.tokenizer(texts, pairs, truncation=True, max_length=self.limit,
                                 return_offsets_mapping=True)
        read = self.by_offsets if self.rule == "offsets" else self.alone
        return [read(example, encoded, i) for i, example in enumerate(examples)]

    def by_offsets(self, example: Example, encoded: Any, i: int) -> Reading:
        offsets, belongs = encoded["offset_mapping"][i], encoded.sequence_ids(i)
        spans: list[tuple[int, int] | None] = []
        for number, text in enumerate(texts_of(example)):
            own = [
                span if which == number else (0, 0)
                for span, which in zip(offsets, belongs, strict=True)
            ]
            spans += spans_by_offsets(word_ranges(text), own)
        return Reading(spans, len(offsets))

    def alone(self, example: Example, encoded: Any, i: int) -> Reading:
        """The published data have one text field, so the words of a pair's second text are not
        looked for. Words that the count puts behind the text's last token are left out: the
        published code reads padding there.
        """
        tokens = len(encoded["offset_mapping"][i])
        words = self.bare.encode_batch(example.text.split(" "), add_special_tokens=False)
        spans = spans_alone([len(word.ids) for word in words], min(self.limit, tokens))
        return Reading(spans + [None] * sum(len(text.split(" ")) for text in texts_of(example)[1:]),
                       tokens)


def texts_of(example: Example) -> tuple[str, ...]:
    return (example.text,) if example.pair is None else (example.text, example.pair)


def word_ranges(text: str) -> list[tuple[int, int]]:
    """Character ranges of the parts of `text` between single blanks (two blanks in a row enclose an
    empty word).
    """
    ranges, start = [], 0
    for word in text.split(" "):
        ranges.append((start, start + len(word)))
        start += len(word) + 1
    return ranges


def without_prefix_space(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """The bare tokenizer, without truncation; a byte-level BPE puts no blank before the first word
    of a text.
    """
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["truncation"] = spec["padding"] = None
    if (spec["pre_tokenizer"] or {}).get("add_prefix_space"):
        spec["pre_tokenizer"]["add_prefix_space"] = False
    return Tokenizer.from_str(json.dumps(spec))


def tokenizer_key(tokenizer: PreTrainedTokenizerFast) -> str:
    """Hash of how a tokenizer cuts texts."""
    return digest(without_prefix_space(tokenizer).to_str())


@dataclass(frozen=True)
class Alignment:
    """One text under both tokenizers; pairs are (teacher, student).

    spans    (K, 2) each: half-open token ranges of the text's K code-switched words
    columns  (T,) each: the column of an aligned attention row that a token's attention goes to
    width    how many of these columns the text has
    """

    spans: tuple[np.ndarray, np.ndarray]
    columns: tuple[np.ndarray, np.ndarray]
    width: int


def align(example: Example, teacher: Reading, student: Reading, most: int,
          attn_align: str) -> Alignment:
    """The first `most` code-switched words that both models read, and the columns of attention
    rows.

    attn_align  "raw_columns": a column is a token position. "word": one column each for [CLS], for
                [SEP], for the tokens of no common word, and for every word that both models read
    """
    words = [word for text in texts_of(example) for word in text.split(" ")]
    common = [
        i for i, spans in enumerate(zip(teacher.spans, student.spans, strict=True))
        if None not in spans
    ]
    chosen = [i for i in common if is_code_switched(words[i])][:most]
    spans, columns = [], []
    for reading in (teacher, student):
        spans.append(np.array([reading.spans[i] for i in chosen], dtype=np.int64).reshape(-1, 2))
        column = np.full(reading.tokens, REST)
        column[0], column[-1] = CLS, SEP
        for number, i in enumerate(common):
            column[slice(*reading.spans[i])] = FIRST_WORD + number
        columns.append(np.arange(reading.tokens) if attn_align == "raw_columns" else column)
    width = max(teacher.tokens,
                student.tokens) if attn_align == "raw_columns" else FIRST_WORD + len(common)
    return Alignment((spans[0], spans[1]), (columns[0], columns[1]), width)


class Aligner:
    """Alignments of texts by their content, each found once."""

    def __init__(self, teacher: Model, student: Model, max_length: int, *, most: int, rule: str,
                 attn_align: str):
        limits = [position_limit(model.module.config.to_dict()) for model in (teacher, student)]
        self.readers = [Reader(model.tokenizer, min(max_length, limit), rule)
                        for model, limit in zip((teacher, student), limits, strict=True)]
        self.most, self.attn_align = most, attn_align
        self.found: dict[str, Alignment] = {}

    def identity(self) -> dict[str, Any]:
        """What decides an alignment; those that were found already do not."""
        readers = [[tokenizer_key(reader.tokenizer), reader.limit, reader.rule]
                   for reader in self.readers]
        return {"readers": readers, "most": self.most, "attn_align": self.attn_align}

    def __call__(self, examples: Sequence[Example]) -> list[Alignment]:
        new = list({e.key: e for e in examples if e.key not in self.found}.values())
        if new:
            teacher, student = (reader(new) for reader in self.readers)
            for example, ours, theirs in zip(new, teacher, student, strict=True):
                self.found[example.key] = align(example, ours, theirs, self.most, self.attn_align)
        return [self.found[e.key] for e in examples]
