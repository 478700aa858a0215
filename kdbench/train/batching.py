"""Batches: examples as token ids, grouped by length, padded to the longest of the batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kdbench.data.task import Example
from kdbench.data.words import first_tokens, spaced, word_indices, word_prefix
from kdbench.models.zoo import position_limit
from kdbench.train.objective import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from kdbench.models.load import Model

POOL = 50  # batches that are sorted by length together
CHUNK = 1000  # examples a call of the tokenizer, inside which it works in parallel
UNLABELLED = -100  # the label that cross-entropy ignores


def cut(order: Sequence[int], lengths: Sequence[int], batch_size: int,
        tokens: int | None = None) -> list[list[int]]:
    """`order` as successive batches of `batch_size`; or, with `tokens`, of as many examples as give
    no more positions than that, padding included, and at least one.
    """
    if tokens is None:
        return [list(order[i:i + batch_size]) for i in range(0, len(order), batch_size)]
    batches: list[list[int]] = []
    widest = 0
    for index in order:
        widest = max(widest, lengths[index])
        if not batches or (len(batches[-1]) + 1) * widest > tokens:
            batches.append([])
            widest = lengths[index]
        batches[-1].append(index)
    return batches


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, smallest: int = 1,
                  tokens: int | None = None) -> list[list[int]]:
    """One epoch's batches of indices: shuffled, grouped by length within pools of 50 batches,
    shuffled again. `tokens` as in `cut`.

    A last batch of fewer than `smallest` examples (the number of processes) joins the one before
    it.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    size = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), batch_size * POOL):
        pool = order[start:start + batch_size * POOL]
        pool = pool[np.argsort(size[pool], kind="stable")]
        batches += cut(pool.tolist(), lengths, batch_size, tokens)
    short = [batch for batch in batches if len(batch) < smallest]
    batches = [batch for batch in batches if len(batch) >= smallest]
    if batches:
        for batch in short:
            batches[-1].extend(batch)
    return [batches[i] for i in rng.permutation(len(batches))]


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Batches for a forward pass over everything, longest first, so that memory peaks at once."""
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    for i in range(0, len(order), batch_size):
        yield order[i:i + batch_size]


class Corpus:
    """Examples encoded by one model's tokenizer.

    tokens[i]    token ids of example i, special ones included, cut at `max_length`
    types[i]     token types, or None where the model takes none
    word_ids[i]  tags: the word of each token, -1 for special tokens
    lengths[i]   number of tokens
    """

    def __init__(self, model: Model, examples: Sequence[Example], max_length: int, task_type: str,
                 classes: int):
        self.examples, self.task_type, self.classes = list(examples), task_type, classes
        self.pad, self.unattended = model.tokenizer.pad_token_id or 0, model.unattended_ids
        limit = min(max_length, position_limit(model.module.config.to_dict()))
        tagging = bool(self.examples) and bool(self.examples[0].words)
        self.tokens: list[list[int]] = []
        self.types: list[list[int]] | None = [] if takes_types(model.module) else None
        self.word_ids: list[list[int]] | None = [] if tagging else None
        for start in range(0, len(self.examples), CHUNK):
            self._encode(model.tokenizer, self.examples[start:start + CHUNK], limit)
        self.lengths = [len(ids) for ids in self.tokens]

    def _encode(self, tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example],
                limit: int) -> None:
        # types are asked for or not, whatever the tokenizer's own settings say: a served student
        # reads the types that it was trained with
        wanted: dict[str, Any] = {"truncation": True, "max_length": limit,
                                  "return_token_type_ids": self.types is not None}
        if self.word_ids is not None:
            prefix = word_prefix(tokenizer.backend_tokenizer)
            encoded = tokenizer([spaced(e.words, prefix) for e in examples],
                                is_split_into_words=True, **wanted)
            for row in range(len(examples)):
                self.word_ids.append(word_indices(encoded.word_ids(row)))
        elif any(e.pair is not None for e in examples):
            pairs = [e.pair or "" for e in examples]
            encoded = tokenizer([e.text for e in examples], pairs, **wanted)
        else:
            encoded = tokenizer([e.text for e in examples], **wanted)
        self.tokens += encoded["input_ids"]
        if self.types is not None:
            self.types += encoded["token_type_ids"]

    def __len__(self) -> int:
        return len(self.examples)

    def whole(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a model says of rows as what it says of texts: here a row is a text."""
        return list(rows)

    @property
    def whole_word_ids(self) -> list[list[int]] | None:
        """The word of each value of `whole`."""
        return self.word_ids

    def batch(self, indices: Sequence[int], width: int | None = None) -> Batch:
        """The collated batch of these examples, padded to `width` or to its longest."""
        width = max(width or 0, max(self.lengths[i] for i in indices))
        ids = padded([self.tokens[i] for i in indices], width, self.pad)
        mask = np.zeros((len(indices), width), dtype=np.int64)
        for row, i in enumerate(indices):
            mask[row, :self.lengths[i]] = 1
        if self.unattended:
            mask[np.isin(ids, self.unattended)] = 0
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self.types is not None:
            types = padded([self.types[i] for i in indices], width, 0)
            inputs["token_type_ids"] = torch.from_numpy(types)
        batch = Batch(inputs, examples=[self.examples[i] for i in indices])
        batch.counts = {
            "examples": float(len(indices)), "tokens": float(mask.sum()),
            "positions": float(mask.size)
        }
        if self.word_ids is not None:
            self._add_words(batch, [self.word_ids[i] for i in indices], width)
        self._add_labels(batch)
        return batch

    def _add_words(self, batch: Batch, word_ids: Sequence[Sequence[int]], width: int) -> None:
        longest = max(len(example.words) for example in batch.examples)
        first = np.stack([first_tokens(ids, longest) for ids in word_ids])
        batch.words = torch.from_numpy(first)
        batch.extra["word_ids"] = torch.from_numpy(padded(word_ids, width, -1))
        batch.counts["aligned"] = float((first >= 0).sum())

    def _add_labels(self, batch: Batch) -> None:
        labels = [example.label for example in batch.examples]
        batch.counts["labelled"] = float(sum(label is not None for label in labels))
        if self.task_type == "tags" and batch.words is not None:
            rows = np.full(batch.words.shape, UNLABELLED, dtype=np.int64)
            for row, example in zip(rows, batch.examples, strict=True):
                if example.label is not None:
                    row[:len(example.words)] = example.label
            rows[batch.words.numpy() < 0] = UNLABELLED
            batch.counts["words"] = float((rows != UNLABELLED).sum())
            batch.labels = torch.from_numpy(rows)
        elif self.task_type == "single":
            batch.labels = torch.tensor([UNLABELLED if x is None else x for x in labels])
        elif self.task_type == "multi":
            # a teacher's corpus counts no classes
            classes = next((len(x) for x in labels if x is not None), self.classes)
            unknown = [math.nan] * classes
            batch.labels = torch.tensor([unknown if x is None else x for x in labels],
                                        dtype=torch.float32)
        elif self.task_type == "regression":
            batch.labels = torch.tensor([math.nan if x is None else x for x in labels],
                                        dtype=torch.float32)


