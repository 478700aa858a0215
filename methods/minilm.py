"""MiniLMv2: how the words attend to each other, seen by queries, keys and values, of one layer.

Wang, Bao, Huang, Dong, Wei 2021, MiniLMv2: Multi-Head Self-Attention Relation Distillation for
Compressing Pretrained Transformers, Findings of ACL 2021, arXiv 2012.15828.

Shapes: B texts, T tokens, A attention heads of D, R relation heads of A D / R.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.base.errors import Skip
from kdbench.methods.attention_scores import use_vectors
from kdbench.methods.general_text import check_layers, general_text
from kdbench.methods.outputs import Outputs
from kdbench.methods.transformer_layers import shortest
from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.method import Batch, Method, Objective, Term, option
from kdbench.train.signals import Pool

PAPERS_HEADS = 48  # of a teacher of 768 units


def relations(vectors: Tensor, heads: int, mask: Tensor) -> Tensor:
    """log softmax(X Xᵀ / √d) over real tokens, for X the queries, the keys and the values, each in
    `heads` relation heads of d units (equations 6 and 7): (3, B, R, T, T).

    vectors (B, A, T, 3 D) the three side by side, mask (B, T) 1 at real tokens
    """
    batch, _, length, _ = vectors.shape
    found = []
    for each in vectors.chunk(3, -1):
        rows = each.transpose(1, 2).reshape(batch, length, heads, -1).transpose(1, 2)
        found.append(rows @ rows.transpose(2, 3) / math.sqrt(rows.shape[-1]))
    scores = torch.stack(found)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    padding = (mask == 0)[:, None, None, :]
    return F.log_softmax(scores.masked_fill(padding, torch.finfo(scores.dtype).min), -1)


def relation_error(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Σ over the three relations and the real tokens of the mean over heads of KL(R_T || R_S)
    (equation 5); log-probabilities (3, B, R, T, T), mask (B, T).
    """
    each = (teacher.exp() * (teacher - student)).sum(-1).mean(2)
    return (each * mask).sum()


def relation_heads(asked: int | None, teacher: int, student: int) -> int:
    """The relation heads of two widths: those asked for; else the most up to 48 that divide both.
    `Skip` where they do not.
    """
    common = math.gcd(teacher, student)
    if asked is None:
        return next(count for count in range(PAPERS_HEADS, 0, -1) if common % count == 0)
    if common % asked:
        raise Skip(f"heads={asked} does not divide {teacher} and {student}, what the attention of "
                   f"teacher and student is wide; use heads={relation_heads(None, common, common)}")
    return asked


class Relations(Objective):
    """L = 1 / (R |x|) Σ over relations, heads, tokens of KL(R_T || R_S), of the student's last
    layer and one of the teacher's.

    heads  R
    layer  of the teacher, from 1
    """

    attentions = True

    def __init__(self, heads: int, layer: int):
        super().__init__()
        self.heads, self.layer = heads, layer

    def pool(self) -> Pool:
        """`vectors`: queries, keys and values of the teacher's layer, (A, T, 3 D) a text."""
        layer = self.layer

        def pool(outputs: Outputs, batch: Batch) -> dict[str, list[Tensor]]:
            return {"vectors": list(outputs.attentions[layer - 1])}

        return pool

    def forward(self, student: nn.Module, batch: Batch) -> dict[str, Term]:
        """The term "relations", a mean over the real tokens."""
        use_vectors(student)
        own = self.outputs(student, batch).attentions[-1]
        own, teachers = shortest(own, batch.signals["vectors"], 2)
        mask = batch.inputs["attention_mask"][:, :own.shape[2]]
        found, asked = (relations(each, self.heads, mask) for each in (own, teachers))
        return {"relations": Term(relation_error(found, asked, mask), "tokens")}


class MiniLM(Method):
    """Relations of queries, keys and values on unlabelled text -> fine-tuning."""

    name = "minilm"
    version = 1
    title = "MiniLMv2: Multi-Head Self-Attention Relation Distillation"
    citation = "Wang et al. 2021, Findings of ACL 2021, arXiv 2012.15828"
    equations = """
    X in {Q, K, V} of all heads side by side, split into R relation heads of d units
    R_X,a = softmax(X_a X_a^T / sqrt(d)), over the real tokens
    1. L  = sum over X of mean over a, tokens t of KL(R^T_X,a,t || R^S_X,a,t)
            between the student's last layer and one layer of the teacher (paper: a mean over the
            tokens of each text, then over texts; here over all tokens of a batch)
    2. L  = CE(z_S, y)   (several labels: binary CE; regression: squared error)"""
    needs = ("a transformer, as it comes; a student of any depth and width with its tokenizer. R "
             "divides both widths")
    task_types = ("single", "multi", "regression", "tags")
    not_reproduced = (
        ("English Wikipedia and books, 400,000 steps of 256 texts",
         "`corpus` names a text file; the steps are those of its epochs"),
    )

    @dataclass(frozen=True)
    class Options:
        """What is compared, and the training on text."""

        heads: int | None = option(
            None, "relation heads (default: the most up to 48 that divide both widths)", minimum=1,
            source="paper: 48 of 768 units, 64 of 1024")
        layer: int | None = option(
            None, "the teacher's layer, from 1 (default: the last)", minimum=1,
            source="paper: the last of 12; of 24 the 21st (BERT) or the 19th (RoBERTa)")
        corpus: str | None = option(
            None, "text file, one sequence a line (default: the task's unlabelled or training "
            "text)", source="paper: Wikipedia and books", file=True)
        text_epochs: int | None = option(
            None, "epochs on that text (default: --epochs)", minimum=1, source="ours",
            follows="epochs")
        text_lr: float | None = option(
            None, "learning rate on that text (default: the protocol's)", minimum=0.0,
            source="paper: 6e-4, from random weights", search=(5e-5, 1e-3, "log"))

    options: Options

    def check(self, lab: Lab) -> None:
        """`Skip` where the attention cannot be compared, or the options do not fit the models."""
        teacher, student = lab.teacher(), lab.student()
        check_layers(teacher, student, self.name)
        depth = teacher.module.config.num_hidden_layers
        if self.options.layer is not None and self.options.layer > depth:
            raise Skip(f"layer={self.options.layer}: {teacher.name} has {depth} layers; use "
                       f"layer={depth} or a smaller number")
        relation_heads(self.options.heads, width(teacher), width(student))

    def fit(self, lab: Lab) -> Model:
        """The student's last layer on text, then the labels."""
        o = self.options
        teacher, student = lab.teacher(), lab.student()
        heads = relation_heads(o.heads, width(teacher), width(student))
        objective = Relations(heads, o.layer or teacher.module.config.num_hidden_layers)
        examples = general_text(lab, o.corpus)
        # a copy: other signals of this teacher are read by plain attention
        teacher = replace(teacher, module=copy.deepcopy(teacher.module))
        teacher.module.register_forward_pre_hook(use_vectors)
        signals = lab.signals(teacher, ("vectors",), examples=examples, pool=objective.pool(),
                              live=True, attentions=True)
        rate: dict[str, Any] = {} if o.text_lr is None else {"lr": o.text_lr}
        student = lab.train(student, objective, stage="relations", examples=examples,
                            signals=signals, epochs=o.text_epochs or lab.settings.epochs,
                            select="last", **rate)
        return lab.finetune(student)


def width(model: Model) -> int:
    """Units of all attention heads together."""
    config = model.module.config
    own = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_attention_heads * own
