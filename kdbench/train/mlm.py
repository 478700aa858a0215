"""Masked language modelling on unlabelled text: how an encoder gets to know a domain.

BERT's objective (Devlin et al. 2019): 15 % of the tokens are targets; of these 80 % are shown as
[MASK], 10 % as a random token, 10 % as they are. The masks are drawn anew each epoch from (seed,
epoch, text).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.base.identity import seed_for
from kdbench.data.task import Example
from kdbench.train.objective import Batch, Objective, Term, early


def unlabelled(texts: Iterable[str]) -> list[Example]:
    """Texts as examples without a label, empty ones left out."""
    return [Example(id=str(i), text=text) for i, text in enumerate(texts) if text.strip()]


class MaskedLM(Objective):
    """L = mean over masked positions of -log p(token); logits are computed at these positions
    alone.

    mask_id     id of the mask token
    special     ids that are never masked
    vocabulary  number of ids, from which random tokens are drawn
    share       of the tokens that are masked
    """

    def __init__(self, mask_id: int, special: Iterable[int], vocabulary: int, seed: int,
                 share: float = 0.15):
        super().__init__()
        self.mask_id, self.special, self.vocabulary = mask_id, tuple(special), vocabulary
        self.seed, self.share = seed, share

    @early
    def collate(self, batch: Batch) -> None:
        """Mask `batch.inputs` in place; targets, -100 elsewhere, go to `batch.extra["targets"]`."""
        ids = batch.inputs["input_ids"].numpy()
        targets = np.full_like(ids, -100)
        allowed = ~np.isin(ids, self.special) & (batch.inputs["attention_mask"].numpy() > 0)
        for row, example in enumerate(batch.examples):
            rng = np.random.default_rng(seed_for(self.seed, "mask", str(self.epoch), example.key))
            positions = np.flatnonzero(allowed[row])
            if not len(positions):
                continue
            count = max(1, round(self.share * len(positions)))
            chosen = rng.permutation(positions)[:count]
            targets[row, chosen] = ids[row, chosen]
            fate = rng.random(len(chosen))
            ids[row, chosen[fate < 0.8]] = self.mask_id
            swapped = chosen[fate >= 0.9]
            ids[row, swapped] = rng.integers(0, self.vocabulary, len(swapped))
        batch.extra["targets"] = torch.from_numpy(targets)
        # positions in the flattened batch, computed on the CPU to avoid a GPU sync
        batch.extra["masked_at"] = torch.from_numpy(np.flatnonzero(targets != -100))
        batch.counts["masked"] = float((targets != -100).sum())

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The one term "masked_lm"."""
        encoder: Any = student.base_model
        hidden = encoder(**batch.inputs).last_hidden_state.flatten(0, 1)
        masked = batch.extra["masked_at"]
        logits = lm_logits(student, hidden[masked])
        targets = batch.extra["targets"].flatten()[masked]
        total = F.cross_entropy(logits.float(), targets, reduction="sum")
        return {"masked_lm": Term(total, "masked")}


# a masked-LM head by the names of its parts, in their order; the first that a model has is its own
HEADS = (
    ("cls",), ("lm_head",), ("predictions",),
    ("generator_predictions", "generator_lm_head"),  # ELECTRA
    ("head", "decoder"),  # ModernBERT
    ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),  # DistilBERT
)


def lm_logits(module: Any, hidden: Tensor) -> Tensor:
    """Vocabulary logits (N, V) of hidden states (N, H), by whatever the model's masked-LM head is
    called.
    """
    for names in HEADS:
        if all(hasattr(module, name) for name in names):
            for name in names:
                hidden = getattr(module, name)(hidden)
            return hidden
    raise TypeError(f"{type(module).__name__} has no masked-LM head that is known here")
