"""What every registered method must hold to; a new one is tested without a line being added here.

A plugin's author runs it with ``pytest tests/test_contracts.py --plugin my_method.py``.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from kdbench.base import options
from kdbench.base.errors import Skip
from kdbench.base.registry import METHODS, TASKS, Entry
from kdbench.data.task import Example
from kdbench.models.sources import resolve
from kdbench.models.zoo import MODELS, tiny
from kdbench.tasks.lookalikes import LOOKALIKES
from kdbench.train import lab as labs
from kdbench.train import spec
from kdbench.train.batching import Corpus
from kdbench.train.fit import Trainer
from kdbench.train.lab import Lab
from kdbench.train.method import Term, loss_of
from kdbench.train.signals import LiveSignals
from kdbench.train.stage_cache import StageCache

TASK_OF_KIND = {"single": "chemprot", "multi": "hoc", "regression": "biosses", "tags": "bc2gm_iobes"}
TASK_OF_METHOD = {"dsg_kd": "emr"}  # it needs code-switched words
QUICK = {"takd": {"assistant": "tiny:roberta"},
         "recipe": {"layer_share": 0.4, "label_share": 0.3},  # of so few epochs a tenth is a step
         "ve_kd": {"pretrain_epochs": 1, "new_tokens": 50, "min_frequency": 2},
         "adapt": {"pretrain_epochs": 1, "new_tokens": 50, "min_frequency": 2}}


class Kill(Exception):
    """Stands in for SIGKILL inside one process."""


class Spy(Trainer):
    """The training loop, watched: what it trained, and the loss of every step."""

    seen: list[Spy] = []
    dies_at: int | None = None  # in the last stage but for earlier kills

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.losses, self.modes = [], set()
        self.initial = copy.deepcopy(self.trainee.state_dict())
        Spy.seen.append(self)

    def one_step(self, indices, total):
        if Spy.dies_at == self.step:
            raise Kill
        before = {name: value.clone() for name, value in self.sums.items()}
        counted = dict(self.counted)
        super().one_step(indices, total)
        self.modes.add(self.student.training)
        values = {name: (value - before.get(name, 0)) / (self.counted[name] - counted.get(name, 0) or 1)
                  for name, value in self.sums.items()}
        self.losses.append({name: float(value) for name, value in values.items()})


def task_for(method: str) -> str:
    kinds = METHODS.entry(method).task_types
    return TASK_OF_METHOD.get(method) or TASK_OF_KIND[kinds[0]]


def small_data(task):
    """A slice of the look-alike with the awkward texts that real corpora have: one word, and far too many."""
    data = LOOKALIKES[task.name](train=64, dev=24, test=24)
    first = data.train[0]
    if task.tagging:
        outside = data.labels.index("O")
        awkward = [Example("one", words=("aspirin",), label=(outside,)), Example("long", words=("word",) * 300, label=(outside,) * 300)]
    else:
        awkward = [replace(first, id="one", text="aspirin"), replace(first, id="long", text="word " * 300)]
    return replace(data, train=(*data.train, *awkward), domain_text=data.domain_text[:128])


def make_lab(name, folder, variant="corrected", teacher="tiny:bert", student="tiny-student", epochs=4, **settings) -> tuple[Lab, object]:
    task = TASKS.get(task_for(name))
    cls = METHODS.get(name)
    method = cls(options.build(cls.Options, variant, QUICK.get(name, {}), name))
    given = {"epochs": epochs, "batch_size": 16, "select": "last", "max_length": 48, "precision": "fp32", "lr": 2e-3}
    protocol = spec.settings({**given, **settings}, task, lookalike=True)
    lab = Lab(task, small_data(task), 0, variant, protocol, resolve(student), resolve(teacher), StageCache(folder), Accelerator(cpu=True))
    return lab, method


def fitted(name, folder, monkeypatch, **given):
    monkeypatch.setattr(labs, "Trainer", Spy)
    Spy.seen, Spy.dies_at = [], None
    lab, method = make_lab(name, folder, **given)
    method.check(lab)
    student = method.fit(lab)
    return lab, student, Spy.seen


@pytest.fixture(scope="module", params=METHODS.names())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def done(name, tmp_path_factory):
    """The method once through, shared by the tests below."""
    with pytest.MonkeyPatch.context() as patch:
        return fitted(name, tmp_path_factory.mktemp(name), patch)


def test_it_describes_itself(name):
    method = METHODS.get(name)
    assert method.name == METHODS.entry(name).name
    assert method.title and method.citation and method.equations and method.needs
    assert set(method.task_types) == set(METHODS.entry(name).task_types)
    assert all(row["help"] for row in options.describe(method.Options))


def test_losses_are_finite_and_fall(done):
    for run in done[2]:
        assert all(math.isfinite(value) for step in run.losses for value in step.values()), run.stage
        trained, fell = copy.deepcopy(run.trainee.state_dict()), []
        for epoch in (0, run.objective.epochs - 1):  # the first phase, or the last, where there are several
            run.objective.epoch = epoch
            after = loss_on(run, range(len(run.corpus)))
            run.trainee.load_state_dict(run.initial)
            fell.append(after < loss_on(run, range(len(run.corpus))))
            run.trainee.load_state_dict(trained)
        assert any(fell), run.stage


def test_the_student_trains_in_train_mode_after_every_evaluation(done):
    assert all(run.modes == {True} for run in done[2])
    assert not done[1].module.training  # and is given back ready for use


def test_the_teacher_is_frozen(done):
    lab, _, runs = done
    for run in runs:
        if isinstance(run.feed.signals, LiveSignals):
            teacher = run.feed.signals.teacher.model.module
            assert not teacher.training
            assert all(parameter.grad is None for parameter in teacher.parameters())
    if lab.teacher_source is not None:
        one, other = lab.teacher().module.state_dict(), lab.model(lab.teacher_source).module.state_dict()
        assert all(torch.equal(one[key], other[key]) for key in one)  # every stage worked on a copy


def test_what_can_be_trained_is_in_the_optimiser_and_in_the_checkpoint(done, tmp_path):
    for run in done[2]:
        optimised = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
        assert optimised == {id(p) for p in run.trainee.parameters() if p.requires_grad}
        run.folder = tmp_path / str(id(run))
        run.checkpoint()
        changed = next((p for p in run.objective.parameters()), None)
        if changed is not None:
            kept = changed.detach().clone()
            with torch.no_grad():
                changed.add_(1.0)
            run.resume()
            assert torch.equal(changed, kept)


def loss_on(run: Trainer, indices, width=None) -> float:
    """The loss of a batch as the run's last epoch computed it, without dropout."""
    batch = run.corpus.batch(indices, width)
    if run.feed.signals is not None:
        run.feed.signals.add(batch)
    run.objective.collate(batch)
    if run.objective.attentions:
        run.student.set_attn_implementation("eager")
    with torch.no_grad():
        terms = {key: Term(*term) for key, term in run.trainee.eval()(batch).items()}
    return float(loss_of(terms, batch.counts))


