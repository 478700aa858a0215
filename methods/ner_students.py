"""The models of `ner_kd`: their tokenizers compared, and a BiLSTM built as its options say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from kdbench.base.identity import digest
from kdbench.models.bilstm import BiLSTMConfig, BiLSTMTagger
from kdbench.models.heads import seeded
from kdbench.models.load import Model

Setting: TypeAlias = str | int | float | bool | None


def is_bilstm(model: Model) -> bool:
    """Is it a BiLSTM, which has no attention and no layers of TinyBERT's?"""
    return isinstance(model.module.config, BiLSTMConfig)


def lower_cased(model: Model) -> Model:
    """`model` with a tokenizer that lower-cases first, whatever its vocabulary."""
    backend = model.tokenizer.backend_tokenizer
    normalizer = backend.normalizer
    if normalizer is not None and normalizer.normalize_str("A") == "a":
        return model
    changed = Tokenizer.from_str(backend.to_str())
    steps = [normalizers.Lowercase()]
    if normalizer is not None:
        steps.append(normalizer)
    changed.normalizer = normalizers.Sequence(steps)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=changed,
                                        **model.tokenizer.special_tokens_map)
    return replace(model, tokenizer=tokenizer, key=digest({"lower-cased": model.key}))


def same_tokens(first: PreTrainedTokenizerFast, second: PreTrainedTokenizerFast) -> bool:
    """Do both cut every text into the same ids?"""
    if first is second:
        return True
    specs = [json.loads(tokenizer.backend_tokenizer.to_str()) for tokenizer in (first, second)]
    for spec in specs:
        spec["truncation"] = spec["padding"] = None  # left over from the last call
    return specs[0] == specs[1]


def shaped(bilstm: Model, settings: Mapping[str, Setting], teacher: Model | None,
           seed: int) -> Model:
    """`bilstm` with another configuration: with its weights where they still fit, else drawn from
    `seed`.

    settings  fields of `BiLSTMConfig`; None leaves one as it is. With embedding "bert" the
              embedding has the teacher's weights, and its width where the settings name none
    teacher   None where it is no model, and has no embedding
    """
    changes = changed_settings(bilstm, settings, teacher)
    if not changes:
        return bilstm
    with seeded(seed):
        config = BiLSTMConfig.from_dict({**bilstm.module.config.to_dict(), **changes})
        module = BiLSTMTagger(config)
    if shapes(bilstm.module) == shapes(module):
        module.load_state_dict(bilstm.module.state_dict())
    copied = teacher is not None and changes.get("embedding") == "bert"
    if teacher is not None and copied:
        tables = teacher.module.base_model.get_submodule("embeddings").state_dict()
        if module.config.embedding_size < teacher.module.config.hidden_size:
            tables = {**module.encoder.embeddings.state_dict(),  # its norm as it is
                      **reduced(tables, module.config.embedding_size)}
        module.encoder.embeddings.load_state_dict(tables)
    embeddings_of = teacher.key if teacher is not None and copied else None
    key = digest({"of": bilstm.key, "changes": changes, "embeddings": embeddings_of})
    return replace(bilstm, module=module, key=key)


def reduced(tables: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """BERT's embedding tables (N, H) in `width` columns: E V, V the first right singular vectors of
    the words' table. No other map of that rank comes closer to the words (Eckart and Young 1936).

    A singular vector and its negative are both one: here its largest entry is positive.
    """
    words = tables["word_embeddings.weight"].double()
    directions = torch.linalg.eigh(words.T @ words).eigenvectors.flip(-1)[:, :width]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = directions * largest.sign()
    return {name: (table.double() @ directions).to(table.dtype) for name, table in tables.items()
            if name.endswith("_embeddings.weight")}


def changed_settings(bilstm: Model, settings: Mapping[str, Setting],
                     teacher: Model | None) -> dict[str, Setting]:
    """Those of the `settings` that the BiLSTM does not have yet."""
    wanted = dict(settings)
    if teacher is not None and wanted.get("embedding") == "bert":
        source = teacher.module.config
        width = wanted.get("embedding_size") or source.hidden_size
        wanted |= {"vocab_size": source.vocab_size, "embedding_size": width,
                   "max_position_embeddings": source.max_position_embeddings,
                   "type_vocab_size": source.type_vocab_size,
                   "layer_norm_eps": source.layer_norm_eps}
    config = bilstm.module.config
    return {name: value for name, value in wanted.items()
            if value is not None and value != getattr(config, name)}


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    """The shape of every weight, by name."""
    return {name: value.shape for name, value in module.state_dict().items()}
