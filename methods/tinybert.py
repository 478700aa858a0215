"""The loss of a tagger's student: the labels, the teacher's logits, and TinyBERT's layers.

TinyBERT: Jiao et al. 2020, arXiv 1909.10351, section 3.1.

Shapes: B texts, T tokens, W words, C tags, A heads, P pairs of layers, H (width). Losses are sums,
never means: the training loop divides by counts over the global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.methods.attention_scores import use_scores, without_padding
from kdbench.methods.layer_pairs import layer_pairs
from kdbench.methods.outputs import Outputs
from kdbench.models.heads import seeded
from kdbench.train.losses import aligned, at_words, soft_targets, task_logits
from kdbench.train.method import Batch, Objective, Term, early
from kdbench.train.signals import Pool

if TYPE_CHECKING:
    from kdbench.methods.ner_kd import NerKD

# ---- the losses ----------------------------------------------------------------------------------


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Sum of -Σ_c q_c log p_c over the labelled positions; q is 1 - ε for the label, ε / (C - 1)
    for each other class.

    logits (..., C), labels (...) with -100 where there is none. torch spreads its ε over all C
    classes, the label's included, hence the factor.
    """
    classes = logits.shape[-1]
    return F.cross_entropy(logits.float().reshape(-1, classes), labels.reshape(-1),
                           ignore_index=-100, reduction="sum",
                           label_smoothing=smoothing * classes / max(classes - 1, 1))


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


