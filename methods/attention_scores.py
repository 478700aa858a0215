"""What attention is made of, from models that give its probabilities: its scores before the softmax
(TinyBERT), or queries, keys and values (MiniLM).
"""

from __future__ import annotations

from typing import Any, cast

import torch
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


def attention_with_vectors(module: nn.Module, query: Tensor, key: Tensor, value: Tensor,
                           attention_mask: Tensor | None,
                           **more: Any) -> tuple[Tensor, Tensor]:
    """Eager attention that returns queries, keys and values where others return probabilities.

    query, key, value (B, A, T, D) -> the attended values (B, T, A, D) and the three side by side,
    (B, A, T, 3 D).
    """
    attended, _ = attention_with_scores(module, query, key, value, attention_mask, **more)
    return attended, torch.cat([query, key, value], -1)


SCORES, VECTORS = "eager_with_scores", "eager_with_vectors"
for name, attention in ((SCORES, attention_with_scores), (VECTORS, attention_with_vectors)):
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, eager_padding_mask)


def use_scores(module: nn.Module, _: object = None) -> None:
    """Make `module` return scores from now on; also a forward pre-hook.

    The training loop and the signals set plain eager attention, so this comes after them, before
    each forward pass.
    """
    use_attention(module, SCORES)


def use_vectors(module: nn.Module, _: object = None) -> None:
    """Make `module` return queries, keys and values from now on; as `use_scores`."""
    use_attention(module, VECTORS)


def use_attention(module: nn.Module, name: str) -> None:
    """Make the encoder of `module` attend by the function of that name."""
    encoder = cast(PreTrainedModel, module.base_model)
    if encoder.config._attn_implementation != name:
        encoder.set_attn_implementation(name)


def can_give_scores(module: PreTrainedModel) -> bool:
    """Can the attention of this model be exchanged for one that returns scores? One whose heads
    share keys and values cannot.
    """
    heads = getattr(module.config, "num_attention_heads", None)
    if (getattr(module.config, "num_key_value_heads", None) or heads) != heads:
        return False
    return cast(PreTrainedModel, module.base_model)._can_set_attn_implementation()


def without_padding(scores: Tensor) -> Tensor:
    """Scores with 0 where the mask has put its large negative number, as in TinyBERT's code."""
    return scores.masked_fill(scores <= -100, 0)
