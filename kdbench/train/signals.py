"""Signals: what a teacher says of an example, found by the content of that example.

Stored signals are computed once for a teacher and its examples and looked up by the example's key,
so that shuffling, augmentation and several processes cannot move them. Large ones are computed for
each batch as it comes.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from kdbench.base.errors import BadInput
from kdbench.base.folders import new_path
from kdbench.data.task import Example
from kdbench.data.windows import Windows
from kdbench.models.finite import finite_logits
from kdbench.models.load import Model
from kdbench.train.batching import (
    Corpus,
    add_known,
    known_words,
    pad_stack,
    padded_rows,
    padded_to,
    pinned,
)
from kdbench.train.losses import at_words
from kdbench.train.memory import in_halves
from kdbench.train.objective import Batch
from kdbench.train.prediction import check_values, not_finite
from kdbench.train.windows import check_signals, corpus_of, text_batches, texts_of, texts_read

# `pool(outputs, batch)` turns a teacher's forward pass into signals: for each name a list, one
# tensor an example
Pool = Callable[[Any, Batch], dict[str, list[Tensor]]]
# values by name, then by the key of the example
Rows = dict[str, dict[str, np.ndarray]]

BATCH = 32
# a value for each token: too large to be kept
PER_TOKEN = ("token_logits", "hidden_states", "attentions")
# names with one meaning, which a method's own pool may not give
BUILT_IN = ("logits", "cls", *PER_TOKEN)
KEY_BYTES = 20  # of an example's key
CHECKED = 64  # of so many batches on a GPU one is checked, as it waits for the values


class Signals(Protocol):
    """What `Lab.train` reads of a teacher.

    key      hash of all that decides the values
    seconds  what the teacher took to compute them
    """

    key: str
    seconds: float

    def add(self, batch: Batch) -> None:
        """Put the values for the examples of `batch` into `batch.signals`.

        Those of this project do it in two calls as well: `read(batch)`, which looks at the examples
        alone, stays on the CPU and may run in a thread, then `complete(batch)` on the device.
        """


# --- from a forward pass to signals ---------------------------------------------------------------


def built_in_pool(names: Sequence[str], tagging: bool) -> Pool:
    """The signals that need no method of their own.

    logits        (C,) a text; tags: (W, C), NaN for a word that the teacher's length limit cut off
    cls           (H,) the last layer's first position, before any pooler
    token_logits  (T, C) · hidden_states (L+1, T, H) · attentions (L, A, T, T), in the teacher's
                  tokens
    """

    def pool(outputs: Any, batch: Batch) -> dict[str, list[Tensor]]:
        return {name: built_in(name, outputs, batch, tagging) for name in names}

    return pool


def built_in(name: str, outputs: Any, batch: Batch, tagging: bool) -> list[Tensor]:
    """One of the signals of `built_in_pool`, a tensor an example.

    Only those that are cut to each text's length wait for a GPU.
    """
    if name == "logits":
        return word_logits(outputs.logits, batch) if tagging else list(outputs.logits.float())
    if name == "cls":
        return list(outputs.hidden_states[-1][:, 0].float())
    lengths = batch.inputs["attention_mask"].sum(1).tolist()
    if name == "token_logits":
        return [row[:n] for row, n in zip(outputs.logits, lengths, strict=True)]
    if name == "hidden_states":
        stack = torch.stack(outputs.hidden_states, 1)
        return [row[:, :n] for row, n in zip(stack, lengths, strict=True)]
    if name == "attentions":
        stack = torch.stack(outputs.attentions, 1)
        return [row[:, :, :n, :n] for row, n in zip(stack, lengths, strict=True)]
    raise ValueError(f"no signal is called {name!r}")


def word_logits(logits: Tensor, batch: Batch) -> list[Tensor]:
    """(W, C) of each sentence, NaN for a word that was cut off."""
    assert batch.words is not None
    values = at_words(logits.float(), batch.words)
    values = values.masked_fill((batch.words < 0).unsqueeze(-1), float("nan"))
    return [row[:len(e.words)] for row, e in zip(values, batch.examples, strict=True)]


class Teacher:
    """A frozen model that computes signals: eval mode, no gradient, its own tokenizer.

    names          of the signals: built-in ones (see `built_in_pool`), others from `pool`
    windows        how texts of more than `max_length` tokens are read; None: they are cut
    pool           the method's own; it also sees the labels
    autocast       gives the context of a forward pass
    hidden_states, attentions  what `pool` reads of the outputs
    """

    def __init__(self, model: Model, names: Sequence[str], task_type: str, max_length: int,
                 windows: Windows | None = None, *, device: torch.device,
                 autocast: Callable[[], AbstractContextManager], pool: Pool | None = None,
                 hidden_states: bool = False, attentions: bool = False):
        self.model, self.names = model, tuple(names)
        self.task_type, self.max_length, self.windows = task_type, max_length, windows
        self.device, self.autocast = device, autocast
        self.built_in = built_in_pool([name for name in self.names if name in BUILT_IN],
                                      task_type == "tags")
        self.pool = pool
        self.hidden_states = hidden_states or "cls" in names or "hidden_states" in names
        self.attentions = attentions or "attentions" in names
        self.forwards = self.batches = 0  # texts read, for the record
        if self.attentions:  # on a copy: the caller's teacher goes on as it was
            self.model = replace(model, module=copy.deepcopy(model.module))
            self.model.module.set_attn_implementation("eager")

    def __call__(self, corpus: Corpus, indices: Sequence[int]) -> dict[str, list[np.ndarray]]:
        """Signals of these examples, by name one array an example."""

        def read(part: list[int]) -> list[dict[str, np.ndarray]]:
            tensors = self.tensors(corpus.batch(part))
            arrays = {name: as_arrays(rows) for name, rows in tensors.items()}
            return [{name: rows[i] for name, rows in arrays.items()} for i in range(len(part))]

        rows = in_halves(read, list(indices), self.device)
        return {name: [row[name] for row in rows] for name in rows[0]}

    def tensors(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Signals of a batch that lies on the CPU, by name one tensor an example, on the device."""
        if self.device.type != "cpu":
            batch = pinned(batch)
        batch = batch.to(self.device)
        module = self.model.module.eval()
        wanted = {"output_hidden_states": True} if self.hidden_states else {}
        if self.attentions:
            wanted["output_attentions"] = True
        with torch.inference_mode(), self.autocast():
            outputs = module(**batch.inputs, **wanted)
            if self.attentions and not outputs.attentions:
                raise RuntimeError("the teacher returned no attention probabilities: it must run "
                                   "with eager attention")
            if self.device.type == "cpu" or self.batches % CHECKED == 0:
                self.check_logits(outputs, batch)
            tensors = {**self.built_in(outputs, batch), **self.pooled(outputs, batch)}
        self.batches += 1
        self.forwards += len(batch.examples)
        return tensors

    def check_logits(self, outputs: Any, batch: Batch) -> None:
        """Refuse a teacher whose logits are no numbers: of words, NaN would be one cut off."""
        if not finite_logits(outputs.logits, batch.inputs.get("attention_mask")):
            raise not_finite(self.model, "teacher")

    def pooled(self, outputs: Any, batch: Batch) -> dict[str, list[Tensor]]:
        """What the method's own pool gives: what was asked for, and no name that is built in."""
        values = self.pool(outputs, batch) if self.pool is not None else {}
        wanted = {name for name in self.names if name not in BUILT_IN}
        if taken := sorted(values.keys() & set(BUILT_IN)):
            raise BadInput(
                f"signal {taken[0]!r}: a pool of a method's own may not give this name, which "
                f"stands for the teacher's own {taken[0]} everywhere; ask for it in `names` and "
                "let the pool give others")
        if values.keys() != wanted:
            raise BadInput(
                f"signals {', '.join(sorted(wanted)) or 'none'} were asked for, and the pool gave "
                f"{', '.join(sorted(values)) or 'none'}; name in `names` what the pool gives")
        return values

    def corpus(self, examples: Sequence[Example]) -> Corpus:
        """The examples in the teacher's tokens; `Skip` as `check_signals`."""
        corpus = corpus_of(self.windows)(self.model, examples, self.max_length, self.task_type, 0)
        check_signals(corpus, self)
        return corpus


