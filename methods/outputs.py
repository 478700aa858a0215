"""What an objective reads of a model's forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Outputs(Protocol):
    """A forward pass of a model with a task head, for B texts of T tokens.

    logits         (B, C), of a tagger (B, T, C)
    hidden_states  the embedding's output and that of each layer, (B, T, H) each
    attentions     of each layer, (B, A, T, T) each
    The last two are there where the objective has asked for them.
    """

    logits: Tensor
    hidden_states: Sequence[Tensor]
    attentions: Sequence[Tensor]
