"""Compiled or plain: both are timed, the faster is kept, and nothing of the measurement is left."""

import random
import time

import numpy as np
import pytest
import torch
from test_resume import Kill, fitting

from kdbench.train import compiling
from kdbench.train.method import Objective, Term

STEPS = 14  # more than an epoch


def training(folder=None, **how):
    """Without a folder there are no checkpoints."""
    made = fitting(folder, max_steps=STEPS, **how)
    made.folder = folder
    return made


class Noted(Objective):
    """Draws from each random state there is, and keeps a running sum as a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, student, batch):
        logits = student(**batch.inputs).logits
        self.seen += float(logits.detach().sum())
        drawn = random.random() + np.random.random() + float(torch.rand(())) + float(self.seen)
        return {"all": Term((logits * drawn).sum())}


@pytest.fixture
def measuring(monkeypatch):
    """Measure on a CPU, with a compiler that changes nothing; gives the milliseconds that steps are said to take."""
    monkeypatch.setattr(compiling, "DEVICES", ("cpu",))
    for name, value in {"LEAST_STEPS": STEPS, "WARM_UP": 1, "TIMED": 3}.items():
        monkeypatch.setattr(compiling, name, value)
    said, own, made = [], compiling.step_ms, []

    def compiled(forward, **how):
        made.append(forward)
        return lambda *given, **named: forward(*given, **named)

    def step_ms(*given):
        own(*given)
        return said.pop(0)

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(compiling, "step_ms", step_ms)
    return said, made


def weights(made) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in made.trainee.parameters()]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize(("plain", "compiled", "kept"), [(2.0, 1.0, "compiled"), (1.0, 2.0, "plain")])
def test_the_faster_way_is_kept_and_nothing_else_of_the_measurement(measuring, plain, compiled, kept):
    runs = []
    for how in (False, None):
        random.seed(1)
        np.random.seed(1)
        made = training(compile=how)
        made.objective = made.trainee.objective = made.feed.objective = Noted()
        measuring[0][:] = [plain, compiled]
        made.run()
        runs.append(made)
    reference, measured = runs
    assert measured.history == reference.history and same(reference, measured)
    assert torch.equal(reference.objective.seen, measured.objective.seen)
    facts = measured.remarks()["compile"]
    assert (facts["kept"], facts["plain_ms"], facts["compiled_ms"], facts["steps"]) == (kept, plain, compiled, 3)
    assert reference.remarks() == {}
    assert len(measuring[1]) == (2 if kept == "compiled" else 1)
    assert "forward" not in vars(measured.encoder)


def test_the_moments_and_counters_are_those_of_before(measuring):
    made = training(compile=None)
    made.one_step(made.order(0)[0], STEPS)
    made.step += 1
    before = {name: value.clone() for name, value in made.tensors().items()}
    counted, sums = dict(made.counted), {name: value.clone() for name, value in made.sums.items()}
    measuring[0][:] = [1.0, 2.0]
    assert compiling.measured(made, STEPS + 1)["kept"] == "plain"
    after = made.tensors()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert made.step == 1 and made.counted == counted and all(torch.equal(made.sums[name], sums[name]) for name in sums)


def test_it_is_measured_where_it_pays_alone(measuring, monkeypatch):
    made = training(compile=None)
    assert compiling.measured(made, STEPS - 1) == {}
    monkeypatch.setattr(compiling, "DEVICES", ("cuda",))
    assert compiling.measured(made, STEPS) == {}
    made.world = 2
    monkeypatch.setattr(compiling, "DEVICES", ("cpu",))
    assert compiling.measured(made, STEPS) == {}
    assert not measuring[1]


def test_a_step_that_cannot_be_compiled_is_plain(measuring, monkeypatch):
    def failing(forward, **how):
        raise RuntimeError("no compiler\nof C is here")

    monkeypatch.setattr(torch, "compile", failing)
    measuring[0][:] = [1.0]
    made = training(compile=None)
    made.run()
    assert made.compilation["kept"] == "plain" and made.compilation["compiled_error"].startswith("no compiler")
    reference = training()
    reference.run()
    assert same(made, reference)


def test_a_training_that_goes_on_keeps_what_was_measured(tmp_path, measuring):
    measuring[0][:] = [2.0, 1.0]
    killed = training(tmp_path, compile=None)
    own = killed.one_step

    def one_step(indices, total):
        if killed.compilation and killed.step == 9:
            raise Kill
        own(indices, total)

    killed.one_step = one_step
    with pytest.raises(Kill):
        killed.run()
    assert "forward" not in vars(killed.encoder)
    again = training(tmp_path, compile=None)
    again.run()  # another measurement would find nothing to say
    assert again.compilation == killed.compilation and len(measuring[1]) == 3


def test_the_time_of_the_timed_steps_alone_is_taken(monkeypatch):
    made, calls = training(), []
    slow = compiling.WARM_UP

    def one_step(indices, total):
        calls.append(indices)
        if len(calls) <= slow:
            time.sleep(0.2)

    made.one_step = one_step
    assert compiling.step_ms(made, 48) < 20
    assert len(calls) == slow + compiling.TIMED
