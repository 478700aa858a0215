"""DIST: agreement up to scale and shift, of the classes of a text and of the texts of a class.

Huang, You, Wang, Qian, Xu 2022, Knowledge Distillation from a Stronger Teacher, NeurIPS 2022,
arXiv 2205.10536.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.losses import answer_counts, supervised, task_logits
from kdbench.train.method import LOGITS, Batch, Method, Objective, Term, option


def pearson_distance(first: Tensor, second: Tensor, counts: Tensor | None = None) -> Tensor:
    """1 - ρ(u, v) of the rows (..., N) of two tensors (equation 5); 1 where a row is constant.

    counts  (N,) what each value counts (default: 1)
    """
    share = torch.ones_like(first[..., :1]) if counts is None else counts
    share = share.expand_as(first) / share.expand_as(first).sum(-1, keepdim=True).clamp_min(1e-12)
    own, other = (each - (share * each).sum(-1, keepdim=True) for each in (first, second))
    squares = (share * own.square()).sum(-1) * (share * other.square()).sum(-1)
    return 1 - (share * own * other).sum(-1) * squares.clamp_min(1e-16).rsqrt()


def between_and_within(student: Tensor, teacher: Tensor, temperature: float,
                       counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """T² · distance of the classes of each row (N,), and of the rows of each class (C,) (equations
    8 and 9).

    student, teacher  logits (N, C);  counts  (N,) what a row counts within a class (default: 1)
    """
    ours, theirs = (torch.softmax(z.to(torch.promote_types(z.dtype, torch.float32)) / temperature,
                                  -1) for z in (student, teacher))
    scale = temperature**2
    return (scale * pearson_distance(ours, theirs),
            scale * pearson_distance(ours.T, theirs.T, counts))


class Relational(Objective):
    """w · CE + β · distance between classes + γ · distance within classes, from stored logits.

    The distance within classes is one of a batch. It counts for as many texts (words) as the batch
    has: of a batch in several parts, or on several devices, it is the mean of theirs.
    """

    def __init__(self, task_type: str, options: DIST.Options):
        super().__init__()
        self.task_type, self.options = task_type, options

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms "between" and, where their weights are not 0, "within" and "hard_labels"."""
        o = self.options
        logits, teacher = task_logits(self.outputs(student, batch), batch), batch.signals["logits"]
        counts, per = answer_counts(logits[..., 0], batch)
        each, of_class = between_and_within(logits.flatten(0, -2), teacher.flatten(0, -2),
                                            o.temperature, counts.flatten())
        terms = {"between": Term((each * counts.flatten()).sum(), per, o.beta)}
        if o.gamma:
            terms["within"] = Term(of_class.mean() * counts.sum(), per, o.gamma)
        if o.hard:
            labels = supervised(logits, batch, self.task_type)
            terms["hard_labels"] = Term(labels.total, labels.per, o.hard)
        return terms


class DIST(Method):
    """Fine-tuned teacher -> its probabilities, up to scale and shift."""

    name = "dist"
    version = 1
    title = "Knowledge Distillation from A Stronger Teacher"
    citation = "Huang et al. 2022, NeurIPS 2022, arXiv 2205.10536"
    equations = """
    Y = softmax(Z / T) of a batch, a row a text, a column a class; d(u, v) = 1 - pearson(u, v)
    between = mean over rows of d(Y_S[i, :], Y_T[i, :])
    within  = mean over columns of d(Y_S[:, j], Y_T[:, j])
    L = hard * CE(z_S, y) + beta * T^2 * between + gamma * T^2 * within
    within is of the texts that one device reads at once: a part of a batch under --accumulate
    tags: a row is a word that both have read"""
    needs = ("any teacher with the task's head; its own tokenizer is used. A file of answers, or "
             "several teachers. Of two classes the first distance says who is the likelier one, "
             "and no more")
    reads = LOGITS
    task_types = ("single", "tags")

    @dataclass(frozen=True)
    class Options:
        """The weights of the parts."""

        temperature: float = option(1.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="the authors' code for segmentation has none",
                                    search=[1.0, 2.0, 4.0])
        beta: float = option(1.0, "weight of the classes of a text", minimum=0.0,
                             source="the authors' code for segmentation: 1", search=[0.5, 1.0, 2.0])
        gamma: float = option(1.0, "weight of the texts of a class", minimum=0.0,
                              source="the authors' code for segmentation: 1",
                              search=[0.5, 1.0, 2.0])
        hard: float = option(1.0, "weight of the labels", minimum=0.0, source="ours")

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Fine-tune the teacher, read its logits, train the student on them."""
        teacher = lab.trained_teacher()
        examples = (*lab.data.train, *lab.unlabelled)
        logits = lab.signals(teacher, ("logits",), examples=examples)
        return lab.train(lab.student(), Relational(lab.task.task_type, self.options),
                         stage="relational", examples=examples, signals=logits)
