"""Attention before the softmax, from models that give probabilities: what TinyBERT compares."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from kdbench.train.masks import eager_padding_mask


def attention_with_scores(module: nn.Module, query: Tensor, key: Tensor, value: Tensor,
                          attention_mask: Tensor | None, scaling: float | None = None,
                          dropout: float = 0.0, **_: object) -> tuple[Tensor, Tensor]:
    """Eager attention that returns its scores where others return probabilities.

    query, key, value (B, A, T, D) -> the attended values (B, T, A, D) and the scores (B, A, T, T).
    """
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores + attention_mask
    attention = F.dropout(scores.softmax(-1), dropout, module.training)
    return (attention @ value).transpose(1, 2).contiguous(), scores


SCORES = "eager_with_scores"
AttentionInterface.register(SCORES, attention_with_scores)
AttentionMaskInterface.register(SCORES, eager_padding_mask)


def use_scores(module: nn.Module, _: object = None) -> None:
    """Make `module` return scores from now on; also a forward pre-hook.

    The training loop and the signals set plain eager attention, so this comes after them, before
    each forward pass.
    """
    encoder = cast(PreTrainedModel, module.base_model)
    if encoder.config._attn_implementation != SCORES:
        encoder.set_attn_implementation(SCORES)


def can_give_scores(module: PreTrainedModel) -> bool:
    """Can the attention of this model be exchanged for one that returns scores?"""
    return cast(PreTrainedModel, module.base_model)._can_set_attn_implementation()


def without_padding(scores: Tensor) -> Tensor:
    """Scores with 0 where the mask has put its large negative number, as in TinyBERT's code."""
    return scores.masked_fill(scores <= -100, 0)
