"""Temperatures: the one that is fitted is the best, and an export whose logits are divided by it answers as before."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

import kdbench
from kdbench.base.errors import BadInput
from kdbench.runs import store
from kdbench.runs.artefacts import find_run
from kdbench.runs.planning import load_data
from kdbench.score.calibration import calibration
from kdbench.search.finals import exported
from kdbench.serve.export import answers
from kdbench.serve.labels import Labels
from kdbench.serve.serving import open_artefact
from kdbench.serve.temperature import (
    LEAST,
    MOST,
    fitted,
    log_loss,
    scaled_probability,
    write_scaled,
)

RNG = np.random.default_rng(3)
LOGITS, CLASSES = 4 * RNG.normal(size=(6000, 3)), RNG.integers(0, 3, 6000)
TEXTS = ["aspirin inhibits cox-1 .", "no effect of it on the gene was seen in any of these patients ."]


def test_the_loss_is_torchs():
    gold = torch.tensor(CLASSES)
    assert log_loss("single", CLASSES, LOGITS, 1.7) == pytest.approx(
        functional.cross_entropy(torch.tensor(LOGITS) / 1.7, gold).item(), abs=1e-12)
    several = RNG.integers(0, 2, LOGITS.shape)
    assert log_loss("multi", several, LOGITS, 0.6) == pytest.approx(
        functional.binary_cross_entropy_with_logits(torch.tensor(LOGITS) / 0.6, torch.tensor(several, dtype=torch.float64)).item(),
        abs=1e-12)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_what_answers_were_drawn_with_is_found(true):
    chances = torch.softmax(torch.tensor(LOGITS) / true, 1)
    drawn = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(0))[:, 0].numpy()
    found = fitted("single", drawn, LOGITS)
    assert found == pytest.approx(true, rel=0.06)
    tried = [log_loss("single", drawn, LOGITS, found * step) for step in (0.99, 1.0, 1.01)]
    assert tried[1] == min(tried)
    assert calibration("single", drawn, LOGITS / found)["ece"] < 0.03
    several = (RNG.random(LOGITS.shape) < 1 / (1 + np.exp(-LOGITS / true))).astype(int)
    assert fitted("multi", several, LOGITS) == pytest.approx(true, rel=0.06)


def test_a_student_that_is_always_right_or_knows_nothing_has_a_bound():
    assert fitted("single", LOGITS.argmax(1), 50 * LOGITS) == pytest.approx(LEAST, rel=1e-2)
    assert fitted("single", CLASSES, 50 * LOGITS) == pytest.approx(MOST, rel=1e-2)
    assert np.isfinite(log_loss("single", CLASSES, 1e6 * LOGITS, LEAST))


def test_a_threshold_means_what_it_did():
    for probability in (0.01, 0.3, 0.5, 0.9):
        logit = np.log(probability / (1 - probability))
        assert scaled_probability(probability, 2.0) == pytest.approx(1 / (1 + np.exp(-logit / 2)))
    assert [scaled_probability(p, 2.0) for p in (None, 0.0, 1.0)] == [None, 0.0, 1.0]


# ---- exports ------------------------------------------------------------------------------------------


def trained(folder, student, task="chemprot", method="finetune", **more):
    """The folder and the record of a student."""
    kdbench.run(method, task, teacher="tiny:bert", student=student, epochs=1, max_train_examples=32, max_dev_examples=24,
                latency="off", controls=False, results_dir=folder, **more)
    record = next(one for one in store.records(folder) if one["role"] == "method" and one["cell"]["task"] == task)
    return find_run(folder, record["id"])[1], record


@pytest.mark.parametrize("student", ["tiny:bert", "tiny:roberta", "tiny:distilbert", "tiny:albert", "tiny:electra", "tiny:deberta-v3",
                                     "tiny:modernbert", "bilstm:1x8x8"])
def test_logits_of_any_architecture_are_divided(tmp_path, student):
    folder, _ = trained(tmp_path / "r", student)
    write_scaled(folder, 2.5, tmp_path / "scaled")
    before, after = (np.vstack(answers(open_artefact(place), TEXTS)) for place in (folder, tmp_path / "scaled"))
    assert after == pytest.approx(before / 2.5, abs=1e-5)
    assert Labels.read(tmp_path / "scaled").temperature == 2.5 and Labels.read(folder).temperature is None


def test_logits_of_a_static_student_are_divided(tmp_path):
    folder, _ = trained(tmp_path / "r", "tiny:bert", method="static")
    write_scaled(folder, 2.5, tmp_path / "scaled")
    before, after = (np.vstack(answers(open_artefact(place), TEXTS)) for place in (folder, tmp_path / "scaled"))
    assert after == pytest.approx(before / 2.5, abs=1e-5)


def test_a_threshold_and_several_labels_answer_as_before(tmp_path):
    folder, _ = trained(tmp_path / "r", "tiny:bert", "hoc")
    labels = replace(Labels.read(folder), threshold=0.3)
    labels.write(folder)
    (folder / "stage.json").unlink()  # whose checksums are of the file as it was
    place = tmp_path / "scaled"
    write_scaled(folder, 0.3, place)
    ours, theirs = open_artefact(folder), open_artefact(place)
    before, after = (np.vstack(answers(one, TEXTS)) for one in (ours, theirs))
    assert theirs.labels.labels == labels.labels
    chances = [1 / (1 + np.exp(-logits)) for logits in (before, after)]
    assert ((chances[0] >= 0.3) == (chances[1] >= theirs.labels.threshold)).all() and (before < 0).any()
    assert theirs.labels.threshold == pytest.approx(scaled_probability(0.3, 0.3)) != 0.3


def test_an_ensemble_is_refused(tmp_path):
    Labels("single", ("a", "b"), members=("student", "teacher")).write(tmp_path)
    with pytest.raises(BadInput, match="an ensemble has no temperature"):
        write_scaled(tmp_path, 2.0, tmp_path / "out")


def test_what_a_search_delivers_has_the_temperature_of_dev(tmp_path):
    folder, record = trained(tmp_path / "r", "tiny:bert", "gad")
    task, data = load_data("gad", None, (), ())[:2]
    wish = SimpleNamespace(request=SimpleNamespace(data_dir=None), threads=1)
    forms = ["safetensors", "onnx", "onnx_int8"]
    place = exported(tmp_path / "r", record, forms, wish, tmp_path / "out", task, data)
    logits = np.vstack(answers(open_artefact(folder), data.dev))
    expected = fitted("single", np.array([example.label for example in data.dev]), logits)
    plain, texts = np.vstack(answers(open_artefact(folder), data.test)), data.test
    for form in forms:
        about = json.loads((place / form / "labels.json").read_text())
        served = np.vstack(answers(open_artefact(place / form), texts))
        assert about["temperature"] == expected
        if form != "onnx_int8":
            assert served == pytest.approx(plain / expected, abs=1e-4)
    record = store.find_record(tmp_path / "r", record["id"])
    assert {one["name"]: one["score"]["test"] for one in record["artefacts"]}["onnx"] == pytest.approx(record["score"]["test"])
