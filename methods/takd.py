"""TAKD: a teacher, an assistant of a size between, and the student.

Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh 2020, Improved Knowledge Distillation via
Teacher Assistant, AAAI 2020, arXiv 1902.03393.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.base.errors import Skip
from kdbench.models.load import Model, Role
from kdbench.models.sources import resolve
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets, check_standardise
from kdbench.train.method import Method, option


class TAKD(Method):
    """Fine-tuned teacher -> its assistant by soft targets -> the student by the assistant's."""

    name = "takd"
    version = 1
    title = "Improved Knowledge Distillation via Teacher Assistant"
    citation = "Mirzadeh et al. 2020, AAAI 2020, arXiv 1902.03393"
    equations = """
    p = softmax(z / T)
    assistant A: L = alpha * CE(z_A, y) + (1 - alpha) * T^2 * KL(p_T || p_A)
    student S:   L = alpha * CE(z_S, y) + (1 - alpha) * T^2 * KL(p_A || p_S)"""
    needs = ("a model as teacher; the assistant is any model (by default layers of the teacher, as "
             "many as the mean of both depths), and has a row of its own")
    task_types = ("single", "multi", "regression", "tags")

    @dataclass(frozen=True)
    class Options:
        """The assistant, and soft targets as of `logit_kd`."""

        assistant: str = option(
            "", "the assistant, a name as of --student; empty: layers of the teacher, spread over "
            "its depth", source="paper: of a size between, near the mean of both accuracies")
        temperature: float = option(2.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="paper: searched by task", search=[1.0, 2.0, 4.0])
        alpha: float = option(0.1, "weight of the labels", minimum=0.0, maximum=1.0,
                              source="paper: searched by task; as of logit_kd",
                              search=[0.0, 0.1, 0.5])
        standardise: bool = option(
            False, "both models' logits first become (z - mean z) / std z, as with logit_kd",
            source="Sun et al. 2024, arXiv 2403.01427", later=True)
        assistant_epochs: int | None = option(
            None, "epochs of the assistant, over unlabelled texts too (default: --epochs)",
            minimum=1, source="ours: where there is much text, ten epochs of it are many",
            follows="epochs", later=True)

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Teacher, assistant, student."""
        o = self.options
        check_standardise(o.standardise, lab.task)
        name = o.assistant or between(lab)
        objective = SoftTargets(lab.task.task_type, o.temperature, o.alpha, o.standardise)
        examples = (*lab.data.train, *lab.unlabelled)
        teacher = lab.finetune(lab.teacher())
        assistant = lab.train(
            lab.model(resolve(name), role=Role.TEACHER), objective, stage="assistant",
            examples=examples, signals=lab.signals(teacher, ("logits",), examples=examples),
            epochs=o.assistant_epochs or lab.settings.epochs)
        lab.add_row(assistant, f"assistant {name}", role=Role.TEACHER)
        return lab.train(lab.student(), objective, stage="soft targets", examples=examples,
                         signals=lab.signals(assistant, ("logits",), examples=examples))


def between(lab: Lab) -> str:
    """The name of the teacher with as many layers as the mean of both depths."""
    models = lab.teacher(), lab.student()
    teacher, student = (getattr(model.module.config, "num_hidden_layers", 0) for model in models)
    layers = round((teacher + student) / 2)
    if layers >= teacher:
        raise Skip(f"{teacher} layers of the teacher and {student} of the student leave no "
                   "assistant between; name one with --set assistant=MODEL")
    return f"cut:{layers}"
