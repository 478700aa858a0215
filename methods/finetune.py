"""The control that every distilled student is measured against: the same student, no teacher."""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.method import Method


class Finetune(Method):
    """Fine-tune the student on the labels alone."""

    name = "finetune"
    version = 1
    title = "Plain fine-tuning"
    citation = ("Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers, "
                "section 3.2")
    equations = ("L = CE(z_S, y)   (tags: mean over words; several labels: binary CE, mean over "
                 "labels)")
    needs = "no teacher"
    task_types = ("single", "multi", "regression", "tags")
    uses_teacher = False

    @dataclass(frozen=True)
    class Options:
        """Everything about it is the protocol's."""

    def fit(self, lab: Lab) -> Model:
        """The student under the protocol's training."""
        return lab.finetune(lab.student())
