"""DKD, PKD, Annealing-KD, Born-Again and standardised logits against their papers' equations in float64."""

import math
import random

import numpy as np
import pytest
import scipy.stats
import torch
from torch.autograd import gradcheck

import kdbench
from kdbench.methods.annealing_kd import Annealed, annealing, temperature_of
from kdbench.methods.dist import DIST, Relational, between_and_within
from kdbench.methods.dkd import DKD, Decoupled, decoupled
from kdbench.methods.pkd import PKD, Patient, patient_error, teacher_layers
from kdbench.runs import store
from kdbench.train.losses import SoftTargets, soft_targets, standardised
from kdbench.train.method import Batch, loss_of


def softmax(z):
    powers = np.exp(z - z.max())
    return powers / powers.sum()


def kl(p, q):
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a))


def decoupled_by_hand(student, teacher, target, temperature):
    """Section 3.1: the parts of one row, from probabilities."""
    q, p = softmax(student / temperature), softmax(teacher / temperature)
    others = [i for i in range(len(p)) if i != target]
    first = kl([p[target], 1 - p[target]], [q[target], 1 - q[target]])
    second = kl(p[others] / p[others].sum(), q[others] / q[others].sum())
    return temperature**2 * first, temperature**2 * second, temperature**2 * kl(p, q), 1 - p[target]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_decoupled_parts_are_their_equations(classes, temperature):
    rng = np.random.default_rng(classes)
    student, teacher, target = 3 * rng.normal(size=(5, classes)), 3 * rng.normal(size=(5, classes)), rng.integers(classes, size=5)
    found = decoupled(*map(torch.from_numpy, (student, teacher, target)), temperature)
    for row in range(5):
        first, second, whole, others = decoupled_by_hand(student[row], teacher[row], target[row], temperature)
        assert [float(each[row]) for each in found] == pytest.approx([first, second], abs=1e-12)
        assert first + others * second == pytest.approx(whole), "equation 6"
        if classes == 2:
            assert float(found[1][row]) == 0


def test_decoupled_gradients_and_a_student_that_is_the_teacher():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5, dtype=torch.double, requires_grad=True), torch.randn(4, 5, dtype=torch.double)
    target = torch.tensor([0, 4, 2, 2])
    assert gradcheck(lambda z: decoupled(z, teacher, target, 3.0), (student,))
    assert [float(each.abs().max()) for each in decoupled(teacher, teacher, target, 3.0)] == pytest.approx([0, 0], abs=1e-12)
    far = torch.tensor([[900.0, -900.0, 0.0]], requires_grad=True)
    sum(each.sum() for each in decoupled(far, -far.detach(), torch.tensor([0]), 1.0)).backward()
    assert far.grad is not None and far.grad.isfinite().all()


def forward(objective, logits, batch):
    objective.outputs = lambda student, batch: type("Outputs", (), {"logits": logits})
    return objective(torch.nn.Identity(), batch)


def test_a_text_without_a_label_has_the_teachers_first_class_as_target():
    torch.manual_seed(1)
    logits, teacher = torch.randn(3, 4), torch.randn(3, 4)
    first = int(teacher[1].argmax())
    counts = {"examples": 3.0, "labelled": 2.0}
    batch = Batch({}, labels=torch.tensor([2, -100, 0]), signals={"logits": teacher}, counts=counts)
    named = Batch({}, labels=torch.tensor([2, first, 0]), signals={"logits": teacher}, counts=counts)
    objective = Decoupled("single", DKD.Options(hard=0.0))
    found, expected = forward(objective, logits, batch), forward(objective, logits, named)
    assert set(found) == {"target", "others"} and {name: float(term.total) for name, term in found.items()} == pytest.approx(
        {name: float(term.total) for name, term in expected.items()})
    none = Batch({}, labels=torch.tensor([-100] * 3), signals={"logits": teacher}, counts={"examples": 3.0, "labelled": 0.0})
    assert loss_of(forward(Decoupled("single", DKD.Options()), logits, none), none.counts).isfinite()


def test_decoupled_words_that_one_has_not_read_do_not_count():
    torch.manual_seed(2)
    logits, teacher = torch.randn(1, 4, 3), torch.randn(1, 3, 3)
    words = torch.tensor([[1, 2, -1]])
    batch = Batch({}, labels=torch.tensor([[0, 1, -100]]), words=words,
                  signals={"logits": teacher, "logits_known": torch.tensor([[True, False, True]])}, counts={"aligned": 1.0, "words": 2.0})
    found = forward(Decoupled("tags", DKD.Options()), logits, batch)
    first, second, *_ = decoupled_by_hand(logits[0, 1].double().numpy(), teacher[0, 0].double().numpy(), 0, 4.0)
    assert float(found["target"].total) == pytest.approx(first, rel=1e-5) and float(found["others"].total) == pytest.approx(second, rel=1e-5)


