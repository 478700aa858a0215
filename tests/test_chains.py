"""Methods of several trainings: each goes on from the one before, learns from the teacher that is meant, and weighs its losses as the
options say."""

import copy

import pytest
import torch

import kdbench
from kdbench.base.progress import forget_said
from kdbench.runs import store
from kdbench.train.lab import Lab

RUN = dict(teacher="tiny:bert", student="cut:1", epochs=1, max_train_examples=32, max_dev_examples=16, batch_size=16, latency="off",
           controls=False)
CHAINS = {
    "recipe": ["text", "layers", "logits", "labels"],
    "tinybert": ["general distillation", "layers", "prediction"],
    "minilm": ["relations", "fine-tuning"],
    "annealing_kd": ["annealing", "labels"],
    "pretrained_kd": ["distillation", "fine-tuning"],
    "glmd": ["words", "words of the task", "prediction"],
}
# of the teacher as it comes; the others are of the fine-tuned one
OF_THE_BEGINNING = {"text", "general distillation", "relations", "words"}


@pytest.fixture
def seen(monkeypatch):
    """By stage: the encoder before and behind it, its objective, its texts, and the keys of the teachers whose signals it reads."""
    found, train, ask = {}, Lab.train, Lab.signals
    asked = {}

    def signals(self, teacher, names, **how):
        given = ask(self, teacher, names, **how)
        asked[id(given)] = teacher.key
        found.setdefault("lab", self)
        return given

    def trained(self, model, objective, *, stage, examples=None, signals=None, **more):
        before = copy.deepcopy(model.module.base_model.state_dict())
        result = train(self, model, objective, stage=stage, examples=examples, signals=signals, **more)
        if (more.get("role") or model.role) == "student":
            behind = copy.deepcopy(result.module.base_model.state_dict())
            found[stage] = before, behind, objective, examples, asked.get(id(signals))
        return result

    monkeypatch.setattr(Lab, "signals", signals)
    monkeypatch.setattr(Lab, "train", trained)
    return found


def run(method, folder, options=None, **more):
    text = folder / "text.txt"
    text.write_text("the kinase binds\nno fever today\n" * 8)
    own = {"corpus": str(text)} if method in ("recipe", "tinybert", "minilm", "glmd") else {}
    own |= {"recipe": {"text": "states"}, "pretrained_kd": {"pretrain": False}}.get(method, {})
    kdbench.run(method, "chemprot", options={**own, **(options or {})}, results_dir=folder, **{**RUN, **more})
    record = next(one for one in store.records(folder) if one["role"] == "method")
    assert record["status"] == "done", record["reason"] or record["error"]
    return record


@pytest.mark.parametrize("method", CHAINS)
def test_every_training_goes_on_from_the_one_before_and_the_last_is_the_student(method, tmp_path, seen):
    run(method, tmp_path)
    stages = [name for name in seen if name != "lab"]
    assert stages == CHAINS[method]
    for earlier, later in zip(stages, stages[1:], strict=False):
        assert all(torch.equal(value, seen[later][0][name]) for name, value in seen[earlier][1].items()), (earlier, later)
    for stage in stages:
        before, behind, *_ = seen[stage]
        assert any(not torch.equal(value, before[name]) for name, value in behind.items()), stage


@pytest.mark.parametrize("method", ["recipe", "tinybert", "minilm"])
def test_layers_are_read_of_the_teacher_that_is_meant(method, tmp_path, seen):
    run(method, tmp_path)
    lab = seen["lab"]
    beginning, tuned = lab.teacher().key, lab.trained_teacher().key
    assert beginning != tuned
    for stage, (*_, teacher) in ((name, facts) for name, facts in seen.items() if name != "lab"):
        if teacher is not None:
            assert teacher == (beginning if stage in OF_THE_BEGINNING else tuned), stage


@pytest.mark.parametrize("method, stage", [("recipe", "logits"), ("tinybert", "prediction"), ("static", "soft targets"),
                                           ("takd", "soft targets"), ("born_again", "generation 1"), ("logit_kd", "soft targets")])
def test_temperature_and_weight_are_those_of_the_options(method, stage, tmp_path, seen):
    more = {"assistant": "tiny:roberta"} if method == "takd" else {}
    run(method, tmp_path, {"temperature": 3.0, "alpha": 0.25, **more})
    objective = seen[stage][2]
    assert (objective.temperature, objective.alpha) == (3.0, 0.25)


@pytest.mark.parametrize("method, stage", [("recipe", "layers"), ("recipe", "logits"), ("static", "soft targets"), ("dkd", "decoupled"),
                                           ("dist", "relational"), ("tinybert", "layers"), ("tinybert", "prediction"), ("pkd", "patient"),
                                           ("annealing_kd", "annealing"), ("pretrained_kd", "distillation"), ("takd", "soft targets")])
def test_texts_without_labels_are_learned_from_wherever_the_teacher_answers(method, stage, tmp_path, seen):
    more = {"options": {"assistant": "tiny:roberta"}} if method == "takd" else {}
    more |= {"student": "tiny:bert"} if method == "pkd" else {}
    texts = tmp_path / "further.txt"
    texts.write_text("one more text\nand another one\n")
    run(method, tmp_path, unlabelled=texts, **more)
    examples = seen[stage][3]
    assert len(examples) == 34 and sum(example.label is None for example in examples) == 2


def test_a_rate_of_0_is_a_rate_and_not_the_default(tmp_path, monkeypatch):
    rates, train = [], Lab.train

    def noted(self, model, objective, *, stage, **more):
        if stage == "layers":
            rates.append(more["lr"])
        return train(self, model, objective, stage=stage, **more)

    monkeypatch.setattr(Lab, "train", noted)
    run("recipe", tmp_path, {"layer_lr": 0.0, "text": "no"})
    assert rates == [0.0]


def test_texts_of_test_in_a_corpus_are_told_and_noted(tmp_path, capsys):
    rows = [f'{{"text": "text number {i} of the {part}", "label": "{"ab"[i % 2]}"}}\n' for part in ("train", "test") for i in range(24)]
    files = {"train": tmp_path / "train.jsonl", "test": tmp_path / "test.jsonl"}
    for number, path in enumerate(files.values()):
        path.write_text("".join(rows[24 * number:24 * number + 24]))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("text number 3 of the test\ntext number 4 of the test\nsomething else\n")
    for method in ("minilm", "pretrained_kd"):
        forget_said()
        kdbench.run(method, "files", files=files, options={"corpus": str(corpus)}, results_dir=tmp_path / method, **RUN)
        record = next(one for one in store.records(tmp_path / method) if one["role"] == "method")
        assert record["status"] == "done" and "corpus: 2 of 3 texts without labels are texts of test" in record["notes"]
        assert "2 of 3 texts without labels are texts of test, on which the student is scored; take them out" in capsys.readouterr().err
