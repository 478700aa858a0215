"""What a method states its loss with: named terms of a batch, and the batch itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kdbench.data.task import Example

Collate = TypeVar("Collate", bound=Callable[..., None])


@dataclass(frozen=True)
class Term:
    """One named loss term of a batch: ``weight * total / count``.

    total   a sum over this process's part of the batch
    per     what it is a sum over, one of the counts of `Batch` ("examples", "words", "tokens",
            "positions", or one that a method adds); "sum" is not divided
    weight  0 makes a term that is only watched

    The training loop divides by the count over the *global* batch: over gradient accumulation and
    processes.
    """

    total: Tensor
    per: str = "examples"
    weight: float = 1.0


def loss_of(terms: Mapping[str, Term], counts: Mapping[str, float]) -> Tensor:
    """Σ weight · total / count; a count of 0 goes with a total of 0 and is taken as 1."""
    loss = torch.zeros(())
    for term in terms.values():
        loss = loss + term.weight * term.total / divisor(term.per, counts)
    return loss


def divisor(per: str, counts: Mapping[str, float]) -> float:
    """What a term is divided by: the count of that name, at least 1."""
    return 1.0 if per == "sum" else max(counts[per], 1.0)


@dataclass
class Batch:
    """A collated batch.

    inputs   what the student's forward takes: input_ids, attention_mask, ... (B, T)
    labels   single (B,) int64; multi (B, C) float; regression (B,) float; tags (B, W) int64 a word,
             -100 beyond
    words    tags and word-level signals: position of each word's first token (B, W), -1 beyond or
             cut off
    signals  the teacher's, by name: per example (B, ...); per word (B, W, ...); per token (B, T,
             ...)
    counts   what terms divide by; sums over this batch, as Python numbers known before the forward
             pass
    extra    whatever a method's own `collate` adds
    """

    inputs: dict[str, Tensor]
    labels: Tensor | None = None
    words: Tensor | None = None
    signals: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with each of its tensors changed."""

        def changed_one(value: Any) -> Any:
            if isinstance(value, Batch):
                return value.each(change)
            return change(value) if isinstance(value, Tensor) else value

        def changed(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: changed_one(value) for name, value in values.items()}

        labels = None if self.labels is None else change(self.labels)
        words = None if self.words is None else change(self.words)
        return replace(self, inputs=changed(self.inputs), labels=labels, words=words,
                       signals=changed(self.signals), extra=changed(self.extra))


def early(collate: Collate) -> Collate:
    """Mark a `collate` that may run ahead of its step, in another thread.

    Such a one reads the examples, the inputs, the labels and what is counted of a batch, and the
    epoch. It reads no signal's values, no parameter and nothing that a step changes, and draws from
    no random state that others draw from (a generator seeded by text and epoch is its own).
    A method that overrides it is not marked until it is marked itself.
    """
    collate.early = True  # type: ignore[attr-defined]
    return collate


def is_early(objective: Objective) -> bool:
    """May the objective's `collate` run ahead of its step?"""
    return bool(getattr(objective.collate, "early", False))


class Objective(nn.Module):
    """Named loss terms of one batch; learned projections are submodules and are trained and saved
    with it.

    `hidden_states` / `attentions` declare what it reads of the student, so that nothing else is
    computed; `epoch` (from 0) and `epochs` are set by the loop.
    """

    hidden_states: bool = False
    attentions: bool = False
    epoch: int = 0
    epochs: int = 1

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The loss terms of one batch, by name."""
        raise NotImplementedError

    @early
    def collate(self, batch: Batch) -> None:
        """Add to `batch.extra` and `batch.counts` what this objective needs; runs on the CPU, once
        a batch. See `early` for one that does not have to wait for its step.
        """

    def outputs(self, student: nn.Module, batch: Batch) -> Any:
        """The student's forward pass with what this objective declared."""
        wanted = {"output_hidden_states": True} if self.hidden_states else {}
        if self.attentions:
            wanted["output_attentions"] = True
        out = student(**batch.inputs, **wanted)
        if self.attentions and not out.attentions:
            raise RuntimeError("the student returned no attention probabilities: build it with "
                               "attn_implementation='eager'")
        return out