def test_the_order_inside_a_batch_does_not_matter(done):
    for run in done[2]:
        indices = list(range(8))
        assert loss_on(run, indices[::-1]) == pytest.approx(loss_on(run, indices), rel=1e-4, abs=1e-6), run.stage


def test_padding_takes_no_part_in_the_corrected_variant(done):
    for run in done[2]:
        indices = list(range(8))
        if type(run.corpus) is Corpus:
            width = max(run.corpus.lengths[i] for i in indices) + 7
            assert loss_on(run, indices, width) == pytest.approx(loss_on(run, indices), rel=1e-4, abs=1e-6), run.stage


def test_a_signal_belongs_to_its_text_and_not_to_its_batch(done):
    for run in done[2]:
        if run.feed.signals is None:
            continue
        together, alone = run.corpus.batch(range(6)), run.corpus.batch([4])
        run.feed.signals.add(together)
        run.feed.signals.add(alone)
        for kind, values in alone.signals.items():
            one = values[0].float()
            same = together.signals[kind][4][tuple(slice(0, n) for n in one.shape)].float()
            assert torch.allclose(one, same, atol=2e-3), kind


def test_a_killed_method_ends_with_the_weights_of_an_undisturbed_one(name, done, tmp_path, monkeypatch):
    lab, student, runs = done
    monkeypatch.setattr(labs, "Trainer", Spy)
    Spy.seen, Spy.dies_at = [], max(1, runs[-1].step - 1)
    again, method = make_lab(name, tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(Kill):
        method.fit(again)
    Spy.dies_at = None
    again, method = make_lab(name, tmp_path, checkpoint_seconds=0.0)
    other = method.fit(again)
    for key, value in student.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[key]), key


def test_other_tokenizers_work_or_are_skipped_with_a_reason(name, tmp_path, monkeypatch):
    try:
        lab, student, _ = fitted(name, tmp_path, monkeypatch, teacher="tiny:roberta", epochs=1)
    except Skip as reason:
        assert len(str(reason)) > 10
        return
    assert math.isfinite(lab.score(student, "test")[0].main)


def test_the_published_variant_runs(name, tmp_path, monkeypatch):
    lab, student, _ = fitted(name, tmp_path, monkeypatch, variant="published", epochs=2)
    assert math.isfinite(lab.score(student, "test")[0].main)


def test_a_wider_and_deeper_teacher_works(name, tmp_path, monkeypatch):
    wide = Entry("tiny:wide", tiny("bert", layers=3, width=96, heads=3))
    monkeypatch.setitem(MODELS._entries, "tiny:wide", wide)
    lab, student, _ = fitted(name, tmp_path, monkeypatch, teacher="tiny:wide", epochs=1)
    assert math.isfinite(lab.score(student, "test")[0].main)


def test_stages_are_found_again(done, name, monkeypatch):
    """The same method with the same cache trains nothing and gives the same student."""
    lab, student, _ = done
    monkeypatch.setattr(labs, "Trainer", Spy)
    Spy.seen, Spy.dies_at = [], None
    again, method = make_lab(name, lab.cache.folder)
    other = method.fit(again)
    assert Spy.seen == []
    assert all(torch.equal(v, other.module.state_dict()[k]) for k, v in copy.copy(student.module.state_dict()).items())
