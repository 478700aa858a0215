"""A fine-tuned tagger into a BiLSTM or a TinyBERT, on augmented sentences (biobert-distillation,
2021; no paper).

    1. fine-tune the teacher on the training sentences 2. generate copies of the sentences
    (`methods/augmentation.py`) 3. train the student on originals and copies: the teacher's logits
    by squared error, `alpha` of the labels;
       a transformer student takes over embedding, hidden states and attention as well (TinyBERT,
       Jiao et al. 2020)
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from kdbench.base.errors import Skip
from kdbench.base.identity import digest
from kdbench.base.options import build
from kdbench.methods.attention_scores import use_scores
from kdbench.methods.augmentation import AugmentOptions, augmented
from kdbench.models.bilstm import BiLSTMConfig, BiLSTMTagger
from kdbench.models.load import Model, Role, resolve, seeded
from kdbench.score.metrics import METRICS, Info, published_names, word_tags
from kdbench.train.lab import Lab
from kdbench.train.losses import aligned, at_words, soft_targets, task_logits
from kdbench.train.method import Batch, Method, Objective, Term, loss_of, option
from kdbench.train.signals import Pool

# ---- the losses ----------------------------------------------------------------------------------


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Sum of -Σ_c q_c log p_c over the labelled positions; q is 1 - ε for the label, ε / (C - 1)
    for each other class.

    logits (..., C), labels (...) with -100 where there is none. torch spreads its ε over all C
    classes, the label's included, hence the factor.
    """
    classes = logits.shape[-1]
    return F.cross_entropy(logits.float().reshape(-1, classes), labels.reshape(-1),
                           ignore_index=-100, reduction="sum",
                           label_smoothing=smoothing * classes / max(classes - 1, 1))


