"""DoKTra: a calibrated teacher, then the activation boundaries of its last layer, then the labels.

Choi, Choi, Lee 2022, Domain Knowledge Transferring for Pre-trained Language Model via Calibrated
Activation Boundary Distillation, ACL 2022 (long 116). The boundary loss is that of Heo et al. 2019
(arXiv 1811.03233).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdbench.base.identity import digest
from kdbench.data.task import Example
from kdbench.methods.outputs import Outputs
from kdbench.models.heads import seeded, vector_size
from kdbench.models.load import Model, Role
from kdbench.train.lab import Lab
from kdbench.train.losses import entropy, soft_targets, supervised, task_logits
from kdbench.train.method import Batch, Method, Objective, Term, option


def activation_boundary_sum(student_cls: Tensor, teacher_cls: Tensor, margin: float) -> Tensor:
    """Σ over batch and dimensions of (s+m)² [s > -m, t <= 0] + (s-m)² [s <= m, t > 0]; both (B,
    H).
    """
    too_high = (student_cls > -margin) & (teacher_cls <= 0)
    too_low = (student_cls <= margin) & (teacher_cls > 0)
    return ((student_cls + margin).square() * too_high +
            (student_cls - margin).square() * too_low).sum()


def boundary_disagreement(student_cls: Tensor, teacher_cls: Tensor) -> Tensor:
    """Share of neurons that are active (> 0) in one of the two and not in the other; both (B,
    H).
    """
    return ((student_cls > 0) != (teacher_cls > 0)).float().mean()


class Calibrated(Objective):
    """CE(z, y) - β · H(softmax(z)); several labels: binary cross-entropy and binary entropies,
    means over labels.
    """

    def __init__(self, task_type: str, beta: float):
        super().__init__()
        self.task_type, self.beta = task_type, beta

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The cross-entropy and, weighed by -β, the entropy."""
        logits = task_logits(self.outputs(student, batch), batch)
        return {"cross_entropy": supervised(logits, batch, self.task_type),
                "entropy": Term(entropy(logits, self.task_type).sum(), "examples", -self.beta)}