def as_arrays(rows: Sequence[Tensor]) -> list[np.ndarray]:
    """The tensors as float32 arrays on the CPU."""
    return [row.float().cpu().numpy() for row in rows]


# --- signals of a training ------------------------------------------------------------------------


class LiveSignals:
    """Signals computed for each batch as it comes; for what would be too large to keep.

    examples  all that a batch can hold, which are tokenised once

    The values stay on the teacher's device. What a count needs is known on the CPU: the positions
    of the words in the teacher's tokens are in `batch.extra["teacher_words"]`.

    Their key says so: what is stored is rounded, and computed in other batches, which moves the
    last digits.
    """

    seconds = 0.0  # their cost is part of the training's

    def __init__(self, teacher: Teacher, key: str, examples: Sequence[Example]):
        self.teacher, self.key = teacher, f"{key}-live"
        # by the whole example, as a pool of a method's own also sees the labels
        self.rows = {example: row for row, example in enumerate(dict.fromkeys(examples))}
        self.corpus = teacher.corpus(list(self.rows))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the signals."""
        return self.teacher.names

    def read(self, batch: Batch) -> None:
        """What the CPU knows: the examples in the teacher's tokens, for `complete`."""
        read = self.corpus.batch([self.rows[example] for example in batch.examples])
        batch.extra["teacher_batch"], batch.extra["teacher_words"] = read, read.words
        if "logits" in self.teacher.names and self.teacher.task_type == "tags":
            assert batch.words is not None and read.words is not None
            add_known(batch, (read.words >= 0).numpy())

    def complete(self, batch: Batch) -> None:
        """Run the teacher on the examples of `batch`."""
        words = None if batch.words is None else batch.words.shape[1]
        for name, rows in self.teacher.tensors(batch.extra.pop("teacher_batch")).items():
            values = padded_rows(rows)
            if name == "logits" and self.teacher.task_type == "tags":
                assert words is not None
                values = padded_to(values, words).nan_to_num()
            batch.signals[name] = values

    def add(self, batch: Batch) -> None:
        """Both, one after the other."""
        self.read(batch)
        self.complete(batch)


