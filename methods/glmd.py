"""GLMD: words as the teacher predicts them, on text and on the task's, then its predictions.

Tan, Tam, Wang, Gong, Zhao, Zhang, Tang 2023, Are Intermediate Layers and Labels Really Necessary? A
General Language Model Distillation Method, Findings of ACL 2023, arXiv 2306.06625. The equations
are those of the authors' code, github.com/aitsc/GLMKD ("GLMD-vc").

Shapes: B texts, T tokens, N positions that are compared, V vocabulary entries, H (width).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_MASKED_LM_MAPPING, PreTrainedModel

from kdbench.base.errors import Skip
from kdbench.base.identity import seed_for
from kdbench.data.task import Example
from kdbench.methods.divergences import Divergences
from kdbench.methods.expanded_vocabulary import MLM
from kdbench.methods.general_text import check_tokens, general_text
from kdbench.models.heads import Head
from kdbench.models.load import Model
from kdbench.models.zoo import position_limit
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets
from kdbench.train.method import Batch, Method, Term, early, option
from kdbench.train.mlm import HEADS, MaskedLM, lm_logits

GIVEN, EMBEDDING = "given", "embedding"  # a masked-LM head, or the word embeddings in its place


def word_logits(module: nn.Module, batch: Batch, head: str = GIVEN) -> Tensor:
    """Vocabulary logits (N, V) of a model, where the batch is compared."""
    model = cast(PreTrainedModel, module)
    encoder = cast(nn.Module, model.base_model)
    # a student reads segments where its teacher knows none
    taken = inspect.signature(encoder.forward).parameters
    inputs = {name: value for name, value in batch.inputs.items() if name in taken}
    hidden = encoder(**inputs).last_hidden_state.flatten(0, 1)[batch.extra["compared_at"]]
    if head == GIVEN:
        return lm_logits(model, hidden)
    return hidden @ cast(nn.Embedding, model.get_input_embeddings()).weight.T


class Words(MaskedLM):
    """L = mean over N positions of T² KL(softmax(z_T / T) || softmax(z_S / T)) over the vocabulary.

    Student and teacher read one text with the same masks. Of two vocabularies of different size
    (one may be padded) the entries that both have are compared.

    teacher      frozen;  head  what its logits come from
    masks        share of the tokens that are masked, as in masked-LM training; 0: the plain text
    masked_only  compare masked positions alone, not all real tokens
    share        of each text's positions that are compared, drawn anew every epoch
    """

    def __init__(self, teacher: Model, head: str, temperature: float, seed: int, *,
                 masks: float = 0.0, masked_only: bool = False, share: float = 1.0):
        tokenizer = teacher.tokenizer
        super().__init__(tokenizer.mask_token_id, tokenizer.all_special_ids, len(tokenizer), seed,
                         masks)
        # in a tuple: neither trained nor saved with the objective
        self._teacher = (teacher.module.eval().requires_grad_(False),)
        self.head, self.temperature = head, temperature
        self.masked_only, self.compared_share = masked_only, share

    @early
    def collate(self, batch: Batch) -> None:
        """Mask the texts, and choose the positions, in the flattened batch."""
        chosen = batch.inputs["attention_mask"].numpy() > 0
        if self.share:
            super().collate(batch)
            if self.masked_only:
                chosen = batch.extra["targets"].numpy() != -100
            del batch.extra["targets"], batch.extra["masked_at"]
        if self.compared_share < 1:
            chosen = self.drawn(chosen, batch.examples)
        at = np.flatnonzero(chosen)
        batch.extra["compared_at"] = torch.from_numpy(at)
        batch.counts["compared"] = float(len(at))

    def drawn(self, chosen: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
        """Of the positions `chosen` (B, T) the share that is compared, at least one a text."""
        kept = np.zeros_like(chosen)
        for row, example in enumerate(examples):
            seed = seed_for(self.seed, "positions", str(self.epoch), example.key)
            own = np.random.default_rng(seed).permutation(np.flatnonzero(chosen[row]))
            kept[row, own[:max(1, round(self.compared_share * len(own)))]] = True
        return kept

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The one term "words"."""
        teacher = self._teacher[0].to(batch.inputs["input_ids"].device)
        with torch.no_grad():
            theirs = word_logits(teacher, batch, self.head)
        ours = word_logits(student, batch)
        entries = min(ours.shape[1], theirs.shape[1])
        total, _ = Divergences.apply(ours[:, :entries], theirs[:, :entries], self.temperature)
        return {"words": Term(total, "compared")}


