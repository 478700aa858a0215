"""Answers of a student: labels with probabilities, entities with their place in the text."""

import json

import numpy as np
import pytest
import torch
from students import TEXTS, student, write
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kdbench.base.errors import BadInput
from kdbench.base.registry import TASKS
from kdbench.data.rows import Wanted
from kdbench.data.task import Example
from kdbench.serve.export import export
from kdbench.serve.labels import Labels
from kdbench.serve.predict import Predictor, load_predictor, render
from kdbench.serve.serving import Artefact
from kdbench.serve.texts import plain_text


class Lookup(Artefact):
    """A model without weights: each token's logits are looked up by the token's text."""

    def __init__(self, labels, table, limit=64):
        letters = [chr(i) for i in range(33, 127)] + ["µ", "é"]
        names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *letters, *(f"##{letter}" for letter in letters), *table]
        vocabulary = {name: i for i, name in enumerate(dict.fromkeys(names))}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
        self.table = {tokenizer.token_to_id(name): logits for name, logits in table.items()}
        super().__init__(tokenizer, labels, {"max_position_embeddings": limit}, ("input_ids", "attention_mask"), 1, "cpu")

    def forward(self, inputs):
        none = np.zeros(len(self.labels.labels))
        none[0] = 4.0
        rows = []
        for ids in inputs["input_ids"]:
            rows.append([self.table.get(i, none) for i in ids])
        return np.array(rows, dtype=np.float32)


def tagger(limit=64, labels=("O", "B-GENE", "I-GENE"), names=None):
    opening, inner = (0, 9, 0), (0, 0, 9)
    table = {"p53": opening, "IL": opening, "-": inner, "2": inner, "NF": opening, "kappa": inner, "##kappa": (99, 0, 0)}
    return Predictor(Lookup(Labels("tags", labels, names or {}, 512), table, limit))


# ---- tags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, entities", [
    ("p53 binds IL-2.", [("p53", 0, 3), ("IL-2", 10, 14)]),
    ("(p53)\tand\n IL - 2", [("p53", 1, 4), ("IL - 2", 11, 17)]),
    ("µé p53", [("p53", 3, 6)]),
    ("nothing here", []),
    (["Of", "IL", "-", "2", ",", "p53"], [("IL - 2", 3, 9), ("p53", 12, 15)]),
    ("p53 p53", [("p53", 0, 3), ("p53", 4, 7)]),
    ("p53_a", [("p53_a", 0, 5)]),  # one word, with the tag of its first piece
    ("xp53", []),
])
def test_entities_stand_where_the_text_has_them(text, entities):
    answer, = tagger().predict([text])
    plain = text if isinstance(text, str) else " ".join(text)
    assert [(e["text"], e["start"], e["end"]) for e in answer["entities"]] == entities
    assert all(plain[e["start"]:e["end"]] == e["text"] for e in answer["entities"]) and answer["text"] == plain


def test_of_an_example_with_its_original_text_offsets_are_those_of_that_text():
    text = "p53, then (IL-2)."
    example = Example("1", text=text, words=("p53", ",", "then", "(", "IL-2", ")", "."))
    answer, = tagger().predict([example])
    assert answer["text"] == text and answer["entities"]
    assert all(text[e["start"]:e["end"]] == e["text"] for e in answer["entities"])


def test_a_word_is_tagged_by_its_first_piece():
    entity, = tagger().predict(["NFkappa"])[0]["entities"]
    assert (entity["text"], entity["type"]) == ("NFkappa", "GENE")


def test_an_entitys_probability_is_the_mean_over_its_words():
    artefact = tagger().artefact
    artefact.table[artefact.tokenizer.token_to_id("-")] = (0.0, 0.0, 1.0)
    entity, = Predictor(artefact).predict(["IL-"])[0]["entities"]
    sure, unsure = np.exp(9) / (np.exp(9) + 2), np.e / (np.e + 2)
    assert entity["probability"] == pytest.approx((sure + unsure) / 2, abs=1e-4)


