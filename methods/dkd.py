"""DKD: the target class against the others, and the others among themselves.

Zhao, Cui, Song, Qiu, Liang 2022, Decoupled Knowledge Distillation, CVPR 2022, arXiv 2203.08679.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.losses import over_answers, standardised, supervised, task_logits
from kdbench.train.method import LOGITS, Batch, Method, Objective, Term, option


def decoupled(student: Tensor, teacher: Tensor, target: Tensor,
              temperature: float) -> tuple[Tensor, Tensor]:
    """T² KL(b_T || b_S) and T² KL(p̂_T || p̂_S), one value a row each (equation 6).

    b   the probabilities of the target class and of all others together
    p̂   those of the others among themselves; of two classes there is one, and the KL is 0

    student, teacher  logits (..., C);  target  class indices (...)
    """
    own = target.unsqueeze(-1)
    hot = torch.zeros_like(student, dtype=torch.bool).scatter(-1, own, True)
    both, others = [], []
    for logits in (student, teacher):
        z = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        rest = z.masked_fill(hot, torch.finfo(z.dtype).min)
        sides = torch.cat([z.gather(-1, own), rest.logsumexp(-1, keepdim=True)], -1)
        both.append(F.log_softmax(sides, -1))
        others.append(F.log_softmax(rest, -1))

    def divergence(ours: Tensor, theirs: Tensor) -> Tensor:
        return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)

    return divergence(*both), divergence(*others)


class Decoupled(Objective):
    """w · CE + α T² KL(b_T || b_S) + β T² KL(p̂_T || p̂_S), from stored teacher logits.

    The target of an example without a label is the teacher's first class.
    """

    def __init__(self, task_type: str, options: DKD.Options):
        super().__init__()
        self.task_type, self.options = task_type, options

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms "target", "others" and, where its weight is not 0, "hard_labels"."""
        o = self.options
        logits, teacher = task_logits(self.outputs(student, batch), batch), batch.signals["logits"]
        assert batch.labels is not None
        target = torch.where(batch.labels < 0, teacher.argmax(-1), batch.labels)
        ours, theirs = logits, teacher
        if o.standardise:
            ours, theirs = standardised(ours), standardised(theirs)
        first, second = decoupled(ours, theirs, target, o.temperature)
        terms = {"target": Term(*over_answers(first, batch), o.alpha),
                 "others": Term(*over_answers(second, batch), o.beta)}
        if o.hard:
            labels = supervised(logits, batch, self.task_type)
            terms["hard_labels"] = Term(labels.total, labels.per, o.hard)
        return terms


class DKD(Method):
    """Fine-tuned teacher -> its logits in two parts that are weighed by themselves."""

    name = "dkd"
    version = 1
    title = "Decoupled Knowledge Distillation"
    citation = "Zhao et al. 2022, CVPR 2022, arXiv 2203.08679"
    equations = """
    t the target class, p = softmax(z / T), b = (p_t, 1 - p_t), q = the other classes' p / (1 - p_t)
    KL(p_T || p_S) = KL(b_T || b_S) + (1 - p_t of the teacher) KL(q_T || q_S)
    L = hard * CE(z_S, y) + alpha * T^2 * KL(b_T || b_S) + beta * T^2 * KL(q_T || q_S)
    tags: means over the words that both have read"""
    needs = ("any teacher with the task's head; its own tokenizer is used. A file of answers, or "
             "several teachers. Of two classes the second part is 0")
    reads = LOGITS
    task_types = ("single", "tags")
    not_reproduced = (
        ("both parts grow from 0 over the first 20 of 240 epochs",
         "a fine-tuning has a few epochs, and begins from trained weights"),
    )

    @dataclass(frozen=True)
    class Options:
        """The weights of the parts."""

        temperature: float = option(4.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="paper: 4 on CIFAR-100, 1 on ImageNet",
                                    search=[1.0, 2.0, 4.0])
        alpha: float = option(1.0, "weight of the target class against the others", minimum=0.0,
                              source="paper: 1")
        beta: float = option(
            8.0, "weight of the others among themselves", minimum=0.0,
            source="paper: 8 on CIFAR-100 (1 to 10, larger for surer teachers), 0.5 on ImageNet",
            search=[1.0, 2.0, 4.0, 8.0])
        hard: float = option(1.0, "weight of the labels", minimum=0.0, source="paper: 1")
        standardise: bool = option(
            False, "both models' logits first become (z - mean z) / std z, as with logit_kd",
            source="Sun et al. 2024, arXiv 2403.01427", later=True)

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Fine-tune the teacher, read its logits, train the student on them."""
        teacher = lab.trained_teacher()
        examples = (*lab.data.train, *lab.unlabelled)
        logits = lab.signals(teacher, ("logits",), examples=examples)
        return lab.train(lab.student(), Decoupled(lab.task.task_type, self.options),
                         stage="decoupled", examples=examples, signals=logits)
