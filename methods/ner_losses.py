"""The loss of a tagger's student: the labels, the teacher's logits, and TinyBERT's layers.

Shapes: B texts, T tokens, W words, C tags. Losses are sums, never means: the training loop divides
by counts over the global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.methods.layer_pairs import layer_pairs
from kdbench.methods.outputs import Outputs
from kdbench.methods.transformer_layers import LayerLosses, shortest, squared_error
from kdbench.train.losses import aligned, soft_targets, task_logits
from kdbench.train.method import Batch, Term, early

if TYPE_CHECKING:
    from kdbench.methods.ner_kd import NerKD


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


class Distillation(LayerLosses):
    """L = α CE_ls + (1 - α) (L_logit or L_soft + L_layers), with the terms that are asked for.

    terms   its parts: hard (labels), logits, hidden (with the embedding's own term), attention
    depths  layers of teacher and student
    widths, unit, seed  as in `LayerLosses`
    """

    def __init__(self, options: NerKD.Options, terms: Sequence[str], *,
                 depths: tuple[int, int] = (0, 0), widths: tuple[int, int] = (0, 0),
                 unit: str = "tokens", seed: int = 0):
        pairs = pairs_by_rule(*depths, options.layer_map) if depths[1] else ([], [])
        super().__init__(terms, pairs, widths=widths, unit=unit, seed=seed,
                         scores=options.attention == "scores",
                         positions=options.mse_over == "positions")
        self.options, self.terms = options, tuple(terms)

    @property
    def signal_names(self) -> tuple[str, ...]:
        """The teacher's signals that it reads."""
        logits = "logits" if self.options.level == "words" else "padded_logits"
        return (*((logits,) if "logits" in self.terms else ()), *super().signal_names)

    @early
    def collate(self, batch: Batch) -> None:
        """Add what the losses divide by: labelled tokens, and words that both models have read."""
        super().collate(batch)
        if "hard" in self.terms and self.options.level == "tokens":
            labels = token_labels(batch)
            batch.extra["token_labels"] = labels
            batch.counts["labelled_tokens"] = float((labels != -100).sum())

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms of a batch by name; the soft ones weigh 1 - α beside the labels' α."""
        outputs = self.outputs(student, batch)
        soft = 1 - self.options.alpha if "hard" in self.terms else 1.0
        losses: dict[str, Term] = {}
        if "hard" in self.terms:
            losses["hard_labels"] = self.hard_labels(outputs, batch)
        if "logits" in self.terms:
            losses["logits"] = self.logits(outputs, batch, soft)
        return losses | self.layers(outputs, batch, soft)

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


def token_labels(batch: Batch) -> Tensor:
    """(B, T) every token carries its word's tag; -100 for [CLS], [SEP] and padding."""
    assert batch.labels is not None
    word_ids = batch.extra["word_ids"]
    return batch.labels.gather(1, word_ids.clamp(min=0)).masked_fill(word_ids < 0, -100)
