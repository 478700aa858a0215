"""VE-KD: a student with a larger, domain vocabulary, pre-trained on domain text beside a teacher
that lacks it.

    1. new tokens: WordPiece entries that the domain corpus needs, behind the teacher's vocabulary
    2. masked language modelling on that corpus. The student predicts old and new tokens; wherever
    no new token
       stands it is also pulled towards the teacher's distribution, logits and hidden states, each
       only as far as a tolerance allows
    3. fine-tuning on the task
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AutoModelForMaskedLM

from kdbench.base.errors import BadInput, Skip
from kdbench.base.identity import digest, seed_for
from kdbench.base.options import build as build_options
from kdbench.data.task import Example
from kdbench.models.load import Head, Model, Source, build, seeded
from kdbench.models.vocabulary import (
    change_vocabulary,
    expand,
    is_wordpiece,
    read_tokens,
    train_tokens,
)
from kdbench.models.zoo import position_limit
from kdbench.train.lab import Lab
from kdbench.train.method import Batch, Method, Objective, Term, loss_of, option
from kdbench.train.mlm import lm_logits, unlabelled
from kdbench.train.textfile import TextFile

MLM = Head("mlm")

# ---- the losses ----------------------------------------------------------------------------------


def beyond(total: Tensor, count: int, tolerance: float) -> Tensor:
    """count * max(total / count - tolerance, 0): what is left of a sum of `count` values when their
    mean may be as large as `tolerance`. Within it the gradient is exactly zero.
    """
    return (total - count * tolerance).clamp(min=0)


class Divergences(torch.autograd.Function):
    """Sums over N rows of T² KL(softmax(z_T / T) || softmax(z_S / T)) and of the squared
    differences, for logits (N, V).

    Left to autograd, the two would keep some ten (N, V) tensors in fp32, each of which can be
    larger than the model. Here rows are worked on in blocks that stay in a CPU's cache, forward and
    backward, and the logits are kept as they came.
    """

    BLOCK = 2**20  # elements

    @staticmethod
    def blocks(ours: Tensor, theirs: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        rows, precise = max(1, Divergences.BLOCK // ours.shape[1]), torch.promote_types(
            ours.dtype, torch.float32)
        for start in range(0, len(ours), rows):
            block = slice(start, start + rows)
            yield block, ours[block].to(precise, copy=True), theirs[block].to(precise, copy=True)

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor,
                temperature: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(ours, theirs)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        kl = mse = ours.new_zeros((), dtype=torch.promote_types(ours.dtype, torch.float32))
        for _, s, t in Divergences.blocks(ours, theirs):
            mse = mse + (s - t).square_().sum()
            q, p = (z.div_(temperature).log_softmax(-1) for z in (s, t))
            kl = kl + temperature**2 * F.kl_div(q, p, reduction="sum", log_target=True)
        return kl, mse

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, kl: Tensor | None, mse: Tensor | None) -> tuple[Tensor, None, None]:
        """d KL / d z_S = T (p_S - p_T), d MSE / d z_S = 2 (z_S - z_T)."""
        ours, theirs = ctx.saved_tensors
        gradient, heat = torch.empty_like(ours), ctx.temperature
        for block, s, t in Divergences.blocks(ours, theirs):
            each = torch.zeros_like(s) if mse is None else (s - t).mul_(2 * mse)
            if kl is not None:
                each += (s.div_(heat).softmax(-1) - t.div_(heat).softmax(-1)).mul_(kl * heat)
            gradient[block] = each
        return gradient, None, None


def first_columns(module: Any, hidden: Tensor, columns: int) -> Tensor:
    """Vocabulary logits (N, columns) of hidden states (N, H): the masked-LM head without the rest
    of its last matrix.
    """
    decoder, features = module.get_output_embeddings(), []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        features.append(inputs[0])
        return (inputs[0][:0],)

    handle = decoder.register_forward_pre_hook(catch)
    try:
        lm_logits(module, hidden)
    finally:
        handle.remove()
    return F.linear(features[0], decoder.weight[:columns], decoder.bias[:columns])


# ---- masking -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Masking:
    """Which tokens are targets, and what the two models see in their place.

    old_share  of the old tokens that are targets;  new_share  of the new ones
    mix        of the old targets: shown as [MASK], as a random old token, as they are; a new one is
               always [MASK], so that both models read one input
    boundary   ids from here on are new: the teacher, which has no row for them, always sees [MASK]
               there
    """

    mask_id: int
    special: tuple[int, ...]
    boundary: int
    old_share: float
    new_share: float
    mix: tuple[float, float, float]

    def __call__(self, ids: np.ndarray,
                 rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids (T,) of one text -> what the student sees, what the teacher sees, the targets
        (-100: none).
        """
        new = ids >= self.boundary
        draw = rng.random((3, len(ids)))
        target = (draw[0] < np.where(new, self.new_share,
                                     self.old_share)) & ~np.isin(ids, self.special)
        hidden = target & (new | (draw[1] < self.mix[0]))
        swapped = target & ~hidden & (draw[1] < self.mix[0] + self.mix[1])
        student = np.where(hidden, self.mask_id, ids)
        student = np.where(swapped, (draw[2] * self.boundary).astype(ids.dtype), student)
        return student, np.where(new, self.mask_id, student), np.where(target, ids, -100)


