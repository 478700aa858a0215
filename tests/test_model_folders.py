"""A model folder is loaded whole and as data, or refused in one line: never a random or empty part of it in its place."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from students import LABELS, student, write

from kdbench.base.errors import BadInput
from kdbench.base.progress import forget_said
from kdbench.cli.verbs import main
from kdbench.models.heads import Head
from kdbench.models.load import build as build_model
from kdbench.models.sources import resolve
from kdbench.runs import selection
from kdbench.serve.predict import load_predictor

ROOT = Path(__file__).resolve().parent.parent
HEAD = Head("single", ("no", "yes"))


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "model")


def build(folder, head=HEAD):
    return build_model(resolve(str(folder)), head, seed=0, texts=list)


def change(name, how):
    def spoil(folder):
        path = folder / name
        path.write_text(json.dumps(how(json.loads(path.read_text()))))
    return spoil


def rename(how):
    def spoil(folder):
        state = load_file(folder / "model.safetensors")
        save_file({new: value for name, value in state.items() if (new := how(name))}, folder / "model.safetensors", {"format": "pt"})
    return spoil


def cut_off(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:len(whole) // 2])


def no_vocabulary(folder):
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)


def in_shards(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(state)}
    for file in set(names.values()):
        save_file({name: state[name] for name in state if names[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def a_shard_short(folder):
    in_shards(folder)
    (folder / "model-1.safetensors").unlink()


@pytest.mark.parametrize(("spoil", "said"), [
    pytest.param(cut_off, "model.safetensors is missing, damaged or cut off", id="half a file"),
    pytest.param(a_shard_short, "model-1.safetensors is missing", id="a shard short"),
    pytest.param(no_vocabulary, "no tokenizer.json", id="no vocabulary"),
    pytest.param(lambda folder: (folder / "config.json").write_text('{"model_type": "bert"'), "config.json is not", id="half a config"),
    pytest.param(lambda folder: (folder / "config.json").write_text("[]"), "config.json is not", id="a list"),
    pytest.param(change("config.json", lambda c: {**c, "model_type": "brt"}), "'brt' is none", id="unknown type"),
    pytest.param(change("config.json", lambda c: {**c, "model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}), "never run",
                 id="own code"),
])
def test_a_spoilt_folder_is_refused_before_anything_is_trained(tmp_path, folder, spoil, said, capsys, no_data):
    spoil(folder)
    words = ["--method", "finetune", "--task", "gad", "--results-dir", str(tmp_path / "results")]
    assert main([*words, "--student", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("spoil", [
    pytest.param(rename(lambda name: f"net.{name}"), id="other names"),
    pytest.param(rename(lambda name: "" if "layer.0.output.dense.weight" in name else name), id="one is missing"),
    pytest.param(change("config.json", lambda c: {**c, "vocab_size": c["vocab_size"] - 7}), id="another size"),
])
def test_an_encoder_is_never_drawn_at_random(folder, spoil):
    assert build(folder).module.config.num_hidden_layers
    spoil(folder)
    with pytest.raises(BadInput, match="of its encoder's weights"):
        build(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    tokenizer = build(folder).tokenizer
    tokenizer.add_tokens(["aspirin and more"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(BadInput, match="not of one model"):
        build(folder)


def test_a_head_counts_as_trained_only_if_its_weights_are_there(folder):
    own = Head("single", LABELS["single"])
    assert build(folder, own).ready
    rename(lambda name: "" if "classifier" in name else name)(folder)
    assert not build(folder, own).ready


def tagger(folder, names, **changes):
    """A tagger from elsewhere, with `names` for its tags."""
    model = student("tiny:bert", "tags")
    config = model.module.config
    config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    module = type(model.module)(config)
    module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    change("config.json", lambda c: {name: value for name, value in {**c, **changes}.items() if value is not None})(folder)
    return module


NINE = ("PAD", "START", "END", "UNK", "O", "B-", "I-", "E-", "S-")
IOBES = Head("tags", ("O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"))


@pytest.mark.parametrize("changes", [{}, {"architectures": None}], ids=["named", "no architecture"])
def test_a_tagger_with_further_tags_keeps_its_rows_by_name(tmp_path, capsys, changes):
    """The teacher of biobert-distillation has nine tags, without a type; four of them no word gets."""
    forget_said()  # said once a process
    module = tagger(tmp_path / "nine", NINE, **changes)
    model = build(tmp_path / "nine", IOBES)
    assert model.ready and model.notes == ("head used, rows matched by tag; entities taken for GENE; not used: PAD, START, END, UNK",)
    assert f"nine: {model.notes[0]}" in capsys.readouterr().err
    assert torch.equal(model.module.classifier.weight, module.classifier.weight[[4, 5, 6, 7, 8]])
    ids = {"input_ids": torch.tensor([[2, 7, 9, 3]])}
    with torch.no_grad():
        assert torch.allclose(model.module(**ids).logits, module.eval()(**ids).logits[..., 4:], atol=1e-6)
    assert model.module.config.num_labels == 5 and list(model.module.config.id2label.values()) == list(IOBES.labels)


@pytest.mark.parametrize(("names", "wanted", "said"), [
    (("LABEL_0", "LABEL_1", "LABEL_2"), ("O", "B", "I"), "new head trained: its labels (LABEL_0, LABEL_1, LABEL_2)"),
    (("O", "B-DRUG", "I-DRUG", "B-GENE", "I-GENE"), ("O", "B", "I"), "new head trained: its labels (O, B-DRUG"),
    (("O", "B-DRUG", "I-DRUG"), ("O", "B", "I"), "head used, rows matched by tag; DRUG taken for entities"),
    (("O", "B", "I"), ("O", "B-GENE", "I-GENE"), "head used, rows matched by tag; entities taken for GENE"),
    (("I", "O", "B"), ("O", "B", "I"), "head used, rows matched by tag"),
])
def test_a_head_is_used_by_the_names_of_its_labels_or_said_not_to_be(tmp_path, names, wanted, said):
    module = tagger(tmp_path / "tagger", names)
    model = build(tmp_path / "tagger", Head("tags", wanted))
    assert model.notes[0].startswith(said) and model.ready == said.startswith("head used")
    rows = model.module.classifier.weight
    if model.ready:
        assert torch.equal(rows[0], module.classifier.weight[names.index("O")])
    else:
        assert not any(torch.equal(row, other) for row in rows for other in module.classifier.weight)


def test_an_encoder_without_a_head_gets_a_new_one_and_says_so(folder):
    change("config.json", lambda c: {**c, "architectures": ["BertModel"]})(folder)
    rename(lambda name: "" if "classifier" in name else name)(folder)
    model = build(folder)
    assert not model.ready and model.notes == ("new head trained: the model came without one for the task",)


def only_a_vocabulary(folder, pieces):
    """The folder as BioBERT and ClinicalBERT are on the hub: a bare vocab.txt, and nothing that says how to read it."""
    for path in folder.glob("*token*"):
        path.unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("pieces", "text", "read"), [
    pytest.param(["Fever", "and", "fever", "é"], "Fever and fever é", ["Fever", "and", "fever", "é"], id="cased"),
    pytest.param(["fever", "and", "e"], "Fever AND é", ["fever", "and", "e"], id="uncased"),
])
def test_a_bare_vocabulary_says_itself_whether_case_matters(folder, pieces, text, read):
    model = build(only_a_vocabulary(folder, pieces))
    assert model.tokenizer.tokenize(text) == read


def test_a_bare_vocabulary_from_the_hub_is_read_alike(tmp_path, folder):
    """In a process of its own: where the hub's files lie is read at import."""
    files = tmp_path / "hub" / "models--owner--biobert" / "snapshots" / "abc"
    files.parent.mkdir(parents=True)
    only_a_vocabulary(folder, ["Fever", "fever"]).rename(files)
    (files.parents[1] / "refs").mkdir()
    (files.parents[1] / "refs" / "main").write_text("abc")
    ask = ("from kdbench.models.heads import Head\nfrom kdbench.models.load import build\n"
           "from kdbench.models.sources import resolve\nmodel = build(resolve('owner/biobert'), Head('single', ('no', 'yes')), seed=0, texts=list)\n"
           "print(model.tokenizer.tokenize('Fever fever'))")
    told = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", ask], env=told, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['Fever', 'fever']"