@pytest.mark.parametrize(("epochs", "most", "found"), [(7, 7, [7, 6, 5, 4, 3, 2, 1]), (3, 7, [7, 4, 1]), (1, 7, [1]), (4, 1, [1] * 4), (2, 3, [3, 1])])
def test_temperatures_of_the_epochs(epochs, most, found):
    assert [temperature_of(epoch, epochs, most) for epoch in range(epochs)] == found
    assert annealing(most, most) == pytest.approx(1 / most) and annealing(1, most) == 1


def test_annealed_logits_are_their_equation():
    torch.manual_seed(3)
    logits, teacher = torch.randn(4, 3, dtype=torch.double), torch.randn(4, 3, dtype=torch.double)
    objective = Annealed(5)
    objective.epoch, objective.epochs = 1, 5
    batch = Batch({}, signals={"logits": teacher}, counts={"examples": 4.0})
    expected = np.mean([(s - (1 - 3 / 5) * t) ** 2 for s, t in zip(logits.flatten().tolist(), teacher.flatten().tolist(), strict=True)])
    assert float(loss_of(forward(objective, logits, batch), batch.counts)) == pytest.approx(expected, rel=1e-6)
    objective.epoch = 4
    assert float(forward(objective, teacher, batch)["annealed_logits"].total) == 0, "the student is the teacher"


def test_standardised_logits_are_their_equation():
    torch.manual_seed(4)
    student, teacher = 5 * torch.randn(4, 6) + 2, torch.randn(4, 6)
    batch = Batch({}, labels=torch.zeros(4, dtype=torch.long), signals={"logits": teacher}, counts={"examples": 4.0, "labelled": 4.0})
    found = forward(SoftTargets("single", 2.0, 0.0, standardise=True), student, batch)["soft_targets"].total
    expected = 0.0
    for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True):
        expected += 4 * kl(softmax((t - t.mean()) / t.std() / 2), softmax((s - s.mean()) / s.std() / 2))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    moved = soft_targets(standardised(3 * teacher - 7), standardised(teacher), 2.0, "single")
    assert float(moved.abs().max()) < 1e-5, "neither shift nor range counts"
    flat = torch.zeros(1, 3, requires_grad=True)
    standardised(flat).sum().backward()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize(("rule", "teacher", "student", "found"), [
    ("skip", 12, 6, [2, 4, 6, 8, 10]), ("last", 12, 6, [7, 8, 9, 10, 11]), ("skip", 12, 3, [4, 8]), ("last", 12, 3, [10, 11]),
    ("skip", 2, 6, [1] * 5), ("last", 2, 6, [1] * 5), ("random", 2, 3, [1, 1]), ("skip", 4, 1, []),
])
def test_layers_that_are_paired(rule, teacher, student, found):
    assert teacher_layers(rule, teacher, student, random.Random(0)) == found


def test_layers_are_drawn_for_every_epoch():
    drawn = []
    for epoch in range(40):
        objective = Patient("single", PKD.Options(layers="random"), (12, 5), (8, 8), seed=3)
        objective.epoch = epoch
        assert objective.layers == objective.layers == sorted(set(objective.layers)) and len(objective.layers) == 4
        drawn.append(tuple(objective.layers))
    assert len(set(drawn)) > 20 and {layer for layers in drawn for layer in layers} == set(range(1, 12))


def test_the_patient_loss_is_its_equation():
    torch.manual_seed(5)
    student, teacher = torch.randn(3, 4, 6, dtype=torch.double), torch.randn(3, 4, 6, dtype=torch.double)
    expected = [sum(sum((a / np.linalg.norm(s) - b / np.linalg.norm(t)) ** 2 for a, b in zip(s, t, strict=True))
                    for s, t in zip(ours, theirs, strict=True)) for ours, theirs in zip(student.numpy(), teacher.numpy(), strict=True)]
    assert patient_error(student, teacher).tolist() == pytest.approx(expected, rel=1e-6)
    assert patient_error(3 * teacher, teacher).abs().max() < 1e-9, "the direction alone counts"
    assert patient_error(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)).tolist() == [0]


