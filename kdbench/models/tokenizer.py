"""Tokenizers: loaded beside a model's weights, or trained on a task's own texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tokenizers import (
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import models as pieces
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kdbench.base.errors import BadInput
from kdbench.base.tokenizer_files import check_tokenizer
from kdbench.models.common_words import Rule, mark, rule_of, train_on_common
from kdbench.models.configs import config_of_path, with_numbers_as_text
from kdbench.models.convert import spelling
from kdbench.models.sources import on_disk

# special tokens by role, in the order of their ids; a model type's own are those of its real models
BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>",
           "cls": "<s>", "sep": "</s>"}
MPNET = {**ROBERTA, "unk": "[UNK]"}
EUROBERT = {"bos": "<|begin_of_text|>", "pad": "<|pad|>", "eos": "<|end_of_text|>",
            "mask": "<|mask|>"}


class Style(NamedTuple):
    """How the tokenizers of a model type are.

    pieces   "wordpiece"; "bytes": a BPE of bytes; "unigram": pieces that begin with the blank
    special  the special tokens by role
    blank    bytes: does a blank come before the first word?
    """

    pieces: str
    special: dict[str, str]
    blank: bool = True


WORDPIECE = Style("wordpiece", BERT)  # of all types that are not named here
STYLES = {
    "roberta": Style("bytes", ROBERTA),
    "modernbert": Style("bytes", BERT, blank=False),
    "eurobert": Style("bytes", EUROBERT, blank=False),
    "mpnet": Style("wordpiece", MPNET),
    "xlm-roberta": Style("unigram", ROBERTA),
    "deberta-v3": Style("unigram", BERT),
}


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of the model `name` (folder or hub id) as it came, so that it reads a text as
    every other program does; `kdbench.data.words.word_prefix` says how it reads a list of words.

    Raises `BadInput` where it has no fast one, or one that needs too much time or memory.
    """
    folder = on_disk(name)
    if folder is not None and (folder / "tokenizer.json").is_file():
        check_tokenizer(folder / "tokenizer.json")
    own = {"config": config_of_path(str(folder))} if folder is not None and \
        with_numbers_as_text(str(folder)) else {}
    tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **own)
    # BioBERT and ClinicalBERT are a bare vocab.txt on the hub, which transformers takes for lower
    # case
    if folder is not None and (case := spelling(folder)):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **case, **own)
    if not tokenizer.is_fast:
        raise BadInput(
            f"model {name}: has no fast tokenizer (tokenizer.json), which word alignment needs")
    # where there are no files, transformers makes a tokenizer of special tokens alone
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise BadInput(f"model {name}: has no vocabulary; put its tokenizer.json into the folder")
    return tokenizer


def train_tokenizer(model_type: str, texts: Iterable[str],
                    vocabulary: int) -> PreTrainedTokenizerFast:
    """A small tokenizer trained on `texts`, of the kind that models of this type have.

    Where `texts` are `OwnTexts`, it learns no piece of a word that too few of them hold.
    """
    units, least = rule_of(texts)
    trained = trained_tokenizer(model_type, tuple(texts), vocabulary, units, least)
    special = STYLES.get(model_type, WORDPIECE).special
    named = {f"{role}_token": text for role, text in special.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(trained), **named)
    if least:
        mark(tokenizer, 0, least)
    return tokenizer


# every cell of a suite asks for the same one, which takes longer than a tiny training
@lru_cache(maxsize=8)
def trained_tokenizer(model_type: str, texts: tuple[str, ...], vocabulary: int,
                      units: tuple[str, ...] = (), least: int = 0) -> str:
    """The trained tokenizer as JSON; the same texts give the same ids. `units` and `least` as of
    `OwnTexts`.
    """
    style = STYLES.get(model_type, WORDPIECE)
    train = {"wordpiece": trained_wordpiece, "bytes": trained_bpe, "unigram": trained_unigram}
    tokenizer = train[style.pieces](texts, vocabulary, Rule(units, least), style)
    special = style.special
    cls, sep = special.get("cls", special.get("bos")), special.get("sep", special.get("eos"))
    assert cls is not None and sep is not None
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, tokenizer.token_to_id(cls)), (sep, tokenizer.token_to_id(sep))])
    return tokenizer.to_str()


def trained_bpe(texts: Sequence[str], vocabulary: int, rule: Rule, style: Style) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary` pieces; every byte is one."""
    tokenizer = Tokenizer(pieces.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=style.blank)
    tokenizer.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys(style.special.values()))
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special,
                                  show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    train_on_common(tokenizer, lambda: texts, trainer, rule)
    return tokenizer


def trained_unigram(texts: Sequence[str], vocabulary: int, rule: Rule, style: Style) -> Tokenizer:
    """A unigram model of at most `vocabulary` pieces, as SentencePiece's; every character is one.

    The trainer of unigram models gives other pieces each time, so a BPE chooses them. What it has
    merged early is frequent, and weighs as much in the unigram model.
    """
    tokenizer = Tokenizer(pieces.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    characters = {"\u2581"}  # which stands for a blank
    for text in texts:
        characters.update(tokenizer.normalizer.normalize_str(text))
    special = list(dict.fromkeys(style.special.values()))
    first = sorted(char for char in characters if not char.isspace())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special,
                                  initial_alphabet=first, show_progress=False)
    train_on_common(tokenizer, lambda: texts, trainer, rule)
    entries = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    weighted = [(piece, -math.log(1 + rank)) for piece, rank in entries]
    unknown = tokenizer.token_to_id(style.special["unk"])
    plain = Tokenizer(pieces.Unigram(weighted, unk_id=unknown))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.add_special_tokens(special)
    plain.decoder = decoders.Metaspace()
    return plain


def trained_wordpiece(texts: Sequence[str], vocabulary: int, rule: Rule,
                      style: Style) -> Tokenizer:
    """A lower-casing WordPiece of at most `vocabulary` pieces; every character is one.

    The trainer numbers inner characters in the order of a hash map. They are given to it
    beforehand, sorted, so that the same texts give the same ids.
    """
    special = list(dict.fromkeys(style.special.values()))
    unknown = style.special["unk"]
    tokenizer = Tokenizer(pieces.WordPiece(unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    characters: set[str] = set()
    for text in texts:
        characters.update(tokenizer.normalizer.normalize_str(text))
    inner = sorted(f"##{c}" for c in characters if not c.isspace())
    first = sorted(c for c in characters if not c.isspace()) if rule.least > 1 else []
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=[*special, *inner],
                                        initial_alphabet=first, show_progress=False)
    train_on_common(tokenizer, lambda: texts, trainer, rule)
    # a new one with the same vocabulary, in which inner characters are no special tokens
    plain = Tokenizer(pieces.WordPiece(tokenizer.get_vocab(), unk_token=unknown))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.add_special_tokens(special)
    plain.decoder = decoders.WordPiece()
    return plain
