"""Padding masks without a GPU sync.

`transformers` looks whether a mask hides anything, to leave it out. That waits for the GPU in every
forward pass. On a CPU its own masks stay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionMaskInterface
from transformers.masking_utils import bidirectional_mask_function, eager_mask, sdpa_mask


def padding_mask(arguments: dict[str, Any]) -> Tensor | None:
    """(B, 1, 1, T) True where a key is read; None on a CPU, and for more than padding."""
    mask = arguments.get("attention_mask")
    plain = arguments.get("mask_function") is bidirectional_mask_function
    if mask is None or mask.device.type == "cpu" or not plain:
        return None
    return mask.bool()[:, None, None, :]


def unskipped(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a mask that is more than padding, such as a sliding window: not left out,
    whatever it hides, unless on a CPU.
    """
    mask = arguments.get("attention_mask")
    if mask is None or mask.device.type == "cpu":
        return arguments
    return {**arguments, "allow_is_bidirectional_skip": False}


def sdpa_padding_mask(**arguments: Any) -> Tensor | None:
    """As transformers' `sdpa_mask`: True where a key is read."""
    mask = padding_mask(arguments)
    return sdpa_mask(**unskipped(arguments)) if mask is None else mask


def eager_padding_mask(**arguments: Any) -> Tensor | None:
    """As transformers' `eager_mask`: what is added to the scores."""
    mask = padding_mask(arguments)
    if mask is None:
        return eager_mask(**unskipped(arguments))
    zero = torch.zeros((), device=mask.device, dtype=arguments["dtype"])
    return torch.where(mask, zero, torch.finfo(arguments["dtype"]).min)


AttentionMaskInterface.register("sdpa", sdpa_padding_mask)
AttentionMaskInterface.register("eager", eager_padding_mask)
