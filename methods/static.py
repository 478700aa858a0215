"""Static token vectors of the teacher as its smallest student: a text is the mean of its tokens.

Model2Vec: Tulkens and van Dongen 2024, Model2Vec: Fast State-of-the-Art Static Embeddings,
github.com/MinishLab/model2vec. Weights of frequency: Arora, Liang, Ma 2017, A Simple but
Tough-to-Beat Baseline for Sentence Embeddings, ICLR 2017.

    1. fine-tune the teacher
    2. the vector of every token of its vocabulary: the mean of its last layer's states over
       "[CLS] token [SEP]"
    3. principal components
    4. a weight by frequency for each token, multiplied into its vector
    5. train vectors and classifier on the teacher's logits and the labels
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers import models as pieces
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from kdbench.base.errors import Skip
from kdbench.base.identity import digest
from kdbench.data.task import Example
from kdbench.methods.static_model import StaticClassifier, StaticConfig
from kdbench.models.heads import seeded, vector_size
from kdbench.models.load import Model, Role
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets
from kdbench.train.method import Batch, Method, option
from kdbench.train.mlm import unlabelled
from kdbench.train.signals import StoredSignals

UNUSED = re.compile(r"\[unused\d+\]")  # places in BERT's vocabulary that no text reads
TOKENS = 8  # of a row: one token and what is put around it
# of vectors and classifier: no layer lies between, and most tokens are in few batches
LR = 3e-3

# ---- 2. vectors of the vocabulary ----------------------------------------------------------------


def around(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before and behind a text."""
    encoded: Any = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    own = [at for at, added in enumerate(special) if not added]
    if not own:
        return [], []
    return ids[:own[0]], ids[own[-1] + 1:]


