"""Tokenizers whose tokens hold the blank before a word (GPT-2, RoBERTa, ModernBERT): a list of words is read like its text."""

import json

import numpy as np
import pytest
import torch
from students import TEXTS
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForTokenClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForTokenClassification,
    pipeline,
)

from kdbench.data.check import Reading
from kdbench.data.task import Data, Example, Task
from kdbench.data.words import spaced, word_prefix
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import folder_identity, resolve
from kdbench.serve.export import export
from kdbench.serve.labels import Labels
from kdbench.serve.measure import write_model
from kdbench.serve.predict import load_predictor
from kdbench.serve.serving import open_artefact, served
from kdbench.train.batching import Corpus

LABELS = ("O", "B-Drug", "I-Drug")
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>"]
ROLES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
SENTENCES = [["dexorin", "treated", "pain"], ["aspirin", "inhibits", "TNF-α", "(", "café", ")", "."], ["Of", "200", "rats", ",", "IL", "-", "2"]]


def byte_level(prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, trim_offsets=False)


LLAMA = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {  # name -> pre-tokenizer, and what has to stand before a word
    "modernbert": (byte_level(), " "),
    "prefix space": (byte_level(prefix=True), ""),
    "llama 3": (pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA), "isolated"),
                                         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), " "),
    "sentencepiece": (pre_tokenizers.Metaspace(prepend_scheme="always"), ""),
    "sentencepiece, first": (pre_tokenizers.Metaspace(prepend_scheme="first"), ""),
    "sentencepiece, never": (pre_tokenizers.Metaspace(prepend_scheme="never"), " "),
    "whitespace": (pre_tokenizers.Whitespace(), ""),
}


def trained(pre_tokenizer):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizers.NFC(), pre_tokenizer, decoders.ByteLevel()
    texts = [*TEXTS, *map(" ".join, SENTENCES)] * 3
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")])
    return tokenizer


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_a_list_of_words_has_the_tokens_of_its_text(name):
    pre_tokenizer, prefix = PRE_TOKENIZERS[name]
    tokenizer = trained(pre_tokenizer)
    assert word_prefix(tokenizer) == prefix
    for words in SENTENCES:
        listed = tokenizer.encode(spaced(words, prefix), is_pretokenized=True)
        assert listed.ids == tokenizer.encode(" ".join(words)).ids
        assert sorted({word for word in listed.word_ids if word is not None}) == list(range(len(words)))


SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "initializer_range": 0.5,
        "max_position_embeddings": 64, "id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
IDS = {"unk_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2}
CLASSES = {"modernbert": (ModernBertConfig, ModernBertForTokenClassification, "PreTrainedTokenizerFast"),
           "roberta": (RobertaConfig, RobertaForTokenClassification, "RobertaTokenizer"),
           "roberta, read by GPT-2's": (RobertaConfig, RobertaForTokenClassification, "GPT2Tokenizer")}


@pytest.fixture(scope="module", params=CLASSES)
def folder(request, tmp_path_factory):
    """A tagger as the hub has it, with random weights."""
    config, tagger, reader = CLASSES[request.param]
    folder = tmp_path_factory.mktemp("hub") / "tagger"
    tokenizer = trained(byte_level())
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ROLES).save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": reader, "add_prefix_space": False}))
    torch.manual_seed(0)
    tagger(config(vocab_size=tokenizer.get_vocab_size(), **SIZE, **IDS)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    model = build(resolve(str(folder)), Head("tags", LABELS), seed=0, texts=list)
    assert model.ready
    return model


def test_training_serving_and_checking_read_the_text(folder, model, tmp_path):
    reader = AutoTokenizer.from_pretrained(folder)
    expected = [reader(" ".join(words))["input_ids"] for words in SENTENCES]
    examples = [Example(str(i), words=tuple(words), label=(0,) * len(words)) for i, words in enumerate(SENTENCES)]
    assert Corpus(model, examples, 64, "tags", 3).tokens == expected
    assert [row.ids for row in served(model, 64).encode(SENTENCES)] == expected
    assert Corpus(model, [Example("0", text="dexorin treated")], 64, "single", 3).tokens == [reader("dexorin treated")["input_ids"]]
    task = Task(name="t", task_type="tags", about="", metric="entity_f1", load=None)
    counted = Reading(task, Data(tuple(examples), (), (), LABELS), reader.backend_tokenizer, 512).lengths["train"]
    assert counted == list(map(len, expected))


def test_answers_are_those_of_the_pipeline(folder, model, tmp_path):
    """From safetensors and from ONNX: of each word, the tag of its first token."""
    run = write_model(model, 64, tmp_path / "run")
    assert Labels.read(run).word_prefix == " "
    export(run, tmp_path / "out", ("onnx",), sample_texts=SENTENCES)
    ner = pipeline("ner", model=str(folder), ignore_labels=[])
    tags = set()
    for place in (run, tmp_path / "out" / "onnx"):
        predictor = load_predictor(place)
        for words in SENTENCES:
            tokens = ner(" ".join(words))
            row, = predictor.artefact.encode([words])
            logits, = predictor.artefact.logits([row.ids])
            assert [LABELS[i] for i in logits.argmax(-1)[1:-1]] == [token["entity"] for token in tokens]
            assert np.allclose(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)[1:-1] ** -1,
                               [token["score"] for token in tokens], atol=1e-4)
            tags |= {token["entity"] for token in tokens}
        from_text, from_words = predictor.predict([" ".join(SENTENCES[0]), SENTENCES[0]])
        assert from_text == from_words
    assert len(tags) > 1, "one answer for all proves nothing"


def test_folders_from_before_are_read_as_they_were_trained(folder, model, tmp_path):
    run = write_model(model, 64, tmp_path / "run")
    about = json.loads((run / "labels.json").read_text())
    (run / "labels.json").write_text(json.dumps({name: value for name, value in about.items() if not name.startswith(("word_", "checksums"))}))
    row, = open_artefact(run).encode([["dexorin", "treated"]])
    assert row.ids == model.tokenizer.backend_tokenizer.encode(["dexorin", "treated"], is_pretokenized=True).ids
    assert row.ids != model.tokenizer("dexorin treated")["input_ids"]


def test_the_identity_of_such_folders_tells_how_they_are_read(folder, tmp_path, monkeypatch):
    """What was trained on lists without blanks is not taken for what is trained now."""
    import kdbench.models.sources as sources

    now = folder_identity(folder)
    monkeypatch.setattr(sources, "is_byte_level", lambda folder: False)
    assert folder_identity(folder) != now
