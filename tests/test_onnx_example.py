"""The code on a card runs as it stands, without kdbench, torch and transformers, and answers as `predict` does."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv

import pytest
import torch
from factory import record
from students import LABELS, TEXTS, student, write

from kdbench.data.task import Task
from kdbench.data.word_rules import pattern
from kdbench.runs.artefacts import write_cards
from kdbench.serve.export import export
from kdbench.serve.labels import Labels
from kdbench.serve.predict import load_predictor

BLOCKED = ("kdbench", "torch", "transformers", "scipy", "onnx")
# run before the code of the card: what it must not need cannot be imported
BLOCK = f"import sys\nfor name in {BLOCKED}:\n    sys.modules[name] = None\n"
TEXT = f"{TEXTS[3]}; TNF-α (café) can't, {' '.join(TEXTS[5:9])}"  # beyond a limit of 40 tokens
# name -> student, task type, facts of its labels.json
STUDENTS = {
    "single": ("tiny:bert", "single", {}),
    "a threshold": ("tiny:bert", "single", {"threshold": 0.2, "labels": ("no", "yes")}),
    "no token types": ("tiny:distilbert", "single", {"unattended_ids": (2, 5)}),
    "multi": ("tiny:albert", "multi", {}),
    "multi with a threshold": ("tiny:albert", "multi", {"threshold": 0.4}),
    "regression": ("tiny:deberta", "regression", {}),
    "tags": ("bilstm", "tags", {"word_rule": "edges", "word_pattern": pattern("edges")}),
    "tags with a blank before words": ("tiny:bert", "tags", {"word_rule": "clitics", "word_pattern": pattern("clitics"), "word_prefix": " "}),
    "tags of an old folder": ("tiny:bert", "tags", {}),
}


def exported(folder, name):
    """The ONNX export of a student, with its card."""
    model_name, task_type, facts = STUDENTS[name]
    write(folder / "run", model_name, task_type, max_length=40, **facts)
    if len(facts.get("labels", ())) == 2:
        two(folder / "run", task_type)
    export(folder / "run", folder / "out", ("onnx",), sample_texts=TEXTS[:3])
    task = Task(name="t", task_type=task_type, about="a test", metric="micro_f1", load=None)
    write_cards(record(), task, folder / "out", ["onnx"])
    return folder / "out" / "onnx"


def two(folder, task_type):
    """Give the student a head of two classes."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(folder, num_labels=2)).save_pretrained(folder)


def answers_of_card(place, texts, python=sys.executable, block=BLOCK):
    """What the code of the card gives, run by a process of its own in an empty folder."""
    code = re.search(r"onnxruntime, tokenizers and numpy alone:\n\n```python\n(.+?)```", (place / "README.md").read_text(), re.S)[1]
    code = code.replace("THIS_FOLDER", str(place))
    assert code.rstrip().endswith('print(answer("Aspirin inhibits the enzyme."))')
    asked = f"\nimport json\nfor text in json.loads({json.dumps(json.dumps(texts))}):\n    print(json.dumps(answer(*text)))\n"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", block + code + asked], capture_output=True, text=True, cwd=place.parent, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(map(json.loads, done.stdout.splitlines()[1:]))


def asked_of(name):
    texts = [*TEXTS[::6], TEXT]
    if STUDENTS[name][1] == "tags":
        return [[text] for text in texts]
    return [*([text] for text in texts), [TEXTS[0], TEXTS[-1]], [TEXT, TEXT]]


def check_answers(name, place, answers):
    """The answers are those of `predict`, and not all the same."""
    texts = asked_of(name)
    expected = load_predictor(place).predict([text[0] if len(text) == 1 else tuple(text) for text in texts])
    assert any(answer.get("truncated") for answer in expected)
    for own, answer in zip(answers, expected, strict=True):
        if "entities" in answer:
            names = ("text", "type", "start", "end")
            assert own == [{name: entity[name] for name in names} for entity in answer["entities"]]
        elif "label" in answer:
            assert (own["label"], round(own["probability"], 4)) == (answer["label"], pytest.approx(answer["probability"], abs=1e-4))
        elif "predicted" in answer:
            assert own == {"predicted": answer["predicted"]}
        else:
            assert own["value"] == pytest.approx(answer["value"], abs=1e-4)
    assert len({json.dumps(own) for own in answers}) > 1 or "threshold" in STUDENTS[name][2]


