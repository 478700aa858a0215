"""DSG-KD, and MLKD as it was called before: what a domain model makes of the code-switched words of
a text.

    1. the teacher is a pre-trained domain encoder, not fine-tuned, frozen 2. in every text, take
    the words of the other script (English words in Korean notes) and where each of
       them lies in the teacher's tokens and in the student's
    3. train the student on the task, and pull its hidden states and attention rows at these words,
    in all
       layers, towards the teacher's
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.base.errors import Skip
from kdbench.base.options import build
from kdbench.data.task import Example
from kdbench.methods.attention_scores import use_scores
from kdbench.methods.code_switching import Aligner, Alignment
from kdbench.models.gelu_head import with_gelu_head
from kdbench.models.load import Model, Role, seeded
from kdbench.train.batching import pad_stack
from kdbench.train.lab import Lab
from kdbench.train.losses import Supervised, supervised
from kdbench.train.method import Batch, Method, Objective, Term, loss_of, option

TEACHER, STUDENT = 0, 1


# ---- the losses ----------------------------------------------------------------------------------


def segment_means(spans: Tensor, counts: Tensor, tokens: int) -> Tensor:
    """Token ranges (B, K, 2), of which the first `counts` (B,) are real, as a matrix (B, K, T)
    whose product with token states is their mean over each word; the rows of the others are zero.
    """
    position = torch.arange(tokens, device=spans.device)
    inside = (position >= spans[..., :1]) & (position < spans[..., 1:]) & real_words(
        spans, counts)[..., None]
    return inside / inside.sum(-1, keepdim=True).clamp(min=1)


def real_words(spans: Tensor, counts: Tensor) -> Tensor:
    """(B, K) True for the first `counts` (B,) words."""
    return torch.arange(spans.shape[1], device=spans.device) < counts[:, None]


def column_sums(columns: Tensor, width: int, mean: bool) -> Tensor:
    """Columns (B, T) of tokens, -1 for padding, as a matrix (B, T, R) that adds up (or averages)
    attention by column.
    """
    matrix = F.one_hot(columns + 1, width + 1)[..., 1:].float()
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1) if mean else matrix


def pool_hidden(layers: Sequence[Tensor], words: Tensor) -> Tensor:
    """h_l(w) = mean of H_l over the tokens of w: n layers (B, T, H), words (B, K, T) -> (B, n, K,
    H).

    One matrix product a layer. Slicing word by word instead makes the backward pass write a
    full-size tensor a word.
    """
    return torch.stack([words.to(layer.dtype) @ layer for layer in layers], 1)


def pool_attention(layers: Sequence[Tensor], words: Tensor, columns: Tensor | None,
                   average_heads: bool) -> Tensor:
    """r_l,a(w) = mean of the attention rows of w's tokens: n layers (B, A, T, T), words (B, K, T)
    -> (B, n, A, K, R).

    columns        (B, T, R) of `column_sums`; None leaves the row as it is, R = T
    average_heads  the mean over heads, A = 1
    """
    pooled = []
    for layer in layers:
        rows = words[:, None].to(
            layer.dtype) @ (layer.mean(1, keepdim=True) if average_heads else layer)
        pooled.append(rows if columns is None else rows @ columns[:, None].to(layer.dtype))
    return torch.stack(pooled, 1)


def hidden_sum(teacher: Tensor, student: Tensor, real: Tensor) -> Tensor:
    """Sum over words of the mean over (l, dims) of (h^T_l(w) - h^S_l(w))^2; both (B, n, K, H), real
    (B, K).
    """
    return ((teacher - student).square().mean((1, 3)) * real).sum()


def attention_sum(teacher: Tensor, student: Tensor, real: Tensor, columns: Tensor) -> Tensor:
    """Sum over words of the mean over (l, a, columns) of (r^T_l,a(w) - r^S_l,a(w))^2; both (B, n,
    A, K, R).

    columns (B,) is what the sum over a row is divided by; the narrower side is zero beyond its own
    columns.
    """
    width = max(teacher.shape[-1], student.shape[-1])
    teacher, student = (F.pad(rows, (0, width - rows.shape[-1])) for rows in (teacher, student))
    return ((teacher - student).square().sum(-1).mean((1, 2)) / columns[:, None] * real).sum()


def layer_pairs(teacher: int, student: int) -> list[tuple[int, int]]:
    """(teacher layer, student layer), from 1, spread evenly over both depths; layer by layer where
    they are equal.

    The paper has equal depths only: this map is our reading for the others.
    """
    pairs = min(teacher, student)
    return [(round(i * teacher / pairs), round(i * student / pairs)) for i in range(1, pairs + 1)]


# ---- the method ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
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
        0.6, "weight of the hidden-state loss", minimum=0, source="code (README: 0.5)")
    beta: float = option(
        0.2, "weight of the attention loss", minimum=0, source="code (README: 0.1)")
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


@dataclass
class Words:
    """What a model makes of the code-switched words of a text, for either side: token ranges,
    states, attention rows.

    pairs          (teacher layer, student layer), from 1
    average_heads  the two have different numbers of heads, so both sides are averaged over theirs
                   (our reading)
    """

    aligner: Aligner | None
    pairs: list[tuple[int, int]]
    attentions: bool
    average_heads: bool
    attn_kind: str
    attn_align: str

    def place(self, found: Sequence[Alignment], side: int, tokens: int) -> dict[str, Any]:
        """Where the words of a batch are in one side's (B, T) tokens, as tensors."""
        columns = [column + 1 for column in (alignment.columns[side] for alignment in found)]
        return {
            "spans": torch.from_numpy(pad_stack([alignment.spans[side] for alignment in found])),
            "words": torch.tensor([len(alignment.spans[side]) for alignment in found]),
            "columns": torch.from_numpy(pad_stack(columns, (tokens,))) - 1,
            "widths": torch.tensor([alignment.width for alignment in found]),
            # a number: to read it off a GPU would be to wait for it
            "widest": max(alignment.width for alignment in found),
        }

    def pool(self, outputs: Any, place: dict[str, Any], side: int) -> tuple[Tensor, Tensor | None]:
        """h (B, n+1, K, H) and r (B, n, A, K, R) of one side's forward pass; r is None where beta
        is 0.
        """
        words = segment_means(place["spans"], place["words"], outputs.hidden_states[0].shape[1])
        hidden = pool_hidden([outputs.hidden_states[pair[side]] for pair in [(0, 0), *self.pairs]],
                             words)
        if not self.attentions:
            return hidden, None
        layers = [outputs.attentions[pair[side] - 1] for pair in self.pairs]
        if self.attn_kind == "scores":
            layers = [layer.masked_fill(layer <= -100, 0) for layer in layers]  # those of padding
        columns = None
        if self.attn_align == "word":
            columns = column_sums(place["columns"], place["widest"],
                                  mean=self.attn_kind == "scores")
        return hidden, pool_attention(layers, words, columns, self.average_heads)

    def teacher_signals(self, outputs: Any, batch: Batch) -> dict[str, list[Tensor]]:
        """One teacher forward pass as signals, one tensor a text: a `Pool` of
        `kdbench.train.signals`.
        """
        assert self.aligner is not None
        found = self.aligner(batch.examples)
        ids = batch.inputs["input_ids"]
        place = self.place(found, TEACHER, ids.shape[1])
        place = {
            name: value.to(ids.device) if isinstance(value, Tensor) else value
            for name, value in place.items()
        }
        hidden, rows = self.pool(outputs, place, TEACHER)
        counts = [len(alignment.spans[TEACHER]) for alignment in found]
        signals = {
            "word_hidden": [each[:, :count] for each, count in zip(hidden, counts, strict=True)]
        }
        if rows is not None:
            signals["word_attention"] = [
                each[:, :, :count, :alignment.width]
                for each, count, alignment in zip(rows, counts, found, strict=True)
            ]
        return signals


