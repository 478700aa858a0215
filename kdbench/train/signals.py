"""What a method takes from the teacher, by the content of the example it belongs to.

Stored signals are computed once a (teacher, examples, kind) and found again by the example's key,
so that shuffling, augmentation and several processes cannot move them; large ones are computed on
the fly.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from kdbench.base.errors import BadInput
from kdbench.base.folders import damage
from kdbench.data.task import Example
from kdbench.train.batching import Corpus, by_length, pad_stack
from kdbench.train.losses import at_words
from kdbench.train.objective import Batch

if TYPE_CHECKING:
    from kdbench.models.load import Model

# `pool(outputs, batch)` turns a teacher's forward pass into signals: for each kind a list, one
# tensor an example
Pool = Callable[[Any, Batch], dict[str, list[torch.Tensor]]]

BATCH = 32
PER_TOKEN = ("token_logits", "hidden_states", "attentions")  # of whole sequences: on the fly only
# names that mean one thing, whatever a method's own pool gives
BUILT_IN = ("logits", "cls", *PER_TOKEN)


def builtin_pool(names: Sequence[str], tagging: bool) -> Pool:
    """The signals that need no method of their own.

    logits        (C,) a text; tags: (W, C), NaN for a word that the teacher's length limit cut off
    cls           (H,) the last layer's first position, before any pooler
    token_logits  (T, C) · hidden_states (L+1, T, H) · attentions (L, A, T, T), in the teacher's
                  tokens
    """

    def pool(outputs: Any, batch: Batch) -> dict[str, list[torch.Tensor]]:
        signals: dict[str, list[torch.Tensor]] = {}
        lengths = batch.inputs["attention_mask"].sum(1).tolist()
        for name in names:
            if name == "logits" and tagging:
                assert batch.words is not None
                values = at_words(outputs.logits.float(), batch.words)
                values = values.masked_fill((batch.words < 0).unsqueeze(-1), float("nan"))
                signals[name] = [
                    row[:len(e.words)] for row, e in zip(values, batch.examples, strict=True)
                ]
            elif name == "logits":
                signals[name] = list(outputs.logits.float())
            elif name == "cls":
                signals[name] = list(outputs.hidden_states[-1][:, 0].float())
            elif name == "token_logits":
                signals[name] = [row[:n] for row, n in zip(outputs.logits, lengths, strict=True)]
            elif name == "hidden_states":
                stack = torch.stack(outputs.hidden_states, 1)
                signals[name] = [row[:, :n] for row, n in zip(stack, lengths, strict=True)]
            elif name == "attentions":
                stack = torch.stack(outputs.attentions, 1)
                signals[name] = [row[:, :, :n, :n] for row, n in zip(stack, lengths, strict=True)]
            else:
                raise ValueError(f"no signal is called {name!r}")
        return signals

    return pool


class Teacher:
    """A frozen model that gives signals: eval mode, no gradient, its own tokenizer."""

    def __init__(self, model: Model, names: Sequence[str], task_type: str, max_length: int, *,
                 device: torch.device, autocast: Callable[[], Any], pool: Pool | None = None,
                 hidden_states: bool = False, attentions: bool = False):
        self.model, self.names, self.task_type, self.max_length = model, tuple(
            names), task_type, max_length
        self.device, self.autocast = device, autocast
        self.pool, self.own = builtin_pool([k for k in self.names if k in BUILT_IN],
                                           task_type == "tags"), pool
        self.hidden_states = hidden_states or "cls" in names or "hidden_states" in names
        self.attentions = attentions or "attentions" in names
        self.forwards = 0  # texts read, for the record
        if self.attentions:  # on a copy: the caller's teacher goes on as it was
            self.model = replace(model, module=copy.deepcopy(model.module))
            self.model.module.set_attn_implementation("eager")

    def __call__(self, corpus: Corpus, indices: Sequence[int]) -> dict[str, list[np.ndarray]]:
        """Signals of these examples, one array an example."""
        batch = corpus.batch(indices).to(self.device)
        module = self.model.module.eval()
        wanted = {"output_hidden_states": True} if self.hidden_states else {}
        if self.attentions:
            wanted["output_attentions"] = True
        with torch.inference_mode(), self.autocast():
            outputs = module(**batch.inputs, **wanted)
            if self.attentions and not outputs.attentions:
                raise RuntimeError(
                    "the teacher returned no attention probabilities: it must run with eager "
                    "attention"
                )
            pooled = {**self.pool(outputs, batch), **self.by_method(outputs, batch)}
        self.forwards += len(indices)
        return {name: [row.float().cpu().numpy() for row in rows] for name, rows in pooled.items()}

    def by_method(self, outputs: Any, batch: Batch) -> dict[str, list[torch.Tensor]]:
        """What the method's own pool gives, which has to be what it promised and nothing that has a
        meaning already.
        """
        found = self.own(outputs, batch) if self.own is not None else {}
        wanted = {name for name in self.names if name not in BUILT_IN}
        if taken := sorted(found.keys() & set(BUILT_IN)):
            raise BadInput(
                f"signal {taken[0]!r}: a pool of a method's own may not give this name, which "
                f"stands for the teacher's "
                f"own {taken[0]} everywhere; ask for it in `kinds` and let the pool give others")
        if found.keys() != wanted:
            raise BadInput(
                f"signals {', '.join(sorted(wanted)) or 'none'} were asked for, and the pool gave "
                f"{', '.join(sorted(found)) or 'none'}; name in `kinds` what the pool gives")
        return found

    def corpus(self, examples: Sequence[Example]) -> Corpus:
        return Corpus(self.model, examples, self.max_length, self.task_type, 0)


class LiveSignals:
    """Signals computed for each batch as it comes; for what would be too large to keep.

    Their key says so: what is stored is rounded, and read in other batches, which moves the last
    digits.
    """

    def __init__(self, teacher: Teacher, key: str):
        self.teacher, self.key = teacher, f"{key}-live"

    def add(self, batch: Batch) -> None:
        corpus = self.teacher.corpus(batch.examples)
        attach(batch, self.teacher(corpus, range(len(corpus))), self.teacher.task_type)


class StoredSignals:
    """Signals of a fixed set of texts, in memory, by the content of the text; `seconds` is what the
    teacher took for them.
    """

    def __init__(self, key: str, rows: dict[str, dict[str, np.ndarray]], task_type: str,
                 seconds: float = 0.0):
        self.key, self.rows, self.task_type, self.seconds = key, rows, task_type, seconds

    def add(self, batch: Batch) -> None:
        found = {name: [rows[e.key] for e in batch.examples] for name, rows in self.rows.items()}
        attach(batch, found, self.task_type)


def attach(batch: Batch, found: dict[str, list[np.ndarray]], task_type: str) -> None:
    """Put signals on a batch, padded; word-level logits get `logits_known` beside them."""
    for name, rows in found.items():
        least: tuple[int, ...] = ()
        if name == "logits" and task_type == "tags":
            assert batch.words is not None
            least = (batch.words.shape[1],)
        values = pad_stack([row.astype(np.float32, copy=False) for row in rows], least)
        if name == "logits" and task_type == "tags":
            assert batch.words is not None
            known = ~np.isnan(values).any(-1)
            for row, example in enumerate(batch.examples):
                known[row, len(example.words):] = False
            batch.signals["logits_known"] = torch.from_numpy(known)
            values = np.nan_to_num(values)
            batch.counts["aligned"] = float((known & (batch.words.numpy() >= 0)).sum())
        batch.signals[name] = torch.from_numpy(values)


def compute(
        teacher: Teacher, examples: Sequence[Example], key: str, budget: float, live: bool = False,
        progress: Callable[[int, int],
                           None] = lambda done, total: None) -> StoredSignals | LiveSignals:
    """The teacher's signals for `examples`; on the fly where `live` says so or they would take more
    than `budget` bytes.
    """
    distinct = list({e.key: e for e in examples}.values())
    if live or not budget or any(name in PER_TOKEN for name in teacher.names):
        return LiveSignals(teacher, key)
    corpus = teacher.corpus(distinct)
    rows: dict[str, dict[str, np.ndarray]] = {}
    for number, indices in enumerate(by_length(corpus.lengths, BATCH)):
        signals = teacher(corpus, indices)
        for name, values in signals.items():
            keep = np.float32 if name in ("logits", "cls") else np.float16
            for i, value in zip(indices, values, strict=True):
                rows.setdefault(name, {})[distinct[i].key] = value.astype(keep)
        if number == 0:
            first = sum(value.nbytes for kept in rows.values() for value in kept.values())
            # the longest come first: an upper bound
            if first / len(indices) * len(distinct) > budget:
                return LiveSignals(teacher, key)
        progress(sum(len(kept) for kept in rows.values()) // max(len(rows), 1), len(distinct))
    return StoredSignals(key, rows, teacher.task_type)


def place(folder: Path, key: str, name: str) -> Path:
    """The file of one kind of signals."""
    return folder / f"{key}-{name}.safetensors"


def save(signals: StoredSignals, folder: Path) -> None:
    """One safetensors file a kind: all values end to end, their shapes, the examples' keys, and the
    seconds they took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in signals.rows.items():
        values = list(rows.values())
        tensors = {
            "values": np.concatenate([value.ravel()
                                      for value in values]) if values else np.zeros(0, np.float32),
            "shapes": np.array([value.shape for value in values], dtype=np.int64),
            "keys": np.frombuffer(b"".join(bytes.fromhex(key) for key in rows),
                                  dtype=np.uint8).copy(), "seconds": np.array([signals.seconds]),
        }
        tensors["checksum"] = checksum(tensors, signals.key)
        path = place(folder, signals.key, name)
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file(tensors, part)
        os.replace(part, path)