def padded(rows: Sequence[Sequence[int]], width: int, fill: int) -> np.ndarray:
    """Rows of integers as an array (B, `width`), filled up on the right."""
    array = np.full((len(rows), width), fill, dtype=np.int64)
    for row, values in enumerate(rows):
        array[row, :len(values)] = values
    return array


def pinned(batch: Batch) -> Batch:
    """The same batch in page-locked memory, from where it is copied to a GPU while Python goes on.

    A tensor that is on the GPU stays there.
    """
    return batch.each(lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor)


def takes_types(module: nn.Module) -> bool:
    """Does the model read token types?"""
    accepts = "token_type_ids" in inspect.signature(module.forward).parameters
    return accepts and getattr(module.config, "type_vocab_size", 1) > 1


def pad_stack(rows: Sequence[np.ndarray], least: Sequence[int] = ()) -> np.ndarray:
    """Stack arrays of one rank into a batch, zero-padded to the largest (and to `least`) in every
    dimension.
    """
    shape = np.max([row.shape for row in rows], axis=0)
    shape[:len(least)] = np.maximum(shape[:len(least)], least)
    stacked = np.zeros((len(rows), *shape), dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        corner: Any = (i, *(slice(0, n) for n in row.shape))
        stacked[corner] = row
    return stacked


def padded_rows(rows: Sequence[Tensor]) -> Tensor:
    """Tensors of one rank as a batch in fp32, zero-padded to the largest in every dimension."""
    shape = [max(sizes) for sizes in zip(*(row.shape for row in rows), strict=True)]
    padded = []
    for row in rows:
        more: list[int] = []  # before and after, the last dimension first
        for most, own in zip(reversed(shape), reversed(row.shape), strict=True):
            more += [0, most - own]
        padded.append(nn.functional.pad(row, more) if any(more) else row)
    return torch.stack(padded).float()


def padded_to(values: Tensor, words: int) -> Tensor:
    """(B, W, C) with zeros after the last word, up to `words` of them."""
    return nn.functional.pad(values, (0, 0, 0, max(words - values.shape[1], 0)))


def known_words(batch: Batch, rows: Sequence[np.ndarray]) -> np.ndarray:
    """(B, W) the words whose logits (W, C) the teacher has given."""
    assert batch.words is not None
    known = np.zeros(batch.words.shape, bool)
    for mine, row, example in zip(known, rows, batch.examples, strict=True):
        words = len(example.words)
        mine[:words] = ~np.isnan(row[:words]).any(-1)
    return known


def add_known(batch: Batch, known: np.ndarray) -> None:
    """`logits_known` (B, W), the words that the teacher has read, and the count "aligned" of those
    that the student has read too.
    """
    assert batch.words is not None
    batch.signals["logits_known"] = torch.from_numpy(known)
    batch.counts["aligned"] = float((known & (batch.words.numpy() >= 0)).sum())
