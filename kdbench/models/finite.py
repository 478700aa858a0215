"""Numbers that are none: weights that are NaN or infinite, and what a model answers with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def non_finite(module: nn.Module) -> str:
    """The name of the first parameter with a value that is NaN or infinite; empty where all are
    numbers.
    """
    for name, parameter in module.named_parameters():
        if not is_finite(parameter.detach()):
            return name
    return ""


def is_finite(values: Tensor) -> bool:
    """Are all values of a tensor numbers? On a GPU this waits for them.

    A sum is NaN or infinite where a value is, and takes no memory; of large numbers it can be
    infinite too, and then each is looked at.
    """
    if not values.is_floating_point():
        return True
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def finite_logits(logits: Tensor, attended: Tensor | None) -> bool:
    """Are all logits numbers? Of (B, T, C) those of padding do not count.

    attended  (B, T) the attention mask
    """
    if is_finite(logits):
        return True
    by_token = attended is not None and logits.ndim == 3
    return by_token and is_finite(logits[attended.bool()])  # type: ignore[union-attr]