def checksum(tensors: dict[str, np.ndarray], key: str) -> np.ndarray:
    """SHA-256 of the signals' key, values, shapes and texts: a file may have wrong bytes, or be
    another's.
    """
    found = hashlib.sha256(key.encode())
    for name in ("values", "shapes", "keys"):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return np.frombuffer(found.digest(), dtype=np.uint8).copy()


def stored(folder: Path, key: str, names: Sequence[str], task_type: str) -> StoredSignals | None:
    """The signals saved under `key`, or None where any kind is missing or damaged."""
    rows: dict[str, dict[str, np.ndarray]] = {}
    seconds = 0.0
    for name in names:
        path = place(folder, key, name)
        if damage(path):
            return None
        tensors = load_file(path)
        if not {"values", "shapes", "keys", "seconds", "checksum"} <= tensors.keys():
            return None
        if not np.array_equal(tensors["checksum"], checksum(tensors, key)):
            return None
        keys = tensors["keys"].tobytes()
        seconds = float(tensors["seconds"][0])
        shapes = tensors["shapes"]
        ends = np.cumsum(shapes.prod(1)) if len(shapes) else np.zeros(0, np.int64)
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        rows[name] = {
            keys[20 * i:20 * i + 20].hex(): tensors["values"][starts[i]:ends[i]].reshape(shapes[i])
            for i in range(len(shapes))
        }
    return StoredSignals(key, rows, task_type, seconds)
