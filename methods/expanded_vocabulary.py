"""A student with a larger vocabulary: what `ve_kd` and its control `adapt` share.

    1. new tokens: WordPiece entries that the domain corpus needs, behind the teacher's vocabulary
    2. masked language modelling on that corpus; the two methods differ here alone, in their loss
    3. fine-tuning on the task
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import MODEL_FOR_MASKED_LM_MAPPING

from kdbench.base.errors import Skip
from kdbench.base.identity import digest
from kdbench.base.options import option
from kdbench.data.task import Example
from kdbench.models.common_words import Rule, mark, units_of
from kdbench.models.heads import Head, seeded
from kdbench.models.load import Model, build
from kdbench.models.sources import Source
from kdbench.models.vocabulary import (
    change_vocabulary,
    expand,
    is_wordpiece,
    read_tokens,
    train_tokens,
)
from kdbench.models.zoo import BEHIND_PADDING
from kdbench.train.lab import Lab
from kdbench.train.mlm import unlabelled
from kdbench.train.textfile import TextFile

MLM = Head("mlm")


@dataclass(frozen=True)
class ExpansionOptions:
    """Options of masked-LM training with an expanded vocabulary and of the fine-tuning."""

    corpus: str | None = option(
        None, "text file, one sequence a line (default: the task's unlabelled or training text)",
        source="code", file=True)
    vocabulary: str | None = option(
        None,
        "vocabulary file, one entry a line; entries that the teacher's lacks are new (default: "
        "trained on the corpus)",
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
        0.15, "share of the old tokens that are targets", minimum=0, maximum=1, source="code")
    new_token_mask: float = option(
        1.0,
        "share of the new tokens that are targets, and so [MASK] to both models; the student "
        "reads the others, where the teacher sees [MASK] too",
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
    pretrain_lr: float = option(5e-4, "peak rate", minimum=0, source="code",
                                search=(5e-5, 1e-3, "log"))
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
        None, "length of a sequence, in tokens (default: --max-length)", minimum=4, published=512,
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


def learns_words(o: ExpansionOptions, own_text: bool) -> bool:
    """As `Method.learns_words`."""
    return not o.vocabulary and o.new_tokens > 0 and (own_text or bool(o.corpus))


def check_models(lab: Lab) -> None:
    """Raise `Skip` where the student cannot have the teacher's vocabulary, expanded."""
    teacher, student = lab.teacher(), lab.student()
    for model in (teacher, student):
        if type(model.module.config) not in MODEL_FOR_MASKED_LM_MAPPING:
            raise Skip(f"{model.name} has no masked-LM form")
    if not is_wordpiece(teacher.tokenizer):
        raise Skip(f"the vocabulary of {teacher.name} is no WordPiece vocabulary, which is what "
                   "can be expanded here")
    config = student.module.config
    from_padding = config.model_type in BEHIND_PADDING
    if from_padding and teacher.tokenizer.pad_token_id != config.pad_token_id:
        raise Skip(f"{student.name} counts positions from another padding id than that of "
                   f"{teacher.name}'s vocabulary")


# ---- 1. new tokens -------------------------------------------------------------------------------


def corpus_of(lab: Lab, o: ExpansionOptions) -> Sequence[Example]:
    """The domain text: the lines of the file that the options name, or else the task's."""
    if o.corpus:
        return TextFile(o.corpus)
    return unlabelled([*(lab.data.domain_text or lab.texts()),
                       *(example.text for example in further(lab))])


def further(lab: Lab) -> list[Example]:
    """The unlabelled texts that are no part of the task's own text."""
    known = set(lab.data.rest) if not lab.data.domain_text else set()
    return [example for example in lab.unlabelled if example not in known]


def rule_for(lab: Lab, o: ExpansionOptions, examples: Sequence[Example]) -> Rule:
    """Which words of the domain text may become entries: all of a public one."""
    if o.corpus:
        return Rule((), lab.settings.min_texts)
    if not (lab.data.own_text or lab.own_unlabelled):
        return Rule()
    own = [] if lab.data.domain_text else [*lab.data.train, *lab.data.rest]
    first = len(lab.data.domain_text or own)
    every = units_of([example.unit for example in own], first, len(further(lab)))
    # an example is known by its place among all texts, of which empty ones were left out
    return Rule(tuple(every[int(example.id)] for example in examples), lab.settings.min_texts)


