"""Stored signals beside an accelerator: kept on it where they fit, else uploaded in few bits.

    on the device  all values once, padded to the largest text; a batch takes its rows there. Every
                   value is what the CPU would have put on the batch.
    on the host    what is stored in 16 bits goes up in 16 bits, which changes nothing. Where the
                   step computes in bf16, fp32 values (`logits`, `cls`) go up as fp16 too, which
                   moves each by at most 2^-11 of itself (3e-8 where it is below 6e-5); bf16 itself
                   rounds to 2^-8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdbench.train.batching import add_known, known_words, pad_stack
from kdbench.train.memory import free_memory, out_of_memory
from kdbench.train.objective import Batch
from kdbench.train.signals import StoredSignals

SHARE = 8  # of the free memory, one part in so many may hold signals
LARGEST = float(np.finfo(np.float16).max)


def resident(signals: Any, device: torch.device, low: bool) -> Any:
    """`signals` for a training on `device`: stored ones on it, or to be uploaded in few bits; any
    others as they are.
    """
    if type(signals) is not StoredSignals:
        return signals
    if padded_size(signals) <= free_memory(device) / SHARE:
        try:
            return OnDevice(signals, device)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
    return OnHost(signals, low)


def padded_size(signals: StoredSignals) -> int:
    """Bytes of all values, each padded to the largest."""
    total = 0
    for rows in signals.rows.values():
        shapes = [row.shape for row in rows.values()]
        widest = np.max(shapes, axis=0) if shapes else np.zeros(1)
        itemsize = next((row.itemsize for row in rows.values()), 0)
        total += len(shapes) * math.prod(int(size) for size in widest) * itemsize
    return total


class OnDevice:
    """Stored signals as one padded tensor a name, on the device; a batch takes its rows there."""

    def __init__(self, signals: StoredSignals, device: torch.device):
        self.key, self.seconds, self.signals = signals.key, signals.seconds, signals
        self.tensors: dict[str, Tensor] = {}
        self.numbers: dict[str, dict[str, int]] = {}
        for name, rows in signals.rows.items():
            self.numbers[name] = {key: number for number, key in enumerate(rows)}
            values = pad_stack(list(rows.values()))
            self.tensors[name] = torch.from_numpy(values).to(device)

    def read(self, batch: Batch) -> None:
        """Find the rows of the examples, and what the host has to know of their values."""
        for name, found in self.signals.found(batch).items():
            numbers = [self.numbers[name][example.key] for example in batch.examples]
            batch.extra[f"rows of {name}"] = torch.tensor(numbers)
            batch.extra[f"shape of {name}"] = np.max([row.shape for row in found], axis=0).tolist()
            if self.signals.by_word(name):
                add_known(batch, known_words(batch, found))

    def complete(self, batch: Batch) -> None:
        """Take the rows, cut to the largest of the batch."""
        for name, tensor in self.tensors.items():
            values = tensor.index_select(0, batch.extra.pop(f"rows of {name}"))
            for dimension, size in enumerate(batch.extra.pop(f"shape of {name}"), 1):
                values = values.narrow(dimension, 0, size)
            batch.signals[name] = self.signals.shaped(name, values.float(), batch)


class OnHost:
    """Stored signals that go up with each batch, in 16 bits where that is enough, and are fp32
    again on the device.
    """

    def __init__(self, signals: StoredSignals, low: bool):
        self.key, self.seconds, self.signals, self.low = signals.key, signals.seconds, signals, low

    @property
    def rounded(self) -> tuple[str, ...]:
        """The names whose values lose bits on their way."""
        return tuple(name for name, rows in self.signals.rows.items()
                     if self.low and any(row.dtype != np.float16 for row in rows.values()))

    def read(self, batch: Batch) -> None:
        """Look the examples up, in as few bits as the step takes."""
        for name, found in self.signals.found(batch).items():
            if self.signals.by_word(name):
                add_known(batch, known_words(batch, found))
            batch.signals[name] = torch.from_numpy(self.packed(pad_stack(found)))

    def packed(self, values: np.ndarray) -> np.ndarray:
        """The values in 16 bits, if that loses nothing or `low` asks for it and fp16 can hold
        them.
        """
        if not self.low or values.dtype == np.float16:
            return values
        fits = np.nanmax(np.abs(values), initial=0.0) <= LARGEST
        return values.astype(np.float16) if fits else values

    def complete(self, batch: Batch) -> None:
        """The same values in fp32, on the device."""
        for name in self.signals.rows:
            values = batch.signals[name].float()
            batch.signals[name] = self.signals.shaped(name, values, batch)


def rounding(signals: Any) -> str:
    """What a record says of signals that lose bits on their way; empty where none do."""
    if not isinstance(signals, OnHost) or not signals.rounded:
        return ""
    return (f"the signals {', '.join(signals.rounded)} did not fit on the device and went up as "
            "fp16, each moved by at most 2^-11 of itself")
