"""Length limits: where they come from, and what they cut. Thresholds: fixed at training, taken everywhere."""

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fresh
import pytest
from students import TEXTS, student, write
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kdbench.base.checksums import sealed
from kdbench.base.registry import TASKS, Entry
from kdbench.cli.verbs import main
from kdbench.data.check import check, render
from kdbench.data.lengths import default_limit, limit_in_words
from kdbench.data.task import Data, Example, Task
from kdbench.report.tables import build
from kdbench.report.tables import render as table
from kdbench.runs import store
from kdbench.serve.predict import load_predictor
from kdbench.train import limits
from kdbench.train.spec import Settings, settings

# ---- the default -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths, most, expected", [
    ([5], 512, 8), ([8], 512, 8), ([9], 512, 16), ([], 512, 128), ([], 64, 64),
    ([10] * 99 + [400], 512, 16),  # one of a hundred may be longer
    ([10] * 98 + [400, 401], 512, 400), ([10] * 9 + [300], 512, 304), ([700] * 3, 512, 512), ([700] * 3, 514, 514),
])
def test_the_default_is_the_99th_percentile_in_eights(lengths, most, expected):
    assert default_limit(lengths, most) == expected


def test_a_task_that_states_its_limit_keeps_it():
    stated = TASKS.get("chemprot")
    assert settings({}, stated, lookalike=True).max_length == stated.max_length == 256
    assert settings({"max_length": 64}, stated, lookalike=True).max_length == 64
    assert settings({}, TASKS.get("files"), lookalike=False).max_length is None
    assert [name for name in TASKS.names() if TASKS.get(name).max_length is None] == ["files"]
    # so the ids of its records are what they were
    assert settings({}, stated, lookalike=True).identity()["max_length"] == 256


def test_windows_are_told_of_where_texts_need_them():
    limits = {"max_length": 24, "rule": "stated", "most": 512, "longest": 600, "texts": {"train": {"cut": 0, "of": 9}},
              "windows": {"stride": 11, "pooling": "mean", "texts": {"train": {"windows": 4, "of": 9}}}}
    said = "reads up to 24 tokens: 0 texts are cut; longer ones are read in windows that share 11 tokens: 4 of 9 train"
    assert limit_in_words(limits) == said
    limits["windows"]["texts"]["train"]["windows"] = 0
    assert limit_in_words(limits) == "reads up to 24 tokens: 0 texts are cut"
    limits["texts"]["train"]["cut"] = 2
    assert limit_in_words(limits).endswith("they are pairs whose first text leaves the second no room: exchange the two, or raise --max-length")


@pytest.mark.parametrize("now, longest, most, said", [
    (128, 300, 512, "--max-length 304 reads all of them whole"), (128, 509, 510, "--max-length 510 reads all"),
    (128, 600, 512, "--max-length 512 is the most that the model can read at once, and the longest text has 600: --long windows"),
    (512, 600, 512, "the model can read no more at once: --long windows reads all of it"),
])
def test_a_cut_comes_with_what_to_do(now, longest, most, said):
    texts = {"train": {"cut": 1, "of": 2}}
    found = limit_in_words({"max_length": now, "rule": "p99", "most": most, "longest": longest, "texts": texts})
    assert said in found and "of texts 1 of 2 train are cut" in found


# ---- counts ----------------------------------------------------------------------------------------------------------


class Bench(limits.Limiting):
    """What a lab knows of lengths, and no more."""

    def __init__(self, task_type, data, **given):
        self.task = Task(name="made", task_type=task_type, about="", metric="", load=lambda _: data)
        self.data, self.settings, self._limits = data, Settings(**given), {}
        self.accelerator = SimpleNamespace(is_main_process=True)


def sentence(i, words, entities=()):
    tags = [0] * words
    for first, last in entities:
        tags[first:last + 1] = [1] + [2] * (last - first)
    return Example(str(i), words=("zz",) * words, label=tuple(tags))


TAGGED = Data(train=(sentence(0, 4, [(0, 0)]), sentence(1, 4, [(1, 2)])),
              dev=(sentence(2, 9, [(2, 3), (4, 5), (7, 8)]), sentence(3, 5, [(4, 4)])),
              test=(sentence(4, 6, [(5, 5)]),), labels=("O", "B-X", "I-X"))


