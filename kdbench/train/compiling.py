"""Is a compiled encoder faster here? Both ways are timed before the first step, and the faster is
kept.

Nothing of the measurement is left: weights, moments, random states and sums are those from before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kdbench.base.errors import one_line
from kdbench.train.memory import free_cache

if TYPE_CHECKING:
    from kdbench.train.fit import Trainer

DEVICES = ("cuda",)  # where a compiled encoder can gain
# To compile for changing lengths takes about a minute, the time of some thousand steps of a base
# model on a large GPU. A tenth of the time gained over fewer steps would not bring it back.
LEAST_STEPS = 10_000
WARM_UP, TIMED = 5, 20  # steps


def measured(trainer: Trainer, total: int) -> dict[str, Any]:
    """Which way is faster, and by how much; empty where it is not measured: on another device,
    over several processes, or where too few steps are left.

    kept              "compiled" or "plain"
    plain_ms, compiled_ms  of a step; `compiled_error` where it cannot be compiled
    seconds           of the measurement
    """
    left = total - trainer.step
    if trainer.device.type not in DEVICES or trainer.world > 1 or left < LEAST_STEPS:
        return {}
    begun = time.monotonic()
    facts: dict[str, Any] = {"kept": "plain", "steps": TIMED}
    with untouched(trainer):
        facts["plain_ms"] = step_ms(trainer, total)
    with untouched(trainer):
        try:
            trainer.compile_encoder()
            facts["compiled_ms"] = step_ms(trainer, total)
        # whatever a compiler raises, or the memory that it takes: the plain way works
        except Exception as error:
            facts["compiled_error"] = one_line(error)[:200]
        finally:
            trainer.use_plain_encoder()
    free_cache(trainer.device)
    if facts.get("compiled_ms", float("inf")) < facts["plain_ms"]:
        facts["kept"] = "compiled"
    facts["seconds"] = round(time.monotonic() - begun, 1)
    return facts


def step_ms(trainer: Trainer, total: int) -> float:
    """Milliseconds of a step, over `TIMED` of them after a warm-up."""
    batches = trainer.order(trainer.epoch)
    chosen = [batches[i % len(batches)] for i in range(WARM_UP + TIMED)]
    trainer.trainee.train()
    trainer.objective.epoch = trainer.epoch
    trainer.feed.begin(chosen)
    begun = 0.0
    for number, indices in enumerate(chosen):
        if number == WARM_UP:
            synchronize(trainer.device)
            begun = time.perf_counter()
        trainer.one_step(indices, total)
        trainer.step += 1
    synchronize(trainer.device)
    return round(1000 * (time.perf_counter() - begun) / TIMED, 3)


def synchronize(device: torch.device) -> None:
    """Wait for an accelerator to finish."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


@contextmanager
def untouched(trainer: Trainer) -> Iterator[None]:
    """Whatever steps are made inside, the training is afterwards what it was before."""
    tensors = [*trainer.trainee.parameters(), *trainer.trainee.buffers()]
    values = [tensor.detach().to("cpu", copy=True) for tensor in tensors]
    state, draws = trainer.tensors(), (random.getstate(), np.random.get_state())
    step, sums, counted = trainer.step, dict(trainer.sums), dict(trainer.counted)
    try:
        yield
    finally:
        trainer.feed.end()
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.optimizer.state.clear()
        trainer.take_tensors(state)
        trainer.step, trainer.sums, trainer.counted = step, sums, counted
        random.setstate(draws[0])
        np.random.set_state(draws[1])
