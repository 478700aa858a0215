"""VE-KD: a student with a larger, domain vocabulary, pre-trained on domain text beside a teacher
that lacks it.

    1. new tokens: WordPiece entries that the domain corpus needs, behind the teacher's vocabulary
       (`methods/expanded_vocabulary.py`)
    2. masked language modelling on that corpus. The student predicts old and new tokens; wherever
       no new token stands it is also pulled towards the teacher's distribution, logits and hidden
       states, each only as far as a tolerance allows
    3. fine-tuning on the task
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.base.errors import BadInput, Skip
from kdbench.base.identity import seed_for
from kdbench.methods.divergences import Divergences, first_columns
from kdbench.methods.expanded_vocabulary import (
    MLM,
    ExpansionOptions,
    Masking,
    check_models,
    corpus_of,
    expanded,
    finetuned,
    learns_words,
    masking_of,
    pretraining,
)
from kdbench.models.heads import seeded
from kdbench.models.load import Model
from kdbench.models.zoo import position_limit
from kdbench.train.lab import Lab
from kdbench.train.method import Batch, Method, Objective, Term, early, option
from kdbench.train.mlm import lm_logits


def beyond(total: Tensor, count: int, tolerance: float) -> Tensor:
    """count * max(total / count - tolerance, 0): what is left of a sum of `count` values when their
    mean may be as large as `tolerance`. Within it the gradient is exactly zero.
    """
    return (total - count * tolerance).clamp(min=0)


def last_states(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The last layer's hidden states of a batch, its B texts end to end: (B · T, H)."""
    encoder = cast(nn.Module, model.base_model)
    return encoder(**inputs).last_hidden_state.flatten(0, 1)


