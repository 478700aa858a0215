"""Hidden states and attention rows of words, pooled from those of their tokens, and compared.

Shapes: B texts, T tokens, K code-switched words, n pairs of layers, A heads, H (width), R columns
of an attention row. Losses are sums, never means: the training loop divides by counts over the
global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.methods.attention_scores import without_padding
from kdbench.methods.code_switching import Aligner, Alignment
from kdbench.methods.outputs import Outputs
from kdbench.train.batching import pad_stack
from kdbench.train.method import Batch

TEACHER, STUDENT = 0, 1  # the sides of a pair

# ---- matrices that pool --------------------------------------------------------------------------


def segment_means(spans: Tensor, counts: Tensor, tokens: int) -> Tensor:
    """Token ranges (B, K, 2), of which the first `counts` (B,) are real, as a matrix (B, K, T)
    whose product with token states is their mean over each word; the rows of the others are zero.
    """
    position = torch.arange(tokens, device=spans.device)
    inside = (position >= spans[..., :1]) & (position < spans[..., 1:]) & real_words(
        spans, counts)[..., None]
    return inside / inside.sum(-1, keepdim=True).clamp(min=1)


def real_words(spans: Tensor, counts: Tensor) -> Tensor:
    """(B, K) True for the first `counts` (B,) words."""
    return torch.arange(spans.shape[1], device=spans.device) < counts[:, None]


def column_sums(columns: Tensor, width: int, mean: bool) -> Tensor:
    """Columns (B, T) of tokens, -1 for padding, as a matrix (B, T, R) that adds up (or averages)
    attention by column.
    """
    matrix = F.one_hot(columns + 1, width + 1)[..., 1:].float()
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1) if mean else matrix


def pool_hidden(layers: Sequence[Tensor], words: Tensor) -> Tensor:
    """h_l(w) = mean of H_l over the tokens of w: n layers (B, T, H), words (B, K, T) -> (B, n, K,
    H).

    One matrix product a layer. Slicing word by word instead makes the backward pass write a
    full-size tensor a word.
    """
    return torch.stack([words.to(layer.dtype) @ layer for layer in layers], 1)


def pool_attention(layers: Sequence[Tensor], words: Tensor, columns: Tensor | None,
                   average_heads: bool) -> Tensor:
    """r_l,a(w) = mean of the attention rows of w's tokens: n layers (B, A, T, T), words (B, K, T)
    -> (B, n, A, K, R).

    columns        (B, T, R) of `column_sums`; None leaves the row as it is, R = T
    average_heads  the mean over heads, A = 1
    """
    pooled = []
    for layer in layers:
        rows = words[:, None].to(
            layer.dtype) @ (layer.mean(1, keepdim=True) if average_heads else layer)
        pooled.append(rows if columns is None else rows @ columns[:, None].to(layer.dtype))
    return torch.stack(pooled, 1)


def hidden_sum(teacher: Tensor, student: Tensor, real: Tensor) -> Tensor:
    """Sum over words of the mean over (l, dims) of (h^T_l(w) - h^S_l(w))^2; both (B, n, K, H), real
    (B, K).
    """
    return ((teacher - student).square().mean((1, 3)) * real).sum()


def attention_sum(teacher: Tensor, student: Tensor, real: Tensor, columns: Tensor) -> Tensor:
    """Sum over words of the mean over (l, a, columns) of (r^T_l,a(w) - r^S_l,a(w))^2; both (B, n,
    A, K, R).

    columns (B,) is what the sum over a row is divided by; the narrower side is zero beyond its own
    columns.
    """
    width = max(teacher.shape[-1], student.shape[-1])
    teacher, student = (F.pad(rows, (0, width - rows.shape[-1])) for rows in (teacher, student))
    return ((teacher - student).square().sum(-1).mean((1, 2)) / columns[:, None] * real).sum()


# ---- both sides of a batch -----------------------------------------------------------------------


class Place(TypedDict):
    """Where the words of a batch are in one side's tokens.

    spans    (B, K, 2) half-open token ranges;  words  (B,) how many of them are real
    columns  (B, T) the column of an attention row that a token belongs to, -1 for padding
    widths   (B,) how many columns each text has;  widest  the largest of them
    """

    spans: Tensor
    words: Tensor
    columns: Tensor
    widths: Tensor
    widest: int


@dataclass
class WordStates:
    """Reads the code-switched words of a batch on either side: their token ranges, states and
    attention rows.

    pairs          (teacher layer, student layer), from 1
    average_heads  the two have different numbers of heads, so both sides are averaged over theirs
                   (our reading)
    """

    aligner: Aligner | None
    pairs: list[tuple[int, int]]
    attentions: bool
    average_heads: bool
    attn_kind: str
    attn_align: str

    def alignments(self, batch: Batch) -> list[Alignment]:
        """The words of each text, in both tokenizers' tokens."""
        assert self.aligner is not None
        return self.aligner(batch.examples)

    def place(self, alignments: Sequence[Alignment], side: int, tokens: int) -> Place:
        """Where the words of a batch are in one side's (B, T) tokens, as tensors."""
        spans = [alignment.spans[side] for alignment in alignments]
        columns = [alignment.columns[side] + 1 for alignment in alignments]
        widths = [alignment.width for alignment in alignments]
        return {
            "spans": torch.from_numpy(pad_stack(spans)),
            "words": torch.tensor([len(each) for each in spans]),
            "columns": torch.from_numpy(pad_stack(columns, (tokens,))) - 1,
            "widths": torch.tensor(widths),
            "widest": max(widths),  # a Python number, which needs no GPU sync
        }

    def pool(self, outputs: Outputs, place: Place, side: int) -> tuple[Tensor, Tensor | None]:
        """h (B, n+1, K, H) and r (B, n, A, K, R) of one side's forward pass; r is None where beta
        is 0.
        """
        words = segment_means(place["spans"], place["words"], outputs.hidden_states[0].shape[1])
        states = [outputs.hidden_states[pair[side]] for pair in [(0, 0), *self.pairs]]
        hidden = pool_hidden(states, words)
        if not self.attentions:
            return hidden, None
        scores = self.attn_kind == "scores"
        layers = [outputs.attentions[pair[side] - 1] for pair in self.pairs]
        if scores:
            layers = [without_padding(layer) for layer in layers]
        columns = None
        if self.attn_align == "word":
            columns = column_sums(place["columns"], place["widest"], mean=scores)
        return hidden, pool_attention(layers, words, columns, self.average_heads)

    def teacher_signals(self, outputs: Outputs, batch: Batch) -> dict[str, list[Tensor]]:
        """A `Pool` of `kdbench.train.signals`: of each text the states of its K words (n+1, K, H)
        and their attention rows (n, A, K, R).
        """
        alignments = self.alignments(batch)
        ids = batch.inputs["input_ids"]
        place = on_device(self.place(alignments, TEACHER, ids.shape[1]), ids.device)
        hidden, rows = self.pool(outputs, place, TEACHER)
        counts = [len(alignment.spans[TEACHER]) for alignment in alignments]
        signals = {
            "word_hidden": [each[:, :count] for each, count in zip(hidden, counts, strict=True)]}
        if rows is not None:
            widths = [alignment.width for alignment in alignments]
            signals["word_attention"] = [
                each[:, :, :count, :width]
                for each, count, width in zip(rows, counts, widths, strict=True)]
        return signals


def on_device(place: Place, device: torch.device) -> Place:
    """The same with its tensors on `device`, without a wait for it."""
    moved = {name: upload(value, device) if isinstance(value, Tensor) else value
             for name, value in place.items()}
    return cast(Place, moved)


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on `device`; the copy of page-locked memory needs no wait."""
    if device.type == "cpu" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
