"""A stored student reads the test set again, and its answers are compared with the stored ones.

It runs as it was scored: in the same batches, and in the precision of its record's settings. Under
`precision = "auto"` nothing but the logits says what was taken. Where bf16 holds each of them
exactly, they come from bf16 autocast. Stored tags do not show it; they are computed as `Lab.bf16`
decides on this machine. So a student that was scored in bf16 is compared in bf16, though it is
served in fp32: the score of its export shows how it does there.

Another machine rounds otherwise. A logit may be off by `FP32` or `BF16` times the largest logit of
its text or word (at least 1). What is further off differs, and so does a tag whose own logit leads
that of the stored tag by more than twice as much. A stored score that only such rounding moves is
not wrong: a note then gives the share of the answers that differ, and their score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from kdbench.base.errors import BadInput
from kdbench.base.progress import Progress
from kdbench.report.evidence import Case

if TYPE_CHECKING:
    from torch.nn import Module

    from kdbench.train.batching import Corpus

FP32 = 1e-3  # as `kdbench.serve.export.TOLERANCE`; rounding alone gives about 1e-5
BF16 = 2.0**-4  # 8 significant bits, whose errors add up: to 1 % of the logits over six layers


@dataclass(frozen=True)
class Rerun:
    """The student's answers beside the stored ones.

    predictions  as the metrics take them
    share        of the answers that differ
    unexplained  what rounding does not explain, in words; empty where it explains all
    """

    predictions: ndarray | list[ndarray]
    share: float
    unexplained: str


def rerun(case: Case) -> Rerun:
    """The stored student's answers on test beside those stored with the record.

    `Unchecked` where either is not there, `BadInput` where they do not fit together.
    """
    from kdbench.train.prediction import average

    members = case.student
    task_type, stored = case.same_data.task.task_type, case.predictions
    bf16, guessed = in_bf16(case, members[0][0])
    logits = answers(*members[0], bf16, case.where)
    for module, corpus in members[1:]:
        logits = average(logits, answers(module, corpus, bf16, case.where), task_type)
    tolerance = BF16 if bf16 or guessed else FP32
    if task_type == "tags":
        return compare_tags(stored, logits, tolerance, case.same_data.data.labels.index("O"))
    return compare_logits(stored, np.stack(logits), tolerance, task_type)


def in_bf16(case: Case, module: Module) -> tuple[bool, bool]:
    """Was the student scored under bf16 autocast, and is that a guess?"""
    import torch

    precision = case.record["cell"]["settings"].get("precision", "auto")
    if precision != "auto":
        return precision == "bf16", False
    stored = case.arrays["test_predictions"]
    if stored.dtype == np.float32:  # a bf16 number is an fp32 one whose lower half is zero
        return not (np.ascontiguousarray(stored).view(np.uint32) & 0xFFFF).any(), False
    wide = getattr(module.config, "hidden_size", 0) >= 256  # as `Lab.bf16`
    return bool(wide and torch.ops.mkldnn._is_mkldnn_bf16_supported()), wide


def answers(module: Module, corpus: Corpus, bf16: bool, label: str) -> list[ndarray]:
    """Logits of each text (C,); for tags of each word's first token (W, C), NaN where cut off.

    The batches are those of `Lab.predict`, since rounding depends on a batch's shape.
    """
    import torch

    from kdbench.train.batching import by_length
    from kdbench.train.windows import text_logits

    found: dict[int, ndarray] = {}
    progress = Progress(f"{label}: its student", len(corpus), "texts")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        for indices in by_length(corpus.lengths, 64):
            progress.at(len(found))
            batch = corpus.batch(indices)
            values = module(**batch.inputs).logits.float().numpy()
            for row, i in enumerate(indices):
                found[i] = values[row]
                if batch.words is not None:
                    first = batch.words[row, : len(corpus.examples[i].words)].numpy()
                    found[i] = np.where(first[:, None] >= 0, values[row][first], np.nan)
    progress.end()
    return text_logits(corpus, [found[i] for i in range(len(corpus))])


def compare_tags(
    stored: Sequence[ndarray], logits: Sequence[ndarray], tolerance: float, outside: int
) -> Rerun:
    """`logits` (W, C) a sentence against stored tags (W,); a word that was cut off is `outside`."""
    if [len(tags) for tags in stored] != [len(rows) for rows in logits]:
        raise BadInput("its sentences do not have the lengths of those stored")
    rows, old = np.concatenate(logits), np.concatenate(stored).astype(int)
    read = ~np.isnan(rows[:, 0])
    new = np.where(read, np.nan_to_num(rows).argmax(axis=1), outside)
    words = np.arange(len(rows))
    lead = rows[words, new] - rows[words, old]
    near = lead <= 2 * tolerance * np.maximum(1, np.abs(rows).max(axis=1))  # False for NaN
    off = new != old
    far = int((off & ~near).sum())
    ends = np.cumsum([len(tags) for tags in stored])[:-1]
    unexplained = f"{far} of {len(old)} tags differ by more than rounding" if far else ""
    return Rerun(np.split(new, ends), float(off.mean()), unexplained)


def compare_logits(stored: ndarray, logits: ndarray, tolerance: float, task_type: str) -> Rerun:
    """`logits` (N, C) against those stored; for a regression against values (N,)."""
    found = logits[:, 0] if task_type == "regression" else logits
    if stored.shape != found.shape:
        raise BadInput(f"its predictions have the shape {found.shape}, those stored {stored.shape}")
    old, new = stored.reshape(len(stored), -1), found.reshape(len(found), -1)
    error = np.abs(old - new).max(axis=1)
    far = ~(error <= tolerance * np.maximum(1, np.abs(old).max(axis=1)))
    off = far
    if task_type == "single":
        off = old.argmax(axis=1) != new.argmax(axis=1)
    elif task_type == "multi":
        off = ((old > 0) != (new > 0)).any(axis=1)
    unexplained = ""
    if far.any():
        unexplained = (
            f"logits of {far.sum()} of {len(far)} texts differ by more than rounding, "
            f"at most by {error.max():.2g}"
        )
    return Rerun(found, float(off.mean()), unexplained)
