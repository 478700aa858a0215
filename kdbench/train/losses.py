"""The shared mathematics of distillation, each function against its formula.

Shapes: B texts, W words, C classes. Functions return sums or per-row values, never means, so that
the training loop can divide by counts over the global batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.base.errors import Skip
from kdbench.data.task import Task
from kdbench.train.objective import Batch, Objective, Term


def task_logits(outputs: Any, batch: Batch) -> Tensor:
    """(B, C) for texts; (B, W, C) for tags: the logits of each word's first token, zero where there
    is none.
    """
    if batch.words is None:
        return outputs.logits
    return at_words(outputs.logits, batch.words)


def at_words(values: Tensor, words: Tensor) -> Tensor:
    """Rows of `values` (B, T, D) at the token positions `words` (B, W), zero where the position is
    -1.
    """
    index = words.clamp(min=0).unsqueeze(-1).expand(-1, -1, values.shape[-1])
    return values.gather(1, index) * (words >= 0).unsqueeze(-1)


def supervised(logits: Tensor, batch: Batch, task_type: str, smoothing: float = 0.0) -> Term:
    """The task's own loss on labelled examples (words, for tags).

    single, tags  cross-entropy
    multi         binary cross-entropy, mean over the labels
    regression    squared error
    """
    if batch.labels is None:
        raise ValueError("this batch has no labels")
    if task_type in ("single", "tags"):
        flat = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), batch.labels.reshape(-1),
            ignore_index=-100, reduction="sum", label_smoothing=smoothing)
        return Term(flat, "words" if task_type == "tags" else "labelled")
    known = ~batch.labels.isnan()
    target = batch.labels.nan_to_num()
    if task_type == "multi":
        each = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
        return Term((each * known).sum() / logits.shape[-1], "labelled")
    return Term(((logits.squeeze(-1).float() - target).square() * known).sum(), "labelled")


def soft_targets(logits: Tensor, teacher_logits: Tensor, temperature: float,
                 task_type: str) -> Tensor:
    """T² · KL(teacher_T || student_T) (Hinton et al. 2015, section 2), one value a row.

    single, tags  KL of the softmax distributions, (...,) for logits (..., C)
    multi         the mean over labels of the KL of two-class (sigmoid) distributions
    regression    squared difference

    T² keeps the gradient's size independent of the temperature.
    """
    student, teacher = logits.float() / temperature, teacher_logits.float() / temperature
    if task_type in ("single", "tags"):
        each = F.kl_div(F.log_softmax(student, -1), F.log_softmax(teacher, -1), reduction="none",
                        log_target=True).sum(-1)
    elif task_type == "multi":
        p = teacher.sigmoid()
        cross = F.binary_cross_entropy_with_logits(student, p, reduction="none")
        own = F.binary_cross_entropy_with_logits(teacher, p, reduction="none")
        each = (cross - own).mean(-1)
    else:
        return (logits.float() - teacher_logits.float()).square().squeeze(-1)
    return temperature**2 * each


def standardised(logits: Tensor) -> Tensor:
    """Z(z) = (z - mean z) / std z over the classes of each row (..., C) (Sun et al. 2024, section
    4.2).
    """
    own = logits.float()
    spread = own.var(-1, unbiased=False, keepdim=True).clamp_min(1e-12).sqrt()
    return (own - own.mean(-1, keepdim=True)) / spread


def check_standardise(asked: bool, task: Task) -> None:
    """`Skip` where logits are to be standardised that are not those of one choice."""
    if asked and task.task_type not in ("single", "tags"):
        raise Skip(f"standardise compares the classes of one choice, and task {task.name} is "
                   f"{task.task_type}")


def over_answers(each: Tensor, batch: Batch) -> tuple[Tensor, str]:
    """The sum of a loss over the examples (B,), or words (B, W), that the teacher answers, and what
    it is a sum over.
    """
    counts, per = answer_counts(each, batch)
    return (each if per == "examples" else each * counts).sum(), per


def answer_counts(each: Tensor, batch: Batch) -> tuple[Tensor, str]:
    """What each example (B,), or word (B, W), counts among those that the teacher answers, as large
    as `each`, and the name of their sum.
    """
    if batch.words is not None:
        return aligned(batch), "aligned"
    if "logits_weight" in batch.signals:  # of a teacher that does not know all texts
        return batch.signals["logits_weight"][:, 0], "answered"
    return torch.ones_like(each), "examples"


def entropy(logits: Tensor, task_type: str = "single") -> Tensor:
    """H(p) = -Σ p log p of softmax(logits), one value a row; for multi the mean of the labels'
    binary entropies.
    """
    if task_type == "multi":
        own = logits.float()
        return F.binary_cross_entropy_with_logits(own, own.sigmoid(), reduction="none").mean(-1)
    log_p = F.log_softmax(logits.float(), -1)
    return -(log_p.exp() * log_p).sum(-1)


class Supervised(Objective):
    """The task's own loss and nothing else: plain fine-tuning."""

    def __init__(self, task_type: str):
        super().__init__()
        self.task_type = task_type

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """One term: "cross_entropy", or "squared_error" of a regression."""
        logits = task_logits(self.outputs(student, batch), batch)
        name = "squared_error" if self.task_type == "regression" else "cross_entropy"
        return {name: supervised(logits, batch, self.task_type)}


class SoftTargets(Objective):
    """α · supervised + (1 - α) · soft targets, from stored teacher logits.

    Signals read: `logits`, and `logits_weight` where a teacher does not know all texts. An
    unlabelled example takes part in the soft term alone, one that the teacher does not know in the
    other.

    standardise  the logits of both are `standardised` before they are softened
    """

    def __init__(self, task_type: str, temperature: float, alpha: float,
                 standardise: bool = False):
        super().__init__()
        self.task_type, self.temperature, self.alpha = task_type, temperature, alpha
        self.standardise = standardise

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms "soft_targets" and, where alpha is not 0, "hard_labels"."""
        logits = task_logits(self.outputs(student, batch), batch)
        ours, theirs = logits, batch.signals["logits"]
        if self.standardise:
            ours, theirs = standardised(ours), standardised(theirs)
        each = soft_targets(ours, theirs, self.temperature, self.task_type)
        terms = {"soft_targets": Term(*over_answers(each, batch), 1 - self.alpha)}
        if self.alpha:
            hard = supervised(logits, batch, self.task_type)
            terms["hard_labels"] = Term(hard.total, hard.per, self.alpha)
        return terms


def aligned(batch: Batch) -> Tensor:
    """(B, W) what the teacher's answer for a word counts, 1 unless it says less; 0 where one of the
    two has not read the word.
    """
    assert batch.words is not None
    read = (batch.words >= 0) & batch.signals["logits_known"].bool()
    return read * batch.signals["logits_weight"] if "logits_weight" in batch.signals else read