# ---- the objective -------------------------------------------------------------------------------


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

    def follow(self, teacher: Model, options: Options, student_width: int) -> None:
        """Follow `teacher`, by the weights and the tolerance of `options`."""
        self.weigh(options)
        self.teacher_key, self._teacher = teacher.key, (
            teacher.module.eval().requires_grad_(False), )
        width = teacher.module.config.hidden_size
        if student_width != width and "cosine" in self.weights:
            self.project = nn.Linear(student_width,
                                     width).requires_grad_(options.projection == "trainable")

    def weigh(self, o: Options) -> None:
        given = {"masked_lm": o.a_mlm, "kl": o.a_ce, "mse": o.a_mse, "cosine": o.a_cos}
        self.weights = {name: weight for name, weight in given.items() if weight}
        if not self.weights:
            raise BadInput(
                "ve_kd: a_ce, a_mlm, a_mse and a_cos are all 0, which leaves nothing to learn; "
                "give one a weight"
            )
        self.tolerance = {name: o.tolerance / (weight if o.tolerance_on == "weighted" else 1)
                          for name, weight in self.weights.items() if name != "masked_lm"}
        self.temperature = o.temperature

    def collate(self, batch: Batch) -> None:
        """Mask the texts, anew in every epoch: a mask is drawn from (seed, epoch, text)."""
        ids, lengths = batch.inputs["input_ids"].numpy(), batch.inputs["attention_mask"].numpy(
        ).sum(1)
        student, teacher, targets = ids.copy(), ids.copy(), np.full_like(ids, -100)
        for row, (example, length) in enumerate(zip(batch.examples, lengths, strict=True)):
            rng = np.random.default_rng(seed_for(self.seed, "mask", str(self.epoch), example.key))
            student[row, :length], teacher[row, :length], targets[row, :length] = self.masking(
                ids[row, :length], rng)
        followed = (batch.inputs["attention_mask"].numpy() > 0) & (ids < self.masking.boundary)
        batch.inputs["input_ids"] = torch.from_numpy(student)
        batch.extra.update(teacher_ids=torch.from_numpy(teacher), targets=torch.from_numpy(targets),
                           followed=torch.from_numpy(followed))
        # positions in the flattened batch: to look for them on a GPU would be to wait for it
        batch.extra.update(masked_at=torch.from_numpy(np.flatnonzero(targets != -100)),
                           followed_at=torch.from_numpy(np.flatnonzero(followed)))
        batch.counts.update(masked=float((targets != -100).sum()), followed=float(followed.sum()))

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        hidden = student.base_model(**batch.inputs).last_hidden_state.flatten(0, 1)
        masked, followed = batch.extra["masked_at"], batch.extra["followed_at"]
        values = {}
        if "masked_lm" in self.weights:
            values["masked_lm"] = (lm_logits(student, hidden[masked]),
                                   batch.extra["targets"].flatten()[masked])
        if self._teacher:
            teacher, ours = self._teacher[0].to(hidden.device), hidden[followed]
            with torch.no_grad():
                read = {
                    "input_ids": batch.extra["teacher_ids"],
                    "attention_mask": batch.inputs["attention_mask"]
                }
                theirs = teacher.base_model(**read).last_hidden_state.flatten(0, 1)[followed]
            values["cosine"] = (self.project(ours), theirs)
            if "kl" in self.weights or "mse" in self.weights:
                with torch.no_grad():
                    logits = lm_logits(teacher, theirs)
                values["logits"] = (first_columns(student, ours, self.masking.boundary), logits)
        return self.terms(values)

    def terms(self, values: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Term]:
        """The losses that have a weight, of rows of the student and of the teacher.

        masked_lm  logits (M, V') and targets (M,)
        logits     of both (N, V), for kl and mse;  cosine  hidden states (N, H_T) of both
        """
        losses: dict[str, Tensor] = {}
        if "masked_lm" in values:
            ours, targets = values["masked_lm"]
            losses["masked_lm"] = F.cross_entropy(ours.float(), targets, reduction="sum")
        if "logits" in values:
            losses["kl"], losses["mse"] = Divergences.apply(*values["logits"], self.temperature)
        if "cosine" in values:
            ours, theirs = values["cosine"]
            losses["cosine"] = (1 - F.cosine_similarity(ours.float(), theirs.float(), dim=-1)).sum()
        terms = {}
        for name, weight in self.weights.items():
            total = losses[name]
            if name in self.tolerance:
                total = beyond(total, len(values["logits" if name in ("kl", "mse") else name][0]),
                               self.tolerance[name])
            terms[name] = Term(total, "masked" if name == "masked_lm" else "followed", weight)
        return terms


