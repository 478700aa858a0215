"""Trains methods on slices of their look-alikes; run by torchrun or alone.

Writes `losses.json`, the loss of every step, and `classifier.json`, what became of the classifier in each epoch of DoKTra's
transfer: [its optimiser's tensors, whether it is bit by bit what it was before].
"""

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from standin import STILL  # noqa: F401  (registers tiny:still)

from kdbench.base import options
from kdbench.base.registry import METHODS, TASKS
from kdbench.models.sources import resolve
from kdbench.train import lab as labs
from kdbench.train import processes, spec
from kdbench.train.fit import Trainer
from kdbench.train.lab import Lab
from kdbench.train.method import Batch, Objective, Term
from kdbench.train.stage_cache import StageCache
from kdbench.train.training import Training

STEPS = 12


class Watched(Trainer):
    """Keeps each step's loss over all processes, and what the epochs of a transfer do to the classifier."""

    losses: list[float] = []
    classifier: list[tuple[int, bool]] = []

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.head = {name: p for name, p in self.trainee.named_parameters() if name.startswith("student.classifier.")}
        self.initial = {name: p.detach().clone() for name, p in self.head.items()}

    def end_epoch(self):
        super().end_epoch()
        if self.stage == "transfer":
            kept = sum(len(self.optimizer.state[p]) for p in self.head.values() if p in self.optimizer.state)
            Watched.classifier.append((kept, all(torch.equal(p, self.initial[name]) for name, p in self.head.items())))

    def one_step(self, indices, total):
        before, counted = {k: v.clone() for k, v in self.sums.items()}, dict(self.counted)
        super().one_step(indices, total)
        loss = 0.0
        for name in sorted(self.sums):
            value = self.accelerator.reduce(self.sums[name] - before.get(name, 0), "sum")
            loss += float(value) / max(self.counted[name] - counted.get(name, 0), 1)
        Watched.losses.append(loss)


def losses(method: str, task_name: str, given: dict, folder: Path) -> list[float]:
    """The losses of the first steps of the method's last training."""
    Watched.losses.clear()
    task, cls = TASKS.get(task_name), METHODS.get(method)
    made = cls(options.build(cls.Options, "corrected", given, method))
    data = task.lookalike(train=45, dev=16, test=16)
    data = replace(data, domain_text=data.domain_text[:45])
    protocol = spec.settings({"epochs": 4, "batch_size": 15, "max_length": 48, "precision": "fp32", "lr": 1e-3}, task, lookalike=True)
    lab = Lab(task, data, 0, "corrected", protocol, resolve("tiny:still"), resolve("tiny:still"), StageCache(folder), Accelerator(cpu=True))
    student = made.fit(lab)
    made_steps = next(stage["steps"] for stage in reversed(lab.stages) if stage["key"] == student.key)
    return Watched.losses[-made_steps:][:STEPS]


class Noise(Objective):
    """Reads what dropout draws, in a loss that moves the student's only weight."""

    def __init__(self):
        super().__init__()
        self.draws: list[list[float]] = []

    def forward(self, student, batch):
        drawn = torch.nn.functional.dropout(torch.ones(64), 0.5)
        self.draws.append(drawn.tolist())
        return {"noise": Term((student.weight * drawn.sum() * len(batch.examples)).sum())}


class Counted:
    """A corpus of nothing but numbers."""

    lengths = [1] * 24

    def __len__(self):
        return 24

    def batch(self, indices, width):
        return Batch({}, examples=list(indices), counts={"examples": float(len(indices))})


def noise(folder: Path) -> dict[str, object]:
    """A training of six steps whose processes draw noise: whole, then killed after its fourth step and gone on."""

    def fitting(place: Path | None) -> Trainer:
        student = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(student.weight)
        # half of the last epoch is left to a run that goes on
        training = Training(epochs=1, batch_size=4, lr=1e-2, select="last")
        return Trainer(student, Noise(), Counted(), training, accelerator=Accelerator(cpu=True), seed=3, stage="noise", folder=place,
                       checkpoint_seconds=0.0)

    whole, killed = fitting(None), fitting(folder)
    history = whole.run()
    step = killed.one_step

    def one_step(indices, total):
        if killed.step == 4:
            raise KeyboardInterrupt
        step(indices, total)

    killed.one_step = one_step
    with suppress(KeyboardInterrupt):
        killed.run()
    processes.wait_for_all(killed.accelerator)
    again = fitting(folder)
    told = again.run()
    group = processes.cpu_group() if whole.world > 1 else None
    return {"whole": whole.objective.draws, "again": again.objective.draws, "history": [history, told],
            "weights": [whole.student.weight.item(), again.student.weight.item()],
            "backend": group and torch.distributed.get_backend(group)}


def main(asked: dict[str, tuple[str, dict]], out: Path) -> None:
    torch.set_num_threads(1)
    labs.Trainer = Watched
    found = {}
    for method, (task, given) in asked.items():
        try:
            found[method] = losses(method, task, given, out / method)
        except Exception as error:  # the test of this method says so, the others go on
            found[method] = f"{type(error).__name__}: {error}"
    accelerator = Accelerator(cpu=True)
    (out / f"noise-{accelerator.process_index}.json").write_text(json.dumps(noise(out / "noise")))
    if accelerator.is_main_process:
        (out / "losses.json").write_text(json.dumps(found))
        (out / "classifier.json").write_text(json.dumps(Watched.classifier))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
