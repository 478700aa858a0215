"""recipe: which trainings it has, on which texts, for how many epochs, and what it says where a part cannot be had."""

import json

import pytest

import kdbench
from kdbench.methods.recipe import Recipe
from kdbench.runs import store
from kdbench.train.lab import Lab


@pytest.fixture
def trainings(monkeypatch):
    """What is trained: (stage, examples, epochs) of the student, in order."""
    seen, train = [], Lab.train

    def noted(self, model, objective, *, stage, examples=None, **more):
        examples = self.data.train if examples is None else examples
        if (more.get("role") or model.role) == "student":
            seen.append((stage, len(examples), more.get("epochs"), type(objective).__name__))
        return train(self, model, objective, stage=stage, examples=examples, **more)

    monkeypatch.setattr(Lab, "train", noted)
    return seen


def trained(folder, task="chemprot", student="cut:1", teacher="tiny:bert", epochs=1, options=None, **more):
    """The record of a short run of `recipe`."""
    kdbench.run("recipe", task, teacher=teacher, student=student, options=options or {}, results_dir=folder, epochs=epochs,
                **{"max_train_examples": 32, "max_dev_examples": 16, "max_steps": 2, "latency": "off", "controls": False, **more})
    return next(each for each in store.records(folder) if each["cell"]["method"] == "recipe")


def steps(record):
    return [stage["name"] for stage in record["cost"]["stages"] if stage["role"] == "student"]


def shared(trainings):
    """The stages and their epochs, rounded."""
    return [(stage, round(epochs, 6)) for stage, _, epochs, _ in trainings]


@pytest.mark.parametrize("task", ["chemprot", "hoc", "bioasq", "biosses", "bc2gm_iobes"])
def test_every_kind_of_task_is_trained(task, tmp_path):
    record = trained(tmp_path, task)
    assert record["status"] == "done" and steps(record) == ["layers", "logits", "labels"]


@pytest.mark.parametrize(("options", "expected"), [
    ({"text": "relations"}, ["text", "layers", "logits", "labels"]),
    ({"layers": "no"}, ["logits", "labels"]),
    ({"logits": False}, ["layers", "labels"]),
    ({"labels": False}, ["layers", "logits"]),
    ({"layers": "hidden", "labels": False}, ["layers", "logits"]),
    ({"layers": "relations"}, ["layers", "logits", "labels"]),
])
def test_every_part_can_be_left_out(options, expected, tmp_path):
    record = trained(tmp_path, options=options)
    assert record["status"] == "done" and steps(record) == expected


@pytest.mark.parametrize(("options", "kinds"), [
    ({"layers": "states"}, {"embedding", "hidden", "attention"}), ({"layers": "hidden"}, {"embedding", "hidden"}),
    ({"layers": "relations"}, {"relations"}), ({"layers": "auto"}, {"embedding", "hidden", "attention"}),
])
def test_what_of_the_layers_is_compared(options, kinds, tmp_path):
    record = trained(tmp_path, options=options)
    assert {name for entry in record["curves"] if entry["stage"] == "layers" for name in entry["terms"]} == kinds


@pytest.mark.parametrize(("kind", "method", "stage"), [("states", "tinybert", "layers"), ("relations", "minilm", "relations")])
def test_the_layers_are_tinyberts_and_the_relations_minilms(kind, method, stage, tmp_path):
    """The same loss on the same texts: the first epoch's terms are those of the method whose layers these are."""
    how = {"max_train_examples": 32, "max_dev_examples": 16, "max_steps": 2, "latency": "off", "epochs": 1}
    text = tmp_path / "text.txt"
    text.write_text("the kinase binds\nno fever today\n" * 8)
    own = {"text": kind, "corpus": str(text), "layers": "no"} if kind == "relations" else {"layers": kind}
    ours = trained(tmp_path, options=own)
    theirs = {"general": False} if method == "tinybert" else {"corpus": str(text)}
    kdbench.run(method, "chemprot", teacher="tiny:bert", student="cut:1", options=theirs, results_dir=tmp_path, controls=False, **how)
    other = next(each for each in store.records(tmp_path) if each["cell"]["method"] == method)
    found = [[entry["terms"] for entry in record["curves"] if entry["stage"] == name][0]
             for record, name in ((ours, "text" if kind == "relations" else "layers"), (other, stage))]
    assert found[0].keys() == found[1].keys()
    assert all(found[0][name] == pytest.approx(found[1][name], rel=0.2) for name in found[0])


def test_epochs_are_shared_out_so_that_all_take_one_training(tmp_path, trainings):
    trained(tmp_path, epochs=10)
    assert shared(trainings) == [("layers", 7), ("logits", 2), ("labels", 1)]
    trainings.clear()
    trained(tmp_path, epochs=10, options={"layers": "no", "label_share": 0.3})
    assert shared(trainings) == [("logits", 7), ("labels", 3)]
    trainings.clear()
    trained(tmp_path, epochs=10, options={"logits": False})
    assert shared(trainings) == [("layers", 7), ("labels", 3)]
    trainings.clear()
    trained(tmp_path, epochs=1)
    assert shared(trainings) == [("layers", 0.7), ("logits", 0.2), ("labels", 0.1)]