# ---- the method ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Options of masked-LM training with an expanded vocabulary: those that `adapt`, the control,
    shares.
    """

    corpus: str | None = option(
        None, "text file, one sequence a line (default: the task's unlabelled or training text)",
        source="code", file=True)
    vocabulary: str | None = option(
        None,
        "vocabulary file, one entry a line; what the teacher's lacks is new (default: trained on "
        "the corpus)",
        source="README: vocab.txt", file=True)
    new_tokens: int = option(
        29_725, "entries trained on the corpus, at most", minimum=0,
        source="vocab.txt; how they were chosen is not said: WordPiece training is our reading")
    min_frequency: int = option(
        10, "occurrences that a merge needs to become an entry", minimum=1, source="ours")
    embedding_init: str = option(
        "random", "a new entry's embedding: random, or mean of its old pieces'",
        choices=("random", "mean"), source="code", why="ours")
    student_init: str = option(
        "weights", "the student's other weights: as it comes (the README's option), or random",
        choices=("weights", "random"), published="random", source="code and checkpoint",
        why="protocol")
    mask_share: float = option(
        0.15, "old tokens that are targets", minimum=0, maximum=1, source="code")
    new_token_mask: float = option(
        1.0,
        "new tokens that are targets, and so [MASK] to both models; the others the student reads, "
        "and the teacher sees [MASK] there too",
        minimum=0, maximum=1, source="code: all, so that both read one input", why="ours")
    mlm_mix: str = option(
        "80/10/10", "per cent of the old targets shown as [MASK] / as a random token / as they are",
        choices=("80/10/10", "100/0/0"), published="100/0/0",
        source="code; its docstring: 80/10/10")
    unk_targets: bool = option(
        True, "[UNK] can be a target like any old token", source="code", why="ours")
    pretrain_epochs: int = option(
        5, "epochs on the corpus", minimum=1, source="README and checkpoint")
    pretrain_batch: int = option(
        32, "sequences a step", minimum=1,
        source="checkpoint: 32 x 8 GPUs x 50 accumulated, made for a corpus of millions of lines")
    pretrain_lr: float = option(5e-4, "peak rate", minimum=0, source="code")
    pretrain_warmup: float = option(
        0.05, "share of the steps with a rising rate", minimum=0, maximum=1, source="code")
    warmup_rule: str = option(
        "shifted",
        "how the rate rises over w steps, at step s from 0, in both stages: (s + 1) / (w + 1), or "
        "s / w with w rounded down (int) or up (ceil)",
        choices=("shifted", "int", "ceil"), published="ceil",
        source="code; LinkBERT's scripts for the fine-tuning", why="protocol",
        setting="warmup_rule")
    pretrain_length: int | None = option(
        None, "tokens a sequence is cut at (default: --max-length)", minimum=4, published=512,
        source="code", why="protocol")
    reshuffle: bool = option(
        True,
        "a new order every epoch, or one random permutation for all, that of torch's "
        "DistributedSampler",
        published=False, source="code: never calls the sampler's set_epoch")
    select: str | None = option(
        None, "epoch of the fine-tuning that is kept (default: the protocol's)",
        choices=("best", "last"), published="last", source="README: no selection", why="protocol",
        setting="select")


@dataclass(frozen=True)
class Options(Stage):
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
        2.0, "temperature of the KL divergence", minimum=0.01, source="code and checkpoint")
    tolerance: float = option(
        0.5, "what each loss may be without being a loss", minimum=0,
        source="README and checkpoint")
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
    Options = Options
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
        check(lab)
        source, logits = lab.teacher_source, self.options.a_ce or self.options.a_mse
        if logits and source and (source.folder or source.hub) and not lab.teacher(MLM).ready:
            raise Skip(
                f"{source.name} came without its masked-LM head, whose logits ve_kd follows; "
                f"pre-train it first "
                "(`bench.py pretrain --method adapt`), or set a_ce and a_mse to 0")

    def fit(self, lab: Lab) -> Model:
        return finetuned(lab, self.options, self.pretrain(lab))

    def pretrain(self, lab: Lab) -> Model:
        """Stage one alone."""
        return pretrain(lab, self.options, self.options)


def check(lab: Lab) -> None:
    teacher, student = lab.teacher(), lab.student()
    for model in (teacher, student):
        if type(model.module.config) not in AutoModelForMaskedLM._model_mapping:
            raise Skip(f"{model.name} has no masked-LM form")
    if not is_wordpiece(teacher.tokenizer):
        raise Skip(
            f"the vocabulary of {teacher.name} is no WordPiece vocabulary, which is what can be "
            f"expanded here"
        )
    if teacher.tokenizer.pad_token_id != student.module.config.pad_token_id:
        raise Skip(
            f"{student.name} counts positions from another padding id than that of "
            f"{teacher.name}'s vocabulary"
        )


def pretrain(lab: Lab, o: Stage, kd: Options | None = None) -> Model:
    """Stage one: the student with the expanded vocabulary after masked-LM training, beside the
    teacher if `kd` is given.

    Its folder (`lab.cache.stage(model.key)`) is an ordinary model folder.
    """
    texts = [*(lab.data.domain_text or lab.texts()), *(example.text for example in lab.unlabelled)]
    examples = TextFile(o.corpus) if o.corpus else unlabelled(texts)
    base = lab.teacher(MLM)
    student = expanded(lab, o, base, examples)
    boundary, seed = base.module.config.vocab_size, lab.seed_for("masked LM")
    mix = tuple(int(part) / 100 for part in o.mlm_mix.split("/"))
    never = {*base.tokenizer.all_special_ids
             } - ({base.tokenizer.unk_token_id} if o.unk_targets else set())
    masking = Masking(base.tokenizer.mask_token_id, tuple(sorted(never)), boundary, o.mask_share,
                      o.new_token_mask, mix)
    objective = VocabularyKD(masking, seed)
    if kd:
        with seeded(lab.seed_for("projection")):
            objective.follow(base, kd, student.module.config.hidden_size)
    length = min(o.pretrain_length or lab.settings.max_length,
                 position_limit(base.module.config.to_dict()))
    return lab.train(student, objective, stage="domain text", examples=examples,
                     **{**pretraining(o), "max_length": length})


# the published optimiser; weight decay 0 is its default
ADAM: dict[str, Any] = {"weight_decay": 0.0, "clip": 5.0, "betas": (0.9, 0.98), "eps": 1e-6}


def pretraining(o: Stage) -> dict[str, Any]:
    """Stage one as fields of `Training`, without the length, which depends on the model."""
    return {
        "epochs": o.pretrain_epochs, "batch_size": o.pretrain_batch, "lr": o.pretrain_lr,
        "warmup": o.pretrain_warmup, "warmup_rule": o.warmup_rule,
        "order": "shuffled" if o.reshuffle else "sampler", "select": "last", **ADAM
    }


def fine_tuning(o: Stage) -> dict[str, Any]:
    """What stage two has of its own, as fields of `Training`."""
    return {"warmup_rule": o.warmup_rule, **({"select": o.select} if o.select else {})}


def expanded(lab: Lab, o: Stage, base: Model, examples: Sequence[Example]) -> Model:
    """The student with a masked-LM head, the vocabulary of `base` (the teacher), and the new
    entries behind it.
    """
    if o.vocabulary:
        tokens = read_tokens(o.vocabulary, base.tokenizer)
    else:
        tokens = train_tokens(lambda: (e.text for e in examples), base.tokenizer, o.new_tokens,
                              o.min_frequency)
    tokenizer = expand(base.tokenizer, tokens, base.module.config.vocab_size)
    student = lab.student(MLM)
    module = student.module
    if o.student_init == "random":
        with seeded(lab.seed_for("init", student.name)):
            module = MLM.auto.from_config(module.config)
    generator = torch.Generator().manual_seed(lab.seed_for("embeddings"))
    change_vocabulary(module, student.tokenizer, tokenizer, o.embedding_init, generator)
    key = digest({
        "student": student.key, "entries": tokenizer.get_vocab(),
        "init": [o.student_init, o.embedding_init, lab.seed]
    })
    return replace(student, module=module, tokenizer=tokenizer, key=key)


def finetuned(lab: Lab, o: Stage, pretrained: Model) -> Model:
    """Stage two: the encoder of stage one under the task's head, fine-tuned."""
    source = Source(lab.student_source.name, folder=lab.cache.stage(pretrained.key))
    student = build(source, lab.head, seed=lab.seed_for("init", source.name), texts=lab.texts)
    return lab.finetune(replace(student, lr=pretrained.lr), **fine_tuning(o))


