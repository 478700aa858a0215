"""DoKTra's losses against their formulas, and what its variants do differently."""

import copy

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.autograd import gradcheck

import kdbench
from kdbench.base.options import build as options
from kdbench.base.registry import TASKS, Entry
from kdbench.data.task import Example
from kdbench.methods.doktra import DoKTra, Transfer, activation_boundary_sum, boundary_disagreement
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import resolve
from kdbench.models.zoo import MODELS, tiny
from kdbench.train import spec
from kdbench.train.batching import Corpus
from kdbench.train.lab import Lab
from kdbench.train.method import Batch, loss_of
from kdbench.train.stage_cache import StageCache


def transfer(variant="corrected", student=6, teacher=6, rows=4, **given) -> Transfer:
    return Transfer(options(DoKTra.Options, variant, given, "doktra"), "single", 3, student, teacher, rows, seed=1)


def batch_of(student_cls, teacher_cls, rows, classes=3):
    outputs = type("Outputs", (), {"logits": torch.randn(rows, classes), "hidden_states": [student_cls.unsqueeze(1)]})
    batch = Batch({}, labels=torch.zeros(rows, dtype=torch.long), signals={"cls": teacher_cls},
                  counts={"examples": float(rows), "labelled": float(rows)})
    return (lambda **_: outputs), batch


def test_the_boundary_loss_is_its_formula_in_a_plain_loop():
    torch.manual_seed(0)
    s, t, m = torch.randn(5, 7, dtype=torch.double), torch.randn(5, 7, dtype=torch.double), 0.7
    t[0, 0] = 0.0
    s[0, 1], s[0, 2] = m, -m
    expected = sum(((x + m) ** 2 if x > -m and y <= 0 else 0.0) + ((x - m) ** 2 if x <= m and y > 0 else 0.0)
                   for x, y in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True))
    assert float(activation_boundary_sum(s, t, m)) == pytest.approx(expected)


def test_its_gradient():
    s = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    t = torch.tensor([[1.0, -1.0, 1.0, -1.0]] * 3, dtype=torch.double)
    assert gradcheck(lambda x: activation_boundary_sum(x, t, 1.0), (s,))


def test_a_student_that_is_the_teacher_disagrees_nowhere():
    s = torch.randn(8, 6)
    assert float(boundary_disagreement(s, s)) == 0.0
    far = torch.where(s > 0, s + 2, s - 2)  # beyond the margin on the right side: nothing left to learn
    assert float(activation_boundary_sum(far, s, 1.0)) == 0.0


def test_published_divides_by_1000_and_the_nominal_batch_and_corrected_by_dimensions_and_the_actual_one():
    s, t = torch.randn(3, 6), torch.randn(3, 6)
    total = float(activation_boundary_sum(s, t, 1.0))
    student, batch = batch_of(s, t, 3)
    assert float(loss_of(transfer("published", rows=4)(student, batch), batch.counts)) == pytest.approx(total / 1000 / 4)
    assert float(loss_of(transfer(rows=4)(student, batch), batch.counts)) == pytest.approx(total / 6 / 3)


@pytest.mark.parametrize(("variant", "learned", "shape"), [("corrected", False, (6, 8)), ("learned_student", True, (8, 6)),
                                                          ("published", False, (6, 8))])
def test_the_connector_is_frozen_on_the_teacher_or_learned_on_the_student(variant, learned, shape):
    variant, given = ("corrected", {"expander": variant}) if learned else (variant, {})
    objective = transfer(variant, student=6, teacher=8, **given)
    assert isinstance(objective.expander, nn.Linear)
    assert tuple(objective.expander.weight.shape) == shape
    assert objective.expander.weight.requires_grad == learned
    assert torch.all(objective.expander.bias == 0.01)
    again = transfer(variant, student=6, teacher=8, **given)
    assert torch.equal(objective.expander.weight, again.expander.weight)  # drawn from its own seed
    same = transfer(variant)
    assert isinstance(same.expander, nn.Identity)


def test_the_loss_switches_after_gamma_of_the_epochs():
    student, batch = batch_of(torch.randn(4, 6), torch.randn(4, 6), 4)
    objective = transfer()
    objective.epoch = 2
    assert "activation_boundary" in objective(student, batch)
    objective.epoch = 3
    assert set(objective(student, batch)) == {"cross_entropy", "entropy"}


@pytest.mark.parametrize(("kind", "trained"), [("abd", False), ("kld", True)])
def test_before_the_switch_the_classifier_has_a_gradient_only_where_its_logits_are_followed(kind, trained):
    """None, not zeros: Adam would count steps on zeros, and decay the weights."""
    model = build(resolve("tiny:bert"), Head("single", ("no", "yes")), seed=0, texts=lambda: ["a drug binds", "a gene"] * 5)
    batch = Corpus(model, [Example("0", text="a drug binds", label=0)], 32, "single", 2).batch([0])
    width = model.module.config.hidden_size
    batch.signals = {"cls": torch.randn(1, width), "logits": torch.randn(1, 2)}
    objective = transfer(student=width, teacher=width, rows=1, transfer=kind)
    loss_of(objective(model.module, batch), batch.counts).backward()
    assert all((p.grad is not None) == trained for p in model.module.classifier.parameters())
    assert all(p.grad is not None for p in model.module.bert.embeddings.word_embeddings.parameters())


