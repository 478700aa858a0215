"""Whole notes: taggers and classifiers whose texts are longer than the model, trained, scored and served in windows."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.numpy import load_file
from students import LABELS, TEXTS, write
from test_onnx_example import answers_of_card

from kdbench.base.errors import BadInput
from kdbench.cli.verbs import main
from kdbench.models.sources import resolve
from kdbench.report.tables import build, render
from kdbench.runs import store
from kdbench.runs.planning import load_data
from kdbench.serve import measure
from kdbench.serve.labels import Labels
from kdbench.serve.predict import load_predictor
from kdbench.serve.serving import averaged
from kdbench.train.fit import Trainer
from kdbench.train.lab import Lab
from kdbench.train.losses import Supervised
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache

FILLER = ("the", "patient", "was", "seen", "on", "ward", "and", "given", "fluids", "by", "mouth", "twice")
DRUGS = ("dexorin", "pralin", "movex")
LIMIT = 24  # tokens


def note(words, entities, seed):
    """A text of so many words with so many entities of one to three words, the last of them at its end: words, tags."""
    dice = random.Random(seed)
    text, tags = [dice.choice(FILLER) for _ in range(words)], ["O"] * words
    places = sorted(dice.sample(range(0, words - 6, 6), entities - 1)) + [words - 2]
    for place in places:
        size = 1 if place == words - 2 else dice.randint(1, 3)
        text[place:place + size] = [dice.choice(DRUGS), "sulfate", "forte"][:size]
        tags[place:place + size] = ["B-Drug", "I-Drug", "I-Drug"][:size]
    return text, tags


def write_notes(path, notes):
    path.write_text("".join(json.dumps({"tokens": words, "ner_tags": tags}) + "\n" for words, tags in notes))
    return path


@pytest.fixture(scope="module", autouse=True)
def brief():
    """Latency is measured, and nothing is asserted of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measure.PROTOCOLS, "quick", measure.Protocol("quick", 1, 2, 0.0, 0.1, 1))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Training texts of up to three times the limit; of the test texts one has 900 words."""
    folder = tmp_path_factory.mktemp("notes")
    splits = {"train": [note(18 + 5 * (i % 10), 2 + i % 10 // 2, i) for i in range(80)],
              "dev": [note(30, 3, f"dev {i}") for i in range(8)],
              "test": [*(note(40, 4, f"test {i}") for i in range(6)), note(900, 60, "long")]}
    return {split: write_notes(folder / f"{split}.jsonl", notes) for split, notes in splits.items()}


def trained(results, files, *more, method="finetune", student="tiny:bert"):
    given = [word for split, path in files.items() for word in (f"--{split}", str(path))]
    assert main(["run", "--method", method, "--task", "files", *given, "--student", student, "--no-controls", "--epochs", "8",
                 "--batch-size", "16", "--lr", "5e-3", "--max-length", str(LIMIT), "--latency", "off", "--device", "cpu",
                 "--results-dir", str(results), *more]) == 0
    return list(store.records(results))[-1]


@pytest.fixture(scope="module")
def tagger(files, tmp_path_factory):
    results = tmp_path_factory.mktemp("tagger")
    return results, trained(results, files, "--long", "windows")


def planted(words, tags):
    """The entities of a text of these words with blanks between."""
    text, found, start = " ".join(words), [], 0
    for word, tag in zip(words, tags, strict=True):
        if tag == "B-Drug":
            found.append([start, start + len(word)])
        elif tag == "I-Drug":
            found[-1][1] = start + len(word)
        start += len(word) + 1
    return text, [tuple(span) for span in found]


def entities(answer):
    return [(entity["start"], entity["end"]) for entity in answer["entities"]]


def command(capsys, *words):
    """What the command line prints; it must end well."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr()


def folder_of(results, record):
    return results / "models" / record["artefact"]


@pytest.fixture(scope="module")
def exports(tagger, tmp_path_factory):
    """The folder of the exports, and their rows of the record."""
    results, record = tagger
    out = tmp_path_factory.mktemp("exports") / "out"
    assert main(["export", record["id"], str(out), "--results-dir", str(results), "--latency", "quick"]) == 0
    record, = store.records(results)
    return out, record["artefacts"]


# ---- taggers ---------------------------------------------------------------------------------------------------------


