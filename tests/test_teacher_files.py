"""Teachers that are files of answers, several teachers, and the files that `label` writes."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as arrays_of
from safetensors.torch import load_file

from kdbench.base.errors import BadInput, Skip
from kdbench.base.registry import METHODS
from kdbench.cli.verbs import main
from kdbench.data.answer_options import answer_options
from kdbench.data.answers import Labels
from kdbench.data.task import Data, Example
from kdbench.data.teacher_answers import Answer, answers_of, logarithms
from kdbench.data.teacher_lines import read_lines
from kdbench.models.teachers import is_model, resolve_teacher
from kdbench.runs import store
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.train.answering import PartialSignals, mean_answer
from kdbench.train.losses import SoftTargets, soft_targets
from kdbench.train.objective import Batch
from kdbench.train.signals import values_by_key

NAMES = {"single": ("no", "yes", "maybe"), "multi": ("growth", "death"), "regression": (), "tags": ("O", "B-GENE", "I-GENE", "B-DRUG", "I-DRUG")}
WORDS = ("The", "IL", "-", "2", "gene", "binds", "aspirin", ".")


def data_of(kind: str) -> Data:
    """Three training texts, one of dev, one of test; tagged sentences have a text of their own."""
    if kind == "tags":
        own = [Example(str(i), words=(*WORDS, str(i)), text=f"The IL-2 gene binds aspirin. {i}", label=(0,) * 9) for i in range(5)]
    else:
        label = {"single": 0, "multi": (0, 0), "regression": 0.0}[kind]
        own = [Example(str(i), text=f"text number {i}", label=label) for i in range(5)]
    return Data(tuple(own[:3]), tuple(own[3:4]), tuple(own[4:]), NAMES[kind])


def written(folder, *rows, raw=None):
    path = folder / "answers.jsonl"
    path.write_bytes(raw if raw is not None else "".join(json.dumps(row) + "\n" for row in rows).encode())
    return path


def read(folder, kind, *rows, options=None, renamed=None, raw=None, unlabelled=()):
    """The answers of a file of these rows."""
    lines = read_lines(written(folder, *rows, raw=raw)).lines
    given = answer_options({"missing": 1, **(options or {})})
    return answers_of("gpt (file)", lines, kind, Labels(NAMES[kind], renamed or {}), given, data_of(kind), unlabelled)


def probabilities(answers, kind="single", number=0):
    logits = answers.of(data_of(kind).train[number]).logits
    if kind == "multi":
        return 1 / (1 + np.exp(-logits))
    return np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


# --- formats --------------------------------------------------------------------------------------

SINGLE = {
    "probabilities": ({"probabilities": {"yes": 0.25, "no": 0.75}}, (0.75, 0.25, 0)),
    "rounded": ({"probabilities": {"yes": 0.33, "no": 0.33, "maybe": 0.33}}, (1 / 3, 1 / 3, 1 / 3)),
    "votes": ({"votes": {"yes": 3, "maybe": 1}}, (0, 0.75, 0.25)),
    "label": ({"label": "yes"}, (0, 1, 0)),
    "other case": ({"label": "YES"}, (0, 1, 0)),
    "confidence": ({"label": "yes", "confidence": 0.8}, (0.1, 0.8, 0.1)),
    "annotators": ({"labels": ["no", "yes", "no", "no"]}, (0.75, 0.25, 0)),
}


def test_answers_below_the_confidence_are_counted_and_all_of_them_are_refused(tmp_path):
    rows = [{"id": "0", "label": "yes", "confidence": 0.9}, {"id": "1", "label": "no", "confidence": 0.5}]
    found = read(tmp_path, "single", *rows, options={"min_confidence": 0.7})
    assert found.notes == ["of 2 texts, 1 have an answer below the confidence of 0.7, which teaches nothing"]
    with pytest.raises(BadInput, match=r"all of its answers \(2 texts\) are below --min-confidence 0.95"):
        read(tmp_path, "single", *rows, options={"min_confidence": 0.95})
    tags = {"id": "0", "spans": [{"start": 1, "end": 2, "label": "GENE", "score": 0.6}]}
    assert "of 9 words, 1 have" in read(tmp_path, "tags", tags, options={"min_confidence": 0.7, "spans": "words"}).notes[0]


def test_spans_may_be_called_entities(tmp_path):
    span = {"start": 4, "end": 8, "label": "GENE", "score": 0.8}
    found = [read(tmp_path, "tags", {"id": "0", name: [span]}).by_key for name in ("spans", "entities")]
    assert found[0].keys() == found[1].keys()
    assert all((found[0][key].logits == found[1][key].logits).all() for key in found[0])


@pytest.mark.parametrize("said, expected", SINGLE.values(), ids=SINGLE)
def test_answers_to_one_label_are_probabilities_by_text_and_by_id(tmp_path, said, expected):
    for place in ({"text": "  text number\n0 "}, {"id": "0"}, {"id": 0, "split": "train"}):
        found = read(tmp_path, "single", {**place, **said})
        assert probabilities(found) == pytest.approx(expected, abs=1e-9)
        assert found.of(data_of("single").train[1]) is None


def test_several_lines_about_one_text_are_votes_in_any_order(tmp_path):
    rows = [{"text": "text number 0", "label": label} for label in ("yes", "no", "yes")]
    rows.append({"id": "0", "label": "maybe"})
    found = read(tmp_path, "single", *rows)
    assert probabilities(found) == pytest.approx((0.25, 0.5, 0.25), abs=1e-9)
    first = read_lines(written(tmp_path, *rows)).content
    assert read_lines(written(tmp_path, *rows[::-1], rows[0])).content != first
    assert read_lines(written(tmp_path, *rows[::-1])).content == first
    lines = "\r\n".join(json.dumps(row, indent=None) for row in rows).encode()
    assert read_lines(written(tmp_path, raw=b"\xef\xbb\xbf" + lines)).content == first


def test_any_number_of_labels(tmp_path):
    for said, expected in (({"labels": ["death"]}, (0, 1)), ({"votes": {"growth": 1}, "of": 4}, (0.25, 0)),
                           ({"probabilities": {"growth": 0.9, "death": 0.8}}, (0.9, 0.8)), ({"labels": [], "confidence": 0.9}, (0.1, 0.1))):
        assert probabilities(read(tmp_path, "multi", {"id": "0", **said}), "multi") == pytest.approx(expected, abs=1e-9)


def test_a_regression_takes_numbers_and_their_means(tmp_path):
    rows = {"id": "0", "score": 2.5}, {"id": "1", "scores": [1, 2, 6]}, {"id": "2", "score": 1}, {"id": "2", "score": 2}
    found = read(tmp_path, "regression", *rows)
    assert [found.of(example).logits.tolist() for example in data_of("regression").train] == [[2.5], [3], [1.5]]


SPAN = {"start": 4, "end": 8, "label": "GENE"}  # IL-2, four characters and three words
TAGS = {
    "characters of the text": {"text": "The IL-2 gene binds aspirin. 0", "spans": [SPAN]},
    "characters of the example": {"id": "0", "spans": [{**SPAN, "end": 9}]},
    "characters of words with blanks": {"text": "The IL - 2 gene binds aspirin . 0", "spans": [{**SPAN, "end": 10}]},
    "words": {"tokens": [*WORDS, "0"], "spans": [{"start": 1, "end": 4, "entity_group": "gene"}]},
    "tags": {"id": "0", "tags": ["O", "B-GENE", "I-GENE", "I-GENE", *"OOOOO"]},
    "tags of another scheme": {"id": "0", "ner_tags": ["O", "B-GENE", "I-GENE", "E-GENE", *"OOOOO"]},
    "tags of other words": {"tokens": ["The", "IL-2", "gene", "binds", "aspirin.", "0"], "tags": ["O", "B-GENE", *"OOOO"]},
    "probabilities": {"id": "0", "probabilities": {"O": [1, 0, 0, 0, 1, 1, 1, 1, 1], "B-GENE": [0, 1] + [0] * 7, "I-GENE": [0, 0, 1, 1] + [0] * 5}},
    "probabilities of each word": {"id": "0", "probabilities": [{"O": 1}, {"B-GENE": 1}, {"I-GENE": 1}, {"I-GENE": 1}, *[{"O": 1}] * 5]},
}


@pytest.mark.parametrize("row", TAGS.values(), ids=TAGS)
def test_tags_come_from_spans_and_tags_of_any_cut(tmp_path, row):
    found = probabilities(read(tmp_path, "tags", row), "tags")
    assert found.argmax(-1).tolist() == [0, 1, 2, 2, 0, 0, 0, 0, 0] and found.max(-1) == pytest.approx(1, abs=1e-9)


def test_the_score_of_a_span_is_shared_with_o_and_the_better_of_two_counts(tmp_path):
    text = "The IL-2 gene binds aspirin. 0"
    spans = [{**SPAN, "score": 0.7}, {**SPAN, "end": 13, "score": 0.4}, {"start": 20, "end": 27, "type": "Drug", "score": 0.9}]
    answers = read(tmp_path, "tags", {"text": text, "spans": spans})
    found = probabilities(answers, "tags")
    assert found[1] == pytest.approx((0.3, 0.7, 0, 0, 0), abs=1e-9) and found[4] == pytest.approx((1, 0, 0, 0, 0), abs=1e-9)
    assert found[6] == pytest.approx((0.1, 0, 0, 0.9, 0), abs=1e-9)
    assert answers.notes == ["1 of 3 spans that another one overlaps are left out"]


def test_words_that_an_unusable_span_touches_teach_nothing(tmp_path):
    row = {"text": "The IL-2 gene binds aspirin. 0", "spans": [{**SPAN, "end": 7}, {"start": 20, "end": 24, "label": "DRUG"}, {"start": 9, "end": 13, "label": "CELL"}]}
    answers = read(tmp_path, "tags", row, options={"unusable": 1})
    known = ~np.isnan(answers.of(data_of("tags").train[0]).logits).any(-1)
    assert known.tolist() == [True, True, True, True, False, True, False, True, True]  # IL-2 ends with a word
    why = "2 of 3 spans are of no use, and their words teach nothing: 1 of a label that the task does not have, 1 that begin or end inside of a word"
    assert answers.notes == [why]
    with pytest.raises(BadInput, match=r"2 of 3 spans .*\(first: line 1, 'CELL', line 1\).*unusable=SHARE"):
        read(tmp_path, "tags", row)
    renamed = read(tmp_path, "tags", row, options={"unusable": 0.4}, renamed={"CELL": "GENE"})
    assert probabilities(renamed, "tags")[4].argmax() == 1


# --- what is refused ------------------------------------------------------------------------------

ROW, TEXT = {"id": "0"}, {"text": "The IL-2 gene binds aspirin. 0"}
DAMAGED = {
    "not json": ("single", b"label: yes\n", r":1: not a JSON object at character 1"),
    "a list": ("single", b"[1]\n", r":1: a JSON list, not an object"),
    "empty": ("single", b"\n \n", "the file is empty"),
    "utf-16": ("single", '{"id": "0", "label": "yes"}'.encode("utf-16"), "NUL byte.*UTF-16|not UTF-8"),
    "latin-1": ("single", '{"text": "Ménière", "label": "yes"}'.encode("latin-1"), "not UTF-8"),
    "a huge line": ("single", b'{"text": "' + b"x" * (9 * 2**20) + b'"}', "a line longer than 8 MB"),
    "deep": ("single", b'{"id": ' + b"[" * 200 + b"]" * 200 + b"}", "not a JSON object"),
    "neither": ("single", [{"label": "yes"}], ":1: neither a text nor an id"),
    "no answer": ("single", [ROW], ":1: no answer among its fields"),
    "an odd id": ("single", [{"id": [1], "label": "yes"}], "neither text nor a whole number"),
    "an odd split": ("single", [{**ROW, "split": "train2", "label": "yes"}], "split is 'train2'"),
    "other texts": ("single", [{"text": "another", "label": "yes"}], "none of its 1 lines is about a text"),
    "nan": ("single", b'{"id": "0", "probabilities": {"yes": NaN}}', ":1: .* not a finite number"),
    "infinite": ("single", b'{"id": "0", "votes": {"yes": 1e999}}', ":1: .* not a finite number"),
    "huge": ("single", [{**ROW, "votes": {"yes": 10**400}}], ":1: .* not a finite number"),
    "a text": ("single", [{**ROW, "probabilities": {"yes": "0.9"}}], ":1: .* not a finite number"),
    "a list of numbers": ("single", [{**ROW, "probabilities": [0.5, 0.5]}], "not a table of labels"),
    "far from 1": ("single", [{**ROW, "probabilities": {"yes": 0.5, "no": 0.3}}], "the probabilities sum to 0.8"),
    "percent": ("single", [{**ROW, "probabilities": {"yes": 90, "no": 10}}], "the probabilities sum to 100"),
    "below 0": ("single", [{**ROW, "probabilities": {"yes": 1.2, "no": -0.2}}], "probabilities of 'no' is -0.2"),
    "negative votes": ("single", [{**ROW, "votes": {"yes": -1, "no": 3}}], "votes of 'yes' is -1"),
    "no votes": ("single", [{**ROW, "votes": {"yes": 0}}], "nobody voted"),
    "too sure": ("single", [{**ROW, "label": "yes", "confidence": 80}], "confidence is 80"),
    "no label": ("single", [{**ROW, "label": None}], "a label is None, not text"),
    "unknown label": ("single", [{**ROW, "label": "perhaps"}], r"1 of 1 answers are of no use: the label 'perhaps', .*\(line 1\)"),
    "id twice": ("single", [{**ROW, "votes": {"yes": 1}}, {**ROW, "votes": {"no": 1}}], ":2: id '0' is also on line 1"),
    "more votes than voters": ("multi", [{**ROW, "votes": {"growth": 3}, "of": 2}], "3 votes of 2"),
    "votes of nobody": ("multi", [{**ROW, "votes": {"growth": 3}}], "no field 'of'"),
    "above 1": ("multi", [{**ROW, "probabilities": {"growth": 1.5}}], "a probability is 1.5"),
    "a word for a number": ("regression", [{**ROW, "score": "high"}], "score is 'high', not a finite number"),
    "no numbers": ("regression", [{**ROW, "scores": []}], r"scores is \[\], not a list"),
    "a span outside": ("tags", [{**TEXT, "spans": [{**SPAN, "end": 99}]}], r"span 4 to 99 lies outside of the text \(0 to 30\)"),
    "a span backwards": ("tags", [{**TEXT, "spans": [{**SPAN, "end": 2}]}], "span 4 to 2 lies outside"),
    "a span of words outside": ("tags", [{"tokens": [*WORDS, "0"], "spans": [{**SPAN, "end": 10}]}], r"lies outside of the words \(0 to 9\)"),
    "no offsets": ("tags", [{**TEXT, "spans": [{"start": 1.5, "end": 2}]}], "start of a span is 1.5"),
    "a score above 1": ("tags", [{**TEXT, "spans": [{**SPAN, "score": 7}]}], "score of a span is 7"),
    "too few tags": ("tags", [{"tokens": [*WORDS, "0"], "tags": ["O"]}], "9 tokens but 1 tags"),
    "no tags": ("tags", [{**ROW, "tags": ["GENE"] * 9}], "'GENE' of word 1 is no tag"),
    "words that differ in number": ("tags", [{**ROW, "tags": ["O"] * 4}], "another number of tags"),
    "tags that sum to less": ("tags", [{**ROW, "probabilities": {"O": [0.5] * 9}}], "probabilities of word 1 sum to 0.5"),
    "a negative tag": ("tags", [{**ROW, "probabilities": {"O": [-1] * 9}}], "a probability of 'O' is below 0"),
}


@pytest.mark.parametrize("kind, rows, line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, kind, rows, line):
    with pytest.raises(BadInput, match=line) as raised:
        read(tmp_path, kind, *(rows if isinstance(rows, list) else ()), raw=rows if isinstance(rows, bytes) else None)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_an_id_of_two_examples_wants_a_split_or_the_text(tmp_path):
    data = data_of("single")
    twice = Data(data.train, (Example("0", text="another", label=0),), data.test, data.labels)
    lines = read_lines(written(tmp_path, {"id": "0", "label": "yes"})).lines
    with pytest.raises(BadInput, match=":1: id '0' is that of several examples; add the text, or `split`"):
        answers_of("gpt", lines, "single", Labels(NAMES["single"]), answer_options({}), twice)
    lines = read_lines(written(tmp_path, {"id": "0", "split": "dev", "label": "yes"})).lines
    found = answers_of("gpt", lines, "single", Labels(NAMES["single"]), answer_options({}), twice)
    assert found.of(twice.dev[0]) and not found.of(twice.train[0])


def test_a_share_of_unusable_and_missing_answers_is_admitted_and_noted(tmp_path):
    rows = [{"id": str(i), "label": label} for i, label in enumerate(("yes", "no", "perhaps", "yes", "no"))]
    assert read(tmp_path, "single", *rows, options={"unusable": 0.2}).notes == ["1 of 5 answers are of no use and left out"]
    with pytest.raises(BadInput, match="1 of 5 answers are of no use"):
        read(tmp_path, "single", *rows, options={"unusable": 0.19})
    data, found = data_of("single"), read(tmp_path, "single", *rows, options={"unusable": 1, "missing": 0.34})
    found.check_share(data.train, found.missing(data.train))
    assert found.notes[1:] == ["1 of 3 training texts have no answer, and take part with their labels alone"]
    found = read(tmp_path, "single", *rows, options={"unusable": 1, "missing": 0.3})
    with pytest.raises(BadInput, match=r"teacher gpt \(file\): 1 of 3 training texts have no answer \(ids '2'\), more than the share 0.3"):
        found.check_share(data.train, found.missing(data.train))


# --- options --------------------------------------------------------------------------------------


def test_answers_below_the_confidence_teach_nothing(tmp_path):
    rows = {"id": "0", "label": "yes", "confidence": 0.7}, {"id": "1", "votes": {"yes": 2, "no": 1}}
    found = read(tmp_path, "single", *rows, options={"min_confidence": 0.7})
    data = data_of("single")
    assert found.of(data.train[0]) and not found.of(data.train[1]) and len(found.missing(data.train)) == 1
    score = read(tmp_path, "regression", {"id": "0", "score": 1, "confidence": 0.5}, {"id": "1", "score": 1}, options={"min_confidence": 0.6})
    assert score.of(data_of("regression").train[0]) is None


def test_smoothing_spreads_a_share_evenly(tmp_path):
    assert probabilities(read(tmp_path, "single", {"id": "0", "label": "yes"}, options={"smoothing": 0.3})) == pytest.approx((0.1, 0.8, 0.1))
    both = probabilities(read(tmp_path, "multi", {"id": "0", "labels": ["death"]}, options={"smoothing": 0.2}), "multi")
    assert both == pytest.approx((0.1, 0.9))


def test_an_answer_counts_by_how_much_its_voters_agree(tmp_path):
    rows = {"id": "0", "votes": {"yes": 2}}, {"id": "1", "votes": {"yes": 1, "no": 1, "maybe": 1}}, {"id": "2", "votes": {"yes": 3, "no": 1}}
    found = read(tmp_path, "single", *rows, options={"weight": "agreement"})
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    weights = [found.of(example).weight.item() for example in data_of("single").train]
    assert weights == pytest.approx((1, 0, 1 - entropy / math.log(3)))
    assert read(tmp_path, "single", *rows).of(data_of("single").train[2]).weight.item() == 1


def test_a_zero_becomes_the_floor_and_everything_else_itself():
    logits = logarithms(np.array([0.0, 1e-10, 1 - 1e-10]), "single", 1e-12)
    assert logits == pytest.approx(np.log([1e-12, 1e-10, 1 - 1e-10]))


# --- what a training reads ------------------------------------------------------------------------


def batch_of(keys):
    batch = Batch({}, labels=torch.tensor([1, 0, 1]), examples=[Example(key, text=key, label=0) for key in keys])
    batch.counts = {"examples": 3.0, "labelled": 3.0}
    return batch


def test_texts_without_an_answer_take_part_with_their_labels_alone():
    texts = ("a", "b", "c")
    keys = [Example(text, text=text).key for text in texts]
    teacher = torch.tensor([[2.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    rows = {"logits": dict(zip(keys, teacher.numpy(), strict=True)), "logits_weight": dict(zip(keys, np.float32([[1], [0], [0.5]]), strict=True))}
    batch = batch_of(texts)
    PartialSignals("key", rows, "single").read(batch)
    assert batch.counts["answered"] == 2
    own = torch.tensor([[0.3, 0.1], [0.2, 0.9], [0.5, 0.5]], requires_grad=True)
    objective = SoftTargets("single", 2.0, 0.1)
    objective.outputs = lambda student, batch: type("Outputs", (), {"logits": own})
    terms = objective(None, batch)
    each = soft_targets(own, teacher, 2.0, "single")
    assert terms["soft_targets"].per == "answered" and terms["soft_targets"].total.item() == pytest.approx((each[0] + each[2] / 2).item())
    (gradient,) = torch.autograd.grad(terms["soft_targets"].total, own)
    assert gradient[1].tolist() == [0, 0] != gradient[2].tolist()
    assert terms["hard_labels"].per == "labelled"


def test_the_mean_of_several_teachers_is_that_of_their_probabilities():
    one, other = np.log([0.9, 0.1]), np.log([0.2, 0.8]) + 3
    mean = mean_answer([(2.0, Answer(one, np.ones(1))), (1.0, Answer(other, np.zeros(1)))], "single")
    assert np.exp(mean.logits) == pytest.approx((2 * 0.9 / 3 + 0.2 / 3, 2 * 0.1 / 3 + 0.8 / 3)) and mean.weight == pytest.approx(2 / 3)
    words = np.log([[0.5, 0.5], [0.9, 0.1]])
    unread = np.array([[math.nan, math.nan], np.log([0.5, 0.5])])
    joint = mean_answer([(1.0, Answer(words, np.ones(2))), (1.0, Answer(unread, np.ones(2)))], "tags")
    assert np.exp(joint.logits) == pytest.approx(np.array([[0.5, 0.5], [0.7, 0.3]])) and joint.weight.tolist() == [1, 1]
    several = mean_answer([(1.0, Answer(np.array([0.0, 30.0]), np.ones(1))), (1.0, Answer(np.array([-30.0, 30.0]), np.ones(1)))], "multi")
    assert 1 / (1 + np.exp(-several.logits)) == pytest.approx((0.25, 1.0))
    number = mean_answer([(3.0, Answer(np.array([1.0]), np.ones(1))), (1.0, Answer(np.array([5.0]), np.ones(1)))], "regression")
    assert number.logits.tolist() == [2.0]


# --- runs -----------------------------------------------------------------------------------------

VERBS = ("inhibits", "activates", "binds")
FAST = ("--epochs", "1", "--latency", "off", "--student", "tiny-student")


def corpus(folder, tagged):
    """Files of 60, 15 and 15 rows; returns them as arguments."""
    arguments = []
    for split, count, offset in (("train", 60, 0), ("dev", 15, 60), ("test", 15, 75)):
        rows = []
        for number in range(offset, offset + count):
            words = ["aspirin", VERBS[number % 3], "the", "beta", "kinase", "of", "cell", str(number)]
            row = {"id": f"note-{number}"}
            if tagged:
                row |= {"tokens": words, "ner_tags": ["O", "O", "O", "B-G", "I-G", "O", "O", "O"] if number % 2 else ["B-D", *"OOOOOOO"]}
            else:
                row |= {"text": " ".join(words), "label": VERBS[number % 3]}
            rows.append(json.dumps(row) + "\n")
        path = folder / f"{split}.jsonl"
        path.write_text("".join(rows))
        arguments += [f"--{split}", str(path)]
    return arguments


def records_in(results, *words):
    """The records of a run by role and student."""
    assert main(["run", *words, "--results-dir", str(results)]) == 0
    return {(record["role"], record["cell"]["student"], record["cell"]["teacher"]): record for record in store.records(results)}


def logits_of_signals(results):
    """All stored logits of the folder, by the content of the text."""
    found = {}
    for path in (results / "signals").glob("*-logits.safetensors"):
        found.update(values_by_key(arrays_of(path)))
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["texts", "tags"])
def handed_over(request, tmp_path_factory):
    """A student of a model, and one of the file that `label` wrote with that model."""
    folder = tmp_path_factory.mktemp("handed-over")
    files, results = corpus(folder, request.param), folder / "results"
    words = ["--method", "logit_kd", "--task", "files", *files, *FAST]
    records = records_in(results, *words, "--teacher", "tiny:bert")
    teacher = records["teacher", "tiny:bert", None]
    answers = folder / "answers.jsonl"
    assert main(["label", teacher["id"], "--task", "files", *files, "--results-dir", str(results), "-o", str(answers)]) == 0
    records = records_in(results, *words, "--teacher", f"predictions:{answers}")
    return folder, words, records, answers


def test_a_file_from_a_model_gives_the_models_student_bit_for_bit(handed_over):
    folder, _, records, answers = handed_over
    kept = [record for (role, _, _), record in records.items() if role == "method"]
    assert len(kept) == 2
    one, other = (load_file(folder / "results" / "models" / record["artefact"] / "model.safetensors") for record in kept)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    ids = [json.loads(line)["id"] for line in answers.read_text().splitlines()]
    assert ids == [f"note-{number}" for number in range(90)]


def test_the_soft_targets_of_the_file_are_those_of_the_model(handed_over):
    folder, words, _, answers = handed_over
    request = Request("logit_kd", "files", f"predictions:{answers}", "tiny-student", files={words[i].removeprefix("--"): words[i + 1] for i in (4, 6, 8)}, controls=False)
    cell = plan(request)[0]
    lines = read_lines(answers).lines
    found = answers_of("a", lines, cell.task.task_type, Labels(cell.data.labels), answer_options({}), cell.data)
    stored = logits_of_signals(folder / "results")
    assert {example.key for example in cell.data.train} == stored.keys()
    for example in cell.data.train:
        mine, theirs = torch.from_numpy(found.of(example).logits), torch.from_numpy(stored[example.key]).double()
        assert torch.equal(mine.float(), theirs.float())
        assert (mine / 2).softmax(-1) == pytest.approx((theirs / 2).softmax(-1), abs=1e-6)


def test_without_offsets_the_soft_targets_are_the_models_and_the_logits_are_not(handed_over):
    folder, _, _, answers = handed_over
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    stored = logits_of_signals(folder / "results")
    kind = "tags" if "tokens" in rows[0] else "single"
    names = tuple(rows[0]["probabilities"])
    own = [Example(row["id"], words=tuple(row.get("tokens", ())), text=row["text"], label=0) for row in rows[:60]]
    plain = folder / "plain.jsonl"
    plain.write_text("".join(json.dumps({"id": row["id"], "probabilities": row["probabilities"]}) + "\n" for row in rows[:60]))
    found = answers_of("a", read_lines(plain).lines, kind, Labels(names), answer_options({}), Data(tuple(own), (), (), names))
    for example in own:
        mine, theirs = torch.from_numpy(found.of(example).logits), torch.from_numpy(stored[example.key]).double()
        assert not torch.allclose(mine, theirs, atol=1e-3)
        assert torch.allclose((mine / 2).softmax(-1), (theirs / 2).softmax(-1), atol=1e-6)


def test_the_files_row_has_the_models_scores_and_no_size_and_cannot_be_served(handed_over, capsys):
    folder, _, records, _ = handed_over
    model, row = records["teacher", "tiny:bert", None], records["teacher", "answers (file)", None]
    assert row["score"]["all"]["test"] == pytest.approx(model["score"]["all"]["test"]) and row["score"]["dev"] == pytest.approx(model["score"]["dev"])
    assert (row["size"], row["latency"], row["artefact"]) == ({}, None, "")
    assert "answers.jsonl" not in json.dumps(records["method", "tiny-student", "answers (file)"])
    assert main(["export", row["id"], str(folder / "out"), "--results-dir", str(folder / "results")]) == 2
    assert "is the row of a teacher that only answers (answers (file)); it has no model" in capsys.readouterr().err
    assert main(["verify", str(folder / "results")]) == 0
    assert "a teacher that only answers has no weights" in capsys.readouterr().out
    assert main(["table", "--results-dir", str(folder / "results"), "--format", "markdown"]) == 0
    assert "answers (file)" in capsys.readouterr().out


@pytest.fixture
def small(tmp_path):
    """A small corpus of texts, answers to its training texts alone, and words to run."""
    files = corpus(tmp_path, False)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    path = tmp_path / "gpt.jsonl"
    path.write_text("".join(json.dumps({"text": row["text"], "label": row["label"], "confidence": 0.8}) + "\n" for row in rows))
    return tmp_path, path, ["--method", "logit_kd", "--task", "files", *files, *FAST, "--max-steps", "2"]


def request_of(words, **more):
    return Request("logit_kd", "files", student="tiny-student", files={words[i].removeprefix("--"): words[i + 1] for i in (4, 6, 8)}, **more)


def test_a_file_that_does_not_answer_test_teaches_and_has_no_score_of_its_own(small, capsys):
    folder, path, words = small
    extra = folder / "more.txt"
    extra.write_text("aspirin inhibits nothing\naspirin binds the beta kinase of cell 75\n")
    with path.open("a") as stream:
        stream.write(json.dumps({"text": "aspirin inhibits nothing", "votes": {"inhibits": 2, "binds": 1}}) + "\n")
        stream.write(json.dumps({"id": "note-80", "label": "binds"}) + "\n")  # of test
    records = records_in(folder / "results", *words, "--teacher", f"G=predictions:{path}", "--unlabelled", str(extra))
    own = records["teacher", "G (file)", None]
    assert (own["status"], own["reason"]) == ("skipped", "teacher G (file) has answers for 1 of 15 test texts, so it has no score of its own")
    student = records["method", "tiny-student", "G (file)"]
    assert student["status"] == "done" and student["cell"]["settings"]["unlabelled"] == 1
    assert "1 of 2 texts without labels have no answer, and are left out" in capsys.readouterr().err


def test_what_decides_of_the_options_is_part_of_the_identity(small):
    _, path, words = small
    def ids(**options):
        return {cell.role + cell.method_name: cell.id for cell in plan(request_of(words, teacher=f"predictions:{path}", teacher_options=options))}

    plain, unsure, lenient = ids(), ids(min_confidence=0.5), ids(missing=0.5)
    changed = {name for name in plain if unsure[name] != plain[name]}
    assert plain == lenient and changed == {"methodlogit_kd"}
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert ids() == plain
    path.write_bytes(path.read_bytes().replace(b"0.8", b"0.7"))
    assert {name for name in plain if ids()[name] != plain[name]} == {"methodlogit_kd", "teacherfinetune"}


def test_several_teachers_have_a_row_each_and_one_together(small):
    folder, path, words = small
    whole = folder / "whole.jsonl"
    rows = [json.loads(line) for split in ("train", "dev", "test") for line in (folder / f"{split}.jsonl").read_text().splitlines()]
    whole.write_text("".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows))
    several = ["--teacher", f"predictions:{whole}", "--teacher", "tiny:bert", "--teacher-weights", "3,1"]
    records = records_in(folder / "results", *words, *several)
    rows = [record for record in records.values() if record["role"] == "teacher"]
    assert {row["cell"]["student"] for row in rows} == {"whole (file)", "tiny:bert", "whole (file) + tiny:bert"}
    joint = records["teacher", "whole (file) + tiny:bert", None]
    assert joint["score"]["test"] == 1 and joint["cell"]["settings"]["teacher_weights"] == "3,1"
    student = records["method", "tiny-student", "whole (file) + tiny:bert"]
    assert student["status"] == "done" and student["cost"]["teacher_seconds"] > 0
    by_dev = records_in(folder / "results", *words, *several[:4], "--teacher-weights", "dev")
    assert by_dev["teacher", "whole (file) + tiny:bert", None]["score"]["test"] == 1


WRONG = {
    "no file": (["--teacher", "predictions:nowhere.jsonl"], "teacher nowhere.jsonl: no such file"),
    "options of a model": (["--teacher", "tiny:bert", "--min-confidence", "0.5"], "--teacher-set min_confidence: is for a teacher that is a file"),
    "an unknown option": (["--teacher", "predictions:{}", "--teacher-set", "minimum=1"], "unknown option of the teacher's file 'minimum'"),
    "weights of one": (["--teacher", "predictions:{}", "--teacher-weights", "1"], "--teacher-weights: is for several teachers"),
    "too many weights": (["--teacher", "predictions:{}", "--teacher", "tiny:bert", "--teacher-weights", "1,2,3"], "give 2 numbers with commas"),
    "weights of nothing": (["--teacher", "predictions:{}", "--teacher", "tiny:bert", "--teacher-weights", "0,0"], "give 2 numbers with commas"),
    "twice": (["--teacher", "predictions:{}", "--teacher", "predictions:{}"], "given twice"),
    "a name with a slash": (["--teacher", "a/b=predictions:{}"], "no name for tables"),
    "labels that are none": (["--teacher", "predictions:{}", "--teacher-labels", "x=y"], "names the label 'y', which the task does not have"),
    "a student": (["--teacher", "tiny:bert", "--student", "predictions:{}"], "a file of answers can teach and cannot be trained"),
    "layers of a file": (["--teacher", "predictions:{}", "--student", "cut:1"], "takes its layers from the teacher"),
    "hidden states": (["--teacher", "predictions:{}", "--method", "doktra"], "method doktra reads its teacher's weights, tokens or hidden states"),
    "scores that are not known": (["--teacher", "predictions:{}", "--teacher", "tiny:bert", "--teacher-weights", "dev"], "has no answer for some dev texts"),
}


@pytest.mark.parametrize("words, line", WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_one_line(small, capsys, words, line):
    folder, path, usual = small
    assert main(["run", *usual, *(word.format(path) for word in words), "--results-dir", str(folder / "results")]) == 2
    said = [each for each in capsys.readouterr().err.splitlines() if each.startswith("bench.py:")]
    assert len(said) == 1 and line in said[0]


TAUGHT = ("logit_kd", "ner_kd", "dkd", "dist", "annealing_kd", "pretrained_kd", "recipe")  # by a file


@pytest.mark.parametrize("method", METHODS.names())
def test_methods_say_what_they_read_of_a_teacher(small, method):
    _, path, _ = small
    teacher = resolve_teacher(f"predictions:{path}")
    assert not is_model(teacher)
    from kdbench.runs.teacher_plans import check_reads

    cls = METHODS.get(method)
    if method in ("finetune", *TAUGHT):
        return check_reads(method, cls(cls.Options()), teacher)
    with pytest.raises(Skip, match=f"method {method} reads .*; by default these methods learn from them: {', '.join(TAUGHT)}$"):
        check_reads(method, cls(cls.Options()), teacher)


def test_a_student_without_word_pieces_learns_its_own(small, capsys):
    folder, path, words = small
    cell = plan(request_of(words, teacher=f"predictions:{path}", controls=False))[0]
    bilstm = plan(Request("logit_kd", "files", f"predictions:{path}", "tinybert", files=cell.request.files, controls=False))[0]
    assert bilstm.student.recipe.config["vocab_size"] == 4000
    assert "has no word pieces, so it learns up to 4,000 of its own" in capsys.readouterr().err