def golden(case: dict[str, Any]) -> dict[str, float]:
    """The published losses of a golden case, by the objective that the method trains with."""
    given = {f"a_{name}": case[f"alpha_{name}"] for name in ("ce", "mlm", "mse", "cos")}
    given.update({name: case[name] for name in ("temperature", "tolerance")})
    options = build_options(Options, "published", given, "ve_kd")
    boundary = case["teacher_vocab_size"]
    tensors = {
        name: torch.tensor(case[name])
        for name in ("student_logits", "teacher_logits", "student_hidden", "teacher_hidden",
                     "attention_mask", "labels")
    }
    objective = VocabularyKD(Masking(0, (), boundary, 0.15, 1.0, (1.0, 0.0, 0.0)), seed=0)
    objective.weigh(options)
    labels = tensors["labels"]
    followed, masked = (tensors["attention_mask"] > 0) & (labels < boundary), labels != -100
    logits = tensors["student_logits"][followed][:, :boundary], tensors["teacher_logits"][followed]
    terms = objective.terms({
        "masked_lm": (tensors["student_logits"][masked], labels[masked]), "logits": logits,
        "cosine": (tensors["student_hidden"][followed], tensors["teacher_hidden"][followed]),
    })
    counts = {"masked": float(masked.sum()), "followed": float(followed.sum())}
    names = {
        "masked_lm": "mlm", "kl": "kl_over_tolerance", "mse": "mse_over_tolerance",
        "cosine": "cosine_over_tolerance"
    }
    values = {names[name]: float(term.total / counts[term.per]) for name, term in terms.items()}
    return {**values, "total": float(loss_of(terms, counts))}
