"""A BiLSTM tagger and classifier as `transformers` models.

    embedding -> 2 x bidirectional LSTM -> dropout -> [linear - ReLU - dropout -] linear

`import kdbench.models.bilstm` makes the Auto classes find both. Padding is on the right. Each
direction is an LSTM of its own: the backward one reads every text reversed within its length, so
that padding never reaches it. That is what `pack_padded_sequence` computes, here with plain gathers
that export to ONNX and keep oneDNN's fused LSTM.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput


@strict
class BiLSTMConfig(PreTrainedConfig):
    """The default is a student of 47.6 MiB, with 9 labels.

    embedding        trained  an embedding of `embedding_size`
                     bert     BERT's embedding layer: words, positions and type, added and
                              normalised; made to take a copy of a BERT's (`embedding_size` is that
                              BERT's width)
                     cnn      multi-channel: the trained embedding, convolved with each of
                              `conv_widths` (`conv_channels` filters a width), ReLU, side by side
    hidden_size      units a direction
    classifier_size  units of the classifier's hidden layer; 0: one linear layer
    pooling          of the classifier over the positions of a text: max or mean
    packed           padding is not read (False: both directions read it)
    """

    model_type = "kdbench_bilstm"

    vocab_size: int = 28_996
    embedding: Literal["trained", "bert", "cnn"] = "trained"
    embedding_size: int = 300
    hidden_size: int = 300
    num_hidden_layers: int = 2
    dropout: float = 0.5
    classifier_size: int = 256
    pooling: Literal["max", "mean"] = "max"
    packed: bool = True
    conv_widths: list[int] | tuple[int, ...] = (1, 3, 5)
    conv_channels: int = 256
    # 0: no limit; with embedding=bert, whose table of positions ends there, 512
    max_position_embeddings: int = 0
    type_vocab_size: int = 1
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0

    @property
    def vector_size(self) -> int:
        """The width of the last layer's vectors: both directions beside each other."""
        return 2 * self.hidden_size

    def __post_init__(self, **kwargs: Any) -> None:
        if self.embedding == "bert":
            self.max_position_embeddings = self.max_position_embeddings or 512
        super().__post_init__(**kwargs)