class Transfer(Calibrated):
    """First `switch` epochs: the teacher's knowledge; then the calibrated cross-entropy. Never both
    at once.

    abd  boundaries of the last layer's first position, before any pooler (signal `cls`)
    kld  the teacher's class distribution (signal `logits`)
    """

    def __init__(self, options: DoKTra.Options, task_type: str, switch: int, student_width: int,
                 teacher_width: int, batch_size: int, seed: int):
        super().__init__(task_type, options.beta_student)
        self.options, self.switch, self.batch_size = options, switch, batch_size
        self.hidden_states = options.transfer == "abd"
        self.expander: nn.Module = nn.Identity()
        if options.transfer == "abd" and student_width != teacher_width:
            learned = options.expander == "learned_student"
            self.expander = connector(student_width, teacher_width, learned, seed)

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms of the phase that the epoch is in."""
        if self.epoch >= self.switch:
            return super().forward(student, batch)
        outputs = self.outputs(student, batch)
        if self.options.transfer == "kld":
            each = soft_targets(task_logits(outputs, batch), batch.signals["logits"],
                                self.options.temperature, self.task_type)
            return {"teacher_distribution": Term(each.sum())}
        return self.boundaries(outputs, batch)

    def boundaries(self, outputs: Outputs, batch: Batch) -> dict[str, Term]:
        """The boundary loss, and the disagreement, which is only watched.

        The logits stay out of the graph: as in the published code the classifier has no gradient
        here, and so neither moments nor weight decay. A gradient of zeros would leave Adam with a
        count of steps and a second moment of zero, and the first steps after the switch would be
        several times the learning rate.
        """
        student_cls, teacher_cls = self.vectors(outputs.hidden_states[-1][:, 0].float(),
                                                batch.signals["cls"])
        total = activation_boundary_sum(student_cls, teacher_cls, self.options.margin)
        share = boundary_disagreement(student_cls, teacher_cls).detach()
        terms = {"boundary_disagreement": Term(share * student_cls.shape[0], "examples", 0.0)}
        scale = 1 / 1000 if self.options.abd_scale == "1/1000" else 1 / student_cls.shape[-1]
        if self.options.abd_batch == "nominal":  # the published code: also in a smaller last batch
            terms["activation_boundary"] = Term(total, "sum", scale / self.batch_size)
        else:
            terms["activation_boundary"] = Term(total, "examples", scale)
        return terms

    def disagreement(self, student_cls: np.ndarray, teacher_cls: np.ndarray) -> float:
        """`boundary_disagreement` of a split's vectors (N, H), the connector between them.

        As the published code reports it (its "intuitive loss").
        """
        device = next((parameter.device for parameter in self.parameters()), torch.device("cpu"))
        s, t = (torch.from_numpy(rows).to(device) for rows in (student_cls, teacher_cls))
        with torch.inference_mode():
            return float(boundary_disagreement(*self.vectors(s, t)))

    def vectors(self, student_cls: Tensor, teacher_cls: Tensor) -> tuple[Tensor, Tensor]:
        """Student's and teacher's vectors in one space: the learned connector maps the student, the
        frozen one the teacher.
        """
        if self.options.expander == "learned_student":
            return self.expander(student_cls), teacher_cls
        return student_cls, self.expander(teacher_cls)


def connector(student_width: int, teacher_width: int, learned: bool, seed: int) -> nn.Linear:
    """A map between the two widths, drawn from `seed`: a learned one of the student's vectors, or a
    frozen one of the teacher's.
    """
    shape = (student_width, teacher_width) if learned else (teacher_width, student_width)
    linear = nn.Linear(*shape)
    with seeded(seed):
        nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)
    return linear.requires_grad_(learned)


class DoKTra(Method):
    """Calibrated teacher -> initial fine-tuning of the student -> boundaries, then calibrated
    cross-entropy.
    """

    name = "doktra"
    version = 2
    title = "Domain Knowledge Transferring via Calibrated Activation Boundary Distillation"
    citation = ("Choi, Choi, Lee 2022, ACL 2022 (long 116); boundary loss: Heo et al. 2019, arXiv "
                "1811.03233")
    equations = """
    1. teacher:  L = CE(z_T, y) - beta_teacher * H(softmax(z_T))
    2. student:  L = CE(z_S, y)
    3. E epochs from that student, switch at e0 = int(E * gamma), learning rate decaying over all E
       epoch <  e0:  L = scale * sum over batch and dims of
                         (s+m)^2 [s > -m, t <= 0] + (s-m)^2 [s <= m, t > 0]
                     s, t: last layer, first position, before any pooler; a connector where the
                     widths differ
                     (transfer=kld: KL(teacher || student) instead)
       epoch >= e0:  L = CE(z_S, y) - beta_student * H(softmax(z_S))"""
    needs = ("any encoder; vectors of another width go through the connector; its own tokenizer is "
             "used")
    task_types = ("single", "multi")
    not_reproduced = (
        ("the final separator, which truncation after the special tokens cuts off",
         "a student reads texts as its tokenizer cuts them, here and wherever it is served; it is "
         "one token, of texts beyond the limit"),
        ("heads that are drawn before the seed is set", "a run here can be repeated"),
        ("HoC: the program ends in its loss, and scores no HoC",
         "the binary loss for several labels is our reading"),
        ("a field of a TSV file that begins with a double quote is read up to the closing one",
         "a quote is text here: otherwise one that is not closed takes the rows below it into its "
         "sentence"),
        ("`albert-xlarge`, which is no id of the hub", "`albert-xlarge-v2` by assumption"),
        ("options of type bool, which any text but an empty one switches on",
         "yes and no are what they say"),
        ("its predictor's plant-phenotype relations (Increase, Decrease, Association, Negative)",
         "no released program trains them and no table of the paper has them: the predictor only "
         "loads weights that its readme offers. A corpus with these labels trains as `--task "
         "files`"),
        ("its predictor's names of the DDI labels: DDI-int is called NO_RELATION, DDI-false "
         "NO_DDI_CONTAINED",
         "a served student gives the corpus's own labels: DDI-int is a relation, DDI-false is "
         "none"),
        ("its predictor's settings of later students (DeBERTa-v3 xsmall, 25 epochs), known from a "
         "path in a comment",
         "no released program trains them, and no figure of them is published; `--student "
         "deberta-v3-xsmall` is that student"),
    )

    @dataclass(frozen=True)
    class Options:
        """What is transferred, by which losses, and the three trainings."""

        transfer: str = option(
            "abd", "what is transferred: activation boundaries or the class distribution",
            choices=("abd", "kld"), source="paper; kld is its ablation")
        beta_teacher: float = option(
            0.3, "confidence penalty of the teacher", minimum=0.0, source="README and code")
        beta_student: float = option(
            0.5, "confidence penalty of the student", minimum=0.0,
            source="README (code's default: 0.3)", search=(0.1, 2.0, "log"))
        gamma: float = option(
            0.8, "share of the distillation epochs before the switch", minimum=0.0, maximum=1.0,
            source="README (code's default: 0.7)")
        margin: float = option(1.0, "margin of the boundary loss", minimum=0.0, source="code",
                               search=[0.5, 1.0, 2.0])
        teacher_epochs: int | None = option(
            None, "epochs of the calibrated teacher (default: --epochs)", minimum=1,
            source="README: 5", follows="epochs")
        student_epochs: int | None = option(
            None, "epochs of the initial fine-tuning (default: --epochs)", minimum=1,
            source="README: 5", follows="epochs")
        distil_epochs: int | None = option(
            None, "epochs of the transfer (default: twice --epochs)", minimum=1,
            source="README: 10", follows="epochs")
        teacher_lr: float | None = option(
            None, "teacher's rate (default: the protocol's)", minimum=0, source="README: 2e-5")
        student_lr: float | None = option(
            None, "student's rate (default: the protocol's)", minimum=0, source="README: 1e-5")
        distil_lr: float | None = option(
            None, "rate of the transfer (default: the student's)", minimum=0, source="README: 1e-5")
        temperature: float = option(
            1.0, "transfer=kld: temperature T of both distributions, the loss times T^2",
            minimum=0.01, maximum=1000, source="code has none", why="ours")
        abd_scale: str = option(
            "mean",
            "what the boundary loss is divided by besides the batch: its dimensions, or 1000",
            choices=("mean", "1/1000"), published="1/1000",
            source="code, from Heo et al.'s CIFAR script")
        abd_batch: str = option(
            "actual", "batch size that the boundary loss is divided by",
            choices=("actual", "nominal"), published="nominal", source="code")
        expander: str = option(
            "frozen_teacher",
            "connector where widths differ: random and frozen, on the teacher, or learned, on the "
            "student",
            choices=("frozen_teacher", "learned_student"),
            source="code; learned_student: Heo et al.", why="ours")
        warmup: float | None = option(
            None, "warm-up of every phase (default: the protocol's)", minimum=0, published=0.0,
            source="code", why="protocol", setting="warmup")
        weight_decay: float | None = option(
            None, "weight decay of every phase (default: the protocol's)", minimum=0, published=0.0,
            source="code", why="protocol", setting="weight_decay")
        select: str | None = option(
            None, "epoch that is kept (default: the protocol's)", choices=("best", "last"),
            published="last", source="code", why="protocol", setting="select")
        second_schedule: bool = option(
            False,
            "give the cross-entropy phase a warm-up and decay of its own, instead of one decay "
            "over both phases",
            source="code: one decay", why="ours")
        pad_bug: bool = option(
            False,
            "RoBERTa: the mask is (id > 0), so that no position can attend to <s>, whose id is 0",
            published=True, source="code: pads with 0 and masks by it, in every phase and at test")

    options: Options

    def fit(self, lab: Lab) -> Model:
        """The three trainings of `equations`."""
        o, epochs = self.options, lab.settings.epochs
        phase, task_type = self.phase_settings(), lab.task.task_type

        # 1. the calibrated teacher
        teacher = lab.train(lab.teacher(), Calibrated(task_type, o.beta_teacher),
                            stage="calibrated teacher", epochs=o.teacher_epochs or epochs,
                            **rate(o.teacher_lr), **phase)
        lab.add_row(teacher, "calibrated teacher", role=Role.TEACHER)

        # 2. the student, fine-tuned
        student = lab.finetune(self.student(lab), epochs=o.student_epochs or epochs,
                               **rate(o.student_lr), **phase)

        # 3. the transfer, then the calibrated cross-entropy
        # both signals, so that one pass over the texts serves either transfer
        signals = lab.signals(teacher, ("cls", "logits"))
        distil_epochs = o.distil_epochs or 2 * epochs
        switch = int(distil_epochs * o.gamma)
        widths = (vector_size(student.module.config), vector_size(teacher.module.config))
        objective = Transfer(o, task_type, switch, *widths, lab.settings.batch_size,
                             lab.seed_for("expander"))
        training = {**phase, **rate(o.distil_lr or o.student_lr)}
        if o.transfer == "abd" or widths[0] == widths[1]:  # kld has no connector
            self.report_disagreement(lab, objective, teacher)
        if not o.second_schedule:
            return lab.train(student, objective, stage="transfer", signals=signals,
                             epochs=distil_epochs, **training)
        if switch:
            student = lab.train(student, objective, stage="transfer", signals=signals,
                                epochs=switch, **{**training, "select": "last"})
        if switch == distil_epochs:
            return student
        return lab.train(student, Calibrated(task_type, o.beta_student), stage="calibrated student",
                         epochs=distil_epochs - switch, **training)

    def phase_settings(self) -> dict[str, Any]:
        """What every phase has of its own, as fields of `Training`."""
        o = self.options
        settings = {"warmup": o.warmup, "weight_decay": o.weight_decay, "select": o.select}
        return {name: value for name, value in settings.items() if value is not None}

    def student(self, lab: Lab) -> Model:
        """The student as it comes, with the published mistake in its mask where it is asked for."""
        model = lab.student()
        if not (self.options.pad_bug and model.module.config.model_type == "roberta"):
            return model
        return replace(model, unattended_ids=(0,), key=digest({"of": model.key, "hidden": 0}))

    def report_disagreement(self, lab: Lab, objective: Transfer, teacher: Model) -> None:
        """Ask for the share of neurons on which the trained student and the teacher disagree."""
        def disagreement(trained: Model, examples: Sequence[Example]) -> float:
            return objective.disagreement(
                lab.vectors(trained, examples), lab.vectors(teacher, examples))

        lab.add_diagnostic("boundary_disagreement", disagreement)


def rate(lr: float | None) -> dict[str, Any]:
    """A learning rate as a field of `Training`; None is the protocol's."""
    return {} if lr is None else {"lr": lr}