@pytest.mark.parametrize("labels, names, expected", [
    (("O", "B-GENE", "I-GENE"), {"B-GENE": "gene begins", "I-GENE": "gene goes on"}, ("GENE", "gene")),
    (("O", "B", "I"), {"B": "gene begins"}, ("", "gene")),
    (("O", "B", "I"), {}, ("", "entity")),
    (("O", "B-PAR", "I-PAR"), {"B-PAR": "participants"}, ("PAR", "participants")),
])
def test_types_are_spelled_out(labels, names, expected):
    entity, = tagger(labels=labels, names=names).predict(["p53"])[0]["entities"]
    assert (entity["type"], entity["name"]) == expected


def test_a_text_beyond_the_limit_says_so():
    short, long = tagger(limit=4).predict(["a p53", "a b p53"])
    assert len(short["entities"]) == 1 and "truncated" not in short
    assert long["entities"] == [] and long["truncated"] is True


# ---- texts -----------------------------------------------------------------------------------------------------------


def fixed(tmp_path, task_type, bias, **facts):
    """A student whose logits are `bias`, whatever it reads."""
    model = student(task_type=task_type)
    with torch.no_grad():
        model.module.classifier.weight.zero_()
        model.module.classifier.bias.copy_(torch.tensor(bias))
    write(tmp_path / "run", task_type=task_type, **facts)
    model.module.save_pretrained(tmp_path / "run")
    return load_predictor(tmp_path / "run")


def test_single_labels_with_probabilities(tmp_path):
    predictor = fixed(tmp_path, "single", [0.0, 2.0, 1.0], names={"inhibits": "inhibitor, downregulator"})
    answer, pair = predictor.predict(["one", ("one", "two")])
    powers = np.exp([0, 2, 1]) / np.exp([0, 2, 1]).sum()
    assert answer == {
        "text": "one", "label": "inhibits", "name": "inhibitor, downregulator", "probability": round(powers[1], 4),
        "labels": dict(zip(("none", "inhibits", "activates"), powers.round(4).tolist(), strict=True))}
    assert (pair["text"], pair["pair"]) == ("one", "two")


@pytest.mark.parametrize("threshold, label", [(None, "none"), (0.2, "inhibits"), (0.4, "none")])
def test_the_threshold_of_two_classes(threshold, label):
    artefact = Lookup(Labels("single", ("none", "inhibits"), {}, 64, threshold), {})
    artefact.forward = lambda inputs: np.array([[1.0, 0.0]] * len(inputs["input_ids"]))  # 0.27 for the last
    assert Predictor(artefact).predict(["x"])[0]["label"] == label


@pytest.mark.parametrize("threshold, predicted", [(None, ["death"]), (0.2, ["death", "repair"])])
def test_several_labels_by_threshold(tmp_path, threshold, predicted):
    predictor = fixed(tmp_path, "multi", [-3.0, 1.0, -1.0], names={"death": "cell death"}, threshold=threshold)
    answer, = predictor.predict(["one"])
    assert answer["predicted"] == predicted and answer["names"][0] == "cell death"
    assert answer["labels"] == {"growth": 0.0474, "death": 0.7311, "repair": 0.2689}


def test_numbers(tmp_path):
    answer, = fixed(tmp_path, "regression", [2.5]).predict([("one", "two")])
    assert answer == {"text": "one", "pair": "two", "value": 2.5}


def places(answer):
    return [(entity["start"], entity["end"], entity["type"]) for entity in answer.get("entities", ())]


@pytest.mark.parametrize("task_type", ["single", "tags"])
def test_onnx_says_what_safetensors_says(tmp_path, task_type):
    write(tmp_path / "run", task_type=task_type)
    export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:2])
    by_torch, by_onnx = (load_predictor(tmp_path / place).predict(TEXTS) for place in ("run", "out/onnx"))
    for a, b in zip(by_torch, by_onnx, strict=True):
        assert a.get("label") == b.get("label")
        assert places(a) == places(b)