def expanded(lab: Lab, o: ExpansionOptions, base: Model, examples: Sequence[Example]) -> Model:
    """The student with a masked-LM head, the vocabulary of `base` (the teacher), and the new
    entries behind it.
    """
    if o.vocabulary:
        tokens = read_tokens(o.vocabulary, base.tokenizer)
    else:
        tokens = train_tokens(lambda: (e.text for e in examples), base.tokenizer, o.new_tokens,
                              o.min_frequency, rule_for(lab, o, examples))
    tokenizer = expand(base.tokenizer, tokens, base.module.config.vocab_size)
    if tokens and (rule := rule_for(lab, o, examples)).least:
        mark(tokenizer, base.module.config.vocab_size, 0 if o.vocabulary else rule.least)
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


# ---- 2. masked language modelling ----------------------------------------------------------------


@dataclass(frozen=True)
class Masking:
    """Which tokens are targets, and what the two models see in their place.

    special    ids that are never targets
    boundary   ids from here on are new. The teacher, which has no row for them, always sees [MASK]
               there
    old_share  of the old tokens that are targets;  new_share  of the new ones
    mix        of the old targets: shown as [MASK], as a random old token, as they are. A new one is
               always [MASK], so that both models read one input
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
        share = np.where(new, self.new_share, self.old_share)
        target = (draw[0] < share) & ~np.isin(ids, self.special)
        hidden = target & (new | (draw[1] < self.mix[0]))
        swapped = target & ~hidden & (draw[1] < self.mix[0] + self.mix[1])
        student = np.where(hidden, self.mask_id, ids)
        student = np.where(swapped, (draw[2] * self.boundary).astype(ids.dtype), student)
        return student, np.where(new, self.mask_id, student), np.where(target, ids, -100)


def masking_of(o: ExpansionOptions, base: Model) -> Masking:
    """The masking that the options ask for, with the vocabulary of `base` as the old tokens."""
    special = set(base.tokenizer.all_special_ids)
    if o.unk_targets:
        special.discard(base.tokenizer.unk_token_id)
    shown, swapped, kept = (int(part) / 100 for part in o.mlm_mix.split("/"))
    return Masking(base.tokenizer.mask_token_id, tuple(sorted(special)),
                   base.module.config.vocab_size, o.mask_share, o.new_token_mask,
                   (shown, swapped, kept))


# the published optimiser; weight decay 0 is its default
ADAM: dict[str, Any] = {"weight_decay": 0.0, "clip": 5.0, "betas": (0.9, 0.98), "eps": 1e-6}


def pretraining(o: ExpansionOptions) -> dict[str, Any]:
    """The masked-LM training as fields of `Training`, without the length, which depends on the
    model.
    """
    return {
        "epochs": o.pretrain_epochs, "batch_size": o.pretrain_batch, "lr": o.pretrain_lr,
        "warmup": o.pretrain_warmup, "warmup_rule": o.warmup_rule,
        "order": "shuffled" if o.reshuffle else "sampler", "select": "last", **ADAM
    }


# ---- 3. fine-tuning ------------------------------------------------------------------------------


def fine_tuning(o: ExpansionOptions) -> dict[str, Any]:
    """Where the fine-tuning departs from the protocol, as fields of `Training`."""
    return {"warmup_rule": o.warmup_rule, **({"select": o.select} if o.select else {})}


def finetuned(lab: Lab, o: ExpansionOptions, pretrained: Model) -> Model:
    """The encoder after its masked-LM training under the task's head, fine-tuned."""
    source = Source(lab.student_source.name, folder=lab.cache.stage(pretrained.key))
    student = build(source, lab.head, seed=lab.seed_for("init", source.name), texts=lab.texts)
    return lab.finetune(replace(student, lr=pretrained.lr), **fine_tuning(o))
