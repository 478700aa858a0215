"""Vocabulary expansion: new WordPiece entries behind a tokenizer's own, and embedding rows for
them.

The old ids stay as they are. So a model of the old vocabulary still reads its part of every text,
and its output columns line up with the first columns of the expanded model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, trainers
from tokenizers import models as pieces
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from kdbench.data.readers import read, shown
from kdbench.models.common_words import Rule, train_on_common
from kdbench.models.zoo import BEHIND_PADDING

PUBLIC = Rule()


def is_wordpiece(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Does it cut words by a WordPiece vocabulary?"""
    return isinstance(tokenizer.backend_tokenizer.model, pieces.WordPiece)


def train_tokens(texts: Callable[[], Iterable[str]], tokenizer: PreTrainedTokenizerFast, count: int,
                 min_frequency: int, rule: Rule = PUBLIC) -> list[str]:
    """At most `count` WordPiece entries that the texts need and `tokenizer` lacks, in the order
    training makes them.

    `texts()` begins to read the texts and is called up to three times. The trainer cuts them into
    words as `tokenizer` does (same normaliser, same pre-tokeniser): single characters come first,
    then the most frequent merges, down to pairs that occur `min_frequency` times.

    rule  of one's own text: which words may be learned (see `kdbench.models.common_words`)
    """
    backend, old = tokenizer.backend_tokenizer, tokenizer.get_vocab()
    fresh = Tokenizer(pieces.WordPiece(unk_token=tokenizer.unk_token))
    fresh.normalizer, fresh.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    prefix = backend.model.continuing_subword_prefix

    def train(size: int, first: list[str], rule: Rule = PUBLIC) -> list[str]:
        trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=min_frequency,
                                            special_tokens=first, continuing_subword_prefix=prefix,
                                            show_progress=False)
        train_on_common(fresh, texts, trainer, rule)
        vocabulary = fresh.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    # The trainer numbers `##x` characters in the order of a hash map and breaks ties between merges
    # by these numbers. It gets the characters beforehand, sorted, so that it makes the same
    # vocabulary every time.
    alphabet = sorted(train(0, []))
    trained = train(len(old) + count, alphabet, rule)
    return [token for token in trained if token not in old][:count]


