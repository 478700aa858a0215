"""What surrounds the published losses, number by number, through the functions that a training here runs.

Every `*.json` in tests/golden_procedure, or in the folder that KDBENCH_GOLDEN_PROCEDURE names, is a list of cases made by the
published programs. The start of a file's name says what they are about: schedules, early_stopping, piece_f1.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from kdbench.base.options import build
from kdbench.methods.doktra import DoKTra
from kdbench.methods.dsg_kd import DsgKD
from kdbench.methods.expanded_vocabulary import fine_tuning, pretraining
from kdbench.methods.ve_kd import VeKD
from kdbench.score.metrics import METRICS, Info, published_names, word_tags
from kdbench.train.fit import Trainer
from kdbench.train.method import Batch, Objective, Term
from kdbench.train.training import Training, learning_rate

FOLDER = Path(os.environ.get("KDBENCH_GOLDEN_PROCEDURE") or Path(__file__).parent / "golden_procedure")
ABOUT = ("schedules", "early_stopping", "piece_f1")


def cases(about):
    for path in sorted(FOLDER.glob(f"{about}*.json")):
        for index, case in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            yield pytest.param(case, id=f"{path.stem}-{case.get('program', '')}{index}")


def published(method, **given):
    return method(build(method.Options, "published", given, method.name))


# ---- rates -----------------------------------------------------------------------------------------------------------


def dsg_kd(**given) -> Training:
    """The training of DSG-KD's published variant; the lab says of it what it knows of a task with two classes."""
    lab = SimpleNamespace(training_for=lambda model: Training(), data=SimpleNamespace(labels=("no", "yes")))
    return replace(Training(), **published(DsgKD, **given).training(lab, None, False))


def training(case) -> Training:
    """The training that the published variant of this program's method makes."""
    program, warmup = case["program"], case["warmup"]
    if program == "doktra":
        assert warmup == 0, "DoKTra's program takes no warm-up"
        return replace(Training(), **published(DoKTra).phase_settings())
    if program == "dsg_kd":
        return dsg_kd(warmup=warmup)
    if program == "ve_kd":
        return replace(Training(), **pretraining(published(VeKD, pretrain_warmup=warmup).options))
    # LinkBERT's scripts, by which VE-KD fine-tunes; the warm-up, a share or steps, is the protocol's
    assert program in ("linkbert_ratio", "linkbert_steps"), program
    if program == "linkbert_steps" and warmup == 1:  # to us 1 is the share of 100 %
        warmup = 1 / case["total"]
    return replace(Training(warmup=warmup), **fine_tuning(published(VeKD).options))


@pytest.mark.parametrize("case", cases("schedules"))
def test_rates(case):
    chosen, total = training(case), case["total"]
    assert [learning_rate(step, total, chosen) for step in range(len(case["rates"]))] == pytest.approx(case["rates"], abs=1e-9)


# ---- early stopping --------------------------------------------------------------------------------------------------


class Growing(Objective):
    """Moves the student's only weight by the learning rate in every step, so that the weight tells the epoch."""

    def forward(self, student, batch):
        return {"loss": Term(-student.weight.sum())}


class OneText:
    """A corpus of one text: a step an epoch."""

    lengths = (1,)

    def __len__(self):
        return 1

    def batch(self, indices, width):
        return Batch({}, counts={"examples": 1.0})


def epochs(case, keep):
    """The epochs that a training runs under these dev measures, and the one whose weights it keeps."""
    chosen = replace(dsg_kd(patience=case["patience"], keep=keep), epochs=len(case["f1"]), lr=1.0, head_lr=None, warmup=0.0)
    weights = []

    def evaluate():
        found = {name: case[name][len(weights)] for name in ("f1", "brier", "loss")}
        weights.append(float(student.weight))
        return {"score": 0.0, "f1_at_rate": found["f1"], "brier": found["brier"], "loss_on_probabilities": found["loss"]}

    student = torch.nn.Linear(1, 1, bias=False)
    Trainer(student, Growing(), OneText(), chosen, accelerator=Accelerator(cpu=True), seed=0, stage="test", evaluate=evaluate).run()
    assert len(set(weights)) == len(weights)
    return len(weights), weights.index(float(student.weight)) + 1


@pytest.mark.parametrize("case", cases("early_stopping"))
def test_early_stopping(case):
    found = {}
    for keep in ("f1", "brier", "loss"):
        found["last_epoch"], found[f"kept_{keep}"] = epochs(case, keep)
    assert found == case["expected"]


# ---- word pieces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("piece_f1"))
def test_f1_of_word_pieces(case):
    """As a training scores them: the tags of tokens, [CLS] and [SEP] among them, read as those of words and their pieces."""
    words = [word for row in case["rows"] for word in row]
    labels = ["O", *sorted({tag for word in words for tag in (word["tag"], *word["predicted"])} - {"O"})]
    gold, tags, ids = [], [], []
    for row in case["rows"]:
        gold.append(np.array([labels.index(word["tag"]) for word in row]))
        assert all(len(word["predicted"]) == word["pieces"] for word in row)
        special = len(labels) - 1  # an entity tag where no word is
        tags.append(np.array([special, *(labels.index(tag) for word in row for tag in word["predicted"]), special]))
        ids.append([-1, *(number for number, word in enumerate(row) for _ in word["predicted"]), -1])
    metric, info = METRICS["piece_tag_micro_f1"], Info(tuple(labels))
    predicted = word_tags(tags, ids, [len(row) for row in gold], 0)
    assert metric.score(gold, predicted, info) == pytest.approx(case["expected"]["f1"], abs=1e-6)
    assert published_names(metric.counts(gold, predicted, info).sum(0)) == pytest.approx(case["expected"], abs=1e-6)


# ---- files -----------------------------------------------------------------------------------------------------------


def test_every_file_has_a_test():
    """An empty or misspelt folder must not pass for a reproduction."""
    files = [path.stem for path in FOLDER.glob("*.json")]
    assert files, f"no golden files in {FOLDER}"
    assert all(name.startswith(ABOUT) for name in files), f"the name of a golden file begins with one of {', '.join(ABOUT)}"
    if "KDBENCH_GOLDEN_PROCEDURE" not in os.environ:
        assert all(any(name.startswith(about) for name in files) for about in ABOUT)
