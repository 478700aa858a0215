"""config.json of a model from elsewhere: its sizes are checked before anything of them is built.

Sizes are bounded one by one, and the parameters that they add up to by the file of weights beside
them: a configuration of a few bytes must not ask for more memory than its weights could fill. How
attention is computed is never taken from a file: transformers reads ``owner/kernel`` there as code
of the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base import reading
from kdbench.base.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# The largest that is taken, by the names that model types give a size. The largest encoders known
# have 48 layers, a width of 4,096 and 1,000,000 pieces.
BOUNDS = {
    1_000: ("num_hidden_layers", "n_layers", "num_layers", "n_layer", "encoder_layers",
            "decoder_layers", "num_hidden_groups", "inner_group_num", "type_vocab_size"),
    65_536: ("hidden_size", "dim", "d_model", "n_embd", "embedding_size", "num_attention_heads",
             "n_heads", "n_head", "num_key_value_heads", "head_dim", "classifier_size",
             "conv_channels"),
    1_048_576: ("intermediate_size", "hidden_dim", "ffn_dim", "d_ff", "num_labels",
                "max_position_embeddings", "max_relative_positions", "position_buckets"),
    10_000_000: ("vocab_size",),
}
LARGEST = {name: most for most, names in BOUNDS.items() for name in names}
# sizes that may be nothing: no token types, positions without a bound
MAY_BE_NONE = ("type_vocab_size", "max_relative_positions", "position_buckets", "num_labels",
               "embedding_size", "max_position_embeddings", "classifier_size")
TABLES = ("id2label", "label2id")
# Parameters that a configuration may ask for: four for each byte of the weights (one that is stored
# in a quarter of its size, and layers that share theirs), and what a toy may add.
PER_BYTE, FREE = 4, 100_000_000


def checked_config(path: Path, weights: int | None = None) -> dict[str, Any]:
    """The object in a config.json.

    weights  bytes of the weights that belong to it; None: not compared

    Raises `BadInput` where it is no object, a size is out of bounds, or weights are quantised.
    """
    config = reading.json_object(path)
    if config.get("quantization_config"):
        raise BadInput(f"{path}: its weights are quantised (quantization_config), which is not "
                       "read; give the model in full precision")
    check_sizes(path, config)
    asked = parameters(config)
    if weights is not None and asked > PER_BYTE * weights + FREE:
        raise BadInput(f"{path}: asks for about {asked:,} parameters, and the weights have "
                       f"{weights:,} bytes; they are not of one model: get the folder again")
    return config


def check_sizes(path: Path, config: Mapping[str, Any]) -> None:
    """`BadInput` where a size is no whole number, or out of bounds; also in inner objects."""
    for name, value in config.items():
        if isinstance(value, dict) and name not in TABLES:
            check_sizes(path, value)
        if name in TABLES and not isinstance(value, dict | None):
            raise BadInput(f"{path}: {name} is no table of labels; get the folder again")
        if name in TABLES and value and len(value) > LARGEST["num_labels"]:
            raise BadInput(f"{path}: {name} has {len(value):,} labels, and at most "
                           f"{LARGEST['num_labels']:,} are taken; get the folder again")
        if name not in LARGEST or value is None:
            continue
        least = 0 if name in MAY_BE_NONE else 1
        if name in MAY_BE_NONE and value == -1:
            continue
        if type(value) is not int or not least <= value <= LARGEST[name]:
            raise BadInput(f"{path}: {name} is {str(value)[:40]}, not a whole number from {least} "
                           f"to {LARGEST[name]:,}; get the folder again")


def parameters(config: Mapping[str, Any]) -> int:
    """About how many parameters a model of this configuration has."""

    def size(*names: str) -> int:
        found = [config[name] for name in names if type(config.get(name)) is int]
        return max(found, default=0)

    width = size("hidden_size", "dim", "d_model", "n_embd")
    layers = size("num_hidden_layers", "n_layers", "num_layers", "n_layer", "encoder_layers")
    inner = size("intermediate_size", "hidden_dim", "ffn_dim", "d_ff")
    if type(config.get("num_hidden_groups")) is int:  # ALBERT: the layers share their weights
        layers = min(layers, config["num_hidden_groups"])
    labels = max(size("num_labels"), len(config.get("id2label") or ()))
    pieces = size("embedding_size") or width
    rows = size("vocab_size") + size("max_position_embeddings") + size("type_vocab_size")
    return rows * pieces + layers * width * (4 * width + 2 * inner) + labels * width


def config_of_path(path: str, **changes: Any) -> PreTrainedConfig:
    """The configuration of the model at `path` (folder or hub id), without its words on attention.

    changes  keyword arguments that take the place of entries
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    content = with_numbers_as_text(path)
    if content.get("model_type") in CONFIG_MAPPING:
        made = CONFIG_MAPPING[content["model_type"]].from_dict(content, **changes)
        return with_our_attention(made)
    # where nothing is said of code, transformers asks whether to run a model's own
    return with_our_attention(AutoConfig.from_pretrained(path, trust_remote_code=False, **changes))


def with_numbers_as_text(path: str) -> dict[str, Any]:
    """The content of a folder's config.json with labels as text, where one is a number, which
    transformers refuses in some versions; else nothing.
    """
    file = Path(path) / "config.json"
    content = reading.json_object(file) if file.is_file() else {}
    named = content.get("id2label")
    if not isinstance(named, dict) or all(isinstance(name, str) for name in named.values()):
        return {}
    return {**content, "id2label": {row: str(name) for row, name in named.items()}}


def with_our_attention(config: PreTrainedConfig) -> PreTrainedConfig:
    """`config`, with attention and experts left to the model's class, as nothing in a file is."""
    config._attn_implementation = None
    config._experts_implementation = None
    return config
