"""A fine-tuned tagger into a BiLSTM or a TinyBERT, on augmented sentences (biobert-distillation,
2021; no paper).

    1. fine-tune the teacher on the training sentences
    2. generate copies of the sentences (`methods/augmentation.py`)
    3. train the student on originals and copies: on the teacher's logits and, by `alpha`, on the
       labels; a transformer student learns embedding, hidden states and attention as well
       (`methods/ner_losses.py`)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdbench.base.errors import Skip
from kdbench.data.task import Example
from kdbench.methods.attention_scores import can_give_scores, use_scores
from kdbench.methods.augmentation import AugmentOptions, augmented
from kdbench.methods.ner_losses import Distillation
from kdbench.methods.ner_students import Setting, is_bilstm, lower_cased, same_tokens, shaped
from kdbench.models.load import Model, Role
from kdbench.models.sources import resolve
from kdbench.models.teachers import is_model
from kdbench.train.answering import Answering
from kdbench.train.lab import Lab
from kdbench.train.method import LOGITS, MODEL, Method, option


class NerKD(Method):
    """Fine-tuned tagger -> augmented sentences -> BiLSTM or TinyBERT on the teacher's logits (and
    layers).
    """

    name = "ner_kd"
    version = 2
    title = "BioBERT distillation: BC2GM tagging with BiLSTM and TinyBERT"
    citation = ("biobert-distillation (dsashulya, 2021; no paper); TinyBERT: Jiao et al. 2020, "
                "arXiv 1909.10351; augmentation: Dai and Adel 2020, arXiv 2010.11683")
    equations = """
    CE_ls   = -sum_c q_c log p_c,  q = 1 - 0.1 for the label, 0.1 / (C - 1) for each other tag;
              mean over words
    L_logit = mean over words and tags of (z_T - z_S)^2
    L_soft  = mean over words of KL(softmax(z_T) || softmax(z_S)), whose gradient is that of the
              soft cross-entropy
    BiLSTM:    L = alpha * CE_ls + (1 - alpha) * L_logit
    TinyBERT:  L_layers = MSE(E_T, W_e E_S) + sum over pairs of MSE(H_T, W_h H_S) + MSE(A_T, A_S)
               A: attention scores before the softmax; left out for a student without attention or
               of another tokenizer
               student layer m learns from teacher layer round(m * L_T / L_S): 3m for 12 and 4
               stages=two:    L_layers first, then alpha * CE_ls + (1 - alpha) * L_soft
               stages=joint:  alpha * CE_ls + (1 - alpha) * (L_soft + L_layers)
    published: L_logit for L_soft, attention probabilities for scores; means over all positions of
               the batch, padding included; pairs (1,0) (4,1) (7,2) (10,3), where 0 is the
               embedding's output, and attention of the layers 1, 4, 7, 10"""
    needs = ("any tagger; the layers' losses want a transformer student. With another tokenizer "
             "than the student's it teaches logits and hidden states at each word's first token, "
             "and no attention")
    task_types = ("tags",)
    not_reproduced = (
        ("nine tags: also PAD, START, END and UNK, of which [CLS] and [SEP] are labelled START "
         "and END",
         "no score reads them, and a teacher with tags of its own could teach no other method of "
         "the table"),
        ("the untrained student is measured too, and kept where it is the best", "it never is"),
        ("precision and recall under each other's names",
         "F1 is the same; where the two are given here they have their own"),
        ("steps at once where `step % accumulation == 0`, and saves on every step but the "
         "multiples of `save_steps`",
         "no command of the README accumulates, and what is saved on the way is not read"),
        ("without distillation the program ends at its last commit",
         "`distillation=no` computes what it did before (ee25d58)"),
        ("the notebook appends to a file of one name, without a seed, and the README trains on "
         "that of another",
         "copies are made from the seed in memory, or once by `augment`"),
        ("TinyBERT's size with two projections that only its training needs",
         "size is that of the student that is served"),
        ("models that are drawn before the seed is set", "a run here can be repeated"),
        ("its teacher, which no released code trains",
         "the teacher here is fine-tuned by the protocol"),
    )

    @dataclass(frozen=True)
    class Options(AugmentOptions):
        """The copies, the student's shape, its losses and its training."""

        student: str = option(
            "as_given",
            "the student: that of --student, or one built here, whose row without teacher is then "
            "added",
            choices=("as_given", "bilstm", "tinybert"),
            source="code: --model_name, random weights; what TinyBERT begins with, a general "
                   "distillation, can be given as --student")
        layers: int | None = option(
            None, "BiLSTM: layers (default: the student's; `bilstm` has 2)",
            minimum=1, maximum=1_000,
            source="code: 2")
        embedding: str | None = option(
            None,
            "BiLSTM: embedding trained; copied from a BERT teacher (pieces, positions, type); or "
            "multi-channel, convolutions over 1, 3 and 5 pieces of a trained one (`bilstm`: "
            "trained)",
            choices=("trained", "bert", "cnn"), source="code: train, bert, multichannel",
            search=["trained", "bert"])
        embedding_size: int | None = option(
            None,
            "BiLSTM: width of the embedding (`bilstm`: 300); a copied one has the teacher's, or is "
            "reduced to this by SVD", minimum=1, maximum=65_536,
            source="README: 300; reduced: ours")
        hidden: int | None = option(
            None, "BiLSTM: units a direction (`bilstm`: 300)",
            minimum=1, maximum=65_536, source="README: 300, 200")
        head: int | None = option(
            None,
            "BiLSTM: units of the classifier's hidden layer, 0 for one linear layer (`bilstm`: "
            "256)",
            minimum=0, maximum=65_536, source="README: 256 or none")
        dropout: float | None = option(
            None, "BiLSTM: dropout (`bilstm`: 0.5)", minimum=0, maximum=0.99, source="code: 0.5")
        packed: bool = option(True, "BiLSTM: padding is not read", published=False, source="code")
        lower_case: bool = option(
            False, "lower-case all text, also for a cased vocabulary", published=True,
            source="code")
        distillation: bool = option(
            True, "no: the labels of the augmented sentences, without the teacher",
            source="README's first table")
        alpha: float = option(
            0.5, "weight of the labels", minimum=0, maximum=1, published=0.0,
            source="published: code, where no command of the README uses the labels; corrected: "
                   "both terms of its loss, the weight to be searched in 0, 0.5, 1",
            search=[0.0, 0.5])
        label_smoothing: float = option(
            0.1, "probability that goes to the other tags", minimum=0, maximum=0.5, source="code")
        level: str = option(
            "words",
            "logits and labels at each word's first token, or at all tokens, each with its word's "
            "tag (for models with one tokenizer)",
            choices=("words", "tokens"), published="tokens", source="code", why="protocol")
        mse_over: str = option(
            "real",
            "squared errors: means over real tokens, or over all positions of the batch, padding "
            "included",
            choices=("real", "positions"), published="positions", source="code")
        layer_losses: str = option(
            "auto",
            "TinyBERT's losses on embedding, hidden states, attention; auto: where the student is "
            "no BiLSTM, and the teacher is a model",
            choices=("auto", "no"), source="auto: code; no: logits alone", why="ours")
        attention: str = option(
            "scores",
            "TinyBERT: what of the attention is compared, its scores before the softmax or its "
            "probabilities",
            choices=("scores", "probabilities"), published="probabilities",
            source="published: code; corrected: TinyBERT, section 3.1")
        soft_loss: str = option(
            "auto",
            "the teacher's tags: cross-entropy with its distribution, or squared error of the "
            "logits; auto: squared error for a BiLSTM, else cross-entropy",
            choices=("auto", "cross_entropy", "squared_error"), published="squared_error",
            source="published: code; corrected: TinyBERT, section 3.1, at its temperature 1")
        layer_map: str = option(
            "uniform",
            "layers that are paired: 3m and m where there are 12 and 4; or 1, 4, 7, 10 and 0, 1, "
            "2, 3",
            choices=("uniform", "off_by_one"), published="off_by_one",
            source="published: code; corrected: TinyBERT")
        stages: str = option(
            "two", "first the layers, then the prediction; or all losses in one training",
            choices=("two", "joint"), published="joint",
            source="published: code; corrected: TinyBERT")
        intermediate_epochs: int | None = option(
            None, "stages=two: epochs of the first (default: a third of those of the second)",
            minimum=1, source="TinyBERT: 20, before 3")
        epochs: int | None = option(
            None,
            "epochs over the augmented sentences (default: half of --epochs, as these are several "
            "times as many; without copies all of them)",
            minimum=1, source="README: 30 to 50; the default is ours", follows="epochs")
        lr: float | None = option(
            None, "student's learning rate (default: the protocol's)", minimum=0, published=1e-3,
            source="README", why="protocol", setting="lr")
        warmup: float | None = option(
            None, "student's warm-up (default: the protocol's)", minimum=0, published=0.0,
            source="code", why="protocol", setting="warmup")
        weight_decay: float | None = option(
            None, "student's weight decay (default: the protocol's)", minimum=0, published=0.01,
            source="README", why="protocol", setting="weight_decay")
        decay_all: bool = option(
            False, "weight decay on biases and norms as well", published=True, source="code",
            why="protocol")
        eps: float = option(
            1e-8, "AdamW's epsilon", minimum=0, published=1e-6, source="code: transformers' AdamW",
            why="protocol")
        eval_steps: int | None = option(
            None,
            "the student is measured on dev after so many steps (default: after each epoch), and "
            "the best one kept",
            minimum=1, published=50, source="README (code's default: 5)", why="protocol")
        select_by: str = option(
            "score", "measure by which the student is kept: the task's, or F1 over word pieces",
            choices=("score", "piece_tag_micro_f1"), published="piece_tag_micro_f1", source="code",
            why="protocol")
        schedule: str = option(
            "linear", "learning rate after the warm-up: linear decay, or constant",
            choices=("linear", "constant"), published="constant", source="code", why="protocol")
        shuffle: bool = option(
            True, "shuffle the sentences; otherwise copies stay beside their original",
            published=False, source="code")

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Teacher, copies, student."""
        o = self.options
        teacher, student = self.models(lab)
        same = teacher is not None and same_tokens(teacher.tokenizer, student.tokenizer)
        self.check_models(teacher, student, same)

        # 1. the teacher, where something that it learns is read
        answering: Model | Answering | None = teacher
        if teacher is None and o.distillation:
            answering = lab.trained_teacher()
        elif teacher is not None and (o.distillation or o.embedding == "bert"):
            answering = teacher = lab.finetune(teacher)
        student = self.built(student, teacher, lab)

        # 2. the copies
        examples = tuple(augmented(lab.data.train, lab.data.labels, o, lab.seed_for("augment")))

        # 3. the student
        if answering is None or not o.distillation:
            return lab.train(student, Distillation(o, ("hard",)), stage="augmented",
                             examples=examples, **self.training(epochs=self.epochs(lab)))
        examples = (*examples, *lab.unlabelled)
        layers = self.layer_terms(student, same) if isinstance(answering, Model) else ()
        if layers and o.stages == "two":
            epochs = o.intermediate_epochs or math.ceil(self.epochs(lab) / 3)
            student = self.distil(lab, answering, student, layers, examples, stage="layers",
                                  same=same, epochs=epochs, select="last")
            layers = ()
        hard = ("hard",) if o.alpha else ()
        return self.distil(lab, answering, student, (*hard, "logits", *layers), examples,
                           stage="distillation", same=same, epochs=self.epochs(lab))

    @property
    def reads(self) -> str:
        """The teacher's logits of words; with some options its tokens, embedding or vocabulary too.
        Its layers are read where it is a model.
        """
        o = self.options
        of_model = o.level == "tokens" or o.embedding == "bert" or o.student != "as_given"
        return MODEL if of_model else LOGITS

    def models(self, lab: Lab) -> tuple[Model | None, Model]:
        """(teacher, student) as they come, both lower-casing where the options say so; None for a
        teacher that only answers.
        """
        answers = lab.teacher_source is not None and not is_model(lab.teacher_source)
        teacher = None if answers else lab.teacher()
        if self.options.student == "as_given":
            student = lab.student()
        else:
            student = lab.model(resolve(self.options.student))
        if self.options.lower_case:
            return lower_cased(teacher) if teacher else None, lower_cased(student)
        return teacher, student

    def check_models(self, teacher: Model | None, student: Model, same: bool) -> None:
        """Raise `Skip` where the options do not fit the models, before anything is trained.

        same  do both read the same tokens?
        """
        o = self.options
        if o.level == "tokens" and not same:
            raise Skip("level=tokens compares token by token, but these models have two "
                       "tokenizers; use level=words")
        if teacher is None:
            return
        scores = o.attention == "scores" and o.distillation
        if scores and "attention" in self.layer_terms(student, same):
            for model in (teacher, student):
                if not can_give_scores(model.module):
                    raise Skip(f"{model.name} does not hand out attention scores; use "
                               "attention=probabilities")
        model_type = teacher.module.config.model_type
        if is_bilstm(student) and o.embedding == "bert" and model_type != "bert":
            raise Skip("embedding=bert copies a BERT's embedding layer, and the teacher is "
                       f"{model_type}; use embedding=trained")
        width = teacher.module.config.hidden_size
        if is_bilstm(student) and o.embedding == "bert" and (o.embedding_size or 0) > width:
            raise Skip(f"embedding_size={o.embedding_size}: the embedding of {teacher.name} has "
                       f"{width}, and can only be reduced")

    def built(self, student: Model, teacher: Model | None, lab: Lab) -> Model:
        """The student as the options shape it; one that is not --student as it comes gets a row of
        its own without a teacher.
        """
        if is_bilstm(student):
            seed = lab.seed_for("init", student.name)
            student = shaped(student, self.bilstm_settings(), teacher, seed)
        if student.key != lab.student().key and not lab.alone:
            alone = lab.finetune(student, role=Role.CONTROL)
            lab.add_row(alone, f"{student.name} as built here, no teacher", role=Role.CONTROL)
        return student

    def bilstm_settings(self) -> dict[str, Setting]:
        """What the options say of a BiLSTM, as fields of its configuration."""
        o = self.options
        return {"num_hidden_layers": o.layers, "embedding": o.embedding,
                "embedding_size": o.embedding_size, "hidden_size": o.hidden,
                "classifier_size": o.head, "dropout": o.dropout, "packed": o.packed}

    def distil(self, lab: Lab, teacher: Model | Answering, student: Model, terms: Sequence[str],
               examples: Sequence[Example], *, stage: str, same: bool, **training: Any) -> Model:
        """`student` after one training on the teacher's signals, under these terms of the loss.

        same      do both read the same tokens?
        training  fields of `Training`
        """
        if not isinstance(teacher, Model):
            objective = Distillation(self.options_for(student), terms)
            signals = lab.signals(teacher, objective.signal_names, examples=examples)
            return lab.train(student, objective, stage=stage, examples=examples, signals=signals,
                             **self.training(**training))
        models = (teacher.module.config, student.module.config)
        objective = Distillation(
            self.options_for(student), terms,
            depths=(models[0].num_hidden_layers, models[1].num_hidden_layers),
            widths=(models[0].hidden_size, models[1].hidden_size),
            unit="tokens" if same else "words", seed=lab.seed_for("projections"))
        own_pool = objective.signal_names != ("logits",)
        if objective.attentions and self.options.attention == "scores":
            # a copy: the teacher's other signals are those that all methods read
            teacher = replace(teacher, module=copy.deepcopy(teacher.module))
            teacher.module.register_forward_pre_hook(use_scores)
        signals = lab.signals(teacher, objective.signal_names, examples=examples,
                              pool=objective.pool() if own_pool else None, live=own_pool,
                              hidden_states=objective.hidden_states,
                              attentions=objective.attentions)
        return lab.train(student, objective, stage=stage, examples=examples, signals=signals,
                         **self.training(**training))

    def options_for(self, student: Model) -> Options:
        """The options with what `soft_loss=auto` means for this student."""
        if self.options.soft_loss != "auto":
            return self.options
        return replace(self.options,
                       soft_loss="squared_error" if is_bilstm(student) else "cross_entropy")

    def layer_terms(self, student: Model, same: bool) -> tuple[str, ...]:
        """TinyBERT's terms: none for a student without attention, hidden states alone where the
        tokenizers differ.
        """
        heads = getattr(student.module.config, "num_attention_heads", None)
        if self.options.layer_losses == "no" or not heads:
            return ()
        return ("hidden", "attention") if same else ("hidden",)

    def epochs(self, lab: Lab) -> int:
        """Epochs of the student's training on the generated sentences."""
        return self.options.epochs or math.ceil(lab.settings.epochs /
                                                (2 if self.options.augment else 1))

    def training(self, **more: Any) -> dict[str, Any]:
        """The student's training where it departs from the protocol, as fields of `Training`."""
        o = self.options
        optional = {"lr": o.lr, "warmup": o.warmup, "weight_decay": o.weight_decay,
                    "eval_steps": o.eval_steps}
        chosen = {name: value for name, value in optional.items() if value is not None}
        return {**chosen, "schedule": o.schedule, "select_by": o.select_by, "eps": o.eps,
                "decay_all": o.decay_all, "order": "shuffled" if o.shuffle else "file", **more}