def test_cut_texts_and_entities_are_those_of_a_hand_count(capfd):
    """Five words of a sentence are read, of one piece each or of two."""
    letters = replace(student("tiny:bert", "tags"), name="letters")
    pieces = len(letters.tokenizer(["zz"], is_split_into_words=True)["input_ids"]) - 2
    assert pieces == 1 or pieces == 2
    found = Bench("tags", TAGGED, max_length=2 + 5 * pieces).limits(letters)  # five words are read
    assert (found["max_length"], found["rule"], found["longest"]) == (2 + 5 * pieces, "stated", 2 + 9 * pieces)
    assert found["texts"] == {"train": {"cut": 0, "of": 2}, "dev": {"cut": 1, "of": 2}, "test": {"cut": 1, "of": 1}}
    # of dev's four entities words 4 to 5 and 7 to 8 are not whole, of test word 5 is not read
    assert found["entities"] == {"train": {"cut": 0, "of": 2}, "dev": {"cut": 2, "of": 4}, "test": {"cut": 1, "of": 1}}
    said = capfd.readouterr().err
    assert "0 of 2 train, 1 of 2 dev, 1 of 1 test are cut" in said and "--max-length" in said
    free = Bench("tags", replace(TAGGED, test=(sentence(5, 60),)))  # test says nothing
    assert free.limit(letters) == default_limit([2 + 4 * pieces] * 2, 512)


def test_two_models_have_limits_of_their_own():
    """The same texts are longer in pieces of one vocabulary than in those of another."""
    data = Data(*(tuple(Example(f"{n}{i}", text=text, label=0) for i, text in enumerate(TEXTS)) for n in "abc"), ("a",))
    ours, short = student(), student()
    rough = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    rough.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    short = replace(short, tokenizer=type(ours.tokenizer)(tokenizer_object=rough, unk_token="[UNK]"))
    bench = Bench("single", data)
    words = max(len(text.split()) for text in TEXTS)
    assert bench.limit(short) == default_limit([words], 512) < bench.limit(ours)
    assert limit_in_words(bench.limits(ours)).endswith("0 texts are cut")


def corpus_with_tokenizer(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[S]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="[S] $A [S]", special_tokens=[("[S]", 1)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Task(name="made", task_type="tags", about="", metric="entity_f1", load=lambda _: TAGGED, max_length=7)


def test_check_counts_what_is_cut_with_a_model_and_about_without(tmp_path):
    task = corpus_with_tokenizer(tmp_path)
    exact = check(task, TAGGED, tmp_path)
    dev = exact["splits"]["dev"]["tokens"]
    assert (dev["cut"], dev["of"], dev["entities"]) == (1, 2, {"cut": 2, "of": 4})
    assert exact["limit"]["longest"] == 11 and not exact["limit"]["estimated"]
    printed = " ".join(render(exact).split())
    assert "0 of 2 train, 1 of 2 dev, 1 of 1 test are cut, and of entities 0 of 2 train, 2 of 4 dev" in printed
    assert "--max-length 16 reads all of them whole" in printed
    about = check(task, TAGGED)  # 1.6 tokens a word and 2 more: 4, 9, 5 and 6 words are 9, 17, 10 and 12
    assert about["limit"]["estimated"] and about["splits"]["dev"]["tokens"]["cut"] == 2
    assert about["splits"]["dev"]["tokens"]["max"] == 17
    assert "This is an estimate" in " ".join(render(about).split())
    free = check(replace(task, max_length=None), TAGGED)
    assert free["limit"] == {"max_length": 16, "rule": "p99", "most": 512, "longest": 17, "estimated": True}


def test_answers_to_texts_that_are_cut_are_said_on_standard_error(tmp_path, capsys):
    write(tmp_path / "student", max_length=8)
    assert main(["predict", str(tmp_path / "student"), "cells", TEXTS[0]]) == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "1 of 2 texts are longer than the 8 tokens that this student reads" in said.err
    assert "tokens that this student" not in said.out
    assert main(["predict", str(tmp_path / "student"), "cells"]) == 0
    assert capsys.readouterr().err == ""


# ---- a whole run -----------------------------------------------------------------------------------------------------


def long_rows(count, seed):
    """Texts of more than 128 words, whose last sentence alone has a word of its class."""
    dice = random.Random(seed)
    for i in range(count):
        filler = " ".join(dice.choice(("seen", "visit", "clinic", "ward")) for _ in range(dice.randint(133, 136)))
        yield {"text": f"{filler}. {' '.join([('worse', 'improved')[i % 2]] * 8)}.", "label": ("bad", "good")[i % 2]}


def test_a_class_that_the_last_sentence_decides_is_learnt_by_default(tmp_path, capsys):
    given = []
    for split, count in (("train", 64), ("dev", 12), ("test", 12)):
        path = tmp_path / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in long_rows(count, split)))
        given += [f"--{split}", str(path)]
    assert main(["run", "--method", "finetune", "--task", "files", *given, "--student", "tiny:bert", "--no-controls",
                 "--epochs", "6", "--batch-size", "8", "--lr", "3e-3", "--latency", "off", "--device", "cpu",
                 "--results-dir", str(tmp_path / "r")]) == 0
    said = capsys.readouterr()
    record, = store.records(tmp_path / "r")
    assert record["score"]["test"] == 1 > record["score"]["naive"]["test"]
    limit = record["limits"]["student"]
    assert limit["rule"] == "p99" and 136 < limit["max_length"] <= 512 and limit["max_length"] % 8 == 0
    assert {counts["cut"] for counts in limit["texts"].values()} == {0} and record["limits"]["teacher"] is None
    caption = f"tiny:bert reads up to {limit['max_length']} tokens"
    for text in (said.out, said.err, table(build([record]))):
        assert caption in " ".join(text.split()) and "0 texts are cut" in " ".join(text.split())
    labels = json.loads((tmp_path / "r" / "models" / record["artefact"] / "labels.json").read_text())
    assert labels["max_length"] == limit["max_length"] and record["cell"]["settings"]["max_length"] is None


