"""Five seeds of one student: trained one after another, and as one batched model by torch.func."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from speed import SECONDS, Texts, build_model
from timing import Bench, seconds, synchronise
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

SEEDS = 5
Parameters = dict[str, Tensor]


def seeds(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a student: milliseconds that one step of all seeds takes, either way, and how far the
    losses of their first step are apart, without dropout.
    """
    bench = Bench(None, given.quick, given.device)
    texts = Texts(bench, 1)
    return [row(bench, texts, name) for name in ("TinyBERT 4x312", "MiniLM 6x384")]


def row(bench: Bench, texts: Texts, name: str) -> dict[str, Any]:
    """The figures of one student."""
    modules = [build_model(texts, name, seed).module.to(bench.device) for seed in range(SEEDS)]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(texts.rows, (SEEDS, texts.batch, texts.length), generator=draw)
    labels = torch.randint(len(texts.labels), (SEEDS, texts.batch), generator=draw)
    ids, labels = ids.to(bench.device), labels.to(bench.device)
    batched, single = Batched(modules, ids, labels), OneByOne(modules, ids, labels)
    for module in (*modules, batched.base):
        module.eval()
    apart = (batched.losses() - single.losses()).abs() / single.losses().abs()
    for module in (*modules, batched.base):
        module.train()
    found = {way: timed(step, bench) for way, step in
             (("one by one", single.step), ("batched", batched.step))}
    return {"model": name, "seeds": SEEDS, "one_by_one_ms": round(1000 * found["one by one"], 2),
            "batched_ms": round(1000 * found["batched"], 2),
            "gain": round(found["one by one"] / found["batched"], 2),
            "largest_difference": float(apart.max())}


def timed(step: Callable[[], None], bench: Bench) -> float:
    """Seconds a step: the median, after two that warm up."""
    def whole() -> None:
        step()
        synchronise()

    whole(), whole()
    each: list[float] = []
    begun = time.perf_counter()
    while len(each) < 3 or time.perf_counter() - begun < bench.pick(SECONDS, 0.1):
        each.append(seconds(whole))
    return statistics.median(each)


class OneByOne:
    """Each seed's model with an optimiser of its own."""

    def __init__(self, modules: list[nn.Module], ids: Tensor, labels: Tensor):
        self.modules, self.ids, self.labels = modules, ids, labels
        self.optimisers = [torch.optim.AdamW(module.parameters(), lr=1e-5, foreach=True)
                           for module in modules]

    def losses(self) -> Tensor:
        """(SEEDS,) the losses of the batch of each seed."""
        with torch.no_grad():
            return torch.stack([loss_of(*each) for each in
                                zip(self.modules, self.ids, self.labels, strict=True)])

    def step(self) -> None:
        """One step of every seed."""
        for number, optimiser in enumerate(self.optimisers):
            loss_of(self.modules[number], self.ids[number], self.labels[number]).backward()
            optimiser.step()
            optimiser.zero_grad()


class Batched:
    """The parameters of all seeds stacked, (SEEDS, ...), and one optimiser over the stacks."""

    def __init__(self, modules: list[nn.Module], ids: Tensor, labels: Tensor):
        import copy

        self.ids, self.labels = ids, labels
        stacked, self.buffers = stack_module_state(modules)
        self.parameters: Parameters = {name: value.detach().clone().requires_grad_()
                                       for name, value in stacked.items()}
        self.base = copy.deepcopy(modules[0]).to("meta")
        self.optimiser = torch.optim.AdamW(self.parameters.values(), lr=1e-5, foreach=True)

    def losses(self) -> Tensor:
        """(SEEDS,) the losses of the batch of each seed."""
        def one(parameters: Parameters, buffers: Parameters, ids: Tensor, labels: Tensor) -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):  # under vmap the fused one has no backward pass
                logits = functional_call(self.base, (parameters, buffers), (ids,)).logits
            return nn.functional.cross_entropy(logits, labels)

        each = vmap(one, randomness="different")  # dropout drawn for every seed
        return each(self.parameters, self.buffers, self.ids, self.labels)

    def step(self) -> None:
        """One step of every seed."""
        self.losses().sum().backward()
        self.optimiser.step()
        self.optimiser.zero_grad()


def loss_of(module: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of one model on one batch, (B, T) and (B,)."""
    return nn.functional.cross_entropy(module(ids).logits, labels)
