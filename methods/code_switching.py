"""Code-switched words of a text, and where they lie in a teacher's and in a student's tokens."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from tokenizers import Tokenizer

from kdbench.base.identity import digest
from kdbench.data.task import Example
from kdbench.models.zoo import position_limit

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerFast

    from kdbench.models.load import Model

CLS, SEP, REST = 0, 1, 2  # columns of a word-aligned attention row that are no words
FIRST_WORD = 3

Span: TypeAlias = tuple[int, int]  # half-open, of tokens or of characters


def is_code_switched(word: str) -> bool:
    """Pure ASCII letters; a digit, a hyphen, a full stop or a glued-on particle disqualifies the
    word.
    """
    return word.encode("utf-8", "surrogatepass").isalpha()


def spans_alone(lengths: Sequence[int], limit: int) -> list[Span | None]:
    """Token ranges of words as the published code counts them, None for a word beyond the limit.

    The count starts at position 1, and each word is as long as it is when tokenised alone. Ranges
    are cut at `limit` - 1; no word that would start there has one, nor has any word behind it.
    """
    spans: list[Span | None] = []
    start = 1
    for length in lengths:
        inside = start < limit - 1 and length > 0
        spans.append((start, min(start + length, limit - 1)) if inside else None)
        start += length
    return spans


def spans_by_offsets(words: Sequence[Span],
                     offsets: Sequence[Span]) -> list[Span | None]:
    """Token ranges of words from characters: a token belongs to the word in which its last
    character lies.

    words    character range of each word, in order
    offsets  character range of each token of the same text, empty for special tokens
    Returns None for a word that no token belongs to.
    """
    spans: list[Span | None] = [None] * len(words)
    starts = [start for start, _ in words]
    for position, (start, end) in enumerate(offsets):
        word = bisect_right(starts, end - 1) - 1
        if start < end and word >= 0 and end - 1 < words[word][1]:
            before = spans[word]
            spans[word] = (before[0] if before else position, position + 1)
    return spans


@dataclass(frozen=True)
class Reading:
    """One model's reading of a text.

    spans   token range of each word, None where the model does not read it
    tokens  the text's number of tokens
    """

    spans: list[Span | None]
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
        """A reading of each text."""
        texts = [example.text for example in examples]
        pairs = None
        if any(example.pair is not None for example in examples):
            pairs = [example.pair or "" for example in examples]
        encoded = self.tokenizer(texts, pairs, truncation=True, max_length=self.limit,
                                 return_offsets_mapping=True)
        read = self.by_offsets if self.rule == "offsets" else self.alone
        return [read(example, encoded, i) for i, example in enumerate(examples)]

    def by_offsets(self, example: Example, encoded: BatchEncoding, i: int) -> Reading:
        """The reading of text `i` of a batch, by the characters of its tokens."""
        offsets, belongs = encoded["offset_mapping"][i], encoded.sequence_ids(i)
        spans: list[Span | None] = []
        for number, text in enumerate(texts_of(example)):
            own = [
                offset if which == number else (0, 0)
                for offset, which in zip(offsets, belongs, strict=True)
            ]
            spans += spans_by_offsets(word_ranges(text), own)
        return Reading(spans, len(offsets))

    def alone(self, example: Example, encoded: BatchEncoding, i: int) -> Reading:
        """The reading of text `i` of a batch, by the lengths of its words alone.

        The published data have one text field, so the words of a pair's second text have no range.
        Words that the count puts behind the text's last token have none either: the published code
        reads padding there.
        """
        tokens = len(encoded["offset_mapping"][i])
        words = self.bare.encode_batch(example.text.split(" "), add_special_tokens=False)
        spans = spans_alone([len(word.ids) for word in words], min(self.limit, tokens))
        if example.pair is not None:
            spans += [None] * len(example.pair.split(" "))
        return Reading(spans, tokens)


def texts_of(example: Example) -> tuple[str, ...]:
    """The one or two texts of an example."""
    return (example.text,) if example.pair is None else (example.text, example.pair)


def word_ranges(text: str) -> list[Span]:
    """Character ranges of the parts of `text` between single blanks (two blanks in a row enclose an
    empty word).
    """
    ranges: list[Span] = []
    start = 0
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
    common, spans = [], []  # the words that both read, and their (teacher, student) token ranges
    for i, (ours, theirs) in enumerate(zip(teacher.spans, student.spans, strict=True)):
        if ours is not None and theirs is not None:
            common.append(i)
            spans.append((ours, theirs))
    switched = [both for i, both in zip(common, spans, strict=True) if is_code_switched(words[i])]
    chosen = np.array(switched[:most], dtype=np.int64).reshape(-1, 2, 2)
    if attn_align == "raw_columns":
        columns = np.arange(teacher.tokens), np.arange(student.tokens)
        width = max(teacher.tokens, student.tokens)
    else:
        columns = (word_columns(teacher.tokens, [ours for ours, _ in spans]),
                   word_columns(student.tokens, [theirs for _, theirs in spans]))
        width = FIRST_WORD + len(common)
    return Alignment((chosen[:, 0], chosen[:, 1]), columns, width)


def word_columns(tokens: int, spans: Sequence[Span]) -> np.ndarray:
    """(T,) the column of each token, given the token ranges of the words that both models read."""
    columns = np.full(tokens, REST)
    columns[0], columns[-1] = CLS, SEP
    for number, (start, end) in enumerate(spans):
        columns[start:end] = FIRST_WORD + number
    return columns


class Aligner:
    """Alignments of texts by their content, each computed once.

    max_length        tokens at which a text is cut, or those of the teacher and of the student
    most, attn_align  of `align`;  rule  of `Reader`
    """

    def __init__(self, teacher: Model, student: Model, max_length: int | tuple[int, int], *,
                 most: int, rule: str, attn_align: str):
        self.readers = []
        limits = (max_length, max_length) if isinstance(max_length, int) else max_length
        for model, limit in zip((teacher, student), limits, strict=True):
            limit = min(limit, position_limit(model.module.config.to_dict()))
            self.readers.append(Reader(model.tokenizer, limit, rule))
        self.most, self.attn_align = most, attn_align
        self.alignments: dict[str, Alignment] = {}

    def identity(self) -> dict[str, object]:
        """What decides an alignment; those that are kept already do not."""
        readers = [[tokenizer_key(reader.tokenizer), reader.limit, reader.rule]
                   for reader in self.readers]
        return {"readers": readers, "most": self.most, "attn_align": self.attn_align}

    def __call__(self, examples: Sequence[Example]) -> list[Alignment]:
        """The alignment of each text."""
        new = {example.key: example for example in examples
               if example.key not in self.alignments}
        if new:
            missing = list(new.values())
            teacher, student = (reader(missing) for reader in self.readers)
            for example, ours, theirs in zip(missing, teacher, student, strict=True):
                self.alignments[example.key] = align(example, ours, theirs, self.most,
                                                     self.attn_align)
        return [self.alignments[example.key] for example in examples]