# ---- thresholds ------------------------------------------------------------------------------------------------------

def made_data():
    """One word decides, and a label in ten is wrong; a third is positive."""
    dice = random.Random(4)

    def rows(name, count):
        made = []
        for i in range(count):
            gene = dice.random() < 0.3
            words = [dice.choice(("dose", "cell", "serum", "mouse")) for _ in range(5)]
            text = " ".join([*words, "kinase" if gene else "human"])
            made.append(Example(f"{name}{i}", text=text, label=int(gene != (dice.random() < 0.1))))
        return tuple(made)

    return Data(rows("train", 300), rows("dev", 60), rows("test", 150), ("no", "yes"), origin="lookalike")


def register():
    """A task whose metric is one at a rate."""
    task = Task(name="made-at-rate", task_type="single", about="is it a kinase", metric="f1_at_rate",
                metrics=("f1_at_rate", "accuracy_at_rate", "macro_f1"), load=lambda _: made_data(),
                lookalike=lambda seed=0: made_data())
    TASKS.add(Entry(task.name, task, ("single",), task.about))


FRESH = """import json, sys
sys.path.insert(0, sys.argv[2])
import test_limits
test_limits.register()
from kdbench.cli.verbs import main
for words in json.loads(sys.argv[1]):
    assert main(words) == 0
    print("----")
"""