def test_shards_are_read(folder):
    whole = build(folder).module.base_model.state_dict()
    in_shards(folder)
    assert all(torch.equal(value, whole[name]) for name, value in build(folder).module.base_model.state_dict().items())


def test_who_has_no_trained_head_does_not_answer(folder):
    assert load_predictor(folder).predict(["a text"])
    rename(lambda name: "" if "classifier" in name else name)(folder)
    with pytest.raises(BadInput, match="lacks 2 of the weights that answer"):
        load_predictor(folder)


def test_code_in_a_folder_is_not_run_even_if_somebody_says_yes(tmp_path, folder, monkeypatch):
    """transformers asks on the terminal where it is not told."""
    ran = tmp_path / "ran"
    (folder / "own.py").write_text("from transformers import BertConfig\n"
                                   f"open({str(ran)!r}, 'w')\nclass Own(BertConfig): model_type = 'own'\n")
    change("config.json", lambda c: {**c, "model_type": "own", "auto_map": {"AutoConfig": "own.Own"}})(folder)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("kdbench.models.sources.check_folder", lambda folder: None)  # a model from the hub does not pass there
    with pytest.raises(BadInput, match="never run"):
        build(folder)
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_predictor(folder)
    assert not ran.exists()


# ---- models that are no download -----------------------------------------------------------------