def test_examples_are_texts_too():
    predictor = tagger()
    assert predictor.predict([Example("1", words=("p53", "x"))]) == predictor.predict([["p53", "x"]])
    assert predictor.predict([]) == []


def test_a_folder_without_labels_json_is_read_by_its_configuration(tmp_path):
    for task_type in ("single", "multi", "tags"):
        for name in ("tiny:bert", "bilstm"):
            folder = write(tmp_path / f"{name}-{task_type}", name, task_type)
            written = Labels.read(folder)
            (folder / "labels.json").unlink()
            assert (Labels.read(folder).task_type, Labels.read(folder).labels) == (written.task_type, written.labels)
            assert written.task_type == task_type


# ---- in and out ------------------------------------------------------------------------------------------------------


def read(path, task_type="single"):
    return TASKS.get("files").read_rows(path, Wanted(task_type, plain=True))


@pytest.mark.parametrize("task_type, content, texts", [
    ("single", "one\n\n  two \n", [(1, "one"), (3, "two")]),
    ("single", '{"sentence": "three", "label": "x"}\n\n{"sentence": "four"}\n', [(1, "three"), (2, "four")]),
    ("single", '{"sentence1": "five", "sentence2": "six"}\n', [(1, ("five", "six"))]),
    ("tags", '{"tokens": ["seven"], "sentence": "eight"}\n', [(1, ("seven",))]),
    ("single", '{"tokens": ["seven"], "sentence": "eight"}\n', [(1, "eight")]),
    ("tags", "seven\tO\neight\tB-X\n\nnine\tO\n", [(1, ("seven", "eight")), (2, ("nine",))]),
])
def test_files_of_lines_and_of_rows(tmp_path, task_type, content, texts):
    (tmp_path / "texts").write_text(content, encoding="utf-8")
    rows = read(tmp_path / "texts", task_type).rows
    assert [(row.number, plain_text(row.example)) for row in rows] == texts


@pytest.mark.parametrize("content, message", [
    (b'{"sentence": 3}\n', r":1: sentence is 3, not text"),
    (b'{"sentence": \n', r":1: not JSON"),
    (b"\n \n", "the file is empty"),
    (b"\xff\xfe", "not UTF-8"),
    (b"id,page,more\n1,a,b\n", "which column has the text"),
    (None, "No such file"),
])
def test_bad_files_take_one_line(tmp_path, content, message):
    path = tmp_path / "texts.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_tables_and_json_lines():
    answers = tagger().predict(["p53 binds IL-2.", "nothing"])
    assert render(answers).splitlines() == [
        "entity  type  start  end  probability  in",
        "p53     GENE  0      3    0.9998       p53 binds IL-2.",
        "IL-2    GENE  10     14   0.9998       p53 binds IL-2.",
        "        none                           nothing",
    ]
    assert [json.loads(line) for line in render(answers, "json").splitlines()] == answers
    labelled = {"text": "one " * 40, "label": "CPR:4", "name": "inhibitor", "probability": 0.9, "labels": {"CPR:4": 0.9}}
    header, row = render([labelled]).splitlines()
    assert header.split() == ["label", "name", "probability", "text"]
    assert row.startswith("CPR:4  inhibitor  0.9") and row.endswith("...")
    several = [{"text": "a", "predicted": ["x", "y"], "names": ["ex", "why"], "labels": {"x": 0.9, "y": 0.6}},
               {"text": "b", "pair": "c", "predicted": [], "names": [], "labels": {"x": 0.1, "y": 0.2}}]
    assert render(several).splitlines()[1:] == ["ex 0.9, why 0.6  a", "none             b | c"]
    assert render([{"text": "a", "value": 2.5}]).splitlines() == ["value  text", "2.5    a"]
    with pytest.raises(BadInput, match="unknown format 'csv'"):
        render(answers, "csv")
