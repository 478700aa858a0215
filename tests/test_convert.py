"""Older checkpoints to safetensors: what is read, what is refused, and that nothing is left half-written."""

import json
import pickle
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

import kdbench.models.convert as conversion
from kdbench.base.errors import BadInput
from kdbench.models.convert import bert_state, convert, tf_variables

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "Aspirin", "aspirin", "##s", "inhibit"]
CONFIG = BertConfig(vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                    intermediate_size=64, max_position_embeddings=40)


def checkpoint(folder: Path, cls=BertForPreTraining, rename=lambda name: name, file="pytorch_model.bin", wrap=None, **config):
    """A folder as transformers 2 wrote it: config.json, vocab.txt and pickled weights. Returns the model."""
    folder.mkdir()
    torch.manual_seed(0)
    model = cls(BertConfig.from_dict({**CONFIG.to_dict(), **config})).eval()
    model.config.architectures = [cls.__name__]
    model.config.save_pretrained(folder)
    state = {rename(name): tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, folder / file)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return model


def same(a, b) -> bool:
    ids = torch.tensor([[2, 6, 8, 9, 3]])
    with torch.inference_mode():
        return torch.equal(a(ids)[0], b.eval()(ids)[0])


def tensorflow_variables() -> dict[str, np.ndarray]:
    """BERT's variables by the names that the original TensorFlow code gives them, with numbers of our own."""
    rng = np.random.default_rng(0)
    width, inner = CONFIG.hidden_size, CONFIG.intermediate_size
    shapes = {"bert/embeddings/word_embeddings": (len(VOCABULARY), width),
              "bert/embeddings/position_embeddings": (40, width),
              "bert/embeddings/token_type_embeddings": (2, width)}

    def dense(name, inputs, outputs):
        shapes.update({f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)})

    def norm(name):
        shapes.update({f"{name}/LayerNorm/gamma": (width,), f"{name}/LayerNorm/beta": (width,)})

    norm("bert/embeddings")
    for layer in ("bert/encoder/layer_0", "bert/encoder/layer_1"):
        for part in ("query", "key", "value"):
            dense(f"{layer}/attention/self/{part}", width, width)
        dense(f"{layer}/attention/output/dense", width, width)
        norm(f"{layer}/attention/output")
        dense(f"{layer}/intermediate/dense", width, inner)
        dense(f"{layer}/output/dense", inner, width)
        norm(f"{layer}/output")
    dense("bert/pooler/dense", width, width)
    dense("cls/predictions/transform/dense", width, width)
    norm("cls/predictions/transform")
    shapes.update({"cls/predictions/output_bias": (len(VOCABULARY),), "cls/seq_relationship/output_weights": (2, width),
                   "cls/seq_relationship/output_bias": (2,)})
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def tensorflow_folder(folder: Path, vocabulary=VOCABULARY) -> Path:
    folder.mkdir()
    for name in ("model.ckpt-1000000.index", "model.ckpt-1000000.data-00000-of-00001"):
        (folder / name).write_bytes(b"read by tensorflow")
    values = {name: value for name, value in CONFIG.to_dict().items() if name in (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "type_vocab_size", "hidden_act")}
    (folder / "bert_config.json").write_text(json.dumps(values))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return folder


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


def test_bin_folder_gives_the_same_outputs(tmp_path):
    model = checkpoint(tmp_path / "old", BertForSequenceClassification)
    report = convert(tmp_path / "old", tmp_path / "new" / "student")
    assert report == {"architecture": "BertForSequenceClassification", "parameters": model.num_parameters(), "notes": []}
    assert same(model, BertForSequenceClassification.from_pretrained(tmp_path / "new" / "student", use_safetensors=True))
    assert not list((tmp_path / "new" / "student").glob("*.bin"))


