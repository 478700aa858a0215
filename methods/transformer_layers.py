"""TinyBERT's loss on a transformer's layers: the embedding's output, hidden states, attention.

Jiao et al. 2020, TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP
2020, arXiv 1909.10351, section 3.1.

Shapes: B texts, T tokens, W words, A heads, P pairs of layers, H (width). Losses are sums, never
means: the training loop divides by counts over the global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from kdbench.methods.attention_scores import use_scores, without_padding
from kdbench.methods.outputs import Outputs
from kdbench.models.heads import seeded
from kdbench.train.losses import at_words
from kdbench.train.method import Batch, Objective, Term, early
from kdbench.train.signals import Pool

Pairs: TypeAlias = Sequence[tuple[int, int]]  # (teacher layer, student layer)


def squared_error(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over positions of the mean over D of (s - t)²; (B, T, D) each, mask (B, T) or None for
    all positions.
    """
    each = (student.float() - teacher.float()).square().mean(-1)
    return each.sum() if mask is None else (each * mask).sum()


def attention_error(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over texts of the mean over heads, rows and columns of (a_S - a_T)²; (B, A, T, T) each,
    mask (B, T).

    With a mask only rows and columns of real tokens count. Where the numbers of heads differ, the
    means over heads are compared.
    """
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(1, keepdim=True), teacher.mean(1, keepdim=True)
    each = (student.float() - teacher.float()).square().mean(1)
    if mask is None:
        return each.mean((1, 2)).sum()
    real = mask.float()
    return (torch.einsum("bij,bi,bj->b", each, real, real) / real.sum(1).square()).sum()


def shortest(first: Tensor, second: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Both cut to the shorter one: over several processes the student's batch may be padded further
    than the teacher's.
    """
    length = min(first.shape[dimension], second.shape[dimension])
    return first.narrow(dimension, 0, length), second.narrow(dimension, 0, length)


SIGNALS = {"hidden": "layer_states", "attention": "layer_attentions"}  # of each kind of loss


def teacher_pool(names: Sequence[str], hidden: Sequence[int], attention: Sequence[int],
                 unit: str) -> Pool:
    """The teacher's signals that `LayerLosses` reads.

    hidden, attention  the teacher's layers that are read, from 1; layer 0 is the embedding's output
    unit               "tokens", or "words": the first token of each

    padded_logits     (T, C) a text, padding included, for a loss that averages over it
    layer_states      (P, T, H), or (P, W, H) with unit "words"
    layer_attentions  (P, A, T, T), probabilities or scores, as the teacher gives them
    """
    def pool(outputs: Outputs, batch: Batch) -> dict[str, list[Tensor]]:
        signals: dict[str, list[Tensor]] = {}
        if "padded_logits" in names:
            signals["padded_logits"] = list(outputs.logits)
        if "layer_states" in names:
            layers = [outputs.hidden_states[layer] for layer in hidden]
            if unit == "words":
                assert batch.words is not None
                layers = [at_words(layer, batch.words) for layer in layers]
            signals["layer_states"] = list(torch.stack(layers, 1))
        if "layer_attentions" in names:
            layers = [outputs.attentions[layer - 1] for layer in attention]
            signals["layer_attentions"] = list(without_padding(torch.stack(layers, 1)))
        return signals

    return pool


class LayerLosses(Objective):
    """L_layers = MSE(E_T, W_e E_S) + Σ over pairs of MSE(H_T, W_h H_S) + MSE(A_T, A_S).

    kinds      what is compared: hidden (the embedding's output too), attention
    pairs      layers that are compared, for hidden states and for attention
    widths     of teacher and student; where they differ, projections of the student's are learned
    unit       where hidden states are compared: "tokens", or the first tokens of "words" where the
               tokenizers differ
    scores     is it attention before the softmax?
    positions  are means over all positions of the batch, padding included?
    """

    def __init__(self, kinds: Sequence[str], pairs: tuple[Pairs, Pairs], *,
                 widths: tuple[int, int] = (0, 0), unit: str = "tokens", scores: bool = True,
                 positions: bool = False, seed: int = 0):
        super().__init__()
        self.hidden_states, self.attentions = "hidden" in kinds, "attention" in kinds
        self.hidden_pairs, self.attention_pairs = pairs
        self.unit, self.scores, self.positions = unit, scores, positions
        self.project_embedding: nn.Module = nn.Identity()
        self.project_hidden: nn.Module = nn.Identity()
        if self.hidden_states and widths[0] != widths[1]:
            with seeded(seed):
                self.project_embedding = nn.Linear(widths[1], widths[0])
                self.project_hidden = nn.Linear(widths[1], widths[0])  # one for all layers

    @property
    def signal_names(self) -> tuple[str, ...]:
        """The teacher's signals that it reads."""
        asked = {"hidden": self.hidden_states, "attention": self.attentions}
        return tuple(SIGNALS[kind] for kind, wanted in asked.items() if wanted)

    def pool(self) -> Pool:
        """The teacher's side of the pairs; its embedding's output first."""
        hidden = [0, *(layer for layer, _ in self.hidden_pairs)]
        attention = [layer for layer, _ in self.attention_pairs]
        return teacher_pool(self.signal_names, hidden, attention, self.unit)

    @early
    def collate(self, batch: Batch) -> None:
        """Add the words that both models have read, where words are compared."""
        if self.hidden_states and self.unit == "words":
            assert batch.words is not None
            read = (batch.words >= 0) & (batch.extra["teacher_words"] >= 0)
            batch.extra["words_compared"] = read
            batch.counts["words_compared"] = float(read.sum())

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms "embedding" and "hidden", and "attention", of what is compared."""
        return self.layers(self.outputs(student, batch), batch)

    def outputs(self, student: nn.Module, batch: Batch) -> Outputs:
        """The student's forward pass, with scores for probabilities where they are compared."""
        if self.attentions and self.scores:
            use_scores(student)
        return super().outputs(student, batch)

    def layers(self, outputs: Outputs, batch: Batch, weight: float = 1.0) -> dict[str, Term]:
        """The terms of the layers, each with this weight."""
        losses: dict[str, Term] = {}
        if self.hidden_states:
            losses |= self.hidden(outputs.hidden_states, batch, weight)
        if self.attentions:
            losses["attention"] = self.attention(outputs.attentions, batch, weight)
        return losses

    def hidden(self, states: Sequence[Tensor], batch: Batch, weight: float) -> dict[str, Term]:
        """The embedding's term, and the sum of the pairs' squared errors.

        states  the student's, the embedding's output first, (B, T, H_S) each
        """
        projected = self.projected(states, batch)
        embedding, *teachers = batch.signals["layer_states"].unbind(1)
        mask: Tensor | None
        if self.unit == "words":
            mask, per = batch.extra["words_compared"], "words_compared"
        else:
            mask, per = self.mask(batch, min(projected[0].shape[1], embedding.shape[1]))
        total = torch.zeros(())
        for (_, layer), teacher in zip(self.hidden_pairs, teachers, strict=True):
            total = total + squared_error(*shortest(projected[layer], teacher, 1), mask)
        of_embedding = squared_error(*shortest(projected[0], embedding, 1), mask)
        return {"embedding": Term(of_embedding, per, weight), "hidden": Term(total, per, weight)}

    def projected(self, states: Sequence[Tensor], batch: Batch) -> dict[int, Tensor]:
        """The student's states that are compared, in the teacher's width, by layer."""
        projected = {}
        for layer in sorted({0, *(layer for _, layer in self.hidden_pairs)}):
            project = self.project_hidden if layer else self.project_embedding
            projected[layer] = project(states[layer].float())
        if self.unit == "tokens":
            return projected
        assert batch.words is not None
        return {layer: at_words(state, batch.words) for layer, state in projected.items()}

    def attention(self, attentions: Sequence[Tensor], batch: Batch, weight: float) -> Term:
        """Sum over the pairs of layers of `attention_error`; attentions (B, A, T, T) each."""
        total = torch.zeros(())
        teachers = batch.signals["layer_attentions"].unbind(1)
        for (_, layer), teacher in zip(self.attention_pairs, teachers, strict=True):
            student = without_padding(attentions[layer - 1])
            student, teacher = shortest(*shortest(student, teacher, 2), 3)
            mask, _ = self.mask(batch, student.shape[2])
            total = total + attention_error(student, teacher, mask)
        return Term(total, "examples", weight)

    def mask(self, batch: Batch, length: int) -> tuple[Tensor | None, str]:
        """Real tokens and their count, or all positions and theirs."""
        if self.positions:
            return None, "positions"
        return batch.inputs["attention_mask"][:, :length], "tokens"
