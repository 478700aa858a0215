"""The training loop where the published variants ask for something else: order, moment and measure of selection."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data.distributed import DistributedSampler

from kdbench.train.batching import cut, epoch_batches
from kdbench.train.fit import Trainer
from kdbench.train.method import Batch, Objective, Term
from kdbench.train.spec import Settings
from kdbench.train.training import Selection, Training


class Growing(Objective):
    """Adds the learning rate to the student's only weight in every step."""

    def forward(self, student, batch):
        return {"loss": Term(-student.weight.sum())}


class Texts:
    def __init__(self, count):
        self.lengths = [1 + i % 3 for i in range(count)]

    def __len__(self):
        return len(self.lengths)

    def batch(self, indices, width):
        return Batch({}, counts={"examples": float(len(indices))})


def fitting(count=10, folder=None, evaluate=None, **training) -> Trainer:
    student = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(student.weight)
    chosen = Training(**{"batch_size": 2, "lr": 1.0, "warmup": 0.0, "weight_decay": 0.0, "schedule": "constant", "clip": 0.0, **training})
    return Trainer(student, Growing(), Texts(count), chosen, accelerator=Accelerator(cpu=True), seed=3, stage="test",
                   evaluate=evaluate, folder=folder, checkpoint_seconds=0.0)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_sampler_order_is_that_of_torch_whose_epoch_is_never_set(processes):
    made = fitting(24, order="sampler", batch_size=4)
    samplers = [list(DistributedSampler(range(24), num_replicas=processes, rank=rank)) for rank in range(processes)]
    share = 4 // processes
    batches = made.order(0)
    assert batches == made.order(1) and sorted(i for batch in batches for i in batch) == list(range(24))
    for rank, own in enumerate(samplers):
        theirs = [own[i:i + share] for i in range(0, len(own), share)]
        assert [batch[rank::processes] for batch in batches] == theirs


def test_the_other_orders():
    assert fitting(5, order="file").order(0) == fitting(5, order="file").order(1) == [[0, 1], [2, 3], [4]]
    shuffled = fitting(24)
    assert shuffled.order(0) != shuffled.order(1)


def measured(made, scores):
    """`made` with an evaluation that gives `scores` one after the other; where the weight then stood is noted."""
    weights = []

    def evaluate():
        weights.append(round(made.student.weight.item(), 3))
        return {name: values[len(weights) - 1] for name, values in scores.items()}

    made.evaluate = evaluate
    return weights


def test_dev_is_measured_every_so_many_steps_and_the_best_weights_are_kept():
    made = fitting(epochs=2, eval_steps=3, select_by="piece_tag_micro_f1")  # 5 steps an epoch
    weights = measured(made, {"score": [0.1, 0.2, 0.3], "piece_tag_micro_f1": [0.5, 0.7, 0.6]})
    history = made.run()
    assert weights == [3, 6, 9]
    assert made.student.weight.item() == pytest.approx(6, abs=1e-3)
    assert [entry["dev"] for entry in history] == [0.1, 0.3]


def test_a_training_that_is_over_before_the_first_measurement_keeps_its_last_weights():
    made = fitting(epochs=1, eval_steps=50)
    weights = measured(made, {"score": []})
    history = made.run()
    assert weights == [] and made.student.weight.item() == pytest.approx(5, abs=1e-3) and "dev" not in history[0]


def test_a_killed_training_remembers_what_dev_has_shown(tmp_path):
    scores = {"score": [0.5, 0.4, 0.4, 0.4]}
    whole = fitting(epochs=4, patience=2)
    measured(whole, scores)
    history = whole.run()
    assert len(history) == 3  # no new best in the second and the third

    killed = fitting(folder=tmp_path, epochs=4, patience=2)
    measured(killed, scores)
    step = killed.one_step

    def one_step(indices, total):
        if killed.step == 12:
            raise KeyboardInterrupt
        step(indices, total)

    killed.one_step = one_step
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    again = fitting(folder=tmp_path, epochs=4, patience=2)
    measured(again, {"score": [0.4]})
    assert again.run() == history
    assert torch.equal(again.student.weight, whole.student.weight)


def test_a_measure_that_stalled_once_counts_only_where_it_is_said():
    stay, go_on = (Training(patience=1, watch=("a", "b"), stays_stalled=stays) for stays in (True, False))
    for training, stopped in ((stay, True), (go_on, False)):
        selection = Selection()
        for a, b in ((1, 1), (0, 2), (2, 1)):  # a stalls and improves again, then b stalls
            selection.see({"score": 0, "a": a, "b": b}, training)
        assert selection.stopped(training) is stopped


# ---- batches by tokens ---------------------------------------------------------------------------


def test_a_batch_of_tokens_has_as_many_examples_as_fit_with_their_padding():
    lengths = [1 + (7 * i) % 23 for i in range(300)]
    batches = epoch_batches(lengths, 4, 1, tokens=64)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    sizes = [len(batch) * max(lengths[i] for i in batch) for batch in batches]
    assert max(sizes) <= 64 and sum(sizes) / len(sizes) > 40
    assert epoch_batches(lengths, 4, 1) == epoch_batches(lengths, 4, 1, tokens=None) != batches
    assert cut([0, 1, 2, 3], [9, 2, 2, 3], 4, 6) == [[0], [1, 2], [3]]  # one that is longer stands alone
    assert cut(range(5), [1] * 5, 2) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("order", ["shuffled", "sampler", "file"])
@pytest.mark.parametrize("most", [None, 4, 9])
def test_a_training_by_tokens_knows_its_steps(order, most):
    made = fitting(24, batch_tokens=8, epochs=3, order=order)
    made.max_steps = most
    made.training = replace(made.training, epochs=made.epochs())
    total = made.total_steps()
    history = made.run()
    assert made.step == total == (most or sum(len(made.whole_order(epoch)) for epoch in range(3)))
    assert len(history) == made.training.epochs and history[-1]["terms"]
    assert most != 4 or len(history) == 1


def test_losses_of_batches_by_tokens_are_means_over_their_examples():
    class Squares(Objective):
        def forward(self, student, batch):
            return {"loss": Term((student.weight * batch.extra["x"]).square().sum())}

    def training(**how):
        student = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(student.weight)
        made = Trainer(student, Squares(), Texts(12), Training(epochs=1, lr=0.0, warmup=0.0, weight_decay=0.0, select="last", **how),
                       accelerator=Accelerator(cpu=True), seed=3, stage="test")
        own = made.corpus.batch

        def batch(indices, width):
            found = own(indices, width)
            found.extra["x"] = torch.tensor([float(i) for i in indices])
            return found

        made.corpus.batch = batch
        gradients = []
        made.optimizer.register_step_pre_hook(lambda *_: gradients.append(student.weight.grad.item()))
        return made, gradients

    made, gradients = training(batch_tokens=6, clip=0.0)
    history = made.run()
    batches = made.whole_order(0)
    assert len({len(batch) for batch in batches}) > 1
    assert gradients == pytest.approx([2 * sum(i * i for i in batch) / len(batch) for batch in batches])
    assert history[0]["terms"]["loss"] == pytest.approx(sum(i * i for i in range(12)) / 12)


def test_batches_by_tokens_are_part_of_an_id_where_they_are_asked_for():
    assert "batch_tokens" not in Settings().identity() and Settings(batch_tokens=64).identity()["batch_tokens"] == 64
    assert "batch_tokens" not in Training().content() and Training(batch_tokens=64).content()["batch_tokens"] == 64