@pytest.mark.parametrize("changes", [
    {"rename": lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")},
    {"rename": lambda name: f"module.{name}"},
    {"wrap": "model_state_dict", "file": "best.pt"},
], ids=["first names of LayerNorm", "DataParallel", "training script's wrapper"])
def test_older_ways_of_saving(tmp_path, changes):
    model = checkpoint(tmp_path / "old", **changes)
    convert(tmp_path / "old", tmp_path / "new")
    assert same(model, BertForPreTraining.from_pretrained(tmp_path / "new"))


def test_a_single_file_can_be_named(tmp_path):
    model = checkpoint(tmp_path / "old", file="a.pt")
    shutil.copy(tmp_path / "old" / "a.pt", tmp_path / "old" / "b.pt")
    with pytest.raises(BadInput, match=r"a\.pt, b\.pt; name the one"):
        convert(tmp_path / "old", tmp_path / "new")
    convert(tmp_path / "old" / "b.pt", tmp_path / "new")
    assert same(model, BertForPreTraining.from_pretrained(tmp_path / "new"))


class Planted:
    """Unpickling it makes a file: what a hostile checkpoint would do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path):
    checkpoint(tmp_path / "old")
    planted = tmp_path / "planted"
    for save in (lambda path: torch.save({"weight": Planted(planted)}, path),
                 lambda path: path.write_bytes(pickle.dumps(Planted(planted))),
                 lambda path: path.write_bytes(b"\x80\x04 nonsense")):
        save(tmp_path / "old" / "pytorch_model.bin")
        with pytest.raises(BadInput, match="not unpickled") as error:
            convert(tmp_path / "old", tmp_path / "a" / "new")
        assert "\n" not in str(error.value)
    assert not planted.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_missing_weights_are_never_drawn_at_random(tmp_path):
    checkpoint(tmp_path / "old", BertModel)
    config = BertConfig.from_pretrained(tmp_path / "old")
    config.architectures = ["BertForSequenceClassification"]
    config.save_pretrained(tmp_path / "old")
    with pytest.raises(BadInput, match=r"lacks 2 of the weights of BertForSequenceClassification \(classifier"):
        convert(tmp_path / "old", tmp_path / "new")


@pytest.mark.parametrize(("cls", "labels", "pooler"), [
    (BertForSequenceClassification, ("no", "yes", "maybe"), False),
    (BertForTokenClassification, ("PAD", "O", "B-", "I-"), False),
    (BertForTokenClassification, ("PAD", "O", "B-", "I-"), True),  # older taggers have one, which nothing reads
    (BertForPreTraining, (), False),
    (BertForMaskedLM, (), False),
])
def test_a_head_is_kept_where_the_configuration_names_no_architecture(tmp_path, cls, labels, pooler):
    facts = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}} if labels else {}
    config = BertConfig(**{**CONFIG.to_dict(), **facts})
    model = cls(config)
    state = model.state_dict()
    if pooler:
        state |= {f"bert.{name}": value for name, value in BertModel(config).state_dict().items() if "pooler" in name}
    (tmp_path / "old").mkdir()
    torch.save(state, tmp_path / "old" / "pytorch_model.bin")
    config.architectures = None
    config.save_pretrained(tmp_path / "old")
    report = convert(tmp_path / "old", tmp_path / "new")
    assert report["architecture"] == cls.__name__ and f"that of {cls.__name__}" in report["notes"][0]
    again = cls.from_pretrained(tmp_path / "new", use_safetensors=True)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_an_encoder_of_a_larger_model_says_what_it_leaves_out(tmp_path):
    checkpoint(tmp_path / "old", BertForPreTraining)
    config = BertConfig.from_pretrained(tmp_path / "old")
    config.architectures = ["BertModel"]
    config.save_pretrained(tmp_path / "old")
    report = convert(tmp_path / "old", tmp_path / "new")
    assert report["notes"] == ["left out 9 weights that BertModel does not have (cls.predictions.bias, ...)"]


@pytest.mark.parametrize("break_it, message", [
    (lambda old: shutil.rmtree(old), "no such file or folder"),
    (lambda old: (old / "pytorch_model.bin").unlink(), "nothing to convert"),
    (lambda old: (old / "config.json").unlink(), "has no config.json or bert_config.json"),
    (lambda old: (old / "config.json").write_text("{"), "not a model configuration"),
    (lambda old: (old / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}'), "never run"),
    (lambda old: (old / "config.json").write_text('{"model_type": "bert", "architectures": ["pipeline"]}'), "'pipeline'"),
    (lambda old: (old / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}'), "sizes"),
    (lambda old: torch.save([1, 2], old / "pytorch_model.bin"), "no table of names and tensors"),
])
def test_bad_sources_take_one_line_and_write_nothing(tmp_path, break_it, message):
    checkpoint(tmp_path / "old")
    break_it(tmp_path / "old")
    with pytest.raises(BadInput, match=message) as error:
        convert(tmp_path / "old", tmp_path / "deep" / "new")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "deep").exists()


def test_what_is_there_is_never_overwritten(tmp_path):
    checkpoint(tmp_path / "old")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("kept")
    with pytest.raises(BadInput, match="never overwritten"):
        convert(tmp_path / "old", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    convert(tmp_path / "old", tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
    checkpoint(tmp_path / "old")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "write_tokenizer", stop)  # after the weights are written
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "old", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


# ---- TensorFlow ------------------------------------------------------------------------------------------------------


def test_tensorflow_names_map_onto_every_weight(tmp_path):
    variables = tensorflow_variables()
    optimiser = {f"{name}/adam_m": value for name, value in variables.items()} | {"global_step": np.array(7)}
    state = bert_state({**variables, **optimiser}, tmp_path)
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    expected = {name: value.shape for name, value in BertForPreTraining(CONFIG).state_dict().items() if name not in tied}
    assert {name: value.shape for name, value in state.items()} == expected
    kernel = variables["bert/encoder/layer_1/attention/self/query/kernel"]  # square: only its values tell the layout
    assert np.array_equal(state["bert.encoder.layer.1.attention.self.query.weight"].numpy(), kernel.T)
    gamma = variables["bert/encoder/layer_0/output/LayerNorm/gamma"]
    assert np.array_equal(state["bert.encoder.layer.0.output.LayerNorm.weight"].numpy(), gamma)
    head = variables["cls/seq_relationship/output_weights"]
    assert np.array_equal(state["cls.seq_relationship.weight"].numpy(), head)


def test_tensorflow_folder_from_end_to_end(tmp_path, monkeypatch):
    variables = tensorflow_variables()
    seen = []
    monkeypatch.setattr(conversion, "tf_variables", lambda prefix: seen.append(prefix.name) or variables)
    folder = tensorflow_folder(tmp_path / "biobert")
    assert convert(folder, tmp_path / "new")["architecture"] == "BertForPreTraining"
    assert seen == ["model.ckpt-1000000"]
    model = BertForPreTraining.from_pretrained(tmp_path / "new").eval()
    with torch.inference_mode():  # the pooler by hand: tanh(h W + b), W as TensorFlow stores it
        out = model.bert(torch.tensor([[2, 6, 3]]))
    first = out.last_hidden_state[:, 0].numpy()
    pooled = np.tanh(first @ variables["bert/pooler/dense/kernel"] + variables["bert/pooler/dense/bias"])
    assert np.allclose(out.pooler_output.numpy(), pooled, atol=1e-5)
    for given in (folder / "model.ckpt-1000000", folder / "model.ckpt-1000000.index"):
        convert(given, tmp_path / given.name)


@pytest.mark.parametrize("left_out, architecture", [("cls/", "BertModel"), ("cls/seq_relationship/", "BertForMaskedLM")])
def test_the_class_has_just_the_heads_of_the_checkpoint(tmp_path, monkeypatch, left_out, architecture):
    variables = {name: value for name, value in tensorflow_variables().items() if not name.startswith(left_out)}
    monkeypatch.setattr(conversion, "tf_variables", lambda prefix: variables)
    assert convert(tensorflow_folder(tmp_path / "old"), tmp_path / "new")["architecture"] == architecture


def test_an_unknown_variable_is_not_dropped(tmp_path):
    with pytest.raises(BadInput, match="'albert/x' belongs to no BERT"):
        bert_state({**tensorflow_variables(), "albert/x": np.zeros(2)}, tmp_path)


def test_the_reader_leaves_the_optimiser_on_disk(tmp_path, monkeypatch):
    class Reader:
        def get_variable_to_shape_map(self):
            return {"bert/pooler/dense/bias": [2], "bert/pooler/dense/bias/adam_v": [2], "global_step": []}

        def get_tensor(self, name):
            assert name == "bert/pooler/dense/bias"
            return np.ones(2)

    train = types.ModuleType("tensorflow.train")
    train.load_checkpoint = lambda prefix: Reader()
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    monkeypatch.setitem(sys.modules, "tensorflow.train", train)
    assert list(tf_variables(tmp_path / "model.ckpt")) == ["bert/pooler/dense/bias"]


def test_without_tensorflow_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(BadInput, match=r"pip install kdbench\[tf\]"):
        convert(tensorflow_folder(tmp_path / "old"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# ---- tokenizer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces, text, tokens", [
    (["the", "Aspirin"], "the Aspirin", ["the", "Aspirin"]),
    (["the", "aspirin"], "The Aspirin", ["the", "aspirin"]),
    (["the", "gluck"], "Glück", ["gluck"]),
    (["열", "##이", "the"], "열이 The", ["열", "##이", "the"]),
], ids=["cased", "lower case", "accents stripped", "Hangul kept whole"])
def test_case_and_accents_follow_the_vocabulary(tmp_path, monkeypatch, pieces, text, tokens):
    vocabulary = VOCABULARY[:5] + pieces
    vocabulary += [f"[unused{i}]" for i in range(len(VOCABULARY) - len(vocabulary))]
    monkeypatch.setattr(conversion, "tf_variables", lambda prefix: tensorflow_variables())
    convert(tensorflow_folder(tmp_path / "old", vocabulary), tmp_path / "new")
    assert AutoTokenizer.from_pretrained(tmp_path / "new").tokenize(text) == tokens


def test_what_the_tokenizer_says_of_itself_counts(tmp_path):
    checkpoint(tmp_path / "old")
    (tmp_path / "old" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    convert(tmp_path / "old", tmp_path / "new")
    assert AutoTokenizer.from_pretrained(tmp_path / "new").tokenize("Aspirin") == ["aspirin"]


def test_a_missing_tokenizer_is_said(tmp_path):
    checkpoint(tmp_path / "old")
    (tmp_path / "old" / "vocab.txt").unlink()
    assert "no tokenizer files" in convert(tmp_path / "old", tmp_path / "new")["notes"][0]
