"""A recipe's configuration in the words of its model type: recipes give sizes in BERT's words."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerFast

# the same type by another name
TYPES = {"deberta": "deberta-v2", "deberta-v3": "deberta-v2"}
# DistilBERT's own words for the sizes of an encoder
DISTILBERT = {
    "hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim", "initializer_range": "initializer_range",
}
# what makes a DeBERTa of version 3 out of the type: positions relative to each other alone
DEBERTA_V3 = {
    "relative_attention": True, "position_biased_input": False, "position_buckets": 256,
    "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm",
    "type_vocab_size": 0,
}
SPECIAL = ("bos", "eos", "cls", "sep", "mask")


def architecture(config: dict[str, Any]) -> dict[str, Any]:
    """A recipe's configuration as keyword arguments of `AutoConfig.for_model`, in the words of its
    model type.
    """
    sizes = {name: value for name, value in config.items() if name != "type"}
    kind = config["type"]
    if kind == "distilbert":
        sizes = {DISTILBERT.get(name, name): value for name, value in sizes.items()}
    if kind == "albert":
        sizes["embedding_size"] = sizes["hidden_size"]
    if kind == "deberta-v3":
        sizes = {**DEBERTA_V3, **sizes}
    return {"model_type": TYPES.get(kind, kind), **sizes}


def name_special_tokens(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the tokenizer's special ids into a configuration whose own lie beyond its vocabulary,
    as defaults do that belong to a large one.
    """
    for role in SPECIAL:
        name = f"{role}_token_id"
        found = getattr(config, name, None)
        if isinstance(found, int) and found >= len(tokenizer):
            setattr(config, name, getattr(tokenizer, name))
