"""Born-again networks: a student of the teacher's own architecture, from its own beginning.

Furlanello, Lipton, Tschannen, Itti, Anandkumar 2018, Born Again Neural Networks, ICML 2018,
arXiv 1805.04770.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kdbench.base.errors import Skip
from kdbench.models.load import Model, Role
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets
from kdbench.train.method import Method, option


class BornAgain(Method):
    """Fine-tuned teacher -> the same model, untrained again, on its soft targets and the labels.

    A control: what such a student gains over its teacher is the smoothing of labels, as it has no
    more knowledge to get than the teacher had.
    """

    name = "born_again"
    version = 1
    title = "Born Again Neural Networks"
    citation = "Furlanello et al. 2018, ICML 2018, arXiv 1805.04770"
    equations = """
    p = softmax(z / T)
    L = alpha * CE(z_S, y) + (1 - alpha) * T^2 * KL(p_T || p_S), S a copy of T before its training
    generation k + 1 learns from generation k"""
    needs = "a model as teacher, which is fine-tuned here; --student is not looked at"
    task_types = ("single", "multi", "regression", "tags")

    @dataclass(frozen=True)
    class Options:
        """Soft targets as of `logit_kd`, and how often it is done."""

        temperature: float = option(1.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="paper: none, which is 1")
        alpha: float = option(0.5, "weight of the labels", minimum=0.0, maximum=1.0,
                              source="paper: cross-entropy and distillation in equal parts",
                              search=[0.2, 0.5, 0.8])
        generations: int = option(1, "students one after the other, of which the last counts",
                                  minimum=1, maximum=10, source="paper: 1 to 3")

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Fine-tune the teacher; then, for each generation, train its beginning on the last."""
        o = self.options
        if lab.teacher().ready:
            raise Skip(f"{lab.teacher().name} came fine-tuned, so that its beginning is not known")
        teacher = lab.finetune(lab.teacher())
        examples = (*lab.data.train, *lab.unlabelled)
        for generation in range(1, o.generations + 1):
            logits = lab.signals(teacher, ("logits",), examples=examples)
            beginning = replace(lab.teacher(), role=Role.STUDENT)
            teacher = lab.train(beginning, SoftTargets(lab.task.task_type, o.temperature, o.alpha),
                                stage=f"generation {generation}", examples=examples, signals=logits)
        return teacher