class StoredSignals:
    """Signals of a fixed set of texts, in memory, by the content of the text."""

    def __init__(self, key: str, rows: Rows, task_type: str, seconds: float = 0.0):
        self.key, self.rows, self.task_type, self.seconds = key, rows, task_type, seconds

    @property
    def names(self) -> tuple[str, ...]:
        """Of the signals."""
        return tuple(self.rows)

    def found(self, batch: Batch) -> dict[str, list[np.ndarray]]:
        """The values for the examples of `batch`, by name."""
        keys = [example.key for example in batch.examples]
        return {name: [rows[key] for key in keys] for name, rows in self.rows.items()}

    def read(self, batch: Batch) -> None:
        """Look the examples of `batch` up; word-level logits get `logits_known` beside them."""
        for name, rows in self.found(batch).items():
            rows = [row.astype(np.float32, copy=False) for row in rows]
            if self.by_word(name):
                add_known(batch, known_words(batch, rows))
            batch.signals[name] = self.shaped(name, torch.from_numpy(pad_stack(rows)), batch)

    def complete(self, batch: Batch) -> None:
        """Nothing is left to do."""

    add = read

    def by_word(self, name: str) -> bool:
        """Is it logits of words, (W, C), NaN where the teacher's limit cut a word off?"""
        return name == "logits" and self.task_type == "tags"

    def shaped(self, name: str, values: Tensor, batch: Batch) -> Tensor:
        """Padded values as objectives read them: logits of words (B, W, C) 0 where unknown."""
        if not self.by_word(name):
            return values
        assert batch.words is not None
        return padded_to(values, batch.words.shape[1]).nan_to_num()