def test_the_entities_of_a_long_note_are_found_in_order_once_each(tagger, exports):
    results, record = tagger
    words, tags = note(3000, 200, "another")
    text, expected = planted(words, tags)
    predictor = load_predictor(folder_of(results, record))
    read = predictor.artefact.read([text])
    # some lie across the end of a window, and the last is that of the text
    edges = [own[-2] for own in map(word_ids_of(predictor.artefact, text).__getitem__, range(len(read.tokens) - 1))]
    assert sum(tags[edge + 1] == "I-Drug" for edge in edges) > 10 and tags[-2] == "B-Drug"
    for place in (folder_of(results, record), exports[0] / "onnx", exports[0] / "onnx_int8"):
        answer, = load_predictor(place).predict([text])
        assert entities(answer) == expected and "truncated" not in answer, place
    assert len(expected) == 200 and expected == sorted(expected)


def word_ids_of(artefact, text):
    """The word of each token of each window, by the tokenizer alone."""
    artefact.tokenizer.enable_truncation(LIMIT, stride=artefact.labels.stride)
    first = artefact.tokenizer.encode(text.split(), is_pretokenized=True)
    return [row.word_ids for row in (first, *first.overflowing)]


def test_the_code_of_a_card_finds_them_too(exports):
    texts = [planted(*note(count, 5, count))[0] for count in (30, 700)] + ["dexorin"]
    found = answers_of_card(exports[0] / "onnx", [[text] for text in texts])
    expected = load_predictor(exports[0] / "onnx").predict(texts)
    assert list(map(entities, map(lambda own: {"entities": own}, found))) == list(map(entities, expected))
    assert [len(own) for own in found] == [5, 5, 1]


def test_labels_json_and_the_record_say_how_a_note_is_read(tagger):
    results, record = tagger
    limits, labels = record["limits"]["student"], Labels.read(folder_of(results, record))
    assert (labels.max_length, labels.stride, labels.pooling) == (LIMIT, 11, "mean")  # 22 tokens and two special ones
    assert {counts["cut"] for counts in (*limits["texts"].values(), *limits["entities"].values())} == {0}
    assert limits["windows"] == {"stride": 11, "pooling": "mean", "texts": {
        "train": {"windows": 72, "of": 80}, "dev": {"windows": 8, "of": 8}, "test": {"windows": 7, "of": 7}}}
    assert record["score"]["beyond_limit"]["test"]["words"] == 0 and record["score"]["test"] == 1
    assert record["cell"]["settings"]["long"] == "windows" and "stride" not in record["cell"]["settings"]
    caption = " ".join(render(build([record])).split())
    assert "0 texts are cut; longer ones are read in windows that share 11 tokens: 72 of 80 train" in caption


def test_what_is_served_is_what_was_scored(tagger, exports, files, capsys):
    results, record = tagger
    for row in exports[1]:
        assert row["score"]["test"] == record["score"]["test"] == 1
        assert row["latency"]["tokens"] > 40 and row["latency"]["max_length"] == LIMIT
    report = json.loads(command(capsys, "evaluate", record["id"], "--results-dir", results, "--test", files["test"], "--json").out)
    assert (report["score"], report["cut"], report["windows"]) == (1, 0, 7) and report["beyond_limit"]["entities"] == 0
    # the student's answers from its weights, against those stored
    said = command(capsys, "verify", record["id"], "--results-dir", results).out
    assert re.search(r"student: its answers on test, run again +1 +1 +0 +0", said)


def test_label_writes_the_tags_of_the_whole_note(tagger, files, tmp_path, capsys):
    results, record = tagger
    command(capsys, "label", record["id"], "--results-dir", results, "--file", files["test"], "-o", tmp_path / "out.jsonl")
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (files["test"], tmp_path / "out.jsonl")]
    assert [row["ner_tags"] for row in rows[0]] == [row["ner_tags"] for row in rows[1]]


def test_without_windows_the_note_is_cut_and_its_caption_says_so(files, tmp_path, capsys):
    record = trained(tmp_path, files, "--max-steps", "2")
    lost = record["score"]["beyond_limit"]["test"]
    limits = record["limits"]["student"]
    assert "windows" not in limits and limits["texts"]["test"] == {"cut": 7, "of": 7}
    assert lost["words"] == 900 - 22 + 6 * 18 and limits["entities"]["test"]["cut"] == lost["entities"] > 55
    caption = " ".join(capsys.readouterr().out.split())
    assert "7 of 7 test are cut, and of entities" in caption and f"{lost['entities']} of 84 test" in caption
    assert "stride" not in (folder_of(tmp_path, record) / "labels.json").read_text()


