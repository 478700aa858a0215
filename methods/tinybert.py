"""TinyBERT: layers on unlabelled text, layers on the task's, then the teacher's predictions.

Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu 2020, TinyBERT: Distilling BERT for Natural Language
Understanding, Findings of EMNLP 2020, arXiv 1909.10351.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdbench.base.errors import Skip
from kdbench.data.task import Example
from kdbench.methods.attention_scores import use_scores
from kdbench.methods.general_text import check_layers, check_tokens, general_text
from kdbench.methods.layer_pairs import layer_pairs
from kdbench.methods.transformer_layers import LayerLosses
from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets
from kdbench.train.method import Method, option


class TinyBERT(Method):
    """General distillation of the layers -> the fine-tuned teacher's layers -> its predictions."""

    name = "tinybert"
    version = 1
    title = "TinyBERT: Distilling BERT for Natural Language Understanding"
    citation = "Jiao et al. 2020, Findings of EMNLP 2020, arXiv 1909.10351"
    equations = """
    L_layers = MSE(E_T, E_S W_e) + sum over m = 1 .. M of
               MSE(H_T,g(m), H_S,m W_h) + MSE(A_T,g(m), A_S,m)
    E embedding's output, H hidden states, A attention scores before the softmax, g(m) = m N / M
    1. L = L_layers of the teacher as it comes, on unlabelled text
    2. L = L_layers of the fine-tuned teacher, on the task's text
    3. L = T^2 * KL(p_T || p_S), p = softmax(z / T): the gradient of the soft cross-entropy
    tags: means over the words that both have read"""
    needs = ("a transformer; a student of any depth and width with its tokenizer. Where the widths "
             "differ, W_e and W_h are learned, where the numbers of heads differ, means over heads "
             "are compared")
    task_types = ("single", "multi", "regression", "tags")
    not_reproduced = (
        ("copies of the training texts, with words that a masked LM and GloVe propose",
         "copies of tagged sentences are `ner_kd`'s; any text can be given with --unlabelled, and "
         "the teacher answers for it"),
        ("2.5 billion words of Wikipedia for the first training",
         "`corpus` names a text file; a student that has read more is given as --student, with "
         "general=no"),
    )

    @dataclass(frozen=True)
    class Options:
        """The three trainings; the first two can be left out."""

        general: bool = option(True, "first the layers of the teacher as it comes, on unlabelled "
                               "text", source="paper, section 3.2", search=[True, False])
        layers: bool = option(True, "then the layers of the fine-tuned teacher, on the task's text",
                              source="paper, section 3.2")
        hidden: bool = option(True, "compare embedding and hidden states", source="paper")
        attention: bool = option(True, "compare attention scores", source="paper")
        corpus: str | None = option(
            None, "text file for the first training, one sequence a line (default: the task's "
            "unlabelled or training text)", source="paper: Wikipedia", file=True)
        general_epochs: int | None = option(
            None, "epochs of the first training (default: --epochs)", minimum=1, source="paper: 3",
            follows="epochs")
        layer_epochs: int | None = option(
            None, "epochs of the second (default: --epochs)", minimum=1,
            source="paper: 20, before 3 of the third", follows="epochs")
        layer_lr: float | None = option(
            None, "learning rate of the first two (default: the protocol's)", minimum=0.0,
            source="paper: 5e-5", search=(5e-5, 1e-3, "log"))
        temperature: float = option(1.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="paper: 1")
        alpha: float = option(0.0, "weight of the labels in the third training", minimum=0.0,
                              maximum=1.0, source="paper: none")

    options: Options

    def check(self, lab: Lab) -> None:
        """`Skip` where the layers of these models cannot be compared."""
        o = self.options
        if not (o.hidden or o.attention) and (o.general or o.layers):
            raise Skip("hidden=no and attention=no leave no loss for the layers; use general=no "
                       "and layers=no as well")
        if not (o.general or o.layers):
            return
        models = lab.teacher(), lab.student()
        if o.attention:
            check_layers(*models, self.name, remedy="; use attention=no")
        for model in models:
            if not getattr(model.module.config, "num_attention_heads", None):
                raise Skip(f"{model.name} has no layers like a transformer's to compare")
        check_tokens(*models, self.name)

    def fit(self, lab: Lab) -> Model:
        """The trainings in turn; what is learned of W_e and W_h goes from the first to the second.
        """
        o = self.options
        teacher, student = lab.teacher(), lab.student()
        losses = self.losses(lab, teacher, student)
        if o.general:
            student = self.layer_training(lab, losses, teacher, student, "general distillation",
                                          general_text(lab, o.corpus), o.general_epochs)
        teacher = lab.finetune(teacher)
        examples = (*lab.data.train, *lab.unlabelled)
        if o.layers:
            student = self.layer_training(lab, losses, teacher, student, "layers", examples,
                                          o.layer_epochs)
        logits = lab.signals(teacher, ("logits",), examples=examples)
        return lab.train(student, SoftTargets(lab.task.task_type, o.temperature, o.alpha),
                         stage="prediction", examples=examples, signals=logits)

    def losses(self, lab: Lab, teacher: Model, student: Model) -> LayerLosses:
        """L_layers of these two, every layer of the student in a pair."""
        o = self.options
        kinds = [name for name in ("hidden", "attention") if getattr(o, name)]
        models = teacher.module.config, student.module.config
        depths = [config.num_hidden_layers for config in models]
        pairs = layer_pairs(depths[0], depths[1], depths[1])
        widths = models[0].hidden_size, models[1].hidden_size
        return LayerLosses(kinds, (pairs, pairs), widths=widths, seed=lab.seed_for("projections"))

    def layer_training(self, lab: Lab, losses: LayerLosses, teacher: Model, student: Model,
                       stage: str, examples: Sequence[Example], epochs: int | None) -> Model:
        """`student` after one training on the teacher's layers."""
        # a copy: other signals of this teacher are read by plain attention
        teacher = replace(teacher, module=copy.deepcopy(teacher.module))
        if losses.attentions:
            teacher.module.register_forward_pre_hook(use_scores)
        signals = lab.signals(teacher, losses.signal_names, examples=examples, pool=losses.pool(),
                              live=True, hidden_states=losses.hidden_states,
                              attentions=losses.attentions)
        rate: dict[str, Any] = {} if self.options.layer_lr is None else {
            "lr": self.options.layer_lr}
        return lab.train(student, losses, stage=stage, examples=examples, signals=signals,
                         epochs=epochs or lab.settings.epochs, select="last", **rate)
