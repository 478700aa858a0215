"""Scores of a cell: what a model predicts there, how good that is, and what selects an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from kdbench.base import code
from kdbench.base.errors import Broken
from kdbench.base.progress import say_once
from kdbench.data.task import Data, Example, Task
from kdbench.data.windows import Windows
from kdbench.models.load import Model
from kdbench.score import metrics
from kdbench.train.batching import Corpus
from kdbench.train.content import content_of
from kdbench.train.limits import Limiting
from kdbench.train.prediction import average, logits_of
from kdbench.train.spec import Settings
from kdbench.train.training import Training
from kdbench.train.windows import corpus_of, windows_content

# Further measures of dev by name: `measure(logits (N, C), labels (N,))`.
Measures = Mapping[str, Callable[[Tensor, Tensor], float]]
Predictions = Any  # logits (N, C), values (N,), or `metrics.WordTags`
WIDE = 256  # hidden units from which bf16 gains time on a CPU


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Of logits (N, C) and labels (N,)."""
    return float(F.cross_entropy(logits, labels))


def native_bf16(device: str) -> bool:
    """Does this type of device compute in bf16 without emulating it?"""
    if device == "cpu":
        # no public function says it
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    # a T4 or V100 emulates it, which is slower than fp32
    return torch.get_device_module(device).is_bf16_supported(including_emulation=False)


class Scoring(Limiting):
    """The part of a lab that scores; the attributes are the lab's."""

    task: Task
    data: Data
    settings: Settings
    accelerator: Accelerator
    label: str
    _corpora: dict[Any, tuple[Corpus, Any]]

    def predict(self, model: Model, examples: Sequence[Example],
                max_length: int | None = None) -> Predictions:
        """Predictions as the metrics take them: logits (N, C), values (N,), or
        `metrics.WordTags`.
        """
        rows: Sequence[np.ndarray] = []
        for member in model.members:
            corpus = self.corpus(member, examples, max_length or self.limit(member),
                                 self.windows(member))
            own = logits_of(member, corpus, self.accelerator, self.autocast(member),
                            f"{self.label}{member.name}, prediction")
            rows = average(rows, own, self.task.task_type) if rows else own
        if self.task.task_type == "tags":
            tags = [row.astype(np.int64) for row in rows]
            return metrics.word_tags(tags, corpus.whole_word_ids or (),
                                     [len(e.words) for e in examples],
                                     self.data.labels.index("O"))
        return np.stack(rows)[:, 0] if self.task.task_type == "regression" else np.stack(rows)

    def score(self, model: Model, split: str,
              names: Sequence[str] | None = None) -> tuple[metrics.Scores, Predictions]:
        """Scores and predictions of `model` on a split."""
        examples = self.data.split(split)
        predictions = self.predict(model, examples)
        info = metrics.info_for(self.task, self.data, split)
        return metrics.evaluate(self.task, info, examples, predictions, names), predictions

    def dev_measures(self, model: Model, names: Sequence[str],
                     measures: Measures) -> dict[str, float]:
        """What dev shows, by name: "score", and what `names` ask for ("-" before them is ignored):
        metrics, "loss" (the mean cross-entropy), and those of `measures`.
        """
        of_logits = {"loss": mean_cross_entropy, **measures}
        plain = [name.removeprefix("-") for name in names]
        watched = [name for name in plain if name != "score" and name not in of_logits]
        scores, predictions = self.score(model, "dev", watched)
        values = {"score": scores.main, **scores.all}
        for name in plain:
            if name in of_logits:
                labels = torch.tensor([e.label for e in self.data.dev])
                values[name] = of_logits[name](torch.from_numpy(np.asarray(predictions)), labels)
        if not np.isfinite(values["score"]):
            raise Broken(f"{self.label}{model.name}: the dev score is not finite")
        return values

    # --- selection ------------------------------------------------------------------------------

    def selection_content(self, training: Training, measures: Measures) -> dict[str, Any] | None:
        """What decides which epoch is kept; None where dev selects nothing."""
        if not self.selects(training):
            return None
        watched = [metrics.code_of_metric(name) for name in self.watched(training)]
        return {
            "dev": self.data.digests["dev"],
            "train": self.data.digests["train"],
            "metric": self.task.metric,
            "negative": self.task.negative,
            "labels": self.data.labels,
            "max_length": self.settings.max_length,
            **windows_content(self.settings),
            "measures": content_of(measures, "the measures"),
            "code": [code.core("scoring"), watched],
        }

    def watched(self, training: Training) -> list[str]:
        """The metrics whose values on dev decide something."""
        names = {name.removeprefix("-") for name in training.measures}
        names = names - {"score"} | {self.task.metric}
        return sorted(name for name in names if name in metrics.METRICS)

    def selects(self, training: Training) -> bool:
        """Does the dev set decide which epoch is kept, or when to stop?"""
        return (training.select == "best" or training.patience is not None) and bool(self.data.dev)

    # --- precision and tokens -------------------------------------------------------------------

    def bf16(self, model: Model) -> bool:
        """bf16 autocast: as asked, else where the device has it and the model is wide enough to
        gain.
        """
        if self.settings.precision != "auto":
            return self.settings.precision == "bf16"
        if getattr(model.module.config, "hidden_size", 0) < WIDE:
            return False
        return native_bf16(self.accelerator.device.type)

    def precision_note(self, model: Model) -> str:
        """Why a model that gains by bf16 was trained in fp32 on an accelerator; empty elsewhere."""
        device = self.accelerator.device.type
        wide = getattr(model.module.config, "hidden_size", 0) >= WIDE
        if device == "cpu" or self.settings.precision != "auto" or not wide or native_bf16(device):
            return ""
        name = torch.get_device_module(device).get_device_name()
        note = f"{name} has no bf16 of its own and would emulate it: trained in fp32"
        say_once(note)
        return note

    def autocast(self, model: Model) -> torch.autocast:
        """The context of this model's forward passes."""
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16,
                              enabled=self.bf16(model))

    def corpus(self, model: Model, examples: Sequence[Example], max_length: int,
               windows: Windows | None = None) -> Corpus:
        """The examples in this model's tokens, made once."""
        key = (id(model.tokenizer), type(model.module).__name__, model.module.config.model_type,
               model.unattended_ids, id(examples), max_length, windows)
        if key not in self._corpora:
            corpus_class = getattr(examples, "corpus_class", corpus_of(windows))
            corpus = corpus_class(model, examples, max_length, self.task.task_type,
                                  len(self.data.labels))
            # these stay alive, as their identities are the key
            self._corpora[key] = (corpus, (examples, model.tokenizer))
        return self._corpora[key][0]