# ---- labels of texts -------------------------------------------------------------------------------------------------


def texts_of(split, count):
    """Texts of 20 to 60 words, of which one word, anywhere, is the class."""
    dice = random.Random(split)
    for i in range(count):
        words = [dice.choice(FILLER) for _ in range(dice.randint(20, 60))]
        words[dice.randrange(len(words))] = ("worse", "improved")[i % 2]
        yield " ".join(words), i % 2


def rows_of(kind, split, count):
    for text, label in texts_of(split, count):
        value = {"single": {"label": ("bad", "good")[label]}, "multi": {"labels": [["bad", "ill"], ["good"]][label]},
                 "regression": {"score": label + 0.25 * (label == 0)}}[kind]
        yield {"sentence1": "how is she", "sentence2": text, **value} if split.startswith("pair") else {"text": text, **value}


@pytest.mark.parametrize(("kind", "more", "prefix"), [
    ("single", ["--pooling", "max"], ""), ("single", [], "pair "),
    pytest.param("multi", ["--stride", "3"], "", marks=pytest.mark.slow),
    pytest.param("regression", [], "", marks=pytest.mark.slow)])
def test_a_class_that_any_window_decides_is_served_as_it_was_scored(kind, more, prefix, tmp_path, capsys):
    files = {}
    for split, count in (("train", 64), ("dev", 8), ("test", 12)):
        files[split] = tmp_path / f"{split}.jsonl"
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows_of(kind, prefix + split, count)))
    record = trained(tmp_path / "r", files, "--long", "windows", *more, "--max-steps", "6")
    folder = folder_of(tmp_path / "r", record)
    labels, windows = Labels.read(folder), record["limits"]["student"]["windows"]
    assert (labels.stride, labels.pooling) == ((3 if "3" in more else 5), "max" if "max" in more else "mean")
    assert windows["texts"]["test"]["windows"] > 9 and record["limits"]["student"]["texts"]["test"]["cut"] == 0
    stored = np.load(next(Path(tmp_path / "r").rglob("*.npz")))["test_predictions"]
    texts = [json.loads(line) for line in files["test"].read_text().splitlines()]
    texts = [(row["sentence1"], row["sentence2"]) if prefix else row["text"] for row in texts]
    artefact = load_predictor(folder).artefact
    served = np.stack(artefact.answers(artefact.read(texts)))
    assert np.allclose(served[:, 0] if kind == "regression" else served, stored, atol=1e-5)
    # and none of them is that of the text's beginning alone
    cut = np.stack(artefact.logits(*zip(*((row.ids, row.type_ids) for row in artefact.encode(texts)), strict=True)))
    assert (np.abs(cut - served).max(1) > 1e-4).sum() >= windows["texts"]["test"]["windows"] - 1
    command(capsys, "export", record["id"], tmp_path / "out", "--results-dir", tmp_path / "r", "--kinds", "onnx", "--latency", "quick")
    exported, = next(iter(store.records(tmp_path / "r")))["artefacts"]
    assert exported["score"]["test"] == pytest.approx(record["score"]["test"], abs=1e-6)
    expected = load_predictor(tmp_path / "out" / "onnx").predict(texts)
    found = answers_of_card(tmp_path / "out" / "onnx", [list(text) if prefix else [text] for text in texts])
    name = {"single": "probability", "multi": "predicted", "regression": "value"}[kind]
    for own, answer in zip(found, expected, strict=True):
        assert own[name] == (answer[name] if kind == "multi" else pytest.approx(answer[name], abs=1e-4))


# ---- beside what was there before ------------------------------------------------------------------------------------


def test_of_texts_that_fit_windows_change_no_bit(tmp_path):
    files = {split: write_notes(tmp_path / f"{split}.jsonl", [note(9, 2, f"{split} {i}") for i in range(6)])
             for split in ("train", "dev", "test")}
    found = []
    for long in ("cut", "windows"):
        record = trained(tmp_path / long, files, "--long", long, "--max-steps", "3", "--max-length", "80")
        folder = folder_of(tmp_path / long, record)
        assert ("stride" in (folder / "labels.json").read_text()) == (long == "windows")
        predictions = np.load(next((tmp_path / long).rglob("*.npz")))
        assert "windows" not in render(build([record])).partition("naive predictor")[2]
        found.append((load_file(folder / "model.safetensors"), {name: predictions[name] for name in predictions if "units" not in name}))
    (weights, stored), (other_weights, other_stored) = found
    for one, other in ((weights, other_weights), (stored, other_stored)):
        assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def lab_of(files, folder, **given):
    task, data, _ = load_data("files", None, tuple(sorted(files.items())), ())
    protocol = Settings(**{"epochs": 2, "batch_size": 16, "max_length": LIMIT, "long": "windows", "checkpoint_seconds": 0.0,
                           "lr": 2e-3, "precision": "fp32", "max_steps": 8, **given})
    return Lab(task, data, 0, "corrected", protocol, resolve("tiny:bert"), resolve("tiny:roberta"), StageCache(folder),
               Accelerator(cpu=True))