ARCHIVES = {"kmbert": "/kmbert/kmbert.tar", "kmbert-b": "/kmbert_vocab/kmbert_vocab.tar",
            "kmbert-re": "not published.* --student kmbert --corpus",
            "kmbert-b-re": "not published.* --student kmbert-b --corpus"}


@pytest.mark.parametrize("name, table", [
    *zip(ARCHIVES, ARCHIVES, strict=True), ("kmbert-s", "kmbert"), ("kmbert-s-re", "kmbert-re")])
def test_a_model_without_a_download_says_whence(name, table, tmp_path, monkeypatch, capsys):
    words = ["--method", "finetune", "--task", "chemprot", "--student", name]
    assert main([*words, "--results-dir", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert re.search(ARCHIVES[table], said) and len(said.splitlines()) == 1
    assert "KDBENCH_MODELS" in said and "docs/models.md" in said
    assert ("bench.py convert" in said) == ("re" not in name.split("-"))
    monkeypatch.setenv("KDBENCH_MODELS", str(tmp_path))
    write(tmp_path / table)
    assert (resolve(name).name, resolve(name).folder) == (table, tmp_path / table)
    assert selection.model_name(name) == table, "a table finds the records of either name"


def test_an_archive_of_korean_bert_becomes_a_model(tmp_path, monkeypatch):
    """As its page has it: config.json, vocab.txt, model.bin; no type, old names of LayerNorm."""
    from transformers import BertConfig, BertForPreTraining

    old, models = tmp_path / "kmbert", tmp_path / "models"
    old.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\uc5f4", "\uc774", "fever", "ER", "##s"]
    sizes = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 2,
             "num_attention_heads": 2, "intermediate_size": 32}
    state = {}
    for key, value in BertForPreTraining(BertConfig(**sizes)).state_dict().items():
        key = key.replace("LayerNorm.weight", "LayerNorm.gamma")
        state[key.replace("LayerNorm.bias", "LayerNorm.beta")] = value
    torch.save(state, old / "model.bin")
    (old / "config.json").write_text(json.dumps(sizes))
    (old / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    assert main(["convert", str(old), str(models / "kmbert-b")]) == 0
    monkeypatch.setenv("KDBENCH_MODELS", str(models))
    model = build_model(resolve("kmbert-b"), HEAD, seed=0, texts=list)
    assert model.tokenizer.tokenize("\uc5f4 fever ER") == ["\uc5f4", "fever", "ER"]  # case stays
    own = model.module.base_model.embeddings.LayerNorm.weight
    assert torch.equal(own, state["bert.embeddings.LayerNorm.gamma"])