def squared_error(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over positions of the mean over D of (s - t)²; (B, T, D) each, mask (B, T) or None for
    all positions.
    """
    each = (student.float() - teacher.float()).square().mean(-1)
    return each.sum() if mask is None else (each * mask).sum()


def attention_error(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over texts of the mean over heads, rows and columns of (a_S - a_T)²; (B, A, T, T) each,
    mask (B, T).

    With a mask only rows and columns of real tokens count. Where the heads differ in number, their
    means are compared.
    """
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(1, keepdim=True), teacher.mean(1, keepdim=True)
    each = (student.float() - teacher.float()).square().mean(1)
    if mask is None:
        return each.mean((1, 2)).sum()
    real = mask.float()
    return (torch.einsum("bij,bi,bj->b", each, real, real) / real.sum(1).square()).sum()


def without_padding(scores: Tensor) -> Tensor:
    """Attention scores with 0 where the mask has put its large negative number, as in TinyBERT's
    code.
    """
    return scores.masked_fill(scores <= -100, 0)


def layer_pairs(teacher: int, student: int,
                rule: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(teacher layer, student layer) for hidden states (0 is the embedding's output) and for
    attention (from 1).

    uniform     student layer m learns from round(m · teacher / student), 3m for 12 and 4; the
                embedding has a term of its own
    off_by_one  the teacher's layers 1, 4, 7, ... with the student's 0, 1, 2, ..., and for attention
                with its 1, 2, 3, ..., as far as both go
    """
    if rule == "uniform":
        pairs = [(round(layer * teacher / student), layer) for layer in range(1, student + 1)]
        return pairs, pairs
    every_third = range(1, teacher + 1, 3)
    return (list(zip(every_third, range(student + 1), strict=False)),
            list(zip(every_third, range(1, student + 1), strict=False)))


# ---- the teacher's signals -----------------------------------------------------------------------

LAYERS = {"hidden": "layer_states", "attention": "layer_attentions"}


def teacher_pool(names: Sequence[str], hidden: Sequence[int], attention: Sequence[int],
                 unit: str) -> Pool:
    """What the objective below reads of the teacher besides its logits: of the layers `hidden` and
    `attention` (from 1) alone.

    padded_logits     (T, C), padding of the batch included, as the published loss averages over it
    layer_states      (P, T, H), or (P, W, H) with unit "words": the first token of each, with
                      words_read (W,)
    layer_attentions  (P, A, T, T), probabilities or scores, as the teacher gives them
    """
    def pool(outputs: Any, batch: Batch) -> dict[str, list[Tensor]]:
        signals: dict[str, list[Tensor]] = {}
        if "padded_logits" in names:
            signals["padded_logits"] = list(outputs.logits)
        if "layer_states" in names:
            layers = [outputs.hidden_states[layer] for layer in hidden]
            if unit == "words":
                assert batch.words is not None
                layers = [at_words(layer, batch.words) for layer in layers]
                signals["words_read"] = list((batch.words >= 0).float())
            signals["layer_states"] = list(torch.stack(layers, 1))
        if "layer_attentions" in names:
            layers = [outputs.attentions[layer - 1] for layer in attention]
            signals["layer_attentions"] = list(without_padding(torch.stack(layers, 1)))
        return signals

    return pool


# ---- the objective -------------------------------------------------------------------------------


class Distillation(Objective):
    """The loss of one training of the student.

    terms   its parts: hard (labels), logits, hidden (with the embedding's own term), attention
    depths  layers of teacher and student
    widths  of teacher and student; projections of the student's are learned where they differ
    unit    where hidden states are compared: "tokens", or the first tokens of "words" where the
            tokenizers differ
    """

    def __init__(self, options: Any, terms: Sequence[str], *, depths: tuple[int, int] = (0, 0),
                 widths: tuple[int, int] = (0, 0), unit: str = "tokens", seed: int = 0):
        super().__init__()
        self.o = asdict(options)
        self.terms, self.unit = tuple(terms), unit
        self.hidden_states = "hidden" in terms
        self.attentions = "attention" in terms
        self.hidden_pairs, self.attention_pairs = layer_pairs(
            *depths, options.layer_map) if depths[1] else ([], [])
        self.project_embedding: nn.Module = nn.Identity()
        self.project_hidden: nn.Module = nn.Identity()
        if self.hidden_states and widths[0] != widths[1]:
            with seeded(seed):
                self.project_embedding = nn.Linear(widths[1], widths[0])
                self.project_hidden = nn.Linear(widths[1], widths[0])  # one for all layers

    @property
    def names(self) -> tuple[str, ...]:
        """The signals that it reads."""
        wanted = [LAYERS[term] for term in ("hidden", "attention") if term in self.terms]
        if "hidden" in self.terms and self.unit == "words":
            wanted.append("words_read")
        if "logits" in self.terms:
            wanted.insert(0, "logits" if self.o["level"] == "words" else "padded_logits")
        return tuple(wanted)

    def pool(self) -> Pool:
        """The teacher's side of the pairs; its embedding's output first."""
        hidden = [0, *(layer for layer, _ in self.hidden_pairs)]
        return teacher_pool(self.names, hidden, [layer for layer, _ in self.attention_pairs],
                            self.unit)

    def collate(self, batch: Batch) -> None:
        if "hard" in self.terms and self.o["level"] == "tokens":
            labels = token_labels(batch)
            batch.extra["token_labels"] = labels
            batch.counts["labelled_tokens"] = float((labels != -100).sum())
        if self.hidden_states and self.unit == "words":
            assert batch.words is not None
            read = (batch.words >= 0) & batch.signals["words_read"].bool()
            batch.extra["words_compared"] = read
            batch.counts["words_compared"] = float(read.sum())

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        if self.attentions and self.o["attention"] == "scores":
            use_scores(student)
        outputs = self.outputs(student, batch)
        soft = 1 - self.o["alpha"] if "hard" in self.terms else 1.0
        found: dict[str, Term] = {}
        if "hard" in self.terms:
            found["hard_labels"] = self.hard_labels(outputs, batch)
        if "logits" in self.terms:
            found["logits"] = self.logits(outputs, batch, soft)
        if self.hidden_states:
            found |= self.hidden(outputs.hidden_states, batch, soft)
        if self.attentions:
            found["attention"] = self.attention(outputs.attentions, batch, soft)
        return found

    def hard_labels(self, outputs: Any, batch: Batch) -> Term:
        weight = self.o["alpha"] if len(self.terms) > 1 else 1.0
        if self.o["level"] == "tokens":
            total = smoothed_cross_entropy(outputs.logits, batch.extra["token_labels"],
                                           self.o["label_smoothing"])
            return Term(total, "labelled_tokens", weight)
        assert batch.labels is not None
        total = smoothed_cross_entropy(task_logits(outputs, batch), batch.labels,
                                       self.o["label_smoothing"])
        return Term(total, "words", weight)

    def logits(self, outputs: Any, batch: Batch, weight: float) -> Term:
        mask: Tensor | None
        if self.o["level"] == "words":
            student, teacher, mask, per = task_logits(
                outputs, batch), batch.signals["logits"], aligned(batch), "aligned"
        else:
            student, teacher = shortest(outputs.logits, batch.signals["padded_logits"], 1)
            mask, per = self.mask(batch, student.shape[1])
        if self.o["soft_loss"] == "cross_entropy":
            each = soft_targets(student, teacher, 1.0, "tags")
            return Term(each.sum() if mask is None else (each * mask).sum(), per, weight)
        return Term(squared_error(student, teacher, mask), per, weight)

    def hidden(self, states: Sequence[Tensor], batch: Batch, weight: float) -> dict[str, Term]:
        """The embedding's term and the sum over the pairs of layers, each state under its
        projection.
        """
        projected = {
            layer: (self.project_hidden if layer else self.project_embedding)(states[layer].float())
            for layer in {0, *(layer for _, layer in self.hidden_pairs)}
        }
        teacher = batch.signals["layer_states"].unbind(1)
        if self.unit == "words":
            assert batch.words is not None
            projected = {layer: at_words(state, batch.words) for layer, state in projected.items()}
            mask, per = batch.extra["words_compared"], "words_compared"
        else:
            mask, per = self.mask(batch, min(projected[0].shape[1], teacher[0].shape[1]))

        def error(layer: int, target: Tensor) -> Tensor:
            return squared_error(*shortest(projected[layer], target, 1), mask)

        pairs = [
            error(layer, target)
            for (_, layer), target in zip(self.hidden_pairs, teacher[1:], strict=True)
        ]
        return {"embedding": Term(error(0, teacher[0]), per, weight),
                "hidden": Term(sum(pairs, torch.zeros(())), per, weight)}

    def attention(self, attentions: Sequence[Tensor], batch: Batch, weight: float) -> Term:
        total = torch.zeros(())
        for (_, layer), target in zip(self.attention_pairs,
                                      batch.signals["layer_attentions"].unbind(1), strict=True):
            own, target = shortest(*shortest(without_padding(attentions[layer - 1]), target, 2), 3)
            total = total + attention_error(own, target, self.mask(batch, own.shape[2])[0])
        return Term(total, "examples", weight)

    def mask(self, batch: Batch, length: int) -> tuple[Tensor | None, str]:
        """Real tokens and their count, or all positions and theirs."""
        if self.o["mse_over"] == "positions":
            return None, "positions"
        return batch.inputs["attention_mask"][:, :length], "tokens"


def token_labels(batch: Batch) -> Tensor:
    """(B, T) every token carries its word's tag; -100 for [CLS], [SEP] and padding."""
    assert batch.labels is not None
    word_ids = batch.extra["word_ids"]
    return batch.labels.gather(1, word_ids.clamp(min=0)).masked_fill(word_ids < 0, -100)


def shortest(first: Tensor, second: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Both cut to the shorter: over several processes the student's batch may be padded further
    than the teacher's.
    """
    length = min(first.shape[dimension], second.shape[dimension])
    return first.narrow(dimension, 0, length), second.narrow(dimension, 0, length)


# ---- models --------------------------------------------------------------------------------------


def lower_cased(model: Model) -> Model:
    """`model` with a tokenizer that lower-cases first, whatever its vocabulary."""
    backend = model.tokenizer.backend_tokenizer
    own = backend.normalizer
    if own is not None and own.normalize_str("A") == "a":
        return model
    changed = Tokenizer.from_str(backend.to_str())
    changed.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), *([own] if own is not None else [])])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=changed,
                                        **model.tokenizer.special_tokens_map)
    return replace(model, tokenizer=tokenizer, key=digest({"lower-cased": model.key}))


def same_tokens(first: PreTrainedTokenizerFast, second: PreTrainedTokenizerFast) -> bool:
    """Do both cut every text into the same ids?"""
    if first is second:
        return True
    specs = [json.loads(tokenizer.backend_tokenizer.to_str()) for tokenizer in (first, second)]
    for spec in specs:
        spec["truncation"] = spec["padding"] = None  # left over from the last call
    return specs[0] == specs[1]


def shaped(bilstm: Model, changes: dict[str, Any], teacher: Model, seed: int) -> Model:
    """`bilstm` with another configuration: with its weights where they still fit, else drawn
    anew.
    """
    if changes.get("embedding") == "bert":
        source = teacher.module.config
        changes = {
            **changes, "vocab_size": source.vocab_size, "embedding_size": source.hidden_size,
            "max_position_embeddings": source.max_position_embeddings,
            "type_vocab_size": source.type_vocab_size, "layer_norm_eps": source.layer_norm_eps
        }
    given = bilstm.module.config
    changes = {
        name: value
        for name, value in changes.items()
        if value is not None and value != getattr(given, name)
    }
    if not changes:
        return bilstm
    with seeded(seed):
        module = BiLSTMTagger(BiLSTMConfig.from_dict({**given.to_dict(), **changes}))
    own, new = bilstm.module.state_dict(), module.state_dict()
    if {name: value.shape
            for name, value in own.items()} == {name: value.shape
                                                for name, value in new.items()}:
        module.load_state_dict(own)
    copied = changes.get("embedding") == "bert"
    if copied:
        module.encoder.embeddings.load_state_dict(
            teacher.module.base_model.get_submodule("embeddings").state_dict())
    key = digest(
        {"of": bilstm.key, "changes": changes, "embeddings": teacher.key if copied else None})
    return replace(bilstm, module=module, key=key)


# ---- the method ----------------------------------------------------------------------------------


class NerKD(Method):
    """Fine-tuned tagger -> augmented sentences -> BiLSTM or TinyBERT on the teacher's logits (and
    layers).
    """

    name = "ner_kd"
    version = 2
    title = "BioBERT distillation: BC2GM tagging with BiLSTM and TinyBERT"
    citation = (
        "biobert-distillation (dsashulya, 2021; no paper); TinyBERT: Jiao et al. 2020, arXiv "
        "1909.10351; "
        "augmentation: Dai and Adel 2020, arXiv 2010.11683")
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
    needs = (
        "any tagger; the layers' losses want a transformer student. With another tokenizer than "
        "the student's it "
        "teaches logits and hidden states at each word's first token, and no attention")
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
        student: str = option(
            "as_given",
            "the student: that of --student, or one built here, whose row without teacher is then "
            "added",
            choices=("as_given", "bilstm", "tinybert"),
            source="code: --model_name, random weights; what TinyBERT begins with, a general "
                   "distillation, can be given as --student")
        layers: int | None = option(
            None, "BiLSTM: layers (default: the student's; `bilstm` has 2)", minimum=1,
            source="code: 2")
        embedding: str | None = option(
            None,
            "BiLSTM: embedding trained; copied from a BERT teacher (pieces, positions, type); or "
            "multi-channel, convolutions over 1, 3 and 5 pieces of a trained one (`bilstm`: "
            "trained)",
            choices=("trained", "bert", "cnn"), source="code: train, bert, multichannel")
        embedding_size: int | None = option(
            None, "BiLSTM: width of a trained embedding (`bilstm`: 300)", minimum=1,
            source="README: 300")
        hidden: int | None = option(
            None, "BiLSTM: units a direction (`bilstm`: 300)", minimum=1, source="README: 300, 200")
        head: int | None = option(
            None,
            "BiLSTM: units of the classifier's hidden layer, 0 for one linear layer (`bilstm`: "
            "256)",
            minimum=0, source="README: 256 or none")
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
            source="published: code, whose labels no command of the README lets in; corrected: "
                   "both terms of its loss, the weight to be searched in 0, 0.5, 1")
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
            "no BiLSTM",
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
            "score", "by what the student is kept: the task's measure, or F1 over word pieces",
            choices=("score", "piece_tag_micro_f1"), published="piece_tag_micro_f1", source="code",
            why="protocol")
        schedule: str = option(
            "linear", "learning rate after the warm-up: linear decay, or constant",
            choices=("linear", "constant"), published="constant", source="code", why="protocol")
        shuffle: bool = option(
            True, "shuffle the sentences; otherwise copies stay beside their original",
            published=False, source="code")

    def fit(self, lab: Lab) -> Model:
        o = self.options
        teacher = self.reading(lab.teacher())
        student = self.reading(lab.student() if o.student ==
                               "as_given" else lab.model(resolve(o.student)))
        same = same_tokens(teacher.tokenizer, student.tokenizer)
        self.refuse(teacher, student, same)

        if o.distillation or o.embedding == "bert":  # else nothing that it has learnt is read
            teacher = lab.finetune(teacher)
        if isinstance(student.module.config, BiLSTMConfig):
            student = self.shaped(student, teacher, lab.seed_for("init", student.name))
        if student.key != lab.student().key:
            alone = lab.finetune(student, role=Role.CONTROL)
            lab.add_row(alone, f"{student.name} as built here, no teacher", role=Role.CONTROL)
        examples = tuple(augmented(lab.data.train, lab.data.labels, o, lab.seed_for("augment")))
        if not o.distillation:
            labels_only = Distillation(o, ("hard",))
            return lab.train(student, labels_only, stage="augmented", examples=examples,
                             **self.training(epochs=self.epochs(lab)))

        def distil(student: Model, terms: Sequence[str], stage: str, **training: Any) -> Model:
            configs, giver = (teacher.module.config, student.module.config), teacher
            objective = Distillation(
                self.losses(student), terms,
                depths=(configs[0].num_hidden_layers, configs[1].num_hidden_layers),
                widths=(configs[0].hidden_size, configs[1].hidden_size),
                unit="tokens" if same else "words", seed=lab.seed_for("projections"))
            everything = (*examples, *lab.unlabelled)
            pool = None if objective.names == ("logits",) else objective.pool()
            # of a copy: the teacher's other signals are those of all methods
            if objective.attentions and o.attention == "scores":
                giver = replace(teacher, module=copy.deepcopy(teacher.module))
                giver.module.register_forward_pre_hook(use_scores)
            signals = lab.signals(giver, objective.names, examples=everything, pool=pool, live=pool
                                  is not None, hidden_states=objective.hidden_states,
                                  attentions=objective.attentions)
            return lab.train(student, objective, stage=stage, examples=everything, signals=signals,
                             **self.training(**training))

        layers = self.layers(student, same)
        if layers and o.stages == "two":
            epochs = o.intermediate_epochs or math.ceil(self.epochs(lab) / 3)
            student = distil(student, layers, "layers", epochs=epochs, select="last")
            layers = ()
        hard = ("hard",) if o.alpha else ()
        return distil(student, (*hard, "logits", *layers), "distillation", epochs=self.epochs(lab))

    def reading(self, model: Model) -> Model:
        return lower_cased(model) if self.options.lower_case else model

    def refuse(self, teacher: Model, student: Model, same: bool) -> None:
        """`Skip` where the options do not fit the models, before anything is trained."""
        if self.options.level == "tokens" and not same:
            raise Skip(
                "level=tokens compares token by token, but these models have two tokenizers; use "
                "level=words"
            )
        bilstm = isinstance(student.module.config, BiLSTMConfig)
        scores = self.options.attention == "scores" and self.options.distillation
        if scores and "attention" in self.layers(student, same):
            for model in (teacher, student):
                if not model.module.base_model._can_set_attn_implementation():
                    raise Skip(
                        f"{model.name} does not hand out attention scores; use "
                        f"attention=probabilities"
                    )
        model_type = teacher.module.config.model_type
        if bilstm and self.options.embedding == "bert" and model_type != "bert":
            raise Skip("embedding=bert copies a BERT's embedding layer, and the teacher is "
                       f"{model_type}; use embedding=trained")

    def shaped(self, student: Model, teacher: Model, seed: int) -> Model:
        o = self.options
        changes = {
            "num_hidden_layers": o.layers, "embedding": o.embedding,
            "embedding_size": o.embedding_size, "hidden_size": o.hidden, "classifier_size": o.head,
            "dropout": o.dropout, "packed": o.packed
        }
        return shaped(student, changes, teacher, seed)

    def losses(self, student: Model) -> Options:
        """The options with what `auto` means for this student."""
        if self.options.soft_loss != "auto":
            return self.options
        bilstm = isinstance(student.module.config, BiLSTMConfig)
        return replace(self.options, soft_loss="squared_error" if bilstm else "cross_entropy")

    def layers(self, student: Model, same: bool) -> tuple[str, ...]:
        """TinyBERT's terms: none for a student without attention, hidden states alone where the
        tokenizers differ.
        """
        if self.options.layer_losses == "no" or not getattr(student.module.config,
                                                            "num_attention_heads", None):
            return ()
        return ("hidden", "attention") if same else ("hidden",)

    def epochs(self, lab: Lab) -> int:
        """Of the student's training on the generated sentences."""
        return self.options.epochs or math.ceil(lab.settings.epochs /
                                                (2 if self.options.augment else 1))

    def training(self, **more: Any) -> dict[str, Any]:
        """The student's training where it departs from the protocol."""
        o = self.options
        given = {
            "lr": o.lr, "warmup": o.warmup, "weight_decay": o.weight_decay,
            "eval_steps": o.eval_steps
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        return {
            **chosen, "schedule": o.schedule, "select_by": o.select_by, "eps": o.eps,
            "decay_all": o.decay_all, "order": "shuffled" if o.shuffle else "file", **more
        }


# ---- golden numbers ------------------------------------------------------------------------------


def golden(case: dict[str, Any]) -> dict[str, float]:
    """The published losses and token scores of a golden case, by the objective that the method
    trains with.
    """
    real = torch.tensor(case["mask"])
    rows, positions = real.shape
    tensors = {
        name: [torch.tensor(layer) for layer in case[name]]
        for name in ("teacher_hidden", "student_hidden", "teacher_attention", "student_attention")
    }
    teacher = SimpleNamespace(logits=torch.tensor(case["teacher_logits"]),
                              hidden_states=tensors["teacher_hidden"],
                              attentions=tensors["teacher_attention"])
    student = SimpleNamespace(logits=torch.tensor(case["logits"]),
                              hidden_states=tensors["student_hidden"],
                              attentions=tensors["student_attention"])
    width = teacher.hidden_states[0].shape[-1]

    def loss(alpha: float, terms: Sequence[str]) -> float:
        given = {"alpha": alpha, "label_smoothing": case["label_smoothing"]}
        options = build(NerKD.Options, "published", given, "ner_kd")
        depths = len(teacher.attentions), len(student.attentions)
        objective = Distillation(options, terms, depths=depths, widths=(width, width))
        # every token a word of its own
        word_ids = torch.arange(positions).expand(rows, -1).masked_fill(~real, -1)
        counts = {
            "examples": float(rows), "positions": float(rows * positions),
            "tokens": float(real.sum())
        }
        batch = Batch({"attention_mask": real.long()}, labels=torch.tensor(case["labels"]),
                      counts=counts, extra={"word_ids": word_ids})
        batch.signals = {
            name: torch.stack(values)
            for name, values in objective.pool()(teacher, batch).items()
        }
        objective.collate(batch)
        return float(loss_of(objective(lambda **_: student, batch), batch.counts))

    layers = ("hard", "logits", "hidden", "attention")
    found = {"hard_label_loss": loss(1.0, ("hard",))}
    for name in case["expected"]:
        prefix, _, alpha = name.partition("_alpha_")
        if alpha:
            found[name] = loss(float(alpha), layers if prefix == "tinybert" else layers[:2])
    return found | token_scores(case["labels"], case["predictions"])


def token_scores(labels: list[list[int]], predictions: list[list[int]]) -> dict[str, float]:
    """Scores over the tags of tokens; tags from 5 on are entities. The published code swaps
    precision and recall.
    """
    tags = ("PAD", "START", "END", "UNK", "O", "B", "I", "E", "S")
    outside = tags.index("O")
    gold, predicted = (list(np.maximum(rows, outside)) for rows in (labels, predictions))
    metric = METRICS["piece_tag_micro_f1"]
    assert metric.counts is not None
    # one piece a word
    each = word_tags(predicted, [range(len(row)) for row in gold], [len(row) for row in gold],
                     outside)
    return {
        f"token_{name}": value
        for name, value in published_names(metric.counts(gold, each, Info(tags)).sum(0)).items()
    }
