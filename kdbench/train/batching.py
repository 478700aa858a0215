"""Examples -> token ids, once a tokenizer; batches of like lengths; padding to the batch and no
further.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kdbench.data.task import Example
from kdbench.models.zoo import position_limit
from kdbench.train.objective import Batch

if TYPE_CHECKING:
    from kdbench.models.load import Model

POOL = 50  # batches that are sorted by length together


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int,
                  smallest: int = 1) -> list[list[int]]:
    """One epoch's batches of indices: shuffled, grouped by length within pools of 50 batches,
    shuffled again.

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
        batches += [pool[i:i + batch_size].tolist() for i in range(0, len(pool), batch_size)]
    short = [batch for batch in batches if len(batch) < smallest]
    batches = [batch for batch in batches if len(batch) >= smallest]
    if short and batches:
        batches[-1].extend(index for batch in short for index in batch)
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
    """

    def __init__(self, model: Model, examples: Sequence[Example], max_length: int, task_type: str,
                 classes: int):
        self.examples, self.task_type, self.classes = list(examples), task_type, classes
        self.pad, self.hidden = model.tokenizer.pad_token_id or 0, model.hidden_ids
        limit = min(max_length, position_limit(model.module.config.to_dict()))
        tagging = bool(self.examples) and bool(self.examples[0].words)
        self.tokens: list[list[int]] = []
        self.types: list[list[int]] | None = [] if takes_types(model.module) else None
        self.word_ids: list[list[int]] | None = [] if tagging else None
        # said, not left to the tokenizer's own settings: a served student reads the types that it
        # was trained with
        asked: dict[str, Any] = {
            "truncation": True, "max_length": limit, "return_token_type_ids": self.types is not None
        }
        # the Rust tokenizer works in parallel inside a call
        for start in range(0, len(self.examples), 1000):
            chunk = self.examples[start:start + 1000]
            if tagging:
                encoded = model.tokenizer([list(e.words) for e in chunk], is_split_into_words=True,
                                          **asked)
            elif any(e.pair is not None for e in chunk):
                encoded = model.tokenizer([e.text for e in chunk], [e.pair or "" for e in chunk],
                                          **asked)
            else:
                encoded = model.tokenizer([e.text for e in chunk], **asked)
            self.tokens += encoded["input_ids"]
            if self.types is not None:
                self.types += encoded["token_type_ids"]
            if self.word_ids is not None:
                self.word_ids += [[-1 if w is None else w
                                   for w in encoded.word_ids(i)]
                                  for i in range(len(chunk))]
        self.lengths = [len(ids) for ids in self.tokens]

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: Sequence[int], width: int | None = None) -> Batch:
        """The collated batch of these examples, padded to `width` or to its longest."""
        width = max(width or 0, max(self.lengths[i] for i in indices))
        ids = np.full((len(indices), width), self.pad, dtype=np.int64)
        mask = np.zeros((len(indices), width), dtype=np.int64)
        for row, i in enumerate(indices):
            ids[row, :self.lengths[i]] = self.tokens[i]
            mask[row, :self.lengths[i]] = 1
        if self.hidden:
            mask[np.isin(ids, self.hidden)] = 0
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self.types is not None:
            types = np.zeros_like(ids)
            for row, i in enumerate(indices):
                types[row, :self.lengths[i]] = self.types[i]
            inputs["token_type_ids"] = torch.from_numpy(types)
        examples = [self.examples[i] for i in indices]
        batch = Batch(inputs, examples=examples)
        batch.counts = {
            "examples": float(len(indices)), "tokens": float(mask.sum()),
            "positions": float(mask.size)
        }
        if self.word_ids is not None:
            self._add_words(batch, indices, width)
        self._add_labels(batch, examples)
        return batch

    def _add_words(self, batch: Batch, indices: Sequence[int], width: int) -> None:
        assert self.word_ids is not None
        longest = max(len(self.examples[i].words) for i in indices)
        first = np.full((len(indices), longest), -1, dtype=np.int64)
        word_ids = np.full((len(indices), width), -1, dtype=np.int64)
        for row, i in enumerate(indices):
            ids = self.word_ids[i]
            word_ids[row, :len(ids)] = ids
            # backwards, so that a word's first token stays
            for position in range(len(ids) - 1, -1, -1):
                if ids[position] >= 0:
                    first[row, ids[position]] = position
        batch.words, batch.extra["word_ids"] = torch.from_numpy(first), torch.from_numpy(word_ids)
        batch.counts["aligned"] = float((first >= 0).sum())

    def _add_labels(self, batch: Batch, examples: list[Example]) -> None:
        labelled = [e.label is not None for e in examples]
        batch.counts["labelled"] = float(sum(labelled))
        if self.task_type == "tags" and batch.words is not None:
            labels = np.full(batch.words.shape, -100, dtype=np.int64)
            for row, example in enumerate(examples):
                if example.label is not None:
                    labels[row, :len(example.words)] = example.label
            labels[batch.words.numpy() < 0] = -100
            batch.counts["words"] = float((labels != -100).sum())
            batch.labels = torch.from_numpy(labels)
        elif self.task_type == "single":
            batch.labels = torch.tensor([-100 if e.label is None else e.label for e in examples])
        elif self.task_type == "multi":
            unknown = [float("nan")] * self.classes
            batch.labels = torch.tensor([unknown if e.label is None else e.label for e in examples],
                                        dtype=torch.float32)
        elif self.task_type == "regression":
            batch.labels = torch.tensor(
                [float("nan") if e.label is None else e.label for e in examples],
                dtype=torch.float32)


def pinned(batch: Batch) -> Batch:
    """The same batch in page-locked memory, from where it is copied to a GPU while Python goes
    on.
    """

    def pin(value: Any) -> Any:
        return value.pin_memory() if isinstance(value, torch.Tensor) else value

    tensors = ({name: pin(value)
                for name, value in values.items()}
               for values in (batch.inputs, batch.signals, batch.extra))
    inputs, signals, extra = tensors
    return replace(batch, inputs=inputs, signals=signals, extra=extra, labels=pin(batch.labels),
                   words=pin(batch.words))


def takes_types(module: Any) -> bool:
    accepts = "token_type_ids" in inspect.signature(module.forward).parameters
    return accepts and getattr(module.config, "type_vocab_size", 1) > 1


def pad_stack(rows: Sequence[np.ndarray], least: Sequence[int] = ()) -> np.ndarray:
    """Stack arrays of one rank into a batch, zero-padded to the largest (and to `least`) in every
    dimension.
    """
    shape = [max(row.shape[d] for row in rows) for d in range(rows[0].ndim)]
    for d, size in enumerate(least):
        shape[d] = max(shape[d], size)
    out = np.zeros((len(rows), *shape), dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        corner: Any = (i, *(slice(0, n) for n in row.shape))
        out[corner] = row
    return out
