"""Pre-trained distillation: masked-LM training of the student, the teacher's logits, the labels.

Turc, Chang, Lee, Toutanova 2019, Well-Read Students Learn Better: On the Importance of Pre-training
Compact Models, arXiv 1908.08962.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import MODEL_FOR_MASKED_LM_MAPPING

from kdbench.base.errors import Skip
from kdbench.methods.expanded_vocabulary import MLM, further
from kdbench.methods.general_text import lines_of
from kdbench.models.load import Model, build
from kdbench.models.sources import Source
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets
from kdbench.train.method import LOGITS, Method, option


class PretrainedKD(Method):
    """Masked-LM student -> the teacher's logits, of unlabelled text too -> fine-tuning."""

    name = "pretrained_kd"
    version = 2
    title = "Well-Read Students Learn Better"
    citation = "Turc et al. 2019, arXiv 1908.08962"
    equations = """
    1. L = CE over the vocabulary at masked positions
    2. L = T^2 * KL(p_T || p_S) on the training text and all that is unlabelled, p = softmax(z / T)
    3. L = CE(z_S, y)   (several labels: binary CE; regression: squared error)
    tags: means over the words that both have read"""
    needs = ("any teacher with the task's head, a file of answers, or several teachers; a student "
             "with a masked-LM head, unless pretrain=no")
    reads = LOGITS
    task_types = ("single", "multi", "regression", "tags")

    @dataclass(frozen=True)
    class Options:
        """The three trainings, each of which can be left out."""

        pretrain: bool = option(True, "masked-LM training of the student first", source="paper")
        distil: bool = option(True, "then the teacher's logits", source="paper")
        finetune: bool = option(True, "then the labels", source="paper, optional there")
        corpus: str | None = option(
            None, "text file for the masked-LM training, one sequence a line (default: the task's "
            "unlabelled or training text)", source="paper: Wikipedia and books", file=True)
        pretrain_epochs: int = option(1, "epochs of the masked-LM training", minimum=1,
                                      source="ours")
        pretrain_lr: float = option(5e-4, "its learning rate", minimum=0.0, source="ours")
        temperature: float = option(1.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="paper: plain cross-entropy with the teacher's",
                                    search=[1.0, 2.0, 4.0])
        share: float = option(
            0.7, "share of the training that the logits get where labels follow, so that both "
            "together cost what the other methods cost", minimum=0.01, maximum=0.99, source="ours",
            search=[0.5, 0.7, 0.9])

    options: Options

    def check(self, lab: Lab) -> None:
        """Something has to be trained on the task, and a masked-LM head has to be there."""
        if not (self.options.distil or self.options.finetune):
            raise Skip("distil=no and finetune=no leave nothing that knows the task")
        module = lab.student().module
        if self.options.pretrain and type(module.config) not in MODEL_FOR_MASKED_LM_MAPPING:
            raise Skip(f"{module.config.model_type} has no masked-LM head; use pretrain=no")

    def fit(self, lab: Lab) -> Model:
        """The three trainings; without labels the third is left out."""
        o = self.options
        student = self.pretrained(lab) if o.pretrain else lab.student()
        labels = o.finetune and bool(lab.data.train)
        epochs = lab.settings.epochs
        share = o.share if labels else 1.0
        examples = (*lab.data.train, *lab.unlabelled)
        if o.distil:
            teacher = lab.trained_teacher()
            logits = lab.signals(teacher, ("logits",), examples=examples)
            student = lab.train(student, SoftTargets(lab.task.task_type, o.temperature, 0.0),
                                stage="distillation", examples=examples, signals=logits,
                                epochs=epochs * share)
        if not labels:
            return student
        if not o.distil:
            return lab.finetune(student)
        # an epoch of the labels is shorter than one of all texts
        several = len(examples) / len(lab.data.train)
        return lab.finetune(student, epochs=epochs * several * (1 - share))

    def pretrained(self, lab: Lab) -> Model:
        """The student's encoder after its masked-LM training, under the task's head."""
        o = self.options
        if o.corpus:
            texts = [example.text for example in lines_of(lab, o.corpus)]
        else:
            own = lab.data.domain_text or lab.texts()
            texts = [*own, *(example.text for example in further(lab))]
        trained = lab.pretrain(lab.student(MLM), texts, epochs=o.pretrain_epochs,
                               lr=o.pretrain_lr)
        source = Source(lab.student_source.name, folder=lab.cache.stage(trained.key))
        return build(source, lab.head, seed=lab.seed_for("init", source.name), texts=lab.texts)
