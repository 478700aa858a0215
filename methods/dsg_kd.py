"""DSG-KD, earlier called MLKD: what a domain model knows of the code-switched words of a text.

    1. the teacher is a pre-trained domain encoder, frozen and not fine-tuned
    2. in every text, find the words of the other script (English words in Korean notes) in the
       teacher's tokens and in the student's (`methods/code_switching.py`)
    3. train the student on the task, and pull its hidden states and attention rows at these words,
       in all layers, towards the teacher's (`methods/word_states.py`)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig

from kdbench.base.errors import Skip
from kdbench.data.task import Example
from kdbench.methods.attention_scores import can_give_scores, use_scores
from kdbench.methods.code_switching import Aligner
from kdbench.methods.gelu_head import with_gelu_head
from kdbench.methods.layer_pairs import layer_pairs
from kdbench.methods.word_states import (
    STUDENT,
    Place,
    WordStates,
    attention_sum,
    hidden_sum,
    real_words,
)
from kdbench.models.heads import seeded
from kdbench.models.load import Model, Role
from kdbench.train.lab import Lab
from kdbench.train.losses import Supervised, supervised
from kdbench.train.method import Batch, Method, Objective, Term, early, option


@dataclass(frozen=True)
class DsgOptions:
    """Options of DSG-KD: what is transferred, by which weights, and its recipe."""

    mode: str = option(
        "mlkd",
        "mlkd: distil; base: the student alone, with this method's head and recipe; ensemble: "
        "distil, then predict with the mean of the student's and the fine-tuned teacher's class "
        "probabilities",
        choices=("mlkd", "base", "ensemble"),
        source="README; ensemble, absent from the code, is our reading")
    direction: str = option(
        "domain_to_general",
        "which model teaches: --teacher (the domain model) or, swapped, --student",
        choices=("domain_to_general", "general_to_domain"), source="DSG-KD's title; MLKD has both")
    alpha: float = option(
        0.6, "weight of the hidden-state loss", minimum=0, source="code (README: 0.5)",
        search=(0.1, 1.0))
    beta: float = option(
        0.2, "weight of the attention loss", minimum=0, source="code (README: 0.1)",
        search=(0.05, 0.5))
    cs_max_len: int = option(
        32, "code-switched words used of a text, at most", minimum=1, source="README and code")
    spans: str = option(
        "offsets",
        "how words are found in tokens: by the characters each token covers, or by tokenising "
        "each word alone and counting",
        choices=("offsets", "alone"), published="alone", source="code")
    attn_align: str = option(
        "word",
        "what is compared in attention rows: attention added up by word, or token positions",
        choices=("word", "raw_columns"), published="raw_columns", source="code")
    attn_columns: str = option(
        "valid", "what a row's sum is divided by: the columns its text has, or the length limit",
        choices=("valid", "max_length"), published="max_length", source="code")
    attn_kind: str = option(
        "probs",
        "attention probabilities, or the scores before the softmax (a word's column is then their "
        "mean)",
        choices=("probs", "scores"), source="code; scores: TinyBERT", why="ours")
    head: str = option(
        "gelu",
        "classifier: dropout-Linear-GELU-dropout-Linear on the pooler, or the student's own",
        choices=("gelu", "own"), source="code", why="ours")
    base_recipe: str = option(
        "same",
        "mode=base: head, its rate and dev loss of mlkd, or as published: the student's own head, "
        "rate 1e-2 for it where none is given, dev loss of the logits (the encoder's rate is in "
        "--recipe paper)",
        choices=("same", "published"), published="published", source="code; run_base.sh",
        why="protocol")
    lr: float | None = option(
        None, "encoder's peak rate (default: the protocol's)", minimum=0,
        source="README, run_1.sh, run_2.sh, run_mlkd_1.sh: 1e-4; run_base.sh, code's default: 1e-5")
    head_lr: float | None = option(
        None, "peak rate of head and projection (default: 1e-3; 1e-2 for mode=base as published)",
        minimum=0,
        source="run_1.sh, run_2.sh: 1e-3; run_mlkd_1.sh: 5e-3; run_base.sh, README and code's "
               "default: 1e-2")
    warmup: float = option(
        0.25, "warm-up, as --warmup has it", minimum=0, source="code", setting="warmup")
    base_warmup: float = option(
        0.25, "mode=base: warm-up, as --warmup has it", minimum=0, published=0.15, source="code",
        why="protocol", setting="warmup")
    warmup_rule: str = option(
        "shifted",
        "how the rate rises over w steps, at step s from 0: (s + 1) / (w + 1), or s / w with w "
        "rounded down (int) or up (ceil)",
        choices=("shifted", "int", "ceil"), published="int", source="code", why="protocol",
        setting="warmup_rule")
    decay_all: bool = option(
        False, "weight decay on biases and norms as well", published=True, source="code",
        why="protocol")
    patience: int = option(
        5,
        "training stops when F1, Brier score and loss have all been without a new best for so "
        "many epochs",
        minimum=1, source="code")
    ties_improve: bool = option(
        False, "a value equal to the best one is a new best, and its weights are kept",
        published=True, source="code", why="protocol")
    stays_stalled: bool = option(
        False,
        "one of the three that was once without a new best for `patience` epochs counts as "
        "stalled for good, though it may improve again",
        published=True, source="code: its flags are never taken back")
    keep: str = option(
        "score",
        "whose best epoch is kept: that of the task's measure, F1 (at the positive rate of "
        "train), Brier score or loss",
        choices=("score", "f1", "brier", "loss"), published="f1",
        source="code keeps one each of the three, F1 first; take the others by --set keep",
        why="protocol")
    eval_loss_on: str = option(
        "logits", "dev loss: cross-entropy of the logits, or of the probabilities in their place",
        choices=("logits", "probs"), published="probs", source="code of mlkd; base has the logits'")
    subsample: float = option(
        1.0, "share of the training examples that is used", minimum=0.01, maximum=1, published=0.75,
        source="code; it also cut dev and test, which here stay whole")


class CodeSwitched(Objective):
    """L = L_pred + alpha * L_hid + beta * L_att.

    Signals read, per text with K words: `word_hidden` (n+1, K, H_T) and `word_attention` (n, A, K,
    R), which `words.teacher_signals` gives; n is the number of layer pairs. A student of another
    width goes through a learned projection.
    """

    hidden_states = True

    def __init__(self, options: DsgOptions, teacher: PreTrainedConfig, student: PreTrainedConfig,
                 max_length: int, aligner: Aligner | None = None):
        """teacher, student: the models' configurations."""
        super().__init__()
        self.options, self.max_length = options, max_length
        self.attentions = bool(options.beta)
        depths = teacher.num_hidden_layers, student.num_hidden_layers
        # the paper has equal depths only: spreading the pairs over others is our reading
        pairs = layer_pairs(*depths, min(depths))
        other_heads = teacher.num_attention_heads != student.num_attention_heads
        self.words = WordStates(aligner, pairs, self.attentions, other_heads, options.attn_kind,
                                options.attn_align)
        self.project: nn.Module = nn.Identity()
        if teacher.hidden_size != student.hidden_size:
            self.project = nn.Linear(student.hidden_size, teacher.hidden_size)

    @early
    def collate(self, batch: Batch) -> None:
        """Add where the words are in the student's tokens, and how many there are."""
        place = self.words.place(self.words.alignments(batch), STUDENT,
                                 batch.inputs["input_ids"].shape[1])
        batch.extra.update(place)
        batch.counts.update(code_switched_words=float(place["words"].sum()), batches=1.0)

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The three terms, and the share of batches without a code-switched word."""
        if self.options.attn_kind == "scores":
            use_scores(student)
        outputs = self.outputs(student, batch)
        place = cast(Place, batch.extra)
        hidden, rows = self.words.pool(outputs, place, STUDENT)
        real = real_words(place["spans"], place["words"])
        hidden = self.project(hidden).float()
        terms = {
            "prediction": supervised(outputs.logits, batch, "single"),
            "hidden": Term(hidden_sum(batch.signals["word_hidden"], hidden, real),
                           "code_switched_words", self.options.alpha),
            # the published code crashes on a batch without a code-switched word; here both losses
            # are 0 and such batches are counted
            "batches_without_words": Term((~real.any()).float(), "batches", 0.0),
        }
        if rows is not None:
            columns = place["widths"]
            if self.options.attn_columns == "max_length":
                columns = torch.full_like(columns, self.max_length)
            total = attention_sum(batch.signals["word_attention"], rows.float(), real, columns)
            terms["attention"] = Term(total, "code_switched_words", self.options.beta)
        return terms


class DsgKD(Method):
    """Pull the student, at the code-switched words, towards a frozen domain model while it learns
    the task.
    """

    name = "dsg_kd"
    version = 3
    title = "DSG-KD: Knowledge Distillation from Domain-Specific to General Language Models"
    citation = ("Cho, Jeon, Lee, Lee, Kim 2024, IEEE Access, arXiv 2409.14904; MLKD in earlier "
                "versions of its repository")
    equations = """
    words w: parts between single blanks, all ASCII letters, the first 32 that both models read
    a(w): tokens of w, in the teacher's and in the student's tokens
    h_l(w)   = mean over i in a(w) of H_l[i]         l = 0..L, 0 the embedding output
    r_l,a(w) = mean over i in a(w) of A_l,a[i, :]    heads a, attention probabilities
    L_hid  = mean over words, l, dims of (h^T_l(w) - h^S_l(w))^2
    L_att  = mean over words, l, a, columns of (r^T_l,a(w) - r^S_l,a(w))^2
    L      = CE(z_S, y) + alpha * L_hid + beta * L_att
    other depth, width or number of heads (ours): evenly spread layers, a learned projection of h^S,
    r averaged over heads
    ensemble (ours): p = (softmax(z_S) + softmax(z_T)) / 2, z_T of the fine-tuned teacher"""
    needs = ("a transformer encoder with its own tokenizer, not fine-tuned; student and teacher "
             "give attention")
    task_types = ("single",)
    Options = DsgOptions
    options: DsgOptions
    not_reproduced = (
        ("ten draws of 75 % of test for each of three kept checkpoints, with mean and spread",
         "draws from one test set say nothing about other texts or another training; intervals "
         "here are bootstrapped from the whole test set, and seeds are trainings. Each of the "
         "three epochs is kept by `keep`"),
        ("dev and test cut to 75 % as train is, by a check that was left in",
         "a score on a part of test compares with no other"),
        ("test measured by the weights of the last epoch, beside those of the three kept ones",
         "test is measured once, by the epoch that dev keeps"),
        ("a batch without a code-switched word ends the program",
         "here its two losses are 0, and such batches are counted"),
        ("mode `ensemble`, which the README names and the program refuses",
         "the mean of both models' probabilities is our reading"),
        ("student `bert` (run_2.sh) and the measurement of the kept weights end the program: a "
         "name is not set, a class has no classifier",
         "any encoder can be the student here, and what is trained is what is measured"),
        ("names of dev measures exchanged in the log: AUROC, AUPRC and accuracy",
         "a log decides nothing; records name theirs"),
        ("KM-BERT pre-trained again on the notes, with either vocabulary",
         "its weights and the notes are not public, and no code of the repository makes it; "
         "`kmbert-re` and `kmbert-b-re` stand for folders that `pretrain` makes of one's own "
         "notes (`docs/models.md`)"),
        ("dev loss as the mean over batches of their means, in random order",
         "here it is the mean over texts, whatever the batch"),
        ("Python's own random numbers, which no seed sets", "a run here can be repeated"),
    )

    def models(self, lab: Lab) -> tuple[Model, Model]:
        """(teacher, student) in the chosen direction."""
        domain, general = lab.teacher(), lab.student()
        if self.options.direction == "domain_to_general":
            return domain, general
        return replace(general, role=Role.TEACHER), replace(domain, role=Role.STUDENT)

    def check(self, lab: Lab) -> None:
        """`Skip` where a model gives no attention, or no scores where they are asked for."""
        for model in self.models(lab):
            if not getattr(model.module.config, "num_attention_heads", None):
                raise Skip(f"{model.name} has no attention to compare at code-switched words")
            if self.options.attn_kind == "scores" and not can_give_scores(model.module):
                raise Skip(f"{model.name} does not hand out attention scores; use attn_kind=probs")

    def fit(self, lab: Lab) -> Model:
        """One training on labels and signals, or the one that `mode` asks for."""
        o = self.options
        teacher, student = self.models(lab)
        published_base = o.mode == "base" and o.base_recipe == "published"
        if o.head == "gelu" and not published_base:
            student = with_gelu_head(student, lab.seed_for("head"))
        examples = drawn(lab.data.train, o.subsample, lab.seed_for("subsample"))
        training = self.training(lab, student, published_base)
        if o.mode == "base":
            return lab.train(student, Supervised("single"), stage="base", examples=examples,
                             measures=MEASURES, **training)
        if lab.unlabelled:  # they take part in everything but the prediction loss
            examples = (*examples, *lab.unlabelled)

        objective = self.objective(lab, teacher, student)
        if o.attn_kind == "scores":
            teacher.module.register_forward_pre_hook(use_scores)
        names = ("word_hidden", "word_attention") if o.beta else ("word_hidden",)
        signals = lab.signals(teacher, names, examples=examples,
                              pool=objective.words.teacher_signals, hidden_states=True,
                              attentions=objective.attentions)
        trained = lab.train(student, objective, stage="code-switched words", examples=examples,
                            signals=signals, measures=MEASURES, **training)
        return trained.beside(lab.finetune(teacher)) if o.mode == "ensemble" else trained

    def objective(self, lab: Lab, teacher: Model, student: Model) -> CodeSwitched:
        """The loss of these two models on the lab's texts."""
        o, length = self.options, lab.limit(student)
        aligner = Aligner(teacher, student, (lab.limit(teacher), length), most=o.cs_max_len,
                          rule=o.spans, attn_align=o.attn_align)
        with seeded(lab.seed_for("projection")):
            return CodeSwitched(o, teacher.module.config, student.module.config, length, aligner)

    def training(self, lab: Lab, student: Model, published_base: bool) -> dict[str, Any]:
        """Rates, warm-up and the three stopping criteria, as fields of `Training`.

        published_base  mode=base by its own published script
        """
        o = self.options
        head_lr = 1e-2 if published_base else 1e-3
        of_logits = o.eval_loss_on == "logits" or published_base
        loss = "-loss" if of_logits else "-loss_on_probabilities"
        measures = {"score": "score", "f1": "f1_at_rate", "brier": "-brier", "loss": loss}
        if len(lab.data.labels) != 2:  # F1 and Brier score are those of a positive class
            measures.update(f1="score", brier="score")
        watch = dict.fromkeys((measures["f1"], measures["brier"], loss))
        return {
            "lr": o.lr or lab.training_for(student).lr,
            "head_lr": head_lr if o.head_lr is None else o.head_lr,
            "warmup": o.base_warmup if o.mode == "base" else o.warmup,
            "warmup_rule": o.warmup_rule, "decay_all": o.decay_all, "patience": o.patience,
            "watch": tuple(watch), "select_by": measures[o.keep],
            "ties_improve": o.ties_improve, "stays_stalled": o.stays_stalled,
        }


def loss_on_probabilities(logits: Tensor, labels: Tensor) -> float:
    """Cross-entropy of probabilities taken for logits, as the published code measures dev."""
    return float(F.cross_entropy(logits.softmax(-1), labels))


MEASURES = {"loss_on_probabilities": loss_on_probabilities}


def drawn(examples: Sequence[Example], share: float, seed: int) -> Sequence[Example]:
    """A share of the examples, drawn by `seed`, in their order."""
    if share == 1:
        return examples
    size = max(1, round(share * len(examples)))
    kept = sorted(random.Random(seed).sample(range(len(examples)), size))
    return tuple(examples[i] for i in kept)
