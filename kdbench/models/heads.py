"""Heads: what is put on an encoder for a task, and what becomes of a head that came with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

PROBLEM = {
    "single": "single_label_classification", "multi": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class Head:
    """What is put on an encoder: a classifier of `labels` for a task type, or a masked-LM head
    where `task_type` is "mlm".
    """

    task_type: str
    labels: tuple[str, ...] = ()

    @property
    def auto(self) -> Any:
        """The Auto class of transformers that makes models with this head."""
        if self.task_type == "mlm":
            return AutoModelForMaskedLM
        if self.task_type == "tags":
            return AutoModelForTokenClassification
        return AutoModelForSequenceClassification

    @property
    def classes(self) -> Any:
        """The models with this head, by the class of their configuration."""
        if self.task_type == "mlm":
            return MODEL_FOR_MASKED_LM_MAPPING
        if self.task_type == "tags":
            return MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
        return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    @property
    def config(self) -> dict[str, Any]:
        """What a model's configuration says of this head."""
        if self.task_type == "mlm":
            return {}
        labels = dict(enumerate(self.labels)) if self.labels else {0: "score"}
        config: dict[str, Any] = {"num_labels": len(labels), "id2label": labels,
                                  "label2id": {label: i for i, label in labels.items()}}
        if self.task_type in PROBLEM:
            config["problem_type"] = PROBLEM[self.task_type]
        return config


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave the random state outside as it was."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def label_names(config: PreTrainedConfig) -> list[str]:
    """The labels of a model's own head, in the order of its rows."""
    return [str(name).strip() for _, name in sorted((config.id2label or {}).items())]


def trained_head(config: PreTrainedConfig, head: Head) -> bool:
    """Does the configuration say, or leave open, that the model has a head of this kind?"""
    cls = head.classes.get(type(config), None)
    return cls is not None and (not config.architectures or cls.__name__ in config.architectures)


def output_layer(module: PreTrainedModel) -> nn.Linear:
    """The last linear layer with a row for each label."""
    labels = module.config.num_labels
    fitting = [layer for layer in module.modules()
               if isinstance(layer, nn.Linear) and layer.out_features == labels]
    return fitting[-1]


def vector_size(config: PreTrainedConfig) -> int:
    """The width of the vectors that a model's last layer gives: twice the units of a BiLSTM."""
    return getattr(config, "vector_size", config.hidden_size)


def draw_head(module: PreTrainedModel, seed: int) -> None:
    """A new head in place of one that was loaded because it has as many rows as the task."""
    with seeded(seed):
        fresh = type(module)(module.config)
    for name, child in fresh.named_children():
        if name != module.base_model_prefix:
            setattr(module, name, child)
