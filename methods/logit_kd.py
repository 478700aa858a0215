"""Plain logit distillation: the control that every other distillation has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets, check_standardise
from kdbench.train.method import LOGITS, Method, option


class LogitKD(Method):
    """Train the student on the teacher's softened class distribution and, by `alpha`, on the
    labels.
    """

    name = "logit_kd"
    version = 1
    title = "Distilling the Knowledge in a Neural Network"
    citation = "Hinton, Vinyals, Dean 2015, arXiv 1503.02531"
    equations = """
    p_T = softmax(z_T / T)    p_S = softmax(z_S / T)
    L   = alpha * CE(z_S, y) + (1 - alpha) * T^2 * KL(p_T || p_S)
    tags: means over the words that both have read; several labels: two-class distributions a label,
    mean over labels; regression: squared difference to the teacher's value"""
    needs = ("any teacher with the task's head; its own tokenizer is used. A file of answers, or "
             "several teachers")
    reads = LOGITS
    task_types = ("single", "multi", "regression", "tags")

    @dataclass(frozen=True)
    class Options:
        """Temperature and weight, as Hinton et al. have them."""

        temperature: float = option(
            2.0, "softens both distributions; the loss is multiplied by its square",
            minimum=0.01, maximum=1000,
            source="paper: 2 to 20 by size of the student; 2 is what DistilBERT uses",
            search=[1.0, 2.0, 4.0, 8.0])
        alpha: float = option(
            0.1, "weight of the labels", minimum=0.0, maximum=1.0,
            source="paper, section 3: a considerably lower weight on the labels works best",
            search=[0.0, 0.1, 0.5])
        standardise: bool = option(
            False, "one label a text, and tags: z becomes (z - mean z) / std z before it is "
            "softened, so that the student need not reach the teacher's range; of two classes it "
            "leaves nothing but which is larger",
            source="Sun et al. 2024, arXiv 2403.01427, whose temperature is 2 (with 9 times the "
                   "weight of the labels)", later=True)

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Fine-tune the teacher, read its logits, train the student on them."""
        o = self.options
        check_standardise(o.standardise, lab.task)
        teacher = lab.trained_teacher()
        examples = (*lab.data.train, *lab.unlabelled)
        logits = lab.signals(teacher, ("logits",), examples=examples)
        return lab.train(lab.student(), SoftTargets(lab.task.task_type, o.temperature, o.alpha,
                                                    o.standardise),
                         stage="soft targets", examples=examples, signals=logits)