def test_the_patient_objective_reads_the_paired_layers():
    torch.manual_seed(6)
    hidden = [torch.randn(2, 5, 8) for _ in range(4)]  # the embedding's output and three layers
    logits, labels = torch.randn(2, 3), torch.tensor([0, 2])
    signals = {"logits": torch.randn(2, 3), "inner_cls": torch.randn(2, 11, 8)}
    objective = Patient("single", PKD.Options(beta=7.0, alpha=0.3, temperature=5.0), (12, 3), (8, 8), 0)
    objective.outputs = lambda student, batch: type("Outputs", (), {"logits": logits, "hidden_states": hidden})
    batch = Batch({}, labels=labels, signals=signals, counts={"examples": 2.0, "labelled": 2.0})
    loss = loss_of(objective(torch.nn.Identity(), batch), batch.counts)
    inner = torch.stack([hidden[1][:, 0], hidden[2][:, 0]], 1)
    expected = (0.3 * torch.nn.functional.cross_entropy(logits, labels) + 0.7 * soft_targets(logits, signals["logits"], 5.0, "single").mean()
                + 7 * patient_error(inner, signals["inner_cls"][:, [3, 7]]).mean())
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


RUN = dict(teacher="tiny:bert", student="tiny-student", epochs=2, max_train_examples=48, max_dev_examples=16, latency="off", controls=False)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_distances_are_pearsons(classes, temperature):
    rng = np.random.default_rng(classes)
    student, teacher = 3 * rng.normal(size=(6, classes)), 3 * rng.normal(size=(6, classes))
    counts = torch.tensor([1.0, 1, 0, 1, 1, 1], dtype=torch.double)
    found = between_and_within(torch.from_numpy(student), torch.from_numpy(teacher), temperature, counts)
    ours, theirs = (np.array([softmax(row / temperature) for row in z]) for z in (student, teacher))
    rows = [1 - scipy.stats.pearsonr(*pair).statistic for pair in zip(ours, theirs, strict=True)]
    known = [0, 1, 3, 4, 5]
    columns = [1 - scipy.stats.pearsonr(ours[known, j], theirs[known, j]).statistic for j in range(classes)]
    assert found[0].tolist() == pytest.approx(temperature**2 * np.array(rows), abs=1e-10)
    assert found[1].tolist() == pytest.approx(temperature**2 * np.array(columns), abs=1e-10)


def test_distances_of_the_teacher_itself_of_one_row_and_of_equal_classes():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5, dtype=torch.double, requires_grad=True), torch.randn(4, 5, dtype=torch.double)
    assert gradcheck(lambda z: between_and_within(z, teacher, 2.0), (student,))
    assert [float(each.abs().max()) for each in between_and_within(2 * teacher.log_softmax(-1), 2 * teacher, 2.0)] \
        == pytest.approx([0, 0], abs=1e-12)
    for rows in (torch.randn(1, 5), torch.zeros(3, 5)):
        own = rows.clone().requires_grad_()
        between, within = between_and_within(own, torch.randn_like(rows), 1.0)
        (between.sum() + within.sum()).backward()
        assert own.grad is not None and own.grad.isfinite().all() and within.isfinite().all()


def test_dist_leaves_out_what_the_teacher_does_not_know():
    torch.manual_seed(2)
    logits, teacher = torch.randn(4, 3), torch.randn(4, 3)
    weight = torch.tensor([[1.0], [0], [1], [1]])
    batch = Batch({}, labels=torch.tensor([0, 2, -100, 1]), signals={"logits": teacher, "logits_weight": weight},
                  counts={"examples": 4.0, "answered": 3.0, "labelled": 3.0})
    found = forward(Relational("single", DIST.Options(temperature=4.0, beta=2.0, gamma=3.0)), logits, batch)
    known = [0, 2, 3]
    between, within = between_and_within(logits[known], teacher[known], 4.0)
    assert {name: (float(term.total), term.per, term.weight) for name, term in found.items() if name != "hard_labels"} == {
        "between": (pytest.approx(float(between.sum()), rel=1e-5), "answered", 2.0),
        "within": (pytest.approx(3 * float(within.mean()), rel=1e-5), "answered", 3.0)}


@pytest.mark.parametrize("task", ["hoc", "biosses"])
def test_standardised_logits_need_the_classes_of_one_choice(tmp_path, task):
    kdbench.run("logit_kd", task, options={"standardise": True}, results_dir=tmp_path, **RUN)
    record, = store.records(tmp_path)
    assert record["status"] == "skipped" and "standardise compares the classes of one choice" in record["reason"]


