"""The training loop where the published variants ask for something else: order, moment and measure of selection."""

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data.distributed import DistributedSampler

from kdbench.train.fit import Trainer
from kdbench.train.method import Batch, Objective, Term
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