def by_number(tokenizer: PreTrainedTokenizerFast, rows: int) -> PreTrainedTokenizerFast:
    """A tokenizer of the same ids whose texts are the numbers of tokens: "7" is token 7, with what
    `tokenizer` puts around a text. A token's own spelling would be cut into others.

    rows  how many ids there are
    """
    backend = Tokenizer(pieces.WordLevel({str(i): i for i in range(rows)}, unk_token="0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    before, behind = around(tokenizer)
    names = {i: f"#{i}" for i in (*before, *behind)}
    row = " ".join([*(names[i] for i in before), "$A", *(names[i] for i in behind)])
    backend.post_processor = processors.TemplateProcessing(
        single=row, special_tokens=[(name, i) for i, name in names.items()])
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def mean_states(outputs: Any, batch: Batch) -> dict[str, list[Tensor]]:
    """`token_vectors`: (H,) the mean of the last layer's states over a row."""
    states = outputs.hidden_states[-1].float()
    share = batch.inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
    return {"token_vectors": list((states * share).sum(1) / share.sum(1).clamp(min=1))}


# ---- 3. and 4. from vectors to a table -----------------------------------------------------------


def principal(vectors: np.ndarray, size: int) -> np.ndarray:
    """(N, size) float64, the first principal components of `vectors` (N, H), each about its mean,
    in the order of their variance and not scaled to it.

    A component and its negative are both one: here its largest value is positive.
    """
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :size]
    found = centred @ directions
    largest = np.take_along_axis(found, np.abs(found).argmax(0)[None], 0)
    return found * np.where(largest < 0, -1.0, 1.0)


def weights_of(counts: np.ndarray, kind: str, a: float) -> np.ndarray:
    """(N,) what a token's vector is multiplied by.

    counts  (N,) how often each stands in the text, in the order of the vocabulary
    kind    text      a / (a + p), p its share of the text (Arora et al. 2017, equation 3)
            rank      the same of Zipf's law: p proportional to 1 / (r + 1), r its place in the
                      vocabulary from 1 (Model2Vec)
            log_rank  log(1 + r) (Model2Vec's first releases)
            no        1
    """
    rank = np.arange(1, len(counts) + 1, dtype=np.float64)
    if kind == "no":
        return np.ones(len(counts))
    if kind == "log_rank":
        return np.log(1 + rank)
    share = counts.astype(np.float64) if kind == "text" else 1 / (rank + 1)
    return a / (a + share / max(share.sum(), 1e-12))


class Static(Method):
    """Fine-tuned teacher -> vectors of its vocabulary, reduced and weighed -> logits and labels."""

    name = "static"
    version = 1
    title = "Model2Vec: Fast State-of-the-Art Static Embeddings"
    citation = ("Tulkens and van Dongen 2024, github.com/MinishLab/model2vec; weights: Arora, "
                "Liang, Ma 2017, ICLR 2017")
    equations = """
    e_w = mean over positions of the teacher's last layer on "[CLS] w [SEP]", for every token w
    v_w = a / (a + p_w) * PCA(e_w), p_w the share of w in the text; a parameter from here on
    x   = m / |m|, m = mean over the text's tokens of v_w; special tokens are left out
    z_S = f(x), of a pair of texts f([x_1, x_2, |x_1 - x_2|, x_1 * x_2])
    L   = alpha * CE(z_S, y) + (1 - alpha) * T^2 * KL(softmax(z_T / T) || softmax(z_S / T))"""
    needs = ("a model as teacher, whose tokenizer the student has; --student is not looked at, as "
             "the method builds its own")
    task_types = ("single", "multi", "regression")
    not_reproduced = (
        ("a vocabulary of whole words", "the teacher's tokens read every text"),
        ("numbers of 16 bits, and tokens in clusters",
         "exports are for that (`bench.py export`: safetensors_fp16, onnx_int8)"),
    )

    builds_student = True

    @dataclass(frozen=True)
    class Options:
        """The vectors, the classifier and its training."""

        vectors: str = option(
            "trained", "the teacher that gives the vectors: fine-tuned, or as it comes",
            choices=("trained", "as_given"), source="ours; Model2Vec: as it comes")
        size: int = option(256, "units of a vector, at most the teacher's",
                           minimum=1, maximum=65_536,
                           source="Model2Vec's code")
        weights: str = option(
            "text", "by frequency: SIF of the training and unlabelled text; SIF by Zipf's law of "
            "the place in the vocabulary; the logarithm of that place; none",
            choices=("text", "rank", "log_rank", "no"),
            source="text: Arora et al.; rank: Model2Vec's code; log_rank: its first releases")
        a: float = option(1e-3, "of SIF: the share of a text at which a token counts half",
                          minimum=1e-12,
                          source="Arora et al.: 1e-3 to 1e-4; Model2Vec's code: 1e-4")
        learn_vectors: bool = option(True, "train the vectors with the classifier",
                                     source="Model2Vec's training code")
        hidden: int = option(
            512, "units of the classifier's hidden layer, 0 for one linear layer",
            minimum=0, maximum=65_536,
            source="Model2Vec's training code")
        dropout: float = option(0.0, "before each of the classifier's layers", minimum=0,
                                maximum=0.99, source="Model2Vec's training code: none",
                                search=[0.0, 0.3])
        temperature: float = option(2.0, "softens both distributions", minimum=0.01, maximum=1000,
                                    source="as logit_kd")
        alpha: float = option(0.1, "weight of the labels", minimum=0.0, maximum=1.0,
                              source="as logit_kd")
        student_epochs: int | None = option(
            None, "epochs of the student, which costs next to nothing (default: --epochs)",
            minimum=1, source="ours", follows="epochs")

    options: Options

    def fit(self, lab: Lab) -> Model:
        """Fine-tune the teacher, make a student of its vectors, train it on its logits."""
        o = self.options
        trained = lab.finetune(lab.teacher())
        examples = (*lab.data.train, *lab.unlabelled)
        logits = lab.signals(trained, ("logits",), examples=examples)
        source = trained if o.vectors == "trained" else lab.teacher()
        table = self.table(lab, source, examples)
        epochs = o.student_epochs or lab.settings.epochs
        if lab.data.train and not lab.alone:
            alone = lab.finetune(self.student(lab, trained, None, table.shape),
                                 role=Role.CONTROL, epochs=epochs)
            lab.add_row(alone, "random vectors, no teacher")
        return lab.train(self.student(lab, trained, table, table.shape),
                         SoftTargets(lab.task.task_type, o.temperature, o.alpha),
                         stage="soft targets", examples=examples, signals=logits, epochs=epochs)

    @classmethod
    def own_students(cls, width: int) -> dict[str, dict[str, Any]]:
        """Three sizes, as far as the teacher's vectors have them."""
        sizes = sorted({min(size, width) for size in (256, 128, 64)}, reverse=True)
        return {f"{cls.name}:{size}": {"size": size} for size in sizes}

    def untrained(self, lab: Lab) -> Model:
        """A student of random vectors, as wide as those of the teacher allow."""
        teacher = lab.teacher()
        rows = max(teacher.tokenizer.get_vocab().values()) + 1
        size = min(self.options.size, vector_size(teacher.module.config))
        return self.student(lab, teacher, None, (rows, size))

    def table(self, lab: Lab, teacher: Model, examples: Sequence[Example]) -> np.ndarray:
        """(V, size) the teacher's vectors, reduced and weighed; 0 of special and unused tokens."""
        o = self.options
        vocabulary, left_out = teacher.tokenizer.get_vocab(), special_ids(teacher.tokenizer)
        ids = sorted(i for token, i in vocabulary.items()
                     if i not in left_out and not UNUSED.fullmatch(token))
        rows = max(vocabulary.values()) + 1
        reader = replace(teacher, tokenizer=by_number(teacher.tokenizer, rows))
        tokens = unlabelled(map(str, ids))
        signals = lab.signals(reader, ("token_vectors",), examples=tokens, pool=mean_states,
                              whole=True, max_length=TOKENS, hidden_states=True)
        assert isinstance(signals, StoredSignals)
        found = np.stack([signals.rows["token_vectors"][token.key] for token in tokens])
        counts = np.zeros(rows, np.int64)
        for read in lab.corpus(teacher, examples, lab.limit(teacher)).tokens:
            np.add.at(counts, read, 1)
        reduced = principal(found, o.size)
        table = np.zeros((rows, reduced.shape[1]))
        table[ids] = reduced * weights_of(counts[ids], o.weights, o.a)[:, None]
        return table

    def student(self, lab: Lab, teacher: Model, table: np.ndarray | None,
                shape: tuple[int, ...]) -> Model:
        """A student of the teacher's tokenizer; its vectors are `table`, or random, of `shape`
        (V, size); its classifier is random.
        """
        o, tokenizer = self.options, teacher.tokenizer
        pairs = any(example.pair is not None for example in (*lab.data.train, *lab.data.rest))
        between = separator_of(tokenizer) if pairs else (None, 0)
        config = StaticConfig(
            vocab_size=shape[0], hidden_size=shape[1], classifier_size=o.hidden, dropout=o.dropout,
            left_out=sorted(special_ids(tokenizer)), separator=between[0],
            separators_before=between[1], pad_token_id=tokenizer.pad_token_id, **lab.head.config)
        with seeded(lab.seed_for("init", self.name)):
            module = StaticClassifier(config)
        vectors = module.encoder.embeddings.weight
        if table is not None:
            vectors.data = torch.from_numpy(table).to(vectors.dtype)
            vectors.requires_grad_(o.learn_vectors)
        key = digest({"static": teacher.key, "options": o, "vectors": table is not None})
        return Model(module, tokenizer, self.name, key, LR)


def special_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """The ids that no mean reads: special tokens, and what is put around a text."""
    before, behind = around(tokenizer)
    return {*tokenizer.all_special_ids, *before, *behind}


def separator_of(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """The first id that stands between two texts, and how many of it stand before that place."""
    encoded: Any = tokenizer("a", "b")
    ids, of = encoded["input_ids"], encoded.sequence_ids(0)
    at = max(place for place, text in enumerate(of) if text == 0) + 1
    if of[at] is not None:
        raise Skip("the teacher's tokenizer puts nothing between two texts, so that static cannot "
                   "tell them apart; take another teacher")
    return ids[at], ids[:at].count(ids[at])
