"""Trains one method on a slice of its look-alike and writes the loss of every step; run by torchrun or alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from kdbench import lab as labs
from kdbench import options, spec
from kdbench.fit import Fitting
from kdbench.lab import Lab, Workshop
from kdbench.models import resolve
from kdbench.registry import METHODS, Entry
from kdbench.task_index import TASKS
from kdbench.tasks.lookalikes import LOOKALIKES
from kdbench.zoo import MODELS, tiny

STEPS = 20


class Watched(Fitting):
    """Keeps each step's loss over all processes."""

    losses: list[float] = []

    def one_step(self, indices, total):
        before, counted = {k: v.clone() for k, v in self.sums.items()}, dict(self.counted)
        super().one_step(indices, total)
        loss = 0.0
        for name in sorted(self.sums):
            value = self.accelerator.reduce(self.sums[name] - before.get(name, 0), "sum")
            loss += float(value) / max(self.counted[name] - counted.get(name, 0), 1)
        Watched.losses.append(loss)


def main(method: str, task_name: str, out: Path, given: dict) -> None:
    torch.set_num_threads(1)
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    recipe = tiny("bert")
    MODELS.add(Entry("tiny:still", replace(recipe, config={**recipe.config, **still})))
    labs.Fitting = Watched
    task, cls = TASKS.get(task_name), METHODS.get(method)
    made = cls(options.build(cls.Options, "corrected", given, method))
    data = LOOKALIKES[task_name](train=90, dev=16, test=16)
    data = replace(data, domain_text=data.domain_text[:90])
    protocol = spec.settings({"epochs": 4, "batch_size": 15, "max_length": 48, "precision": "fp32", "lr": 1e-3}, task, lookalike=True)
    lab = Lab(task, data, 0, "corrected", protocol, resolve("tiny:still"), resolve("tiny:still"), Workshop(out), Accelerator(cpu=True))
    made.fit(lab)
    if lab.accelerator.is_main_process:
        (out / "losses.json").write_text(json.dumps(Watched.losses[-STEPS:]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4]))