def test_copies_are_made_of_tagged_sentences_where_nothing_else_is_there_to_read(tmp_path, trainings):
    trained(tmp_path / "copies", "bc2gm_iobes", epochs=4)
    assert trainings[0][1:3] == (32 * 4, 1.4), "three operations, and half of the epochs"
    assert trainings[-1][:2] == ("labels", 32)
    assert trainings[-1][2] == pytest.approx(0.8), "a tenth of two epochs over four times the sentences"
    trainings.clear()
    trained(tmp_path / "text", "bc2gm_iobes", epochs=4, unlabelled="rest")
    rest = trainings[0][1] - 32
    assert rest > 32 and trainings[0][2] == pytest.approx(2.8), "the texts that are left out, and no copies"
    trainings.clear()
    trained(tmp_path / "both", "bc2gm_iobes", epochs=4, unlabelled="rest", options={"copies": 2})
    assert trainings[0][1] == rest + 32 * 7
    trainings.clear()
    trained(tmp_path / "none", "bc2gm_iobes", epochs=4, unlabelled="rest", options={"unlabelled": False, "copies": 0})
    assert trainings[0][1] == 32


def test_a_classification_has_no_copies(tmp_path, trainings):
    trained(tmp_path, options={"copies": 3})
    assert {count for _, count, *_ in trainings} == {32}


@pytest.mark.parametrize(("student", "why"), [("tiny:roberta", "has another tokenizer"), ("bilstm", "has no layers like the teacher's")])
def test_a_student_without_the_teachers_layers_learns_the_rest_and_it_is_said(student, why, tmp_path, capsys):
    record = trained(tmp_path, student=student)
    assert record["status"] == "done" and steps(record) == ["logits", "labels"]
    assert f"{why}; logits and labels alone" in capsys.readouterr().err


def test_a_teacher_that_hides_its_scores_gives_hidden_states(tmp_path):
    record = trained(tmp_path, teacher="tiny:mpnet", student="tiny:mpnet")
    assert record["status"] == "done"
    assert {name for entry in record["curves"] if entry["stage"] == "layers" for name in entry["terms"]} == {"embedding", "hidden"}


@pytest.mark.parametrize(("options", "reason"), [
    ({"logits": False, "labels": False}, "logits=no and labels=no leave nothing that knows the task"),
    ({"layer_share": 0.7, "label_share": 0.3}, "leave nothing for the logits"),
    ({"layers": "states"}, "recipe compares it"), ({"text": "hidden"}, "has another tokenizer"),
])
def test_what_the_models_do_not_have_is_said_before_anything_is_trained(options, reason, tmp_path):
    record = trained(tmp_path, student="tiny:roberta" if "text" in options else "bilstm", options=options)
    assert record["status"] == "skipped" and reason in record["reason"] and not record["cost"]["stages"]


@pytest.mark.parametrize(("given", "rates"), [
    ({}, [3, 1, 1]), ({"lr": 4e-4}, [4e-4] * 3), ({"options": {"layer_lr": 5e-4}}, [5e-4, 1, 1]),
    ({"options": {"layer_lr": 5e-4}, "lr": 4e-4}, [5e-4, 4e-4, 4e-4])])
def test_layers_are_learned_at_three_times_the_students_own_rate(given, rates, tmp_path, monkeypatch):
    seen, key = [], Lab.stage_key

    def noted(lab, model, objective, training, *more):
        if model.role == "student":
            seen.append((model.lr, training.lr))
        return key(lab, model, objective, training, *more)

    monkeypatch.setattr(Lab, "stage_key", noted)
    trained(tmp_path, **given)
    own = seen[-1][0]
    assert [lr for _, lr in seen] == pytest.approx([rate if rate < 1 else rate * own for rate in rates])


def test_a_file_of_answers_teaches_logits_and_labels(tmp_path):
    from kdbench.runs.planning import load_data

    whole = load_data("chemprot", None, (), ())[1]
    lines = [json.dumps({"text": example.text, "label": whole.labels[example.label]}) + "\n" for example in whole.train]
    (tmp_path / "answers.jsonl").write_text("".join(lines))
    record = trained(tmp_path, teacher=f"predictions:{tmp_path / 'answers.jsonl'}", student="tiny:bert")
    assert record["status"] == "done" and steps(record) == ["logits", "labels"]
    assert Recipe(Recipe.Options()).reads == "logits" and Recipe(Recipe.Options(layers="states")).reads == "model"


def test_without_labels_the_teacher_says_all(tmp_path, trainings):
    from kdbench.runs.planning import load_data

    whole = load_data("chemprot", None, (), ())[1]

    def lines(examples, labelled):
        rows = [{"text": e.text, **({"label": whole.labels[e.label]} if labelled else {})} for e in examples]
        return "".join(json.dumps(row) + "\n" for row in rows)

    train = list({example.text: example for example in whole.train}.values())[:24]
    written = {"train": lines(train, False), "answers": lines(train, True), "dev": lines(whole.dev[:40], True),
               "test": lines(whole.test[:40], True)}
    for name, text in written.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    files = {split: tmp_path / f"{split}.jsonl" for split in ("train", "dev", "test")}
    record = trained(tmp_path / "out", "files", "tiny:bert", f"predictions:{tmp_path / 'answers.jsonl'}", files=files)
    assert record["status"] == "done" and [stage for stage, *_ in trainings] == ["logits"]


def test_steps_are_shared_out_as_the_options_say(tmp_path):
    """Of 32 texts an epoch is a step; the shares are those of 100 steps all the same."""
    record = trained(tmp_path, epochs=1, max_steps=None, steps_equal=100, options={"layer_share": 0.6, "label_share": 0.2})
    found = {stage["name"]: stage["steps"] for stage in record["cost"]["stages"] if stage["role"] == "student" and stage["steps"]}
    assert sum(found.values()) == 100
    assert found == pytest.approx({"layers": 60, "logits": 20, "labels": 20}, abs=2)