class TrainedEmbedding(nn.Module):
    """(B, T) token ids -> (B, T, width); `real` (B, T, 1) is 1 at tokens that are read, 0 at
    others.
    """

    def __init__(self, config: BiLSTMConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.width = config.embedding_size

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """The embedding of each token."""
        return self.word_embeddings(input_ids)


class BertEmbedding(TrainedEmbedding):
    """BERT's embedding layer, its parameters under BERT's names."""

    def __init__(self, config: BiLSTMConfig):
        super().__init__(config)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, self.width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, self.width)
        self.LayerNorm = nn.LayerNorm(self.width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(0.1)  # BERT's own

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """Words, positions and type added, normalised, with dropout."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        added = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(added + self.token_type_embeddings.weight[0]))


class ConvolvedEmbedding(TrainedEmbedding):
    """Multi-channel CNN over the trained embedding."""

    def __init__(self, config: BiLSTMConfig):
        super().__init__(config)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(self.width, config.conv_channels, width, padding=width // 2)
            for width in config.conv_widths)
        self.width = len(config.conv_widths) * config.conv_channels

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """All convolutions' channels side by side, after a ReLU."""
        # beyond the text a convolution must see the same zeros as beyond the batch
        embedded = (self.word_embeddings(input_ids) * real).transpose(1, 2)
        channels = torch.cat([convolve(embedded) for convolve in self.convolutions], dim=1)
        return F.relu(channels).transpose(1, 2)


EMBEDDINGS = {"trained": TrainedEmbedding, "bert": BertEmbedding, "cnn": ConvolvedEmbedding}


class Layer(nn.Module):
    """One bidirectional LSTM layer; (B, T, width) -> (B, T, 2 x hidden)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.forwards = nn.LSTM(width, hidden, batch_first=True)
        self.backwards = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, inputs: Tensor, mirrored: Tensor) -> Tensor:
        """`mirrored` (B, T): of each position its mirror image within the text."""
        ahead = states_of(self.forwards, inputs)
        back = states_of(self.backwards, take(inputs, mirrored))
        return torch.cat([ahead, take(back, mirrored)], dim=-1)


def states_of(lstm: nn.LSTM, inputs: Tensor) -> Tensor:
    """The hidden states of each position, on a GPU in fp32.

    Under autocast of any type cuDNN computes in fp16, whose gradients underflow without a scaled
    loss.
    """
    if inputs.device.type == "cpu":
        return lstm(inputs)[0]
    with torch.autocast(inputs.device.type, enabled=False):
        return lstm(inputs.float())[0]


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows of `values` (B, T, D) in the order `index` (B, T)."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


class Encoder(nn.Module):
    """Token ids to hidden states: the embedding's output first, then each layer's."""

    def __init__(self, config: BiLSTMConfig):
        super().__init__()
        self.config = config
        self.embeddings: TrainedEmbedding = EMBEDDINGS[config.embedding](config)
        widths = [self.embeddings.width] + [2 * config.hidden_size] * (config.num_hidden_layers - 1)
        self.layers = nn.ModuleList(Layer(width, config.hidden_size) for width in widths)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Hidden states (B, T, width) of the embedding and of each layer."""
        if not self.config.packed:
            attention_mask = torch.ones_like(attention_mask)
        real = attention_mask.unsqueeze(-1).to(self.embeddings.word_embeddings.weight.dtype)
        position = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        mirrored = attention_mask.sum(1, keepdim=True) - 1 - position
        mirrored = torch.where(mirrored >= 0, mirrored, position)
        states = [self.embeddings(input_ids, real)]
        for number, layer in enumerate(self.layers):
            inputs = self.dropout(states[-1]) if number else states[-1]
            states.append(layer(inputs, mirrored) * real)
        return tuple(states)


class BiLSTMModel(PreTrainedModel):
    """What tagger and classifier share: encoder and head."""

    config_class = BiLSTMConfig
    base_model_prefix = "encoder"

    def __init__(self, config: BiLSTMConfig):
        super().__init__(config)
        width, labels = config.vector_size, config.num_labels or 2
        self.encoder = Encoder(config)
        self.dropout = nn.Dropout(config.dropout)
        if config.classifier_size:
            self.classifier: nn.Module = nn.Sequential(
                nn.Linear(width, config.classifier_size), nn.ReLU(), nn.Dropout(config.dropout),
                nn.Linear(config.classifier_size, labels))
        else:
            self.classifier = nn.Linear(width, labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initial values."""
        if isinstance(module, (nn.Embedding, nn.Linear, nn.LSTM, nn.Conv1d, nn.LayerNorm)):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of the token ids."""
        return self.encoder.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another one in its place."""
        self.encoder.embeddings.add_module("word_embeddings", value)

    def states(self, input_ids: Tensor,
               attention_mask: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Hidden states, and the attention mask; where none is given, all tokens are read."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.encoder(input_ids, mask), mask


class BiLSTMTagger(BiLSTMModel):
    """Logits (B, T, C), one row a token; at padding the hidden states are 0, and the logits the
    head's bias.
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None,
                labels: Tensor | None = None, output_hidden_states: bool | None = None,
                **_: Any) -> TokenClassifierOutput:
        """`labels` (B, T), -100 where there is none, give the mean cross-entropy as `loss`."""
        states, _mask = self.states(input_ids, attention_mask)
        logits = self.classifier(self.dropout(states[-1]))
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits,
                                     hidden_states=states if output_hidden_states else None)


class BiLSTMClassifier(BiLSTMModel):
    """Logits (B, C) a text, from its last hidden states, pooled over the text."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None,
                labels: Tensor | None = None, output_hidden_states: bool | None = None,
                **_: Any) -> SequenceClassifierOutput:
        """`labels` (B,) give the mean cross-entropy as `loss`."""
        states, mask = self.states(input_ids, attention_mask)
        read = mask.unsqueeze(-1) > 0
        if self.config.pooling == "mean":
            pooled = (states[-1] * read).sum(1) / read.sum(1).clamp(min=1)
        else:
            pooled = states[-1].masked_fill(~read, torch.finfo(states[-1].dtype).min).amax(1)
        logits = self.classifier(self.dropout(pooled))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        wanted = states if output_hidden_states else None
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=wanted)


AutoConfig.register(BiLSTMConfig.model_type, BiLSTMConfig)
AutoModelForTokenClassification.register(BiLSTMConfig, BiLSTMTagger)
AutoModelForSequenceClassification.register(BiLSTMConfig, BiLSTMClassifier)
