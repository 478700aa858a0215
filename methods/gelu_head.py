"""A transformer encoder with DSG-KD's classifier: dropout - Linear - GELU - dropout - Linear on the
pooler output.

To import this module makes the Auto classes find it. `methods/index.py` names it, so that
`kdbench.models.architectures` imports it and a folder of it loads like any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from kdbench.base.identity import digest
from kdbench.models.configs import with_our_attention
from kdbench.models.zoo import position_limit

if TYPE_CHECKING:
    from kdbench.models.load import Model

SHARED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
          "type_vocab_size", "pad_token_id")


class GeluHeadConfig(PreTrainedConfig):
    """`encoder` is the configuration of the encoder; its sizes are repeated here, where other code
    looks for them.
    """

    model_type = "kdbench_gelu_head"

    def __init__(self, encoder: dict[str, Any] | None = None, dropout: float = 0.1, **kwargs: Any):
        self.encoder = encoder or {"model_type": "bert"}
        self.dropout = dropout
        super().__init__(**kwargs)

    def encoder_config(self) -> PreTrainedConfig:
        """The configuration of the encoder alone."""
        return with_our_attention(AutoConfig.for_model(**self.encoder))


class GeluHeadModel(PreTrainedModel):
    """Logits (B, C). An encoder without a pooler gives its last layer's first position instead."""

    config_class = GeluHeadConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True

    def __init__(self, config: GeluHeadConfig):
        super().__init__(config)
        self.encoder: Any = AutoModel.from_config(config.encoder_config())
        width, labels = self.encoder.config.hidden_size, len(config.id2label or {})
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, width),
                                        nn.GELU(), nn.Dropout(config.dropout),
                                        nn.Linear(width, labels))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initial values for the head; the encoder has drawn its own."""

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's."""
        return self.encoder.get_input_embeddings()

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """The encoder's; the name is also kept here, where other code looks for it."""
        self.encoder.set_attn_implementation(attn_implementation, *args, **kwargs)
        self.config._attn_implementation = self.encoder.config._attn_implementation

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None,
                token_type_ids: Tensor | None = None, labels: Tensor | None = None,
                **wanted: Any) -> SequenceClassifierOutput:
        """`labels` (B,) give the mean cross-entropy as `loss`."""
        if token_type_ids is not None:
            wanted["token_type_ids"] = token_type_ids
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **wanted)
        pooled = getattr(states, "pooler_output", None)
        logits = self.classifier(states.last_hidden_state[:, 0] if pooled is None else pooled)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits,
                                        hidden_states=states.get("hidden_states"),
                                        attentions=states.get("attentions"))


def with_gelu_head(model: Model, seed: int) -> Model:
    """The encoder of `model` under this head, which is drawn from `seed`; the encoder's weights are
    kept.
    """
    base = model.module.base_model
    old = model.module.config
    sizes = {name: getattr(old, name) for name in SHARED if getattr(old, name, None) is not None}
    task = {"id2label": old.id2label, "label2id": old.label2id, "problem_type": old.problem_type}
    outside = (*task, "architectures", "num_labels")
    encoder = {name: value for name, value in old.to_diff_dict().items()
               if not name.startswith("_") and name not in outside}
    config = GeluHeadConfig(encoder={**encoder, "model_type": old.model_type},
                            dropout=getattr(old, "hidden_dropout_prob", 0.1),
                            max_position_embeddings=position_limit(model.module.config.to_dict()),
                            **task, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = GeluHeadModel(config)
    # RoBERTa's classifier brings its encoder without a pooler
    missing, unexpected = module.encoder.load_state_dict(base.state_dict(), strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith("pooler.") for name in missing), missing
    key = digest({"head": "gelu", "of": model.key, "seed": seed})
    return replace(model, module=module, key=key, ready=False)


AutoConfig.register(GeluHeadConfig.model_type, GeluHeadConfig)
AutoModelForSequenceClassification.register(GeluHeadConfig, GeluHeadModel)