class GLMD(Method):
    """The teacher's words on unlabelled text -> the fine-tuned teacher's words -> its predictions.
    """

    name = "glmd"
    version = 1
    title = ("Are Intermediate Layers and Labels Really Necessary? A General Language Model "
             "Distillation Method")
    citation = "Tan et al. 2023, Findings of ACL 2023, arXiv 2306.06625"
    equations = """
    L_words = mean over real tokens of T_w^2 * KL(softmax(v_T / T_w) || softmax(v_S / T_w))
    v vocabulary logits of a masked-LM head at a token
    1. L = L_words of the teacher as it comes, on masked unlabelled text
    2. L = L_words of the fine-tuned teacher, on the task's text
    3. L = T^2 * KL(p_T || p_S), p = softmax(z / T), z the task's logits: the gradient of the soft
       cross-entropy. No labels
    tags: means over the words that both have read"""
    needs = ("an encoder with a masked-LM head, or word embeddings of its width; a student of any "
             "depth and width with its tokenizer and a masked-LM head")
    task_types = ("single", "multi", "regression", "tags")
    not_reproduced = (
        ("tasks as cloze questions, so that the fine-tuned teacher still predicts words",
         "our teachers have a task's head: the fine-tuned teacher's words are those of the "
         "masked-LM head that it came with, on its fine-tuned encoder (and embeddings, where the "
         "head shares them)"),
        ("logits at padding set to 0, and a mean over all positions",
         "a mean over the real tokens: padding depends on what else is in a batch"),
        ("a GLM, which is asked for masked spans from left to right",
         "our encoders read BERT's masks"),
        ("vocabulary compression and factorised embeddings",
         "the student has the teacher's vocabulary (the authors' \"GLMD-vc\")"),
        ("150,000 steps on Wikipedia and books",
         "`corpus` names a text file; the steps are those of its epochs"),
        ("the epoch of the second training that is best on dev",
         "it has no predictions of the task that could be scored: the last is kept"),
    )

    @dataclass(frozen=True)
    class Options:
        """The three trainings; the first two can be left out."""

        general: bool = option(True, "first the words of the teacher as it comes, on unlabelled "
                               "text", source="authors' code")
        task_words: bool = option(True, "then those of the fine-tuned teacher, on the task's text",
                                  source="authors' code")
        corpus: str | None = option(
            None, "text file for the first training, one sequence a line (default: the task's "
            "unlabelled or training text)", source="authors' code: Wikipedia and books", file=True)
        general_epochs: int | None = option(
            None, "epochs of the first training (default: --epochs)", minimum=1, source="ours",
            follows="epochs")
        word_epochs: int | None = option(
            None, "epochs of the second (default: --epochs)", minimum=1,
            source="authors' code: as many as of the third", follows="epochs")
        word_lr: float | None = option(
            None, "learning rate of the first two (default: the protocol's)", minimum=0.0,
            source="ours", search=(5e-5, 1e-3, "log"))
        word_temperature: float = option(
            15.0, "softens both distributions over the vocabulary", minimum=0.01, maximum=1000,
            source="authors' code", search=[5.0, 15.0, 30.0])
        temperature: float = option(1.0, "softens both of the task", minimum=0.01, maximum=1000,
                                    source="authors' code")
        head: str = option(
            "auto", "what the teacher's words come from: the masked-LM head that it was given, or "
            "its last hidden states times its word embeddings; auto: the head where it has one",
            choices=("auto", GIVEN, EMBEDDING), source="ours; the authors' models all have heads")
        positions: str = option("all", "which are compared: all real tokens, or masked ones alone",
                                choices=("all", "masked"), source="authors' code")
        general_masks: float = option(
            0.15, "share of the tokens that are masked in the first training", minimum=0.0,
            maximum=1.0, source="BERT's; the authors' teacher was trained on masked spans")
        task_masks: float = option(
            0.0, "share of the tokens that are masked in the second", minimum=0.0, maximum=1.0,
            source="ours: the text as the teacher was fine-tuned on it; the authors' has a mask "
            "for the answer")
        share: float = option(
            1.0, "share of these positions that is compared, drawn anew every epoch; less is "
            "faster", minimum=0.001, maximum=1.0, source="authors' code: all")

    options: Options

    def check(self, lab: Lab) -> None:
        """`Skip` where the words of these models cannot be compared, or the options leave none."""
        o = self.options
        stages = {"general_masks": o.general, "task_masks": o.task_words}
        masks = {name: getattr(o, name) for name, used in stages.items() if used}
        if not masks:
            return
        for name, value in masks.items():
            if o.positions == "masked" and not value:
                raise Skip(f"positions=masked and {name}=0 leave no position to compare; use "
                           f"{name}=0.15")
        teacher, student = lab.teacher(), lab.student()
        check_tokens(teacher, student, self.name)
        if word_model(student, lab.student) is None:
            raise Skip(f"{student.name} has no masked-LM head that is known here, and glmd "
                       "compares words; take another student")
        if teacher.tokenizer.mask_token_id is None and any(masks.values()):
            raise Skip(f"the tokenizer of {teacher.name} has no mask token; use general_masks=0")
        self.head(lab)

    def head(self, lab: Lab) -> str:
        """What the teacher's words come from; `Skip` where it has no such thing."""
        teacher, source = lab.teacher(), lab.teacher_source
        if self.options.head != EMBEDDING:
            model = word_model(teacher, lab.teacher)
            # of random weights, those of the head are as good as the others
            random = source is None or not (source.folder or source.hub)
            if model is not None and (model.ready or random):
                return GIVEN
            if self.options.head == GIVEN:
                raise Skip(f"{teacher.name} came without its masked-LM head, whose words glmd "
                           "compares; use head=embedding")
        embedding: Any = teacher.module.get_input_embeddings()
        width = teacher.module.config.hidden_size
        if embedding.embedding_dim != width:
            raise Skip(f"the word embeddings of {teacher.name} are {embedding.embedding_dim} wide "
                       f"and its hidden states {width}: no words come of them; take a teacher with "
                       "its masked-LM head")
        return EMBEDDING

    def fit(self, lab: Lab) -> Model:
        """The trainings in turn, from the teacher's words to its predictions."""
        o = self.options
        words = o.general or o.task_words
        head = self.head(lab) if words else GIVEN
        student = lab.student(MLM) if words else lab.student()
        if o.general:
            teacher = lab.teacher(MLM) if head == GIVEN else lab.teacher()
            student = self.word_training(lab, teacher, head, student, "words",
                                         general_text(lab, o.corpus), o.general_epochs,
                                         o.general_masks)
        tuned = lab.finetune(lab.teacher())
        examples = (*lab.data.train, *lab.unlabelled)
        if o.task_words:
            teacher = with_encoder(lab.teacher(MLM), tuned) if head == GIVEN else tuned
            student = self.word_training(lab, teacher, head, student, "words of the task",
                                         examples, o.word_epochs, o.task_masks)
        if words:
            student = with_encoder(lab.student(), student)
        logits = lab.signals(tuned, ("logits",), examples=examples)
        return lab.train(student, SoftTargets(lab.task.task_type, o.temperature, 0.0),
                         stage="prediction", examples=examples, signals=logits)

    def word_training(self, lab: Lab, teacher: Model, head: str, student: Model, stage: str,
                      examples: Sequence[Example], epochs: int | None, masks: float) -> Model:
        """`student` (with a masked-LM head) after one training on the teacher's words."""
        o = self.options
        # a copy: the objective freezes it
        teacher = replace(teacher, module=copy.deepcopy(teacher.module))
        objective = Words(teacher, head, o.word_temperature, lab.seed_for(stage), masks=masks,
                          masked_only=o.positions == "masked", share=o.share)
        rate: dict[str, Any] = {} if o.word_lr is None else {"lr": o.word_lr}
        length = min(lab.limit(student), position_limit(teacher.module.config.to_dict()))
        return lab.train(student, objective, stage=stage, examples=examples, select="last",
                         epochs=epochs or lab.settings.epochs, max_length=length, windows=None,
                         **rate)


def word_model(model: Model, load: Callable[[Head], Model]) -> Model | None:
    """`model`, which `load` gives, with its masked-LM head; None where none is known here."""
    if type(model.module.config) not in MODEL_FOR_MASKED_LM_MAPPING:
        return None
    found = load(MLM)
    for parts in HEADS:
        if all(hasattr(found.module, part) for part in parts):
            return found
    return None


def with_encoder(model: Model, source: Model) -> Model:
    """`model` with the encoder's weights of `source`, under its own head (and pooler, which a
    masked-LM model lacks).
    """
    encoders = [cast(nn.Module, each.module.base_model) for each in (model, source)]
    missing, _ = encoders[0].load_state_dict(encoders[1].state_dict(), strict=False)
    assert all("pooler" in name for name in missing), missing
    return model