def read_tokens(path: str | Path, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The entries of a vocabulary file (one a line, as BERT's ``vocab.txt``) that `tokenizer`
    lacks, in file order.
    """
    source = read(path)
    seen: dict[str, int] = {}
    for number, line in enumerate(source.lines, 1):
        token = line.strip()
        if not token or len(token.split()) > 1:
            raise source.mistake(number, f"{shown(line)} is not one vocabulary entry",
                               "write one a line, without blanks")
        if token in seen:
            raise source.mistake(number, f"{shown(token)} stands in line {seen[token]} already",
                               "remove one of them")
        seen[token] = number
    old = tokenizer.get_vocab()
    return [token for token in seen if token not in old]


def expand(tokenizer: PreTrainedTokenizerFast, tokens: list[str],
           first: int) -> PreTrainedTokenizerFast:
    """`tokenizer` with `tokens` as WordPiece entries of ids `first`, `first` + 1, ...

    first  the number of embedding rows of the old model: it can exceed the tokenizer's entries
           (padded matrices); the ids between are then filled with ``[unusedN]``, so that entries
           and rows stay one to one
    """
    vocabulary = tokenizer.get_vocab()
    if len(set(tokens)) < len(tokens) or any(token in vocabulary for token in tokens):
        raise ValueError("new tokens must be distinct and not in the tokenizer yet")
    taken = set(vocabulary.values())
    if first <= max(taken):
        raise ValueError(f"new ids begin at {first}, but the tokenizer uses id {max(taken)}")
    unused = {f"[unused{i}]": i for i in range(first) if i not in taken}
    new = {token: first + i for i, token in enumerate(tokens)}
    # `add_tokens` would match them anywhere in the raw text; as entries of the model they are
    # pieces like the others
    expanded = copy.deepcopy(tokenizer)
    backend = expanded.backend_tokenizer
    old = backend.model
    entries = entries_of(backend)
    backend.model = pieces.WordPiece(
        entries | unused | new, unk_token=old.unk_token,
        max_input_chars_per_word=old.max_input_chars_per_word,
        continuing_subword_prefix=old.continuing_subword_prefix)
    backend.no_truncation()
    backend.no_padding()
    return expanded


def entries_of(backend: Tokenizer) -> dict[str, int]:
    """The WordPiece entries of a tokenizer, without the tokens that were added to it."""
    return json.loads(backend.to_str())["model"]["vocab"]


def pieces_of(token: str, vocabulary: dict[str, int], prefix: str = "##") -> list[int]:
    """Ids of the entries that greedy longest match cuts `token` into; empty where no cut covers it.

    prefix  what a token begins with that goes on inside a word
    """
    inside = token.startswith(prefix) and len(token) > len(prefix)
    rest = token[len(prefix):] if inside else token
    ids: list[int] = []
    while rest:
        start = prefix if inside else ""
        length = len(rest)
        while length and start + rest[:length] not in vocabulary:
            length -= 1
        if not length:
            return []
        ids.append(vocabulary[start + rest[:length]])
        rest, inside = rest[length:], True
    return ids


@dataclass
class Rows:
    """The rows of a matrix over a vocabulary, from those over another one.

    size    number of new rows
    here, there  ids of the entries that both have, in the new and in the old vocabulary
    pieces  by id of another entry the ids of its old pieces, whose mean it gets; the others are
            drawn
    spread  of the draws
    """

    size: int
    here: Tensor
    there: Tensor
    pieces: dict[int, list[int]]
    spread: float
    generator: torch.Generator

    def of(self, before: Tensor) -> Tensor:
        """(size, D) of (old size, D)."""
        rows = torch.randn(self.size, before.shape[1], generator=self.generator)
        rows = rows.mul_(self.spread).to(before.dtype)
        rows[self.here] = before[self.there]
        for entry, ids in self.pieces.items():
            rows[entry] = before[ids].mean(dim=0)
        return rows


def change_vocabulary(module: PreTrainedModel, old: PreTrainedTokenizerFast,
                      new: PreTrainedTokenizerFast, init: str,
                      generator: torch.Generator) -> None:
    """Give `module` the vocabulary of `new` in place of `old`'s: input rows, output rows and output
    bias.

    An entry that both have keeps its row. Another one gets, by `init`, the mean of the rows of its
    old pieces ("mean"; at random where it has none) or a normal draw of the model's initialiser
    range ("random").
    """
    rows = rows_for(module, old, new, init, generator)
    embedding: Any = module.get_input_embeddings()
    output: Any = module.get_output_embeddings()
    before = embedding.weight.detach().clone()
    loose = None if output is None or output.weight is embedding.weight else output.weight.detach()
    bias = None if output is None or output.bias is None else output.bias.detach().clone()
    beside = over_vocabulary(module, before.shape[0])
    of_input = rows.of(before)
    # the base class's, as MobileBERT's own takes no word on how new rows are drawn
    PreTrainedModel.resize_token_embeddings(module, rows.size, mean_resizing=False)
    with torch.no_grad():
        embedding = module.get_input_embeddings()
        embedding.weight.copy_(of_input)
        # the row that is not trained; MPNet's and RoBERTa's positions hang on their padding id
        if embedding.padding_idx is not None and module.config.model_type not in BEHIND_PADDING:
            module.config.pad_token_id = embedding.padding_idx = new.pad_token_id
        output = module.get_output_embeddings()
        if loose is not None:  # EuroBERT's are not tied
            output.weight.copy_(rows.of(loose))
        if bias is not None:
            output.bias.zero_()
            output.bias[rows.here] = bias[rows.there]
        for matrix in beside:
            columns = rows.of(matrix.weight.detach().T).T.contiguous()
            matrix.weight, matrix.in_features = nn.Parameter(columns), rows.size


def rows_for(module: PreTrainedModel, old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast,
             init: str, generator: torch.Generator) -> Rows:
    """Where the rows of `new`'s entries come from; as of `change_vocabulary`."""
    entries = new.get_vocab()
    vocabulary = old.get_vocab() | same_roles(old, new)
    prefix = old.backend_tokenizer.model.continuing_subword_prefix if is_wordpiece(old) else None
    spread = getattr(module.config, "initializer_range", 0.02)
    kept = sorted((i, vocabulary[token]) for token, i in entries.items() if token in vocabulary)
    here = torch.tensor([i for i, _ in kept], dtype=torch.long)
    there = torch.tensor([i for _, i in kept], dtype=torch.long)
    found = {}
    if init == "mean" and prefix is not None:
        for token, i in entries.items():
            if token not in vocabulary and (ids := pieces_of(token, vocabulary, prefix)):
                found[i] = ids
    return Rows(max(entries.values()) + 1, here, there, found, spread, generator)


def over_vocabulary(module: PreTrainedModel, size: int) -> list[nn.Linear]:
    """Further matrices with a column for each piece: MobileBERT's masked-LM head has one beside the
    embeddings, which are too narrow for it.
    """
    base = set(module.base_model.modules())
    return [part for part in module.modules()
            if isinstance(part, nn.Linear) and part.in_features == size and part not in base]


def same_roles(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> dict[str, int]:
    """The special tokens of `new` at the ids that play the same role in `old` (``[CLS]`` for
    ``<s>``, ...).
    """
    vocabulary = old.get_vocab()
    ids = {}
    for role in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"):
        own, other = getattr(new, role), getattr(old, role)
        if own and other:
            ids[own] = vocabulary[other]
    return ids
