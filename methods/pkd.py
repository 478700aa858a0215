"""PKD: the first position of the student's inner layers follows that of the teacher's.

Sun, Cheng, Gan, Liu 2019, Patient Knowledge Distillation for BERT Model Compression, EMNLP 2019,
arXiv 1908.09355. Layers drawn anew for every epoch: RAIL-KD, Haidar et al. 2022, arXiv 2109.10164.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.base.errors import Skip
from kdbench.methods.outputs import Outputs
from kdbench.models.heads import seeded
from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.losses import over_answers, soft_targets, supervised, task_logits
from kdbench.train.method import Batch, Method, Objective, Term, option


def patient_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ over layers of ||s / ||s|| - t / ||t||||², one value a text; (B, L, H) each (eq. 7)."""
    apart = F.normalize(student.float(), dim=-1) - F.normalize(teacher.float(), dim=-1)
    return apart.square().sum((-1, -2))


def teacher_layers(rule: str, teacher: int, student: int, draw: random.Random) -> list[int]:
    """The teacher's inner layers that the student's layers 1 to M - 1 learn from, in order.

    teacher, student  depths N and M, in layers; layer 0 is the embedding's output

    skip    round(j N / M): 2, 4, 6, 8, 10 for 12 and 6
    last    N - M + j: 7, 8, 9, 10, 11 for 12 and 6
    random  drawn from the inner layers, sorted
    """
    inner = range(1, student)
    if rule == "skip":
        return [min(max(1, round(j * teacher / student)), teacher - 1) for j in inner]
    if rule == "last":
        return [max(1, teacher - student + j) for j in inner]
    among = range(1, teacher)
    drawn = draw.sample(among, min(len(inner), len(among)))
    return sorted([*drawn, *draw.choices(among, k=len(inner) - len(drawn))])


def first_positions(outputs: Outputs, batch: Batch) -> dict[str, list[Tensor]]:
    """`inner_cls`: of each text the first position of the inner layers, (N - 1, H)."""
    inner = [layer[:, 0] for layer in outputs.hidden_states[1:-1]]
    return {"inner_cls": list(torch.stack(inner, 1))}


class Patient(Objective):
    """α · supervised + (1 - α) · soft targets + β · `patient_error`, from stored signals.

    depths, widths  of teacher and student; where the widths differ, a projection of the student's
                    vectors is learned
    """

    hidden_states = True

    def __init__(self, task_type: str, options: PKD.Options, depths: tuple[int, int],
                 widths: tuple[int, int], seed: int):
        super().__init__()
        self.task_type, self.options, self.depths, self.seed = task_type, options, depths, seed
        self.project: nn.Module = nn.Identity()
        if widths[0] != widths[1]:
            with seeded(seed):
                self.project = nn.Linear(widths[1], widths[0])

    @property
    def layers(self) -> list[int]:
        """The teacher's layers of this epoch."""
        draw = random.Random(f"{self.seed}/{self.epoch}")
        return teacher_layers(self.options.layers, *self.depths, draw)

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms "soft_targets", "patient" and, where alpha is not 0, "hard_labels"."""
        o = self.options
        outputs = self.outputs(student, batch)
        logits = task_logits(outputs, batch)
        soft = soft_targets(logits, batch.signals["logits"], o.temperature, self.task_type)
        ours = torch.stack([layer[:, 0] for layer in outputs.hidden_states[1:-1]], 1)
        inner = batch.signals["inner_cls"].unbind(1)  # an index would be copied to the device
        theirs = torch.stack([inner[layer - 1] for layer in self.layers], 1)
        apart = patient_error(self.project(ours.float()), theirs)
        terms = {"soft_targets": Term(*over_answers(soft, batch), 1 - o.alpha),
                 "patient": Term(apart.sum(), "examples", o.beta)}
        if o.alpha:
            hard = supervised(logits, batch, self.task_type)
            terms["hard_labels"] = Term(hard.total, hard.per, o.alpha)
        return terms


class PKD(Method):
    """Fine-tuned teacher -> its logits, and the direction of its inner layers' first positions."""

    name = "pkd"
    version = 1
    title = "Patient Knowledge Distillation for BERT Model Compression"
    citation = "Sun et al. 2019, EMNLP 2019, arXiv 1908.09355; random: RAIL-KD, arXiv 2109.10164"
    equations = """
    h_j   first position of layer j; I(j) the teacher's layer of the student's layer j
    L_PT  = sum over j = 1 .. M - 1 of ||h_S,j / ||h_S,j|| - h_T,I(j) / ||h_T,I(j)|| ||^2
    L     = alpha * CE(z_S, y) + (1 - alpha) * T^2 * KL(p_T || p_S) + beta * L_PT
    skip: I(j) = round(j N / M); last: N - M + j; random: drawn for each epoch, sorted"""
    needs = ("a transformer as teacher and as student, of two layers or more; where the widths "
             "differ, a projection of the student's vectors is learned (the paper's are equal)")
    task_types = ("single", "multi", "regression")

    @dataclass(frozen=True)
    class Options:
        """Layers and weights."""

        layers: str = option(
            "skip", "the teacher's layers: spread over its depth, the last ones, or drawn anew for "
            "every epoch", choices=("skip", "last", "random"),
            source="paper: skip is its better one; random: RAIL-KD")
        temperature: float = option(5.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="paper: searched in 5, 10, 20", search=[2.0, 5.0, 10.0])
        alpha: float = option(0.5, "weight of the labels", minimum=0.0, maximum=1.0,
                              source="paper: searched in 0.8, 0.5, 0.3", search=[0.2, 0.5, 0.8])
        beta: float = option(100.0, "weight of the inner layers", minimum=0.0,
                             source="paper: searched in 10, 100, 500, 1000",
                             search=(10.0, 1000.0, "log"))

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Fine-tune the teacher, read logits and inner layers, train the student on them."""
        student, teacher = lab.student(), lab.teacher()
        depths = depth_of(teacher), depth_of(student)
        if min(depths) < 2:
            raise Skip("pkd compares inner layers, and "
                       f"{(teacher if depths[0] < 2 else student).name} has none")
        teacher = lab.finetune(teacher)
        examples = (*lab.data.train, *lab.unlabelled)
        signals = lab.signals(teacher, ("logits", "inner_cls"), examples=examples,
                              pool=first_positions, hidden_states=True)
        widths = teacher.module.config.hidden_size, student.module.config.hidden_size
        objective = Patient(lab.task.task_type, self.options, depths, widths,
                            lab.seed_for("projections"))
        return lab.train(student, objective, stage="patient", examples=examples, signals=signals)


def depth_of(model: Model) -> int:
    """Layers with attention."""
    config = model.module.config
    return config.num_hidden_layers if getattr(config, "num_attention_heads", None) else 0

