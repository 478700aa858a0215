"""Batches that a thread builds ahead, and signals beside an accelerator: the same weights, bit by bit."""

import copy
import threading

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from kdbench.data.task import Example
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import resolve
from kdbench.train import feeding, resident
from kdbench.train.batching import Corpus
from kdbench.train.feeding import Ahead
from kdbench.train.fit import Trainer
from kdbench.train.losses import SoftTargets, Supervised
from kdbench.train.method import Objective, Term, early
from kdbench.train.mlm import MaskedLM
from kdbench.train.objective import is_early
from kdbench.train.signals import StoredSignals
from kdbench.train.training import Training

CPU = torch.device("cpu")
EXAMPLES = [Example(str(i), text=" ".join(["dose", "cell", "gene"][j % 3] for j in range(i, 2 * i + 3)), label=i % 2) for i in range(20)]


class Drawing(Supervised):
    """A `collate` that draws from the state that dropout draws from, and reads what steps change."""

    steps = 0

    def collate(self, batch):
        batch.extra["shift"] = torch.rand(()) + self.steps

    def forward(self, student, batch):
        self.steps += 1
        terms = super().forward(student, batch)
        return {"all": Term(terms["cross_entropy"].total * batch.extra["shift"])}


def stored() -> StoredSignals:
    rows = np.random.default_rng(0).normal(size=(len(EXAMPLES), 2)).astype(np.float32)
    return StoredSignals("key", {"logits": {e.key: row for e, row in zip(EXAMPLES, rows, strict=True)}}, "single")


def fitting(kind: str = "labels", ahead: bool | None = False, evaluate=None, folder=None, **training) -> Trainer:
    head = Head("mlm") if kind == "masked" else Head("single", ("no", "yes"))
    model = build(resolve("tiny:bert"), head, seed=3, texts=lambda: [e.text for e in EXAMPLES])
    objective = {"labels": lambda: Supervised("single"), "signals": lambda: SoftTargets("single", 2.0, 0.5),
                 "drawing": lambda: Drawing("single"),
                 "masked": lambda: MaskedLM(model.tokenizer.mask_token_id, model.tokenizer.all_special_ids, len(model.tokenizer), 7)}[kind]()
    given = Training(**{"epochs": 2, "batch_size": 4, "lr": 1e-3, **training})
    return Trainer(model.module, objective, Corpus(model, EXAMPLES, 32, "single", 2), given, accelerator=Accelerator(cpu=True), seed=1,
                   stage="test", signals=stored() if kind == "signals" else None, ahead=ahead, evaluate=evaluate, folder=folder,
                   checkpoint_seconds=0.0)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kdbench-batches")]


def builders(made: Trainer) -> set[str]:
    """The names of the threads in which batches are read, to be looked at afterwards."""
    seen, own = set(), made.corpus.batch

    def batch(*given):
        seen.add(threading.current_thread().name.partition("_")[0])
        return own(*given)

    made.corpus.batch = batch
    return seen