def test_born_again_is_as_large_as_its_teacher_and_goes_on(tmp_path):
    kdbench.run("born_again", "chemprot", options={"generations": 2}, results_dir=tmp_path, **{**RUN, "student": "cut:1", "controls": True})
    by = {(record["role"], record["cell"]["method"]): record for record in store.records(tmp_path)}
    own, teacher = by["method", "born_again"], by["teacher", "finetune"]
    assert own["size"]["parameters"] == teacher["size"]["parameters"] != by["control", "finetune"]["size"]["parameters"]
    assert [stage["name"] for stage in own["cost"]["stages"] if "generation" in stage["name"]] == ["generation 1", "generation 2"]


@pytest.mark.parametrize(("options", "stages"), [
    ({}, ["masked LM", "distillation", "fine-tuning"]), ({"pretrain": False}, ["distillation", "fine-tuning"]),
    ({"finetune": False}, ["masked LM", "distillation"]), ({"distil": False, "pretrain": False}, ["fine-tuning"]),
])
def test_each_training_of_pretrained_kd_can_be_left_out(tmp_path, options, stages):
    kdbench.run("pretrained_kd", "chemprot", options=options, results_dir=tmp_path, **{**RUN, "student": "tiny:distilbert"})
    record, = store.records(tmp_path)
    own = [stage for stage in record["cost"]["stages"] if stage["role"] == "student"]
    assert record["status"] == "done" and [stage["name"] for stage in own] == stages
    steps = {stage["name"]: stage["steps"] for stage in own if stage["name"] != "masked LM"}
    assert sum(steps.values()) == 4, "both together cost what one training does"
    assert len(steps) == 1 or steps == {"distillation": 3, "fine-tuning": 1}  # 0.7 of 4


@pytest.mark.parametrize(("name", "first", "options"), [
    ("annealing_kd", "annealing", {}), ("pretrained_kd", "distillation", {"pretrain": False})])
def test_shares_are_of_the_training_whatever_its_epochs_and_texts(tmp_path, name, first, options):
    found = {}
    for epochs, more in ((1, {}), (3, {}), (3, {"unlabelled": "rest", "max_train_examples": 16})):
        place = tmp_path / f"{epochs}-{len(more)}"
        kdbench.run(name, "chemprot", options={"share": 0.9, **options}, results_dir=place, **{**RUN, "epochs": epochs, "steps_equal": 60, "batch_size": 8, **more})
        record = next(one for one in store.records(place) if one["cell"]["method"] == name)
        stages = {stage["name"]: stage["steps"] for stage in record["cost"]["stages"] if stage["role"] == "student"}
        found[epochs, len(more)] = stages[first] / 60
    assert all(abs(share - 0.9) < 0.04 for share in found.values()), found


def test_pretrained_kd_says_what_it_cannot(tmp_path):
    for name, options, reason in (("bilstm", {}, "no masked-LM head; use pretrain=no"),
                                  ("tiny:bert", {"distil": False, "finetune": False}, "nothing that knows the task")):
        kdbench.run("pretrained_kd", "chemprot", options=options, results_dir=tmp_path / name[:4], **{**RUN, "student": name})
        record, = store.records(tmp_path / name[:4])
        assert record["status"] == "skipped" and reason in record["reason"]


def test_an_assistant_stands_between_has_a_row_and_is_found_again(tmp_path):
    for student in ("cut:1", "tiny:distilbert"):
        kdbench.run("takd", "chemprot", options={"assistant": "tiny:roberta"}, results_dir=tmp_path, **{**RUN, "student": student})
    records = list(store.records(tmp_path))
    cached = []
    for record in records:
        assert record["status"] == "done" and [row["name"] for row in record["rows_more"]] == ["assistant tiny:roberta"]
        assert any(name.startswith("tiny:roberta") for name in record["cost"]["teacher_forwards"]), "the student learns from the assistant"
        cached.append(next(stage["cached"] for stage in record["cost"]["stages"] if stage["name"] == "assistant"))
    assert sorted(cached) == [False, True]


def test_no_assistant_between_two_models_of_one_depth(tmp_path):
    kdbench.run("takd", "chemprot", results_dir=tmp_path, **{**RUN, "student": "tiny:bert"})
    record, = store.records(tmp_path)
    assert record["status"] == "skipped" and "leave no assistant between" in record["reason"]
