"""The layers of an encoder: where they are, and a model with fewer of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from kdbench.base.errors import BadInput
from kdbench.base.identity import digest
from kdbench.models.heads import seeded
from kdbench.models.load import Model

Stack = tuple[nn.Module, str, nn.ModuleList]  # its owner, its name there, the layers


def layers_of(module: PreTrainedModel) -> Stack | None:
    """The encoder's stack of layers with its owner and attribute name; None where layers are shared
    (ALBERT).
    """
    depth = module.config.num_hidden_layers
    for owner in module.base_model.modules():
        for name in ("layer", "layers"):
            child = getattr(owner, name, None)
            if isinstance(child, nn.ModuleList) and len(child) == depth:
                return owner, name, child
    return None


def cut(model: Model, layers: int, which: str = "") -> Model:
    """The same model with `layers` of its layers; `which` as of `Source`."""
    depth = model.module.config.num_hidden_layers
    kept = kept_layers(depth, layers, which)
    if max(layers, *kept) > depth:
        raise BadInput(f"model cut:{which if ',' in which else layers}: {model.name} has only "
                       f"{depth} layers")
    kept = [layer - 1 for layer in kept]
    module = copy.deepcopy(model.module)
    stack = layers_of(module)
    shorten(module.config, kept)
    check_readable(module.config, model.name)
    if stack:
        owner, name, children = stack
        setattr(owner, name, renumbered(module, [children[i] for i in kept]))
    elif not getattr(module.config, "num_hidden_groups", None):
        raise BadInput(f"model cut:{layers}: the layers of {model.name} "
                       f"({module.config.model_type}) are not found; take another student")
    named = {"which": which} if which else {}
    return Model(module, model.tokenizer, f"{model.name} cut to {layers} layers",
                 digest({"cut": layers, "of": model.key, **named}), model.lr)


def kept_layers(depth: int, layers: int, which: str) -> list[int]:
    """The numbers, from 1, of the layers that stay."""
    if which == "first":
        return list(range(1, layers + 1))
    if which == "last":
        return list(range(depth - layers + 1, depth + 1))
    if which:
        return [int(layer) for layer in which.split(",")]
    return [round((i + 1) * depth / layers) for i in range(layers)]


def shorten(config: PreTrainedConfig, kept: Sequence[int]) -> None:
    """Make a configuration that of a model with the layers `kept`."""
    types = getattr(config, "layer_types", None)
    config.num_hidden_layers = len(kept)
    if types:
        config.layer_types = [types[i] for i in kept]


def check_readable(config: PreTrainedConfig, name: str) -> None:
    """`BadInput` where this version of transformers cannot read its own configuration again:
    before a training, not after it (5.10 cannot where a ModernBERT's layers are of one kind).
    """
    try:
        type(config).from_dict(config.to_dict())
    except Exception as error:  # transformers checks the values with errors of many classes
        raise BadInput(f"{name}: of these {config.num_hidden_layers} layers transformers "
                       f"{transformers.__version__} makes no model that it can read; keep others, "
                       "or pip install -U transformers") from error


def renumbered(module: PreTrainedModel, children: Sequence[nn.Module]) -> nn.ModuleList:
    """Layers as the configuration of `module` has them, with the weights of `children`.

    What a layer is can depend on its place: ModernBERT's first one has no norm before its
    attention, and each knows whether it sees the whole text. As a model that is loaded again is
    built by its configuration, so are these.
    """
    with seeded(0):
        stack = layers_of(type(module)(module.config))
    assert stack is not None
    for layer, child in zip(stack[2], children, strict=True):
        missing, _ = layer.load_state_dict(child.state_dict(), strict=False)
        assert not missing, missing
    return stack[2]