@pytest.mark.parametrize("kind", ["labels", "signals", "masked", "drawing"])
def test_weights_are_those_without_the_thread(kind):
    plain, ahead = (fitting(kind, how, accumulate=2) for how in (False, True))
    where = builders(plain), builders(ahead)
    assert ahead.run() == plain.run()
    assert where == ({"MainThread"}, {"kdbench-batches"}) and not threads()
    for one, other in zip(plain.student.parameters(), ahead.student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_training_that_is_killed_goes_on_to_the_same_weights(tmp_path):
    whole = fitting("masked", True)
    whole.run()
    killed = fitting("masked", True, folder=tmp_path)
    own = killed.one_step

    def one_step(indices, total):
        if killed.step == 7:
            raise KeyboardInterrupt
        own(indices, total)

    killed.one_step = one_step
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    assert not threads()
    again = fitting("masked", True, folder=tmp_path)
    again.run()
    for one, other in zip(whole.student.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_error_in_the_thread_is_one_of_its_step():
    made = fitting(ahead=True)
    own, calls = made.corpus.batch, []

    def batch(*given):
        calls.append(given)
        if len(calls) == 4:
            raise ValueError("no such text")
        return own(*given)

    made.corpus.batch = batch
    with pytest.raises(ValueError, match="no such text"):
        made.run()
    assert made.step == 3 and not threads()


def test_no_thread_is_left_after_an_early_end():
    made = fitting(ahead=True, epochs=9, patience=1, evaluate=lambda: {"score": 0.5})
    assert len(made.run()) == 2 and not threads()


def test_two_batches_wait_and_no_more():
    made, asked = [], threading.Event()

    def make(item):
        made.append(item)
        if len(made) == 3:
            asked.set()
        return item

    ahead = Ahead(make, range(9))
    try:
        assert ahead.take() == 0
        assert asked.wait(10) and [ahead.take() for _ in range(3)] == [1, 2, 3]
        for future in ahead._made:
            future.result()
        assert made == [0, 1, 2, 3, 4, 5]
    finally:
        ahead.close()
    assert not threads()


def test_nothing_is_built_while_dev_is_measured():
    """Tokenizers serve one thread at a time."""
    made = fitting(ahead=True, eval_steps=1, epochs=1, select="last")
    building, overlaps, own, measures = [], [], made.feed.built, threading.Event()
    calls = iter(range(9))

    def built(*given):  # the third one is on its way when dev is to be measured
        building.append(1)
        if next(calls) == 2:
            measures.wait(1)
        found = own(*given)
        building.pop()
        return found

    def evaluate():
        overlaps.extend(building)
        measures.set()
        return {"score": 0.5}

    made.feed.built, made.evaluate = built, evaluate
    with made.feed.paused():  # nothing to wait for yet
        pass
    made.run()
    assert not overlaps


def test_an_accelerator_has_the_thread_and_a_cpu_does_not():
    assert not fitting(ahead=None).feed.in_thread
    feed = feeding.Feed(fitting().corpus, Supervised("single"), None, accumulate=1, device=torch.device("meta"))
    assert feed.in_thread


def test_a_collate_of_ones_own_stays_in_its_step_until_it_is_marked():
    class Marked(Drawing):
        @early
        def collate(self, batch):
            batch.extra["shift"] = torch.ones(())

    class Over(MaskedLM):
        def collate(self, batch):
            super().collate(batch)

    assert is_early(Objective()) and is_early(Supervised("single")) and is_early(MaskedLM(0, (), 9, 1))
    assert not is_early(Drawing("single")) and is_early(Marked("single"))
    assert not is_early(Over(0, (), 9, 1)), "what overrides it is other code"


# ---- signals -------------------------------------------------------------------------------------


def tagged() -> tuple[Corpus, StoredSignals]:
    """Sentences with the teacher's logits, some words of which it has not read, and word states of two ragged sides."""
    rng = np.random.default_rng(1)
    examples = [Example(str(i), words=("gene",) * (i + 1), label=(0,) * (i + 1)) for i in range(6)]
    model = build(resolve("tiny:bert"), Head("tags", ("O", "B", "I")), seed=3, texts=lambda: ["gene"])
    logits = {e.key: rng.normal(scale=4, size=(len(e.words), 3)).astype(np.float32) for e in examples}
    logits[examples[4].key][3:] = np.nan
    states = {e.key: rng.normal(size=(2, len(e.words), 7 - i)).astype(np.float16) for i, e in enumerate(examples)}
    return Corpus(model, examples, 5, "tags", 3), StoredSignals("key", {"logits": logits, "states": states}, "tags")


def attached(corpus: Corpus, signals, indices=(4, 1, 2)):
    batch = corpus.batch(indices)
    signals.read(batch)
    signals.complete(batch)
    return batch


def test_signals_on_the_device_are_those_of_the_host_and_in_fp32_so_are_those_that_go_up():
    corpus, signals = tagged()
    plain = attached(corpus, signals)
    for other in (resident.OnDevice(signals, CPU), resident.OnHost(signals, low=False)):
        batch = attached(corpus, other)
        assert batch.signals.keys() == plain.signals.keys() and batch.counts == plain.counts
        for name, values in plain.signals.items():
            assert torch.equal(values, batch.signals[name]) and values.dtype == batch.signals[name].dtype, name
        assert not [name for name in batch.extra if name.startswith(("rows", "shape"))]
        assert resident.rounding(other) == ""


def test_under_autocast_fp32_signals_go_up_in_16_bits_and_move_by_2_to_the_minus_11():
    corpus, signals = tagged()
    plain, low = attached(corpus, signals), attached(corpus, made := resident.OnHost(signals, low=True))
    assert torch.equal(plain.signals["states"], low.signals["states"])  # stored in 16 bits
    batch = corpus.batch((4, 1, 2))
    made.read(batch)
    assert {name: batch.signals[name].dtype for name in signals.rows} == dict.fromkeys(signals.rows, torch.float16)
    ours, theirs = plain.signals["logits"], low.signals["logits"]
    assert theirs.dtype == torch.float32 and not torch.equal(ours, theirs)
    large = ours.abs() > 6e-5
    assert ((ours - theirs).abs() / ours.abs())[large].max() <= 2**-11
    assert torch.equal(plain.signals["logits_known"], low.signals["logits_known"])
    assert "logits did not fit" in resident.rounding(made)


def test_what_fp16_cannot_hold_goes_up_as_it_is():
    signals = stored()
    first = next(iter(signals.rows["logits"].values()))
    first[0] = 1e5
    made = resident.OnHost(signals, low=True)
    assert made.packed(first).dtype == np.float32 and made.packed(first / 10).dtype == np.float16


def test_signals_stay_on_the_device_where_an_eighth_of_its_free_memory_holds_them(monkeypatch):
    _, signals = tagged()
    size = resident.padded_size(signals)
    assert size == 6 * (6 * 3 * 4 + 2 * 6 * 7 * 2)
    for free, kind in ((8 * size, resident.OnDevice), (8 * size - 8, resident.OnHost)):
        monkeypatch.setattr(resident, "free_memory", lambda _, free=free: free)
        assert type(resident.resident(signals, CPU, low=False)) is kind
    foreign = object()
    assert resident.resident(foreign, CPU, low=False) is foreign
    assert resident.resident(copy.copy(signals), CPU, low=True).key == "key"
