"""What models, objectives, signals and examples are, by their content.

These are the parts of a stage's key. See `content_values.py` for what is described and why.
"""

from __future__ import annotations

import functools
import hashlib
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from kdbench.base import code
from kdbench.base.code import code_of
from kdbench.base.errors import BadInput
from kdbench.base.identity import digest
from kdbench.data.task import Example
from kdbench.models.load import Model
from kdbench.train import cpu
from kdbench.train.answering import PartialSignals
from kdbench.train.content_code import is_library_code, is_own_code
from kdbench.train.content_values import (
    Json,
    Seen,
    content_of,
    describe,
    is_simple,
    tensor_bytes,
)
from kdbench.train.live_texts import LiveTexts
from kdbench.train.objective import Objective
from kdbench.train.signals import LiveSignals, Signals, StoredSignals

# What every module has; it does not decide what a module computes.
INTERNAL = frozenset(vars(nn.Module())) | {"training"}
SET_BY_THE_LOOP = ("epoch", "epochs")  # of an objective
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Of a configuration: where it came from, and by which version it was saved.
ORIGIN = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


@describe.register
def of_module(module: nn.Module, where: str, seen: Seen) -> dict[str, Json]:
    """Class, weights, hooks and attributes of a module and of its parts.

    A library's own module is what its class, configuration and weights make it; of its other
    attributes only plain values are read, such as the share of a dropout.
    """
    parts = {}
    for name, part in module.named_modules():
        place = f"{where}.{name}" if name else where
        # the CPU's dropout is faster, with the same result
        cls = nn.Dropout if type(part) is cpu.Dropout else type(part)
        own = {}
        for key, value in sorted(vars(part).items()):
            if decides(key, value, part, cls):
                own[key] = content_of(value, f"{place}.{key}", seen)
        parts[name] = [content_of(cls, place, seen), own, hooks_of(part, place, seen)]
    config = getattr(module, "config", None)
    return {"parts": digest(parts), "weights": weights_hash(module),
            "config": config_content(config) if isinstance(config, PreTrainedConfig) else None}


def decides(key: str, value: object, part: nn.Module, cls: type) -> bool:
    """Is this attribute of a module of the class `cls` one that decides what it computes?"""
    if key in INTERNAL or (key in SET_BY_THE_LOOP and isinstance(part, Objective)):
        return False
    if isinstance(value, PreTrainedConfig):
        return False
    if is_library_code(cls):
        return not key.startswith("_") and (is_simple(value) or is_own_code(value))
    return True


def hooks_of(part: nn.Module, where: str, seen: Seen) -> list[Json]:
    """The user's own hooks on a module and on its parameters; those of a library (transformers
    collects hidden states by them) change no value.
    """
    hooks: list[object] = []
    for name in HOOKS:
        hooks += getattr(part, name, {}).values()
    for parameter in part.parameters(recurse=False):
        hooks += (parameter._backward_hooks or {}).values()
    found = []
    for hook in hooks:
        is_function = isinstance(hook, types.FunctionType | types.MethodType)
        if is_own_code(hook) or not is_function:
            found.append(content_of(hook, f"a hook of {where}", seen))
    return found


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over all parameters and buffers of a module: names, types, shapes and bytes."""
    tensors: dict[str, torch.Tensor] = {**dict(module.named_parameters()),
                                        **dict(module.named_buffers())}
    sha256 = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        head = [name, str(tensor.dtype), list(tensor.shape), tensor.requires_grad]
        sha256.update(json.dumps(head).encode())
        sha256.update(tensor_bytes(tensor))
    return sha256.hexdigest()


def config_content(config: PreTrainedConfig) -> dict[str, Json]:
    """A model's configuration without what tells its origin."""
    kept = {key: value for key, value in config.to_dict().items() if key not in ORIGIN}
    return json.loads(json.dumps(kept, default=str, sort_keys=True))


@describe.register
def of_config(config: PreTrainedConfig, where: str, seen: Seen) -> Json:
    """As `config_content`."""
    return config_content(config)


def tokenizer_content(tokenizer: Any) -> str:
    """How a tokenizer cuts and numbers texts: its rules, vocabulary and special tokens.

    Truncation and padding are no part of it: each call sets them anew.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise BadInput(
            f"{type(tokenizer).__name__}: a tokenizer without tokenizer.json cannot be hashed")
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules["truncation"] = rules["padding"] = None
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    return digest([
        rules, special, tokenizer.padding_side, tokenizer.truncation_side,
        list(tokenizer.model_input_names)
    ])


@describe.register
def of_tokenizer(tokenizer: PreTrainedTokenizerBase, where: str, seen: Seen) -> Json:
    """As `tokenizer_content`."""
    return tokenizer_content(tokenizer)


def model_content(model: Model) -> dict[str, Json]:
    """What decides how a `Model` reads a text and goes on learning: module, tokenizer, unattended
    ids, partner.
    """
    return {
        "module": of_module(model.module, f"model {model.name}", ()),
        "tokenizer": tokenizer_content(model.tokenizer),
        "unattended_ids": list(model.unattended_ids),
        "partner": model_content(model.partner) if model.partner else None
    }


def objective_content(objective: Objective) -> dict[str, Json]:
    """The code of an objective and of the classes that it builds on, its attributes, its parts with
    their first weights.
    """
    bases = [code_of(base) for base in type(objective).__mro__ if issubclass(base, Objective)]
    where = f"objective {type(objective).__name__}"
    return {"code": bases, **of_module(objective, where, ())}


def signals_content(signals: Signals) -> Json:
    """What a training reads of a teacher: the values themselves where they are stored, else what
    computes them.
    """
    known = type(signals) in (StoredSignals, PartialSignals)
    if isinstance(signals, StoredSignals) and known and has_only(
            signals, "key", "rows", "task_type", "seconds"):
        return ["stored", stored_content(signals.key, signals.rows)]
    if type(signals) is LiveSignals and has_only(signals, "key", "teacher", "rows", "corpus"):
        pool = content_of(signals.teacher.pool, "the pool")
        return ["live", signals.key, model_content(signals.teacher.model), pool]
    if type(signals) is LiveTexts and has_only(signals, "key", "teacher", "rows", "corpus"):
        return ["live texts", signals.key, model_content(signals.teacher.model)]
    return content_of(signals, "the signals")


def has_only(value: object, *names: str) -> bool:
    """Has an object no attributes but these, so that nobody added one that decides something?"""
    return vars(value).keys() <= set(names)


def stored_content(key: str, rows: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """SHA-256 over all stored values of signals, by name and text."""
    sha256 = hashlib.sha256(key.encode())
    for name, values in sorted(rows.items()):
        for text, value in sorted(values.items()):
            sha256.update(f"{name} {text} {value.dtype} {value.shape}".encode())
            sha256.update(np.ascontiguousarray(value).tobytes())
    return sha256.hexdigest()


def examples_content(examples: Sequence[Example]) -> str:
    """Digest of what is trained on, in its order: texts and labels, or a file's content where they
    are lines of it.
    """
    identity = getattr(examples, "identity", None)
    if identity is not None:
        return identity()
    rows = []
    for example in examples:
        plain = type(example) is Example
        rows.append((example.key, example.label) if plain else content_of(example, "an example"))
    return digest(rows)


code.describe = functools.partial(content_of, where="a metric")