class Kill(Exception):
    """Stands in for the signal inside one process."""


def test_a_killed_training_ends_with_the_same_weights(files, tmp_path, monkeypatch):
    undisturbed = lab_of(files, tmp_path / "whole").finetune(lab_of(files, tmp_path / "whole").student())
    step = Trainer.one_step

    def one_step(trainer, indices, total):
        if trainer.step == 5:
            raise Kill
        step(trainer, indices, total)

    monkeypatch.setattr(Trainer, "one_step", one_step)
    with pytest.raises(Kill):
        lab_of(files, tmp_path / "killed").finetune(lab_of(files, tmp_path / "killed").student())
    monkeypatch.undo()
    lab = lab_of(files, tmp_path / "killed")
    again = lab.finetune(lab.student())
    assert lab.stages[-1]["steps"] == 8 and lab.stages[-1]["key"] == undisturbed.key
    for one, other in zip(undisturbed.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_stages_and_signals_know_how_long_texts_are_read(files, tmp_path):
    keys = []
    for given in ({"long": "cut"}, {}, {"stride": 3}, {"pooling": "max"}):
        lab = lab_of(files, tmp_path, **given)
        model = lab.student()
        training = lab.training_for(model)
        stage = lab.stage_key(model, Supervised("tags"), training, lab.data.train, None, "s", 0)
        keys.append((stage, lab.signals_key(lab._frozen(model, ("logits",)), lab.data.train)))
        assert ("windows" in training.content()) == ("long" not in given)
    assert len({stage for stage, _ in keys}) == len({signals for _, signals in keys}) == 4


@pytest.mark.parametrize(("given", "said"), [
    (["--stride", "3"], "give --long windows"), (["--pooling", "max"], "give --long windows"),
    (["--long", "whole"], "long"), (["--long", "windows", "--stride", "22"], "tiny:bert reads 22 tokens of a text at once"),
    (["--long", "windows", "--stride", "-1"], "--stride")])
def test_what_is_wrong_is_said_in_one_line(given, said, files, tmp_path, capsys):
    words = [word for split, path in files.items() for word in (f"--{split}", str(path))]
    assert main(["run", "--method", "finetune", "--task", "files", *words, "--student", "tiny:bert", "--no-controls",
                 "--max-length", str(LIMIT), "--latency", "off", "--device", "cpu", "--results-dir", str(tmp_path), *given]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(store.records(tmp_path))


def test_a_folder_whose_stride_is_no_overlap_is_refused(tmp_path):
    write(tmp_path / "student", "tiny:bert", "tags", max_length=40, stride=38)
    with pytest.raises(BadInput, match="stride is 38, and a window has 38 tokens"):
        load_predictor(tmp_path / "student")
    write(tmp_path / "other", "tiny:bert", "tags", max_length=40, stride=-2)
    with pytest.raises(BadInput, match="stride is -2, not a whole number"):
        load_predictor(tmp_path / "other")


def test_models_that_answer_together_read_in_windows_of_their_own(tmp_path):
    for part, length in (("student", 20), ("teacher", 30)):
        write(tmp_path / part, "tiny:bert", "single", max_length=length, stride=4)
    Labels("single", LABELS["single"], max_length=20, members=("student", "teacher"), stride=4).write(tmp_path)
    both, texts = load_predictor(tmp_path).artefact, [" ".join(TEXTS[:3]), "cells"]
    read = both.read(texts)
    each = [member.answers(member.read(texts)) for member in both.members]
    assert np.allclose(both.answers(read), averaged([np.stack(rows) for rows in each]), atol=1e-6)
    assert read.divided == 1 and len(both.work(read, [0], 32)) == 2
    assert not np.allclose(each[0][0], each[1][0], atol=1e-4)
