"""A classifier over the mean of static token vectors, as a `transformers` model.

    embedding -> mean over a text's tokens -> unit length -> [dropout - linear - ReLU -] dropout -
    linear

To import this module makes the Auto classes find it. `methods/index.py` names it, so that
`kdbench.models.architectures` imports it and a folder of it loads like any other.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput


@strict
class StaticConfig(PreTrainedConfig):
    """hidden_size      units of a token's vector
    classifier_size  units of the classifier's hidden layer; 0: one linear layer
    left_out         token ids that are in no mean: special ones
    separator        of pairs of texts: the token between them; None: a row is one text
    separators_before  how many of it stand before the first text's end
    """

    model_type = "kdbench_static"

    vocab_size: int = 30_522
    hidden_size: int = 256
    classifier_size: int = 0
    dropout: float = 0.0
    left_out: list[int] | tuple[int, ...] = (0,)
    separator: int | None = None
    separators_before: int = 0
    pad_token_id: int | None = 0


class Vectors(nn.Module):
    """Token ids (B, T) to their vectors (B, T, d), and which of them a mean reads."""

    left_out: Tensor

    def __init__(self, config: StaticConfig):
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        # stored with the weights: a tensor that is made in a step would wait for the device
        self.register_buffer("left_out", torch.tensor(list(config.left_out), dtype=torch.long))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, d) vectors and (B, T) whether the token is real and not special."""
        special = (input_ids.unsqueeze(-1) == self.left_out).long().sum(-1) > 0
        return self.embeddings(input_ids), (attention_mask > 0) & ~special


def text_vectors(vectors: Tensor, read: Tensor) -> Tensor:
    """(B, d) the mean of the vectors (B, T, d) that are `read` (B, T), at unit length; 0 of a text
    of which none is.
    """
    share = read.unsqueeze(-1).to(vectors.dtype)
    return F.normalize((vectors * share).sum(1) / share.sum(1).clamp(min=1), dim=-1)


def compared(first: Tensor, second: Tensor) -> Tensor:
    """[a, b, |a - b|, a * b] of two texts' vectors (B, d): (B, 4 d) (Conneau et al. 2017, section
    3.1).
    """
    return torch.cat([first, second, (first - second).abs(), first * second], -1)


class StaticClassifier(PreTrainedModel):
    """Logits (B, C) of a text, or of a pair of texts in one row."""

    config_class = StaticConfig
    base_model_prefix = "encoder"

    def __init__(self, config: StaticConfig):
        super().__init__(config)
        width = config.hidden_size * (1 if config.separator is None else 4)
        labels, hidden = config.num_labels or 2, config.classifier_size
        self.encoder = Vectors(config)
        if hidden:
            self.classifier: nn.Module = nn.Sequential(
                nn.Dropout(config.dropout), nn.Linear(width, hidden), nn.ReLU(),
                nn.Dropout(config.dropout), nn.Linear(hidden, labels))
        else:
            self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, labels))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initial values."""
        if isinstance(module, nn.Embedding | nn.Linear):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        """The vectors of the token ids."""
        return self.encoder.embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put others in their place."""
        self.encoder.add_module("embeddings", value)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None,
                labels: Tensor | None = None, output_hidden_states: bool | None = None,
                **_: Any) -> SequenceClassifierOutput:
        """`labels` (B,) give the mean cross-entropy as `loss`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors, read = self.encoder(input_ids, mask)
        if self.config.separator is None:
            features = text_vectors(vectors, read)
        else:
            passed = (input_ids == self.config.separator).long().cumsum(1)
            second = passed > self.config.separators_before
            features = compared(text_vectors(vectors, read & ~second),
                                text_vectors(vectors, read & second))
        logits = self.classifier(features)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits,
                                        hidden_states=(vectors,) if output_hidden_states else None)


AutoConfig.register(StaticConfig.model_type, StaticConfig)
AutoModelForSequenceClassification.register(StaticConfig, StaticClassifier)
