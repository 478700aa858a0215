"""Divergences of logits over a vocabulary of tens of thousands, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from kdbench.train.memory import total_memory
from kdbench.train.mlm import lm_logits


class Divergences(torch.autograd.Function):
    """Sums over N rows of T² KL(softmax(z_T / T) || softmax(z_S / T)) and of the squared
    differences, for logits (N, V).

    Left to autograd, the two would keep some ten (N, V) tensors in fp32, each of which can be
    larger than the model. Here rows are worked on in blocks, forward and backward, and the logits
    are kept as they came. On a CPU a block stays in its cache; an accelerator, which waits for the
    host at every small block, gets as large ones as its memory bears.

        kl, mse = Divergences.apply(student_logits, teacher_logits, temperature)
    """

    BLOCK = 2**20  # elements, on a CPU
    SHARE = 64  # of an accelerator's memory, one part in so many may be a block's
    COPIES = 6  # fp32 tensors of a block's size that are there at a time

    @staticmethod
    def block(device: torch.device) -> int:
        """Elements of a block on a device: 52 million on one of 80 GB, 10 million on one of
        16 GB.
        """
        if device.type == "cpu":
            return Divergences.BLOCK
        most = total_memory(device) // (Divergences.SHARE * Divergences.COPIES * 4)
        return max(Divergences.BLOCK, most)

    @staticmethod
    def blocks(ours: Tensor, theirs: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Slices of rows with both sides' logits there, copied, in fp32 at least."""
        rows = max(1, Divergences.block(ours.device) // ours.shape[1])
        precise = torch.promote_types(ours.dtype, torch.float32)
        for start in range(0, len(ours), rows):
            block = slice(start, start + rows)
            yield block, ours[block].to(precise, copy=True), theirs[block].to(precise, copy=True)

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor,
                temperature: float) -> tuple[Tensor, Tensor]:
        """Student's and teacher's logits (N, V) -> both sums, scalars."""
        ctx.save_for_backward(ours, theirs)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        kl = mse = ours.new_zeros((), dtype=torch.promote_types(ours.dtype, torch.float32))
        for _, s, t in Divergences.blocks(ours, theirs):
            mse = mse + (s - t).square_().sum()
            q, p = (z.div_(temperature).log_softmax(-1) for z in (s, t))
            kl = kl + temperature**2 * F.kl_div(q, p, reduction="sum", log_target=True)
        return kl, mse

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, kl: Tensor | None, mse: Tensor | None) -> tuple[Tensor, None, None]:
        """d KL / d z_S = T (p_S - p_T), d MSE / d z_S = 2 (z_S - z_T)."""
        ours, theirs = ctx.saved_tensors
        gradient, heat = torch.empty_like(ours), ctx.temperature
        for block, s, t in Divergences.blocks(ours, theirs):
            each = torch.zeros_like(s) if mse is None else (s - t).mul_(2 * mse)
            if kl is not None:
                each += (s.div_(heat).softmax(-1) - t.div_(heat).softmax(-1)).mul_(kl * heat)
            gradient[block] = each
        return gradient, None, None


def first_columns(module: nn.Module, hidden: Tensor, columns: int) -> Tensor:
    """Vocabulary logits (N, columns) of hidden states (N, H): the masked-LM head without the rest
    of its last matrix. MobileBERT's head joins two matrices itself, so there all are computed.
    """
    decoder = cast(nn.Linear, cast(PreTrainedModel, module).get_output_embeddings())
    features: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        features.append(inputs[0])
        return (inputs[0][:0],)

    handle = decoder.register_forward_pre_hook(catch)
    try:
        logits = lm_logits(module, hidden)
    finally:
        handle.remove()
    if not features:
        return logits[:, :columns]
    bias = None if decoder.bias is None else decoder.bias[:columns]
    return F.linear(features[0], decoder.weight[:columns], bias)