def compute(teacher: Teacher, examples: Sequence[Example], key: str, budget: float,
            live: bool = False,
            progress: Callable[[int], None] = lambda done: None) -> StoredSignals | LiveSignals:
    """The teacher's signals for `examples`; on the fly where `live` says so or they would take more
    than `budget` bytes. `progress` is told how many texts are done.
    """
    if live or not budget or any(name in PER_TOKEN for name in teacher.names):
        return LiveSignals(teacher, key, examples)
    distinct = list({e.key: e for e in examples}.values())
    corpus = teacher.corpus(distinct)
    rows: Rows = {}
    done = 0
    for indices in text_batches(corpus, BATCH):
        keys = [distinct[i].key for i in texts_of(corpus, indices)]
        for name, values in texts_read(teacher, corpus, indices, BATCH).items():
            dtype = np.float32 if name in ("logits", "cls") else np.float16
            kept = [value.astype(dtype) for value in values]
            if name != "logits":  # which were looked at, and are NaN for words that were cut off
                check_values(f"teacher {teacher.model.name}: signal {name!r}", kept)
            rows.setdefault(name, {}).update(zip(keys, kept, strict=True))
        # the longest texts come first, so that the first batch gives an upper bound
        if not done and size(rows) / len(keys) * len(distinct) > budget:
            return LiveSignals(teacher, key, examples)
        done += len(keys)
        progress(done)
    return StoredSignals(key, rows, teacher.task_type)


def size(rows: Rows) -> int:
    """Bytes of all values."""
    total = 0
    for values in rows.values():
        total += sum(value.nbytes for value in values.values())
    return total


# --- files ----------------------------------------------------------------------------------------


def signal_file(folder: Path, key: str, name: str) -> Path:
    """The file of one kind of signals."""
    return folder / f"{key}-{name}.safetensors"


def save(signals: StoredSignals, folder: Path) -> None:
    """Write one safetensors file for each name: all values end to end, their shapes, the examples'
    keys, and the seconds that they took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in signals.rows.items():
        values = [value.ravel() for value in rows.values()]
        shapes = [value.shape for value in rows.values()]
        keys = b"".join(bytes.fromhex(key) for key in rows)
        tensors = {
            "values": np.concatenate(values) if values else np.zeros(0, np.float32),
            "shapes": np.array(shapes, dtype=np.int64),
            "keys": np.frombuffer(keys, dtype=np.uint8).copy(),
            "seconds": np.array([signals.seconds]),
        }
        tensors["checksum"] = checksum(tensors, signals.key)
        with new_path(signal_file(folder, signals.key, name)) as path:
            save_file(tensors, path)


def checksum(tensors: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """SHA-256 of the signals' key, values, shapes and texts: a file may have wrong bytes, or be
    another's.
    """
    sha256 = hashlib.sha256(key.encode())
    for name in ("values", "shapes", "keys"):
        sha256.update(np.ascontiguousarray(tensors[name]).tobytes())
    return np.frombuffer(sha256.digest(), dtype=np.uint8).copy()


def load(folder: Path, key: str, names: Sequence[str], task_type: str) -> StoredSignals | None:
    """The signals saved under `key`, or None where a file is missing or damaged."""
    rows: Rows = {}
    seconds = 0.0
    for name in names:
        path = signal_file(folder, key, name)
        try:
            tensors = load_file(path)
            if not np.array_equal(tensors["checksum"], checksum(tensors, key)):
                return None
            rows[name] = values_by_key(tensors)
            seconds = float(tensors["seconds"][0])
        except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError):
            return None
        if not 0 <= seconds < math.inf:
            return None
    return StoredSignals(key, rows, task_type, seconds)


def values_by_key(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values of one file, each in its own shape, by the key of the example."""
    keys, values = tensors["keys"].tobytes(), tensors["values"]
    if len(keys) != KEY_BYTES * len(tensors["shapes"]):
        raise ValueError("not as many keys as values")
    found = {}
    start = 0
    for number, shape in enumerate(tensors["shapes"]):
        end = start + int(shape.prod())
        key = keys[KEY_BYTES * number:KEY_BYTES * (number + 1)].hex()
        found[key] = values[start:end].reshape(shape)
        start = end
    return found
