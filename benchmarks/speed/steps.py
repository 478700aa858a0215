"""A training step as the project does it, and the frame of one as published code does it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timing import Bench, Way
from torch import Tensor, nn

from kdbench.data.task import Data, Example, Task
from kdbench.models.heads import Head
from kdbench.models.load import Model, build
from kdbench.models.sources import Source
from kdbench.models.tokenizer import train_tokenizer
from kdbench.models.zoo import Recipe
from kdbench.train.fit import Trainer
from kdbench.train.lab import Lab
from kdbench.train.method import Objective, Term, loss_of
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache
from kdbench.train.training import Training

WARM = 24  # steps, after which the memory of every batch length has been asked for: the first ones take up to twice as long

# ---- models and lab --------------------------------------------------------------------------------------------------


@cache
def accelerator(device: str) -> Accelerator:
    return Accelerator(cpu=device == "cpu")


@cache
def scratch() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="kdbench-speed-")


def lab(bench: Bench, kind: str, labels: Sequence[str], examples: Sequence[Example], precision: str = "auto",
        max_length: int = 128) -> Lab:
    """The project's bench for one cell on these examples; `precision` "auto" is what it chooses on this device."""
    data = Data(tuple(examples), (), (), tuple(labels))
    source = Source("none")
    task = Task(name="speed", task_type=kind, about="", metric="", load=lambda _: data)
    return Lab(task, data, 0, "published", Settings(precision=precision, max_length=max_length),
               source, source, StageCache(Path(scratch().name) / precision), accelerator(bench.device))


def tokenizer(texts: Sequence[str], vocabulary: int, kind: str = "bert") -> Any:
    """A tokenizer of our own: `vocabulary` decides how many tokens a word of these texts has."""
    return train_tokenizer(kind, texts, vocabulary)


def sizes(reader: Any) -> Callable[[Sequence[str]], list[int]]:
    """Tokens of each word under a tokenizer."""
    return lambda words: [len(ids) for ids in reader(list(words), add_special_tokens=False)["input_ids"]]


def model(name: str, head: Head, reader: Any, *, rows: int, kind: str = "bert", seed: int = 0, **size: int) -> Model:
    """A model of random weights with `rows` rows of word embeddings, as many as the published model has."""
    source = Source(name, recipe=Recipe(config={"type": kind, **size}))
    built = build(source, head, seed=seed, texts=lambda: (), tokenizer=reader)
    built.module.resize_token_embeddings(rows, mean_resizing=False)
    return built


def shape(layers: int, width: int, heads: int, inner: int | None = None) -> dict[str, int]:
    return {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner or 4 * width}


# ---- ours ------------------------------------------------------------------------------------------------------------


class Ours(Way):
    """`Trainer.one_step`, which `bench.py` runs, over the project's own batches of `examples`."""

    def __init__(self, bench: Lab, student: Model, objective: Objective, *, batch_size: int, max_length: int, signals: Any = None,
                 **training: Any):
        if objective.attentions:
            student.module.set_attn_implementation("eager")
        corpus = bench.corpus(student, bench.data.train, max_length)
        given = {"epochs": 1, "lr": 1e-5, "select": "last", "max_length": max_length, **training}
        self.trainer = Trainer(student.module, objective, corpus, Training(batch_size=batch_size, **given), seed=0, stage="speed",
                               accelerator=bench.accelerator, signals=signals, bf16=bench.bf16(student))
        self.trainer.trainee.train()
        self.steps = len(self.trainer.order(0))

    def warm(self) -> None:
        order = self.trainer.order(0)
        while self.trainer.step < WARM:
            self.run(order)
        self.trainer.phases.seconds.clear()

    def round(self) -> None:
        self.run(self.trainer.order(self.trainer.step))

    def run(self, batches: list[list[int]]) -> None:
        self.trainer.feed.begin(batches)
        for indices in batches:
            self.trainer.one_step(indices, 1_000_000)  # of so many that the rate stays what it is
            self.trainer.step += 1
        self.trainer.feed.end()

    def loss(self, indices: list[int]) -> float:
        """The loss of one batch, without dropout."""
        trainer = self.trainer
        trainer.trainee.eval()
        with torch.no_grad(), trainer.autocast():
            parts = trainer.parts(indices)
            terms = {name: Term(*term) for name, term in trainer.trainee(parts[0]).items()}
            return float(loss_of(terms, trainer.global_counts(parts)))


# ---- published -------------------------------------------------------------------------------------------------------


class Published(Way):
    """A loop as published code has it: batches in the order of the data, one fp32 forward and backward pass each, clipping,
    an AdamW that is not fused. Subclasses say what a batch is and what the loss."""

    def __init__(self, device: torch.device, student: nn.Module, examples: Sequence[Example], batch_size: int, steps: int,
                 clip: float = 1.0):
        self.device, self.student, self.examples = device, student.to(device).train(), list(examples)
        self.steps, self.clip = steps, clip
        self.starts = cycle(range(0, len(self.examples) - batch_size + 1, batch_size))
        self.batch_size = batch_size
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-5)

    def loss_of(self, indices: Sequence[int]) -> Tensor:
        raise NotImplementedError

    def round(self) -> None:
        self.run(self.steps)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            start = next(self.starts)
            self.loss_of(range(start, start + self.batch_size)).backward()
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def loss(self, indices: Sequence[int]) -> float:
        """The loss of one batch, without dropout."""
        self.student.eval()
        with torch.no_grad():
            return float(self.loss_of(indices))
