"""The project's loop over a bare one: the same model, batches, loss, clipping and optimiser, written by hand.

On a small model, where what a loop does around the model shows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from steps import Ours, lab, model, shape, sizes, tokenizer
from texts import Lengths, drawn, load, strings
from timing import Bench, Way

from kdbench.models.heads import Head
from kdbench.models.load import Model
from kdbench.train.fit import Trainer
from kdbench.train.losses import Supervised

NAMES = ("overhead",)
WHAT = "fine-tuning a BERT 2x128 on ChemProt, a step of 32; reference: a bare hand-written loop over the same batches"
LENGTHS = Lengths(45, 90, 256)


class Bare(Way):
    """zero_grad, forward, backward, clip, step, schedule; batches padded by `pad_sequence`."""

    def __init__(self, trainer: Trainer):
        self.corpus, self.batches = trainer.corpus, trainer.order(0)
        self.device, self.autocast = trainer.device, trainer.autocast
        self.student = trainer.student
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-5, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: max(0.0, 1 - step / 1_000_000))
        self.ids = [torch.tensor(ids) for ids in self.corpus.tokens]
        self.labels = torch.tensor([example.label for example in self.corpus.examples])
        self.steps = len(self.batches)

    def warm(self) -> None:
        self.run(self.batches[:2])

    def round(self) -> None:
        self.run(self.batches)

    def run(self, batches: list[list[int]]) -> None:
        for indices in batches:
            rows = [self.ids[i] for i in indices]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.corpus.pad)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            with self.autocast():
                loss = self.student(ids.to(self.device), mask.to(self.device), labels=self.labels[indices].to(self.device)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0, foreach=True)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()


def what(_: str) -> str:
    return WHAT


def ways(_: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    batch_size = bench.pick(32, 4)
    data = load("chemprot", bench)
    reader = tokenizer(strings(data), bench.pick(8_000, 1_000))
    examples = drawn(data, batch_size * bench.pick(50, 2), LENGTHS, sizes(reader))
    head = Head("single", data.labels)
    student = model("student", head, reader, rows=bench.pick(8_000, len(reader)), **bench.pick(shape(2, 128, 2), shape(2, 32, 2)))

    def ours(precision: str) -> Ours:
        learner = Model(copy.deepcopy(student.module), student.tokenizer, "student", "student")
        return Ours(lab(bench, "single", data.labels, examples, precision), learner, Supervised("single"), batch_size=batch_size,
                    max_length=128)

    return {"ours": lambda: ours("auto"), "ours_fp32": lambda: ours("fp32"), "reference": lambda: Bare(ours("auto").trainer)}