def pairs_by_rule(teacher: int, student: int,
                  rule: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(teacher layer, student layer) for hidden states (0 is the embedding's output) and for
    attention (from 1).

    teacher, student  depths, in layers
    uniform     student layer m learns from round(m · teacher / student), 3m for 12 and 4; the
                embedding has a term of its own
    off_by_one  the teacher's layers 1, 4, 7, ... with the student's 0, 1, 2, ..., and for attention
                with its 1, 2, 3, ..., until one of the two has no more
    """
    if rule == "uniform":
        pairs = layer_pairs(teacher, student, student)
        return pairs, pairs
    every_third = range(1, teacher + 1, 3)
    return (list(zip(every_third, range(student + 1), strict=False)),
            list(zip(every_third, range(1, student + 1), strict=False)))


# ---- the teacher's signals -----------------------------------------------------------------------

LAYERS = {"hidden": "layer_states", "attention": "layer_attentions"}  # signal of each term


def teacher_pool(names: Sequence[str], hidden: Sequence[int], attention: Sequence[int],
                 unit: str) -> Pool:
    """The teacher's signals that `Distillation` reads besides the built-in ones.

    hidden, attention  the teacher's layers that are read, from 1; layer 0 is the embedding's output
    unit               "tokens", or "words": the first token of each

    padded_logits     (T, C) a text, padding included, as the published loss averages over it
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


# ---- the objective -------------------------------------------------------------------------------


class Distillation(Objective):
    """L = α CE_ls + (1 - α) (L_logit or L_soft + L_layers), with the terms that are asked for.

    terms   its parts: hard (labels), logits, hidden (with the embedding's own term), attention
    depths  layers of teacher and student
    widths  of teacher and student; where they differ, projections of the student's are learned
    unit    where hidden states are compared: "tokens", or the first tokens of "words" where the
            tokenizers differ
    """

    def __init__(self, options: NerKD.Options, terms: Sequence[str], *,
                 depths: tuple[int, int] = (0, 0), widths: tuple[int, int] = (0, 0),
                 unit: str = "tokens", seed: int = 0):
        super().__init__()
        self.options, self.terms, self.unit = options, tuple(terms), unit
        self.hidden_states = "hidden" in terms
        self.attentions = "attention" in terms
        self.hidden_pairs: list[tuple[int, int]] = []
        self.attention_pairs: list[tuple[int, int]] = []
        if depths[1]:
            self.hidden_pairs, self.attention_pairs = pairs_by_rule(*depths, options.layer_map)
        self.project_embedding: nn.Module = nn.Identity()
        self.project_hidden: nn.Module = nn.Identity()
        if self.hidden_states and widths[0] != widths[1]:
            with seeded(seed):
                self.project_embedding = nn.Linear(widths[1], widths[0])
                self.project_hidden = nn.Linear(widths[1], widths[0])  # one for all layers

    @property
    def signal_names(self) -> tuple[str, ...]:
        """The teacher's signals that it reads."""
        names = []
        if "logits" in self.terms:
            names.append("logits" if self.options.level == "words" else "padded_logits")
        names += [LAYERS[term] for term in ("hidden", "attention") if term in self.terms]
        return tuple(names)

    def pool(self) -> Pool:
        """The teacher's side of the pairs; its embedding's output first."""
        hidden = [0, *(layer for layer, _ in self.hidden_pairs)]
        attention = [layer for layer, _ in self.attention_pairs]
        return teacher_pool(self.signal_names, hidden, attention, self.unit)

    @early
    def collate(self, batch: Batch) -> None:
        """Add what the losses divide by: labelled tokens, and words that both models have read."""
        if "hard" in self.terms and self.options.level == "tokens":
            labels = token_labels(batch)
            batch.extra["token_labels"] = labels
            batch.counts["labelled_tokens"] = float((labels != -100).sum())
        if self.hidden_states and self.unit == "words":
            assert batch.words is not None
            read = (batch.words >= 0) & (batch.extra["teacher_words"] >= 0)
            batch.extra["words_compared"] = read
            batch.counts["words_compared"] = float(read.sum())

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms of a batch by name; the soft ones weigh 1 - α beside the labels' α."""
        if self.attentions and self.options.attention == "scores":
            use_scores(student)
        outputs = self.outputs(student, batch)
        soft = 1 - self.options.alpha if "hard" in self.terms else 1.0
        losses: dict[str, Term] = {}
        if "hard" in self.terms:
            losses["hard_labels"] = self.hard_labels(outputs, batch)
        if "logits" in self.terms:
            losses["logits"] = self.logits(outputs, batch, soft)
        if self.hidden_states:
            losses |= self.hidden(outputs.hidden_states, batch, soft)
        if self.attentions:
            losses["attention"] = self.attention(outputs.attentions, batch, soft)
        return losses

    def hard_labels(self, outputs: Outputs, batch: Batch) -> Term:
        """α CE_ls over words, or over all tokens, each with its word's tag."""
        weight = self.options.alpha if len(self.terms) > 1 else 1.0
        if self.options.level == "tokens":
            total = smoothed_cross_entropy(outputs.logits, batch.extra["token_labels"],
                                           self.options.label_smoothing)
            return Term(total, "labelled_tokens", weight)
        assert batch.labels is not None
        total = smoothed_cross_entropy(task_logits(outputs, batch), batch.labels,
                                       self.options.label_smoothing)
        return Term(total, "words", weight)

    def logits(self, outputs: Outputs, batch: Batch, weight: float) -> Term:
        """L_logit, or L_soft at temperature 1, over words that both have read, or over tokens."""
        mask: Tensor | None
        if self.options.level == "words":
            student, teacher = task_logits(outputs, batch), batch.signals["logits"]
            mask, per = aligned(batch), "aligned"
        else:
            student, teacher = shortest(outputs.logits, batch.signals["padded_logits"], 1)
            mask, per = self.mask(batch, student.shape[1])
        if self.options.soft_loss == "cross_entropy":
            each = soft_targets(student, teacher, 1.0, "tags")
            return Term(each.sum() if mask is None else (each * mask).sum(), per, weight)
        return Term(squared_error(student, teacher, mask), per, weight)

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
        if self.options.mse_over == "positions":
            return None, "positions"
        return batch.inputs["attention_mask"][:, :length], "tokens"


def token_labels(batch: Batch) -> Tensor:
    """(B, T) every token carries its word's tag; -100 for [CLS], [SEP] and padding."""
    assert batch.labels is not None
    word_ids = batch.extra["word_ids"]
    return batch.labels.gather(1, word_ids.clamp(min=0)).masked_fill(word_ids < 0, -100)


def shortest(first: Tensor, second: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Both cut to the shorter one: over several processes the student's batch may be padded further
    than the teacher's.
    """
    length = min(first.shape[dimension], second.shape[dimension])
    return first.narrow(dimension, 0, length), second.narrow(dimension, 0, length)
