"""Annealing-KD: a student that follows the teacher's logits from a damped to their full size, and
then learns the labels.

Jafari, Rezagholizadeh, Sharma, Ghodsi 2021, Annealing Knowledge Distillation, EACL 2021,
arXiv 2104.07163.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.losses import Supervised, over_answers, task_logits
from kdbench.train.method import LOGITS, Batch, Method, Objective, Term, option


def temperature_of(epoch: int, epochs: int, most: int) -> int:
    """The temperature of an epoch from 0: `most` in the first, 1 in the last, in equal steps."""
    return 1 + round((most - 1) * (epochs - 1 - epoch) / max(1, epochs - 1))


def annealing(temperature: int, most: int) -> float:
    """Φ(T) = 1 - (T - 1) / τ: 1 / τ at T = τ, and 1 at T = 1 (section 3)."""
    return 1 - (temperature - 1) / most


class Annealed(Objective):
    """Mean over examples (words) and classes of (z_S - Φ(T) z_T)², from stored teacher logits."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The term "annealed_logits"."""
        logits = task_logits(self.outputs(student, batch), batch).float()
        damping = annealing(temperature_of(self.epoch, self.epochs, self.most), self.most)
        each = (logits - damping * batch.signals["logits"].float()).square().mean(-1)
        return {"annealed_logits": Term(*over_answers(each, batch))}


class AnnealingKD(Method):
    """Fine-tuned teacher -> its damped logits, whose size grows -> the labels."""

    name = "annealing_kd"
    version = 2
    title = "Annealing Knowledge Distillation"
    citation = "Jafari et al. 2021, EACL 2021, arXiv 2104.07163"
    equations = """
    Phi(T) = 1 - (T - 1) / tau
    first:  L = mean over classes of (z_S - Phi(T) z_T)^2, T from tau down to 1 over the epochs
    then:   L = CE(z_S, y)   (several labels: binary CE; regression: squared error)
    tags: means over the words that both have read"""
    needs = ("any teacher with the task's head; its own tokenizer is used. A file of answers, or "
             "several teachers")
    reads = LOGITS
    task_types = ("single", "multi", "regression", "tags")

    @dataclass(frozen=True)
    class Options:
        """The two trainings."""

        temperature: int = option(7, "tau, the temperature of the first epoch", minimum=1,
                                  maximum=1000, source="ours; the paper searches it by task",
                                  search=[3, 5, 7, 10])
        share: float = option(
            0.7, "share of the training that the logits get, so that both together cost what the "
            "other methods cost", minimum=0.01, maximum=0.99, source="ours", search=[0.5, 0.7, 0.9])

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Teacher, annealed logits, labels where there are any."""
        teacher = lab.trained_teacher()
        examples = (*lab.data.train, *lab.unlabelled)
        logits = lab.signals(teacher, ("logits",), examples=examples)
        objective = Annealed(self.options.temperature)
        if not lab.data.train:  # a second training would have no label
            return lab.train(lab.student(), objective, stage="annealing", examples=examples,
                             signals=logits)
        epochs, share = lab.settings.epochs, self.options.share
        student = lab.train(lab.student(), objective, stage="annealing", examples=examples,
                            signals=logits, epochs=epochs * share, select="last")
        # an epoch of the labels is shorter than one of all texts
        several = len(examples) / len(lab.data.train)
        return lab.train(student, Supervised(lab.task.task_type), stage="labels",
                         epochs=epochs * several * (1 - share))
