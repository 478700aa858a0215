"""A model whose weights are PyTorch's own files is loaded as its safetensors are, and no pickle of anything else is opened."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from kdbench.base.errors import BadInput
from kdbench.cli.verbs import main
from kdbench.models import sources
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.older import cache, loadable
from kdbench.models.sources import resolve

HEAD = Head("single", ("no", "yes"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tiny models as safetensors, by kind."""
    place = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        model = build(resolve(f"tiny:{kind}"), HEAD, seed=3, texts=lambda: ["a gene binds a drug", "no fever"])
        for parameter in model.module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)  # a norm's too, or losing it would change nothing
        model.module.save_pretrained(place / kind)
        model.tokenizer.save_pretrained(place / kind)
    return place


KINDS = ("bert", "roberta", "deberta", "distilbert", "albert")


def as_bin(source, target, save=torch.save, change=lambda state: state, name="pytorch_model.bin"):
    """The folder with its weights as PyTorch writes them."""
    shutil.copytree(source, target)
    (target / "model.safetensors").unlink()
    save(change(AutoModelForSequenceClassification.from_pretrained(source).state_dict()), target / name)
    return target


def logits(folder):
    model = build(resolve(str(folder)), HEAD, seed=0, texts=list, quiet=True)
    words = model.tokenizer("no fever, a gene", return_tensors="pt")
    with torch.no_grad():
        return model.module.eval()(**words).logits


def in_parts(state, path):
    names = sorted(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for name, own in parts.items():
        torch.save({each: state[each] for each in own}, path.with_name(name))
    path.write_text(json.dumps({"weight_map": {each: name for name, own in parts.items() for each in own}}))


def legacy(state):
    return {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for name, value in state.items()}


WAYS = {
    "plain": {}, "in parts": {"save": in_parts, "name": "pytorch_model.bin.index.json"},
    "of old PyTorch": {"save": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False)},
    "gamma and beta": {"change": legacy}, "of DataParallel": {"change": lambda state: {f"module.{name}": v for name, v in state.items()}},
    "wrapped": {"change": lambda state: {"model_state_dict": state, "epoch": 3}}, "model.pt": {"name": "model.pt"},
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_as_people_have_them(tmp_path, made, way):
    folder = as_bin(made / "bert", tmp_path / "old", **WAYS[way])
    (folder / "training_args.bin").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    assert torch.equal(logits(folder), logits(made / "bert"))
    assert not (tmp_path / "ran").exists() and not list(folder.glob("*.safetensors"))


@pytest.mark.parametrize("kind", KINDS)
def test_architectures(tmp_path, made, kind):
    assert torch.equal(logits(as_bin(made / kind, tmp_path / "old")), logits(made / kind))


def test_half_precision_is_read_in_full(tmp_path, made):
    folder = as_bin(made / "bert", tmp_path / "old", change=lambda state: {name: value.half() for name, value in state.items()})
    assert torch.allclose(logits(folder), logits(made / "bert"), atol=1e-2)


def test_a_head_that_is_missing_leaves_the_encoder(tmp_path, made):
    folder = as_bin(made / "bert", tmp_path / "old", change=lambda state: {n: v for n, v in state.items() if "classifier" not in n})
    own, whole = (build(resolve(str(each)), HEAD, seed=0, texts=list).module.bert.state_dict() for each in (folder, made / "bert"))
    assert own.keys() == whole.keys() and all(torch.equal(own[name], whole[name]) for name in own)


def test_it_is_read_once_and_known_by_its_content(tmp_path, made):
    folder = as_bin(made / "bert", tmp_path / "old")
    first, known = loadable(folder), resolve(str(folder)).identity()
    times = [path.stat().st_mtime_ns for path in sorted(first.iterdir())]
    assert loadable(folder) == first and [path.stat().st_mtime_ns for path in sorted(first.iterdir())] == times
    weights = first / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert torch.equal(logits(folder), logits(made / "bert")), "what is cut off is made anew"
    shutil.rmtree(cache())
    assert resolve(str(folder)).identity() == known
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, folder / "pytorch_model.bin")
    assert resolve(str(folder)).identity() != known and loadable(folder) != first
    assert loadable(made / "bert") == made / "bert"


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def in_a_table(state, path):
    torch.save({**state, "more": Evil(path.parent.parent / "ran")}, path)


@pytest.mark.parametrize("save", [
    lambda state, path: path.write_bytes(pickle.dumps(Evil(path.parent.parent / "ran"))), in_a_table,
    lambda state, path: path.write_bytes(b"no weights"), lambda state, path: torch.save([1, 2], path),
    lambda state, path: torch.save(dict(list(state.items())[:5]), path),
], ids=["pickle", "in a table", "text", "a list", "few weights"])
def test_what_is_no_table_of_tensors_is_refused_and_nothing_in_it_runs(tmp_path, made, save, capsys):
    folder = as_bin(made / "bert", tmp_path / "old", save=save)
    with pytest.raises(BadInput):
        resolve(str(folder))
    words = ["--method", "logit_kd", "--task", "gad", "--teacher", str(folder), "--student", "tiny-student",
             "--max-steps", "2", "--latency", "off", "--results-dir", str(tmp_path / "results")]
    assert main(words) == 2 and not (tmp_path / "ran").exists()
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("bench.py: ") and str(folder) in error
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_an_index_that_leads_elsewhere(tmp_path, made):
    folder = as_bin(made / "bert", tmp_path / "old", save=in_parts, name="pytorch_model.bin.index.json")
    index = folder / "pytorch_model.bin.index.json"
    for name, why in (("../x.bin", "no index"), ("other.bin", "not there"), (3, "no index")):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(BadInput, match=why):
            resolve(str(folder))


def test_a_model_of_the_hub(tmp_path, made, monkeypatch):
    """Its safetensors are asked for first; where it has none, what is downloaded then is read."""
    snapshot, asked = as_bin(made / "bert", tmp_path / "old"), []
    hidden = (snapshot / "pytorch_model.bin").rename(tmp_path / "away")

    def download(name, allow_patterns, local_files_only):
        asked.append("pytorch_model*.bin" in allow_patterns)
        if asked[-1]:
            shutil.copyfile(hidden, snapshot / "pytorch_model.bin")
        return str(snapshot)

    monkeypatch.setattr(sources, "snapshot_download", download)
    monkeypatch.setattr(sources, "on_disk", lambda name: snapshot if name == "owner/model" or Path(name) == snapshot else None)
    source = resolve("owner/model")
    sources.fetch(source)
    assert asked == [False, True]
    module = build(source, HEAD, seed=0, texts=list, quiet=True).module
    assert torch.equal(module.classifier.weight, AutoModelForSequenceClassification.from_pretrained(made / "bert").classifier.weight)
    shutil.copyfile(made / "bert" / "model.safetensors", snapshot / "model.safetensors")
    sources.fetch(source)
    assert asked == [False, True, False]


def test_a_teacher_of_the_command_line(tmp_path, made, capsys):
    folder = as_bin(made / "bert", tmp_path / "old")
    words = ["--method", "logit_kd", "--task", "gad", "--student", "tiny-student", "--max-steps", "2", "--latency", "off"]
    for teacher, results in ((folder, "a"), (made / "bert", "b")):
        assert main([*words, "--teacher", f"mine={teacher}", "--results-dir", str(tmp_path / results)]) == 0
    scores = [[json.loads(path.read_text())["score"] for path in sorted((tmp_path / each).glob("records/gad/*.json"))] for each in "ab"]
    assert sorted(map(str, scores[0])) == sorted(map(str, scores[1]))