class VocabularyKD(Objective):
    """L = a_mlm L_mlm + sum over i in {ce, mse, cos} of a_i max(L_i - tolerance_i, 0); without a
    teacher L_mlm alone.

    The tolerance acts on the mean over every part of a batch that a process computes at once, as
    published. Logits exist where a loss reads them: of the whole vocabulary at masked tokens, of
    the old one at the positions P where the teacher is followed (every token of a text that is no
    new one).
    """

    def __init__(self, masking: Masking, seed: int):
        super().__init__()
        self.masking, self.seed = masking, seed
        self.weights: dict[str, float] = {"masked_lm": 1.0}
        self.tolerance: dict[str, float] = {}
        self.temperature = 1.0
        self.teacher_key = ""
        # in a tuple: neither trained nor saved with the objective
        self._teacher: tuple[nn.Module, ...] = ()
        self.project: nn.Module = nn.Identity()

    def follow(self, teacher: Model, options: VeKDOptions, student_width: int) -> None:
        """Follow `teacher`, by the weights and the tolerance of `options`."""
        self.weigh(options)
        self.teacher_key = teacher.key
        self._teacher = (teacher.module.eval().requires_grad_(False),)
        width = teacher.module.config.hidden_size
        if student_width != width and "cosine" in self.weights:
            trainable = options.projection == "trainable"
            self.project = nn.Linear(student_width, width).requires_grad_(trainable)

    def weigh(self, o: VeKDOptions) -> None:
        """Take over weights, tolerance and temperature; a loss of weight 0 is not computed."""
        weights = {"masked_lm": o.a_mlm, "kl": o.a_ce, "mse": o.a_mse, "cosine": o.a_cos}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        if not self.weights:
            raise BadInput("ve_kd: a_ce, a_mlm, a_mse and a_cos are all 0, which leaves nothing to "
                           "learn; give one a weight")
        self.tolerance = {name: o.tolerance / (weight if o.tolerance_on == "weighted" else 1)
                          for name, weight in self.weights.items() if name != "masked_lm"}
        self.temperature = o.temperature

    @early
    def collate(self, batch: Batch) -> None:
        """Mask the texts, anew in every epoch: a mask is drawn from (seed, epoch, text)."""
        ids = batch.inputs["input_ids"].numpy()
        read = batch.inputs["attention_mask"].numpy()
        student, teacher, targets = ids.copy(), ids.copy(), np.full_like(ids, -100)
        for row, (example, length) in enumerate(zip(batch.examples, read.sum(1), strict=True)):
            rng = np.random.default_rng(seed_for(self.seed, "mask", str(self.epoch), example.key))
            masked = self.masking(ids[row, :length], rng)
            student[row, :length], teacher[row, :length], targets[row, :length] = masked
        followed = (read > 0) & (ids < self.masking.boundary)
        batch.inputs["input_ids"] = torch.from_numpy(student)
        batch.extra.update(teacher_ids=torch.from_numpy(teacher), targets=torch.from_numpy(targets),
                           followed=torch.from_numpy(followed))
        # positions in the flattened batch, computed on the CPU to avoid a GPU sync
        batch.extra.update(masked_at=torch.from_numpy(np.flatnonzero(targets != -100)),
                           followed_at=torch.from_numpy(np.flatnonzero(followed)))
        batch.counts.update(masked=float((targets != -100).sum()), followed=float(followed.sum()))

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The terms of a batch that `collate` has masked."""
        hidden = last_states(student, batch.inputs)
        rows: dict[str, tuple[Tensor, Tensor]] = {}
        if "masked_lm" in self.weights:
            masked = batch.extra["masked_at"]
            targets = batch.extra["targets"].flatten()[masked]
            rows["masked_lm"] = (lm_logits(student, hidden[masked]), targets)
        if self._teacher:
            rows |= self.teacher_rows(student, hidden[batch.extra["followed_at"]], batch)
        return self.terms(rows)

    def teacher_rows(self, student: nn.Module, ours: Tensor,
                     batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Hidden states and logits of student and teacher where the teacher is followed.

        ours  the student's hidden states (N, H_S) there
        """
        teacher = self._teacher[0].to(ours.device)
        inputs = {"input_ids": batch.extra["teacher_ids"],
                  "attention_mask": batch.inputs["attention_mask"]}
        with torch.no_grad():
            theirs = last_states(teacher, inputs)[batch.extra["followed_at"]]
        rows = {"cosine": (self.project(ours), theirs)}
        if "kl" in self.weights or "mse" in self.weights:
            with torch.no_grad():
                logits = lm_logits(teacher, theirs)
            rows["logits"] = (first_columns(student, ours, self.masking.boundary), logits)
        return rows

    def terms(self, rows: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Term]:
        """The losses that have a weight, of rows of the student and of the teacher.

        masked_lm  logits (M, V') and targets (M,)
        logits     of both (N, V), for kl and mse;  cosine  hidden states (N, H_T) of both
        """
        losses: dict[str, Tensor] = {}
        if "masked_lm" in rows:
            ours, targets = rows["masked_lm"]
            losses["masked_lm"] = F.cross_entropy(ours.float(), targets, reduction="sum")
        if "logits" in rows:
            losses["kl"], losses["mse"] = Divergences.apply(*rows["logits"], self.temperature)
        if "cosine" in rows:
            ours, theirs = rows["cosine"]
            losses["cosine"] = (1 - F.cosine_similarity(ours.float(), theirs.float(), dim=-1)).sum()
        terms = {}
        for name, weight in self.weights.items():
            if name == "masked_lm":
                terms[name] = Term(losses[name], "masked", weight)
                continue
            followed = len(rows["cosine" if name == "cosine" else "logits"][0])
            total = beyond(losses[name], followed, self.tolerance[name])
            terms[name] = Term(total, "followed", weight)
        return terms


@dataclass(frozen=True)
class VeKDOptions(ExpansionOptions):
    """Those of the expanded vocabulary, and the weights and tolerance of the teacher's losses."""

    a_ce: float = option(
        2.0, "weight of the KL divergence", minimum=0, source="README and checkpoint")
    a_mlm: float = option(
        1.0, "weight of the masked-LM loss", minimum=0, source="README and checkpoint")
    a_mse: float = option(
        0.0, "weight of the squared logit differences", minimum=0,
        source="checkpoint (README: 1.0)")
    a_cos: float = option(
        5.0, "weight of the hidden states' cosine distance", minimum=0,
        source="README and checkpoint")
    temperature: float = option(
        2.0, "temperature of the KL divergence",
        minimum=0.01, maximum=1000, source="code and checkpoint")
    tolerance: float = option(
        0.5, "how large each loss may be before it counts", minimum=0,
        source="README and checkpoint", search=(0.1, 1.0))
    tolerance_on: str = option(
        "weighted",
        "the tolerance is taken off the weighted loss, so that it is tolerance / weight on the "
        "loss itself (KL 0.25, cosine 0.1, MSE 0.5), or off the loss",
        choices=("weighted", "raw"), source="code", why="ours")
    projection: str = option(
        "trainable", "map of a student's hidden states to another width",
        choices=("trainable", "frozen"), published="frozen",
        source="code: not given to the optimiser")