@pytest.mark.parametrize("expander", ["frozen_teacher", "learned_student"])
def test_boundary_disagreement_of_a_split_is_that_of_the_published_program(expander):
    """Of all texts at once: ((cls_S > 0) ^ (cls_T > 0)).sum() / cls_T.nelement()."""
    rng = np.random.default_rng(0)
    s, t = (rng.normal(size=(50, width)).astype(np.float32) for width in (6, 8))
    objective = transfer(student=6, teacher=8, expander=expander)
    weight, bias = (
        value.detach().numpy() for value in (objective.expander.weight, objective.expander.bias)
    )
    a, b = (s @ weight.T + bias, t) if expander == "learned_student" else (s, t @ weight.T + bias)
    assert objective.disagreement(s, t) == pytest.approx(((a > 0) ^ (b > 0)).sum() / b.size)
    assert transfer(student=6, teacher=6).disagreement(s, s) == 0.0
    assert transfer(student=6, teacher=6).disagreement(s, -s) == 1.0


QUICK = {
    "max_train_examples": 60,
    "max_dev_examples": 20,
    "epochs": 1,
    "max_length": 48,
    "latency": "off",
    "device": "cpu",
    "controls": False,
    "teacher": "tiny:distilbert",
    "student": "tiny-student",
}


def test_a_record_has_the_disagreement_on_dev_and_test(tmp_path, no_data):
    record = kdbench.run("doktra", "gad", results_dir=tmp_path, **QUICK)
    watched = record["diagnostics"]["boundary_disagreement"]
    assert set(watched) == {"dev", "test"} and all(0 < share < 1 for share in watched.values())


def test_the_disagreement_is_that_of_plain_passes_and_touches_nothing(tmp_path):
    task = TASKS.get("gad")
    protocol = spec.settings(
        {"epochs": 1, "batch_size": 16, "max_length": 48, "lr": 1e-3}, task, lookalike=True
    )
    lab = Lab(
        task,
        task.lookalike(train=32, dev=8, test=12),
        0,
        "corrected",
        protocol,
        resolve("tiny-student"),
        resolve("tiny:roberta"),
        StageCache(tmp_path),
        Accelerator(cpu=True),
    )
    student = DoKTra(options(DoKTra.Options, "corrected", {}, "doktra")).fit(lab)
    stages, drawn = copy.deepcopy(lab.stages), torch.get_rng_state()
    found = lab.diagnostics["boundary_disagreement"](student, lab.data.test)
    assert torch.equal(torch.get_rng_state(), drawn) and lab.stages == stages, (
        "it draws nothing and is nobody's cost"
    )
    teacher = next(model for name, model in lab.extra_rows if name == "calibrated teacher")
    signs = []
    for model in (student, teacher):
        rows = []
        for example in lab.data.test:
            inputs = model.tokenizer(
                example.text,
                truncation=True,
                max_length=48,
                return_tensors="pt",
                return_token_type_ids=model is student,
            )
            with torch.no_grad():
                rows.append(
                    model.module.eval()(**inputs, output_hidden_states=True).hidden_states[-1][0, 0]
                )
        signs.append(torch.stack(rows) > 0)
    assert found == pytest.approx(float((signs[0] ^ signs[1]).float().mean()), abs=2e-3)


def test_soft_labels_leave_widths_that_cannot_be_compared(tmp_path, no_data, monkeypatch):
    monkeypatch.setitem(MODELS._entries, "tiny:wide", Entry("tiny:wide", tiny("bert", width=96)))
    wide = {**QUICK, "teacher": "tiny:wide", "max_steps": 3, "options": {"transfer": "kld"}}
    assert "diagnostics" not in kdbench.run("doktra", "gad", results_dir=tmp_path, **wide)


def test_pad_bug_hides_the_first_token_of_roberta_as_a_key():
    texts = ["a drug binds", "a gene"]
    model = build(resolve("tiny:roberta"), Head("single", ("no", "yes")), seed=0, texts=lambda: texts * 5)
    model.unattended_ids = (0,)
    batch = Corpus(model, [Example(str(i), text=t, label=0) for i, t in enumerate(texts)], 32, "single", 2).batch([0, 1])
    assert batch.inputs["input_ids"][0, 0] == 0 and batch.inputs["attention_mask"][:, 0].sum() == 0
    assert batch.inputs["attention_mask"][0, 1] == 1
    plain = copy.copy(model)
    plain.unattended_ids = ()
    assert Corpus(plain, [Example("0", text=texts[0], label=0)], 32, "single", 2).batch([0]).inputs["attention_mask"].all()


def test_a_bilstm_student_has_vectors_of_both_directions(tmp_path):
    import kdbench

    record = kdbench.run("doktra", "chemprot", teacher="tiny:bert", student="bilstm", controls=False, device="cpu", epochs=1, max_steps=2, max_length=16,
                         max_train_examples=32, max_dev_examples=16, latency="off", results_dir=tmp_path)
    assert record["status"] == "done", record["error"]
