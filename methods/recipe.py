"""The parts that helped in this project's studies, put together: layers, unlabelled text, copies,
logits, labels. Every part is an option, so that a suite can leave each out.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdbench.base.errors import Skip
from kdbench.base.progress import say_once
from kdbench.data.task import Example
from kdbench.methods.attention_scores import can_give_scores, use_scores, use_vectors
from kdbench.methods.augmentation import AugmentOptions, augmented
from kdbench.methods.general_text import check_layers, check_tokens, general_text
from kdbench.methods.layer_pairs import layer_pairs
from kdbench.methods.minilm import Relations, relation_heads, width
from kdbench.methods.ner_students import same_tokens
from kdbench.methods.transformer_layers import LayerLosses
from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets
from kdbench.train.method import LOGITS, MODEL, Method, option

LAYERS = ("states", "hidden", "relations")
# what an operation on tags makes several times as many sentences of: epochs are divided by it
COPIED = 2
LAYER_RATE = 3


class Recipe(Method):
    """The teacher's layers -> its logits, on all text that there is -> the labels."""

    name = "recipe"
    version = 1
    title = "The best known combination"
    citation = "ours: layers of TinyBERT or MiniLMv2, logits of Hinton et al. 2015"
    equations = """
    X = training texts, copies of tagged ones, unlabelled texts
    1. L = L_layers of the teacher as it comes, on unlabelled text   (text)
    2. L = L_layers of the fine-tuned teacher, on X                  (layers)
    3. L = alpha * CE(z_S, y) + (1 - alpha) * T^2 * KL(p_T || p_S), on X
    4. L = CE(z_S, y)                                                (labels)
    L_layers: of TinyBERT (states: embedding, hidden states, attention scores; hidden: without the
    scores) or of MiniLMv2 (relations)
    2. to 4. share the epochs out, so that together they take as long as one training on X"""
    needs = ("any teacher; its layers are read where it is a transformer with the student's "
             "tokenizer. A file of answers, or several teachers, give logits alone")
    task_types = ("single", "multi", "regression", "tags")

    @dataclass(frozen=True)
    class Options:
        """The parts, and what of the epochs each gets."""

        text: str = option(
            "no", "first the layers of the teacher as it comes, on unlabelled text, for as many "
            "epochs as all the rest takes", choices=("no", *LAYERS), source="ours")
        corpus: str | None = option(
            None, "text file for that, one sequence a line (default: the task's unlabelled or "
            "training text)", source="ours", file=True)
        layers: str = option(
            "auto", "then the layers of the fine-tuned teacher; auto: states where both models "
            "hand out attention scores, hidden where they have the same tokens, else none",
            choices=("auto", *LAYERS, "no"), source="ours", search=["auto", "relations"])
        unlabelled: bool = option(
            True, "read the unlabelled texts, which the teacher answers for", source="ours")
        copies: int | None = option(
            None, "tags: copies that each operation of `ner_kd` makes of a sentence (default: 1, "
            "and none where unlabelled text is read)", minimum=0, maximum=100, source="ours")
        logits: bool = option(True, "the teacher's logits", source="ours")
        labels: bool = option(True, "the labels alone at the end", source="ours",
                              search=[True, False])
        layer_share: float = option(
            0.7, "share of the training that the layers get", minimum=0.01, maximum=0.99,
            source="ours", search=[0.4, 0.6, 0.8])
        label_share: float = option(
            0.1, "share of the training that the labels get", minimum=0.01, maximum=0.99,
            source="ours")
        layer_lr: float | None = option(
            None, "learning rate on layers (default: --lr; without it, three times the student's "
            "own, as layers bear more than answers do)", minimum=0.0, source="ours")
        temperature: float = option(2.0, "softens both distributions",
                                    minimum=0.01, maximum=1000, source="ours",
                                    search=[1.0, 2.0, 4.0])
        alpha: float = option(0.1, "weight of the labels beside the logits", minimum=0.0,
                              maximum=1.0, source="ours")

    options: Options

    @property
    def reads(self) -> str:
        """Logits; where options name layers, a model."""
        o = self.options
        return LOGITS if o.text == "no" and o.layers in ("auto", "no") else MODEL

    def check(self, lab: Lab) -> None:
        """`Skip` where the options leave nothing, or the models do not have what they name."""
        o = self.options
        if not (o.logits or o.labels):
            raise Skip("logits=no and labels=no leave nothing that knows the task")
        taken = (o.layer_share if o.layers != "no" else 0) + (o.label_share if o.labels else 0)
        if o.logits and taken >= 1:
            raise Skip(f"layer_share={o.layer_share:g} and label_share={o.label_share:g} leave "
                       "nothing for the logits; give shares of less than 1 together, or logits=no")
        for kind in {o.text, o.layers} & set(LAYERS):
            check_kind(lab.teacher(), lab.student(), kind)

    def fit(self, lab: Lab) -> Model:
        """Text, layers, logits, labels."""
        o = self.options
        student = lab.student()
        if o.text != "no":
            student = self.layer_training(lab, lab.teacher(), student, o.text, "text",
                                          general_text(lab, o.corpus), lab.settings.epochs)
        examples = self.examples(lab)
        epochs = lab.settings.epochs / (COPIED if self.copies(lab) else 1)
        labels = o.labels and bool(lab.data.train)
        teacher = lab.trained_teacher()
        kind = self.kind(teacher, student)
        if kind != "no":
            assert isinstance(teacher, Model)
            student = self.layer_training(lab, teacher, student, kind, "layers", examples,
                                          epochs * o.layer_share)
        left = 1 - (o.layer_share if kind != "no" else 0.0)
        last = o.label_share if o.logits else left
        if o.logits:
            logits = lab.signals(teacher, ("logits",), examples=examples)
            student = lab.train(student,
                                SoftTargets(lab.task.task_type, o.temperature, o.alpha),
                                stage="logits", examples=examples, signals=logits,
                                epochs=epochs * (left - last if labels else left))
        if not labels:
            return student
        # an epoch of the labels is shorter than one of all texts
        several = len(examples) / len(lab.data.train)
        return lab.finetune(student, "labels", epochs=epochs * several * last)

    def copies(self, lab: Lab) -> int:
        """Copies an operation makes of a tagged sentence."""
        if not lab.task.tagging or not lab.data.train:
            return 0
        if self.options.copies is None:
            return 0 if self.options.unlabelled and lab.unlabelled else 1
        return self.options.copies

    def examples(self, lab: Lab) -> tuple[Example, ...]:
        """All texts that the teacher answers for."""
        found = lab.data.train
        if count := self.copies(lab):
            found = tuple(augmented(found, lab.data.labels, AugmentOptions(copies=count),
                                    lab.seed_for("augment")))
        return (*found, *lab.unlabelled) if self.options.unlabelled else tuple(found)

    def kind(self, teacher: Any, student: Model) -> str:
        """What of the layers is compared; `auto` is told."""
        if self.options.layers != "auto":
            return self.options.layers
        if not isinstance(teacher, Model):
            return "no"
        models = teacher, student
        alike = same_tokens(teacher.tokenizer, student.tokenizer)
        layered = all(getattr(each.module.config, "num_attention_heads", None) for each in models)
        if not (alike and layered):
            why = "has no layers like the teacher's" if alike else "has another tokenizer"
            say_once(f"recipe: {student.name} {why}; logits and labels alone")
            return "no"
        return "states" if all(can_give_scores(each.module) for each in models) else "hidden"

    def layer_training(self, lab: Lab, teacher: Model, student: Model, kind: str, stage: str,
                       examples: Sequence[Example], epochs: float) -> Model:
        """`student` after one training on what `kind` names of the teacher's layers."""
        losses, names = layer_losses(lab, teacher, student, kind)
        # a copy: other signals of this teacher are read by plain attention
        teacher = replace(teacher, module=copy.deepcopy(teacher.module))
        if losses.attentions:
            hook = use_vectors if kind == "relations" else use_scores
            teacher.module.register_forward_pre_hook(hook)
        signals = lab.signals(teacher, names, examples=examples, pool=losses.pool(), live=True,
                              hidden_states=losses.hidden_states, attentions=losses.attentions)
        rates = self.options.layer_lr, lab.settings.lr, LAYER_RATE * student.lr
        rate = next(rate for rate in rates if rate is not None)
        return lab.train(student, losses, stage=stage, examples=examples, signals=signals,
                         epochs=epochs, select="last", lr=rate)


def check_kind(teacher: Model, student: Model, kind: str) -> None:
    """`Skip` where this of the layers of two models cannot be compared."""
    if kind != "hidden":
        check_layers(teacher, student, Recipe.name, remedy="; use `hidden`")
    check_tokens(teacher, student, Recipe.name)
    if kind == "relations":
        relation_heads(None, width(teacher), width(student))


def layer_losses(lab: Lab, teacher: Model, student: Model,
                 kind: str) -> tuple[LayerLosses | Relations, tuple[str, ...]]:
    """The objective of `kind`, and the signals that it reads."""
    models = teacher.module.config, student.module.config
    depth = models[1].num_hidden_layers
    if kind == "relations":
        heads = relation_heads(None, width(teacher), width(student))
        return Relations(heads, models[0].num_hidden_layers), ("vectors",)
    kinds = ("hidden", "attention") if kind == "states" else ("hidden",)
    pairs = layer_pairs(models[0].num_hidden_layers, depth, depth)
    losses = LayerLosses(kinds, (pairs, pairs), seed=lab.seed_for("projections"),
                         widths=(models[0].hidden_size, models[1].hidden_size))
    return losses, losses.signal_names