class VeKD(Method):
    """Expand the vocabulary, distil by masked language modelling on domain text, fine-tune."""

    name = "ve_kd"
    version = 2
    title = ("VE-KD: Vocabulary-Expansion Knowledge-Distillation for Training Smaller "
             "Domain-Specific Language Models")
    citation = "Gao, Yamasaki, Imoto 2024, Findings of EMNLP 2024, 884"
    equations = """
    V' = V + N: the teacher's vocabulary and the new tokens. P: positions of tokens not in N
    L_mlm = CE over V' at masked positions
    L_ce  = mean over P of T^2 * KL(softmax(z_T / T) || softmax(z_S[V] / T)), summed over V
    L_mse = mean over P of sum over V of (z_T - z_S[V])^2
    L_cos = mean over P of 1 - cos(h_S, h_T), last layer; a projection where the widths differ
    L     = a_mlm L_mlm + sum over i in (ce, mse, cos) of max(a_i L_i - tolerance, 0)
    then fine-tuning on the task: L = CE(z_S, y)"""
    needs = "an encoder with a masked-LM head and a WordPiece vocabulary, not fine-tuned"
    task_types = ("single", "multi", "regression", "tags")
    Options = VeKDOptions
    options: VeKDOptions
    not_reproduced = (
        ("accumulation as the mean of the parts' means",
         "parts are a matter of memory here (`--accumulate`) and change no result but the "
         "tolerance, which acts on each part as published: a loss is the mean over the whole "
         "batch"),
        ("accumulation that begins anew in every epoch and leaves parts over, and a decay over "
         "one step more than are made",
         "every part is used in the step that it belongs to"),
        ("sinusoidal positions, which are not trained (the README's configurations)",
         "the released checkpoint has trained ones; the students here are that one's"),
        ("words beyond the limit, which LinkBERT leaves out of gold and predictions",
         "they count as missed, as they would be in use: a score that leaves them out rises as "
         "the limit falls. The published score is `entity_f1_seen`, in every record whose task "
         "has `entity_f1`"),
        ("30,522 as the number of old tokens, whatever the teacher",
         "here it is the size of the teacher's own vocabulary, which is 30,522 for the published "
         "one"),
        ("`--student_pretrained_weights` ends where the vocabularies differ in size",
         "here the weights are loaded first, and the embeddings grow then (`student_init`)"),
        ("README commands that cannot run as printed, a program that ends on one GPU or none, one "
         "output folder for all models, `np.float`",
         "what they mean to compute is computed"),
        ("one run of seed 42, without BIOSSES",
         "seeds are `--seeds`; BIOSSES is a task as the others are"),
        ("fp16 in the fine-tuning",
         "precision is the protocol's: bf16 where the machine has it, or fp32"),
        ("how the new tokens were chosen",
         "nothing says it: WordPiece training on the corpus is our reading"),
    )

    def check(self, lab: Lab) -> None:
        """As `check_models`, and `Skip` where the teacher has no masked-LM head to follow."""
        check_models(lab)
        source, logits = lab.teacher_source, self.options.a_ce or self.options.a_mse
        if logits and source and (source.folder or source.hub) and not lab.teacher(MLM).ready:
            raise Skip(f"{source.name} came without its masked-LM head, whose logits ve_kd "
                       "follows; pre-train it first (`bench.py pretrain --method adapt`), or set "
                       "a_ce and a_mse to 0")

    def learns_words(self, own_text: bool) -> bool:
        """Where it trains its new entries on the text."""
        return learns_words(self.options, own_text)

    def fit(self, lab: Lab) -> Model:
        """The masked-LM training, then the fine-tuning."""
        return finetuned(lab, self.options, self.pretrain(lab))

    def pretrain(self, lab: Lab) -> Model:
        """The student after its masked-LM training, not yet fine-tuned."""
        return pretrained(lab, self.options, self.options)


def pretrained(lab: Lab, o: ExpansionOptions, kd: VeKDOptions | None = None) -> Model:
    """The student with the expanded vocabulary after masked-LM training, beside the teacher if `kd`
    is given.

    Its folder (`lab.cache.stage(model.key)`) is an ordinary model folder.
    """
    base, examples = lab.teacher(MLM), corpus_of(lab, o)
    student = expanded(lab, o, base, examples)
    objective = VocabularyKD(masking_of(o, base), lab.seed_for("masked LM"))
    if kd:
        with seeded(lab.seed_for("projection")):
            objective.follow(base, kd, student.module.config.hidden_size)
    length = min(o.pretrain_length or lab.limit(student),
                 position_limit(base.module.config.to_dict()))
    return lab.train(student, objective, stage="domain text", examples=examples,
                     **{**pretraining(o), "max_length": length, "windows": None})