RARE = {"no token types", "multi with a threshold", "tags of an old folder"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in RARE else name for name in STUDENTS])
def test_the_code_of_a_card_answers_as_predict_does(tmp_path, name):
    place = exported(tmp_path, name)
    check_answers(name, place, answers_of_card(place, asked_of(name)))


def test_the_code_is_short_and_names_what_the_graph_takes(tmp_path):
    place = exported(tmp_path, "single")
    text = (place / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 30 and max(map(len, lines)) <= 100
    for fact in ("int64 (batch, length)", "float32 (batch, 3)", "softmax", "at most 40 tokens", "ORTModelForSequenceClassification"):
        assert fact in text, fact
    assert "threshold" not in code and Labels.read(place).max_length == 40


def test_a_card_of_a_tagger_says_how_texts_are_cut(tmp_path):
    text = (exported(tmp_path, "tags") / "README.md").read_text()
    for fact in ("cut at blanks, with punctuation at the edges of words cut off", "is_pretokenized=True", "first piece", "library_name: kdbench"):
        assert fact in text, fact
    assert "ORTModel" not in text and "from_pretrained" not in text, "transformers lacks a BiLSTM"


def test_an_export_says_its_limit_where_others_look(tmp_path):
    """And names a tokenizer class that older versions of transformers know, as optimum needs them."""
    place = exported(tmp_path, "single")
    settings = json.loads((place / "tokenizer_config.json").read_text())
    assert (settings["model_max_length"], settings["tokenizer_class"]) == (40, "PreTrainedTokenizerFast")
    config = json.loads((place / "config.json").read_text())
    assert config["model_type"] == "bert" and list(config["id2label"].values()) == list(LABELS["single"])


@pytest.mark.slow
def test_two_models_that_answer_together(tmp_path):
    for part, seed in (("student", 0), ("teacher", 1)):
        write(tmp_path / "run" / part, "tiny:bert", "single", max_length=40)
        student(seed=seed).module.save_pretrained(tmp_path / "run" / part)
    Labels("single", LABELS["single"], max_length=40, members=("student", "teacher")).write(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:3])
    task = Task(name="t", task_type="single", about="a test", metric="micro_f1", load=None)
    write_cards(record(), task, tmp_path / "out", ["onnx"])
    place = tmp_path / "out" / "onnx"
    check_answers("single", place, answers_of_card(place, asked_of("single")))


@pytest.mark.slow
def test_the_code_needs_three_packages_and_no_more(tmp_path):
    """In a virtual environment that has nothing else."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "tokenizers", "numpy"], check=True, env={
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    for name in STUDENTS:
        place = exported(tmp_path / name, name)
        check_answers(name, place, answers_of_card(place, asked_of(name), python, ""))
        shutil.rmtree(tmp_path / name)


@pytest.mark.slow
@pytest.mark.skipif("OPTIMUM_PYTHON" not in os.environ, reason="optimum wants an older transformers: name a Python that has both")
def test_optimum_loads_the_folder(tmp_path):
    """OPTIMUM_PYTHON is a Python with optimum[onnxruntime]."""
    place = exported(tmp_path, "single")
    expected = load_predictor(place).predict(TEXTS[:2])
    code = ("from optimum.onnxruntime import ORTModelForSequenceClassification as M\nfrom transformers import AutoTokenizer\n"
            f"model, tokenizer = M.from_pretrained('{place}'), AutoTokenizer.from_pretrained('{place}')\n"
            f"for text in {TEXTS[:2]!r}:\n"
            "    logits = model(**tokenizer(text, return_tensors='pt', truncation=True)).logits\n"
            "    print(logits.softmax(-1).max().item(), model.config.id2label[logits.argmax().item()])\n")
    done = subprocess.run([os.environ["OPTIMUM_PYTHON"], "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for line, answer in zip(done.stdout.splitlines(), expected, strict=True):
        probability, label = line.split()
        assert (float(probability), label) == (pytest.approx(answer["probability"], abs=1e-3), answer["label"])
