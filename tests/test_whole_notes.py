"""Whole notes: taggers and classifiers whose texts are longer than the model, trained, scored and served in windows."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from test_onnx_example import answers_of_card

from kdbench.cli.verbs import main
from kdbench.report.tables import build, render
from kdbench.runs import store
from kdbench.serve import measure
from kdbench.serve.labels import Labels
from kdbench.serve.predict import load_predictor

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
    brief = measure.Protocol("quick", warm_up=1, least=2, seconds=0.0, most_seconds=0.1, processes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measure.PROTOCOLS, "quick", brief)
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
    record = trained(tmp_path / "r", files, "--long", "windows", *more, "--epochs", "2")
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