class CodeSwitched(Objective):
    """L = L_pred + alpha * L_hid + beta * L_att.

    Signals read, per text with K words: `word_hidden` (n+1, K, H_T) and `word_attention` (n, A, K,
    R), which `words.teacher_signals` makes; n is the number of layer pairs. A student of another
    width goes through a learned projection.
    """

    hidden_states = True

    def __init__(self, options: Options, teacher: Any, student: Any, max_length: int,
                 aligner: Aligner | None = None):
        """teacher, student: the models' configurations."""
        super().__init__()
        self.options, self.max_length = options, max_length
        self.attentions = bool(options.beta)
        self.words = Words(aligner, layer_pairs(teacher.num_hidden_layers,
                                                student.num_hidden_layers), self.attentions,
                           teacher.num_attention_heads != student.num_attention_heads,
                           options.attn_kind, options.attn_align)
        same = teacher.hidden_size == student.hidden_size
        self.project = nn.Identity() if same else nn.Linear(student.hidden_size,
                                                            teacher.hidden_size)

    def collate(self, batch: Batch) -> None:
        place = self.words.place(self.words.aligner(batch.examples), STUDENT,
                                 batch.inputs["input_ids"].shape[1])
        batch.extra.update(place)
        words = float(place["words"].sum())
        batch.counts.update(code_switched_words=words, batches=1.0)

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        o, place = self.options, batch.extra
        if o.attn_kind == "scores":
            use_scores(student)
        outputs = self.outputs(student, batch)
        hidden, rows = self.words.pool(outputs, place, STUDENT)
        real = real_words(place["spans"], place["words"])
        hidden = self.project(hidden).float()
        terms = {
            "prediction": supervised(outputs.logits, batch, "single"),
            "hidden": Term(hidden_sum(batch.signals["word_hidden"], hidden, real),
                           "code_switched_words", o.alpha),
            # the published code crashes on a batch without a code-switched word; here both losses
            # are 0 and such batches counted
            "batches_without_words": Term((~real.any()).float(), "batches", 0.0),
        }
        if rows is not None:
            divisor = place["widths"] if o.attn_columns == "valid" else torch.full_like(
                place["widths"], self.max_length)
            total = attention_sum(batch.signals["word_attention"], rows.float(), real, divisor)
            terms["attention"] = Term(total, "code_switched_words", o.beta)
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
    Options = Options
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
        for model in self.models(lab):
            base = model.module.base_model
            if not getattr(model.module.config, "num_attention_heads", None):
                raise Skip(f"{model.name} has no attention to compare at code-switched words")
            if self.options.attn_kind == "scores" and not base._can_set_attn_implementation():
                raise Skip(f"{model.name} does not hand out attention scores; use attn_kind=probs")

    def fit(self, lab: Lab) -> Model:
        o = self.options
        teacher, student = self.models(lab)
        unequal = o.mode == "base" and o.base_recipe == "published"
        if o.head == "gelu" and not unequal:
            student = with_gelu_head(student, lab.seed_for("head"))
        examples = drawn(lab.data.train, o.subsample, lab.seed_for("subsample"))
        training = self.training(lab, student, unequal)
        if o.mode == "base":
            return lab.train(student, Supervised("single"), stage="base", examples=examples,
                             **training)
        if lab.unlabelled:  # they take part in everything but the prediction loss
            examples = (*examples, *lab.unlabelled)

        length = lab.settings.max_length
        aligner = Aligner(teacher, student, length, most=o.cs_max_len, rule=o.spans,
                          attn_align=o.attn_align)
        if o.attn_kind == "scores":
            teacher.module.register_forward_pre_hook(use_scores)
        with seeded(lab.seed_for("projection")):
            objective = CodeSwitched(o, teacher.module.config, student.module.config, length,
                                     aligner)
        signals = lab.signals(teacher, ("word_hidden", "word_attention") if o.beta else
                              ("word_hidden", ), examples=examples,
                              pool=objective.words.teacher_signals, hidden_states=True,
                              attentions=objective.attentions)
        trained = lab.train(student, objective, stage="code-switched words", examples=examples,
                            signals=signals, **training)
        return trained.beside(lab.finetune(teacher)) if o.mode == "ensemble" else trained

    def training(self, lab: Lab, student: Model, unequal: bool) -> dict[str, Any]:
        """Rates, warm-up and the three stopping criteria, as fields of `Training`."""
        o = self.options
        head_lr = 1e-2 if unequal else 1e-3
        loss = "-loss" if o.eval_loss_on == "logits" or unequal else "-loss_on_probabilities"
        measures = {"score": "score", "f1": "f1_at_rate", "brier": "-brier", "loss": loss}
        if len(lab.data.labels) != 2:  # F1 and Brier score are those of a positive class
            measures.update(f1="score", brier="score")
        watch = tuple(dict.fromkeys((measures["f1"], measures["brier"], loss)))
        return {
            "lr": o.lr or lab.training_for(student).lr,
            "head_lr": head_lr if o.head_lr is None else o.head_lr,
            "warmup": o.base_warmup if o.mode == "base" else o.warmup,
            "warmup_rule": o.warmup_rule,
            "decay_all": o.decay_all, "patience": o.patience, "watch": watch,
            "select_by": measures[o.keep], "ties_improve": o.ties_improve,
            "stays_stalled": o.stays_stalled,
        }


