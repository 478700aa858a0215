"""What a model answers: logits of a corpus, and predictions as the metrics take them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from scipy.special import softmax

from kdbench.base.errors import BadInput, Broken, Skip
from kdbench.base.progress import Progress
from kdbench.models.finite import finite_logits
from kdbench.models.load import Model
from kdbench.train.batching import Corpus, by_length
from kdbench.train.memory import in_halves

BATCH = 64
Value = TypeVar("Value")


def logits_of(model: Model, corpus: Corpus, accelerator: Accelerator,
              autocast: AbstractContextManager, label: str) -> list[np.ndarray]:
    """The model's logits of each example, (C,); for tags the predicted tag of each token, (T,), by
    `corpus.whole_word_ids`.

    NaN has a largest class too, so logits that are no numbers are refused here (`not_finite`).
    Each process computes its share of the batches; all of them get all results.
    """
    module = model.module.to(accelerator.device)
    was_training = module.training
    module.eval()
    progress = Progress(label, len(corpus), "texts", enabled=accelerator.is_main_process)
    rows: dict[int, np.ndarray] = {}
    done = 0

    def read(indices: list[int]) -> list[np.ndarray]:
        inputs = corpus.batch(indices).to(accelerator.device).inputs
        logits = module(**inputs).logits
        if not finite_logits(logits, inputs.get("attention_mask")):
            raise not_finite(model, label)
        if corpus.task_type == "tags":
            logits = logits.argmax(-1)
        return list(logits.float().cpu().numpy())

    with torch.inference_mode(), autocast:
        for number, indices in enumerate(by_length(corpus.lengths, BATCH)):
            progress.at(done)
            done += len(indices)
            if number % accelerator.num_processes != accelerator.process_index:
                continue
            values = in_halves(read, indices, accelerator.device)
            rows.update(zip(indices, values, strict=True))
    if accelerator.num_processes > 1:
        rows = dict(gather_object(list(rows.items())))
    progress.end()
    module.train(was_training)
    return corpus.whole([rows[i] for i in range(len(corpus))])


def not_finite(model: Model, label: str) -> BadInput | Broken:
    """The error of a model whose logits are NaN or infinite: bad input where it came trained."""
    said = f"{label}: model {model.name} gives logits that are not finite (NaN or infinite)"
    if model.ready:
        return BadInput(f"{said}; its weights are of no use: get the model again, or take another")
    return Broken(f"{said}; lower the learning rate, or use --precision fp32")


def check_values(what: str, values: Sequence[np.ndarray]) -> None:
    """`Broken` where signals are no numbers as they are stored."""
    if not all(np.isfinite(value).all() for value in values):
        raise Broken(f"{what} is not finite (NaN, infinite, or above 65,504 where it is stored in "
                     "16 bits); take another teacher")


def average(one: Sequence[np.ndarray], other: Sequence[np.ndarray],
            task_type: str) -> list[np.ndarray]:
    """log of the mean of two models' class probabilities, as logits again."""
    if task_type != "single":
        raise Skip("the mean of two models' probabilities is defined for one label a text")
    return list(np.log((probabilities(one) + probabilities(other)) / 2))


def probabilities(rows: Sequence[np.ndarray]) -> np.ndarray:
    """(N, C) softmax of logits, in float64."""
    return softmax(np.stack(list(rows)).astype(np.float64), axis=-1)