def elsewhere(folder, *commands):
    """What commands print as JSON, in a process that did not train."""
    words = json.dumps([list(map(str, command)) for command in commands])
    here = str(Path(__file__).parent)
    # with a folder of its own it waits for no measurement elsewhere
    done = fresh.run(["-c", FRESH, words, here], timeout=300, env={**os.environ, "TMPDIR": str(folder)})
    assert done.returncode == 0, done.stderr
    return [json.loads(part) for part in done.stdout.split("----")[:-1]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A student of 120 training examples under a metric at a rate: results, record, labels.json."""
    results = tmp_path_factory.mktemp("thresholds") / "results"
    register()
    assert main(["run", "--method", "finetune", "--task", "made-at-rate", "--student", "tiny:bert", "--no-controls",
                 "--epochs", "6", "--lr", "3e-3", "--max-train-examples", "120", "--latency", "off", "--device", "cpu",
                 "--results-dir", str(results)]) == 0
    record, = store.records(results)
    folder = results / "models" / record["artefact"]
    yield results, record, json.loads((folder / "labels.json").read_text()), folder
    del TASKS._entries["made-at-rate"]


def test_the_threshold_is_that_of_the_training_examples(run):
    _, record, labels, _ = run
    data = TASKS.get("made-at-rate").lookalike(seed=0)
    seen = data.limited(120, None).train
    share = sum(example.label for example in seen) / len(seen)
    assert record["score"]["threshold"] == labels["threshold"] == labels["positive_rate"] == pytest.approx(share)
    assert share != sum(example.label for example in data.train) / len(data.train)


def other_file(path):
    """Examples of which four in five are positive, in a file and as they are."""
    data = TASKS.get("made-at-rate").lookalike(seed=0)
    positives = [example for example in data.test if example.label == 1]
    negatives = [example for example in data.test if example.label == 0]
    examples = positives + negatives[:len(positives) // 4]
    rows = [json.dumps({"text": e.text, "label": data.labels[e.label]}) for e in examples]
    path.write_text("\n".join(rows) + "\n")
    return examples


def test_a_fresh_process_scores_as_the_training_did(run, tmp_path):
    """An export on the run's test set; another file, whose share of positives is another, at the same threshold."""
    results, record, labels, folder = run
    examples = other_file(tmp_path / "other.jsonl")
    where = ["--results-dir", results, "--json"]
    (row,), report = elsewhere(
        tmp_path,
        ["export", record["id"][:8], tmp_path / "out", *where, "--latency", "quick", "--kinds", "safetensors"],
        ["evaluate", record["id"][:8], "--test", tmp_path / "other.jsonl", *where])
    assert row["score"]["test"] == pytest.approx(record["score"]["test"], abs=1e-6)
    assert row["score"]["all"]["test"] == pytest.approx(record["score"]["all"]["test"], abs=1e-6)
    assert row["latency"]["max_length"] == 8 == row["latency"]["tokens"]
    assert report["threshold"] == labels["threshold"] and report["cut"] == 0
    gold = [example.label == 1 for example in examples]
    answers = load_predictor(folder).predict([example.text for example in examples])
    predicted = [answer["label"] == labels["labels"][1] for answer in answers]
    both = sum(a and b for a, b in zip(predicted, gold, strict=True))
    assert report["score"] == pytest.approx(2 * both / (sum(predicted) + sum(gold)), abs=1e-6)
    assert 0 < sum(predicted) < len(predicted)


@pytest.mark.slow
def test_onnx_exports_take_the_threshold(run, tmp_path):
    results, record, labels, _ = run
    rows, = elsewhere(tmp_path, ["export", record["id"][:8], tmp_path / "out", "--results-dir", results, "--json",
                   "--latency", "quick", "--kinds", "onnx,onnx_int8"])
    assert rows[0]["score"]["all"]["test"] == pytest.approx(record["score"]["all"]["test"], abs=1e-6)
    for row in rows:
        own = json.loads((tmp_path / "out" / row["name"] / "labels.json").read_text())
        assert own["threshold"] == labels["threshold"]
    card = (tmp_path / "out" / "onnx_int8" / "README.md").read_text()
    assert f"probability of {labels['threshold']:.4f}" in card and "int8 too" in card


def test_a_student_older_than_its_threshold_is_scored_by_what_needs_none(run, tmp_path, capsys):
    """The share of positives in the file that is scored never stands in for it."""
    results, record, labels, folder = run
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    own = copy / "models" / record["artefact"] / "labels.json"
    own.write_text(json.dumps(sealed({**labels, "threshold": None, "positive_rate": None})))
    other_file(tmp_path / "t.jsonl")
    words = ["evaluate", record["id"], "--test", str(tmp_path / "t.jsonl"), "--results-dir", str(copy)]
    assert main(words) == 2
    assert "needs the student's threshold" in capsys.readouterr().err


def test_two_runs_of_a_student_that_came_trained_keep_their_thresholds(run, tmp_path):
    """It is not trained anew, so that both runs begin with the same weights."""
    folder = run[3]
    shutil.copytree(folder, tmp_path / "mine")
    results = tmp_path / "r"
    for count in ("40", "70"):
        assert main(["run", "--method", "finetune", "--task", "made-at-rate", "--student", str(tmp_path / "mine"),
                     "--no-controls", "--max-train-examples", count, "--latency", "off", "--device", "cpu",
                     "--results-dir", str(results)]) == 0
    records = list(store.records(results))
    assert len(records) == 2
    for record in records:
        labels = json.loads((results / "models" / record["artefact"] / "labels.json").read_text())
        assert labels["threshold"] == record["score"]["threshold"]
    assert records[0]["score"]["threshold"] != records[1]["score"]["threshold"]
