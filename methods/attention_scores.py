"""Attention before the softmax, from models that give probabilities: what TinyBERT compares."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask


def attention_with_scores(module: nn.Module, query: Tensor, key: Tensor, value: Tensor,
                          attention_mask: Tensor | None, scaling: float | None = None,
                          dropout: float = 0.0, **_: Any) -> tuple[Tensor, Tensor]:
    """Eager attention that hands out its scores (before the softmax) where others hand out
    probabilities.
    """
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores + attention_mask
    attention = F.dropout(scores.softmax(-1), dropout, module.training)
    return (attention @ value).transpose(1, 2).contiguous(), scores


SCORES = "eager_with_scores"
AttentionInterface.register(SCORES, attention_with_scores)
AttentionMaskInterface.register(SCORES, eager_mask)


def use_scores(module: nn.Module, _: Any = None) -> None:
    """Let `module` hand out scores from now on (the loop and the signals set plain eager
    attention); also as a hook.
    """
    if module.base_model.config._attn_implementation != SCORES:
        module.base_model.set_attn_implementation(SCORES)