def drawn(examples: Sequence[Example], share: float, seed: int) -> Sequence[Example]:
    """A share of the examples, drawn by `seed`, in their order."""
    if share == 1:
        return examples
    kept = sorted(
        random.Random(seed).sample(range(len(examples)), max(1, round(share * len(examples)))))
    return tuple(examples[i] for i in kept)


def golden(case: dict[str, Any]) -> dict[str, float]:
    """The published losses of a golden case, by the objective that the method trains with."""
    options = build(Options, "published", {"alpha": case["alpha"], "beta": case["beta"]}, "dsg_kd")
    sides = []
    for side in ("teacher", "student"):
        hidden, attention = torch.tensor(case[f"{side}_hidden"]), torch.tensor(
            case[f"{side}_attention"])
        sides.append(
            SimpleNamespace(hidden_states=list(hidden), attentions=list(attention),
                            logits=torch.tensor(case["logits"])))
    layers, texts, heads, tokens, _ = attention.shape
    config = SimpleNamespace(num_hidden_layers=layers, num_attention_heads=heads,
                             hidden_size=hidden.shape[-1])
    objective = CodeSwitched(options, config, config, max_length=tokens)
    counts = torch.tensor(case["span_counts"])
    places = [{
        "spans": torch.tensor(case[f"{side}_spans"]), "words": counts, "widths": torch.full(
            (texts, ), tokens)
    } for side in ("teacher", "student")]
    signals = dict(
        zip(("word_hidden", "word_attention"),
            objective.words.pool(sides[TEACHER], places[TEACHER], TEACHER), strict=True))
    batch = Batch({}, labels=torch.tensor(case["labels"]), signals=signals, extra=places[STUDENT],
                  counts={"labelled": float(texts), "code_switched_words": float(counts.sum())})
    terms = objective(lambda **_: sides[STUDENT], batch)
    return {
        name: float(loss_of({name: terms[name]}, batch.counts))
        for name in ("hidden", "attention", "prediction")
    }
