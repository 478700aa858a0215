"""The one training loop: plain PyTorch on accelerate.

AdamW, linear warm-up and decay, clipping, accumulation, bf16 where it helps, selection on dev, and
a checkpoint from which a killed run goes on to the same weights as an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from kdbench.base import stopping
from kdbench.base.errors import Broken
from kdbench.base.identity import seed_for
from kdbench.base.progress import Phases, Progress
from kdbench.train import compiling, cpu, processes
from kdbench.train import masks as masks  # registers them
from kdbench.train.batching import Corpus, cut, epoch_batches
from kdbench.train.feeding import Feed
from kdbench.train.objective import Batch, Objective, Term, divisor, loss_of
from kdbench.train.resident import rounding
from kdbench.train.resuming import Resumable
from kdbench.train.signals import Signals
from kdbench.train.training import Selection, Training, clip, learning_rate, parameter_groups


class Trainee(nn.Module):
    """Student and objective as one module: what is trained, saved and, over several processes,
    synchronised.
    """

    def __init__(self, student: nn.Module, objective: Objective):
        super().__init__()
        self.student, self.objective = student, objective

    def forward(self, batch: Batch) -> dict[str, tuple[Tensor, str, float]]:
        """The objective's terms as plain tuples: DistributedDataParallel finds the loss in them."""
        terms = self.objective(self.student, batch)
        return {name: (term.total, term.per, term.weight) for name, term in terms.items()}


class Trainer(Resumable):
    """One training run of `student` under `objective`.

    compile       the encoder; None: where a measurement says that it is faster
    ahead         see `kdbench.train.feeding.Feed`
    evaluate      gives the dev measures, among them "score"; without it the last epoch is kept
    folder        where checkpoints go; a run that finds one there goes on from it
    max_steps     the run ends after so many, in the middle of an epoch if need be
    steps_before  of the cell's earlier stages: trackers want steps that only rise
    """

    def __init__(self, student: nn.Module, objective: Objective, corpus: Corpus, training: Training,
                 *, accelerator: Accelerator, seed: int, stage: str, signals: Signals | None = None,
                 bf16: bool = False, compile: bool | None = False, ahead: bool | None = None,
                 evaluate: Callable[[], dict[str, float]] | None = None, folder: Path | None = None,
                 checkpoint_seconds: float = 60.0, label: str = "", phases: Phases | None = None,
                 steps_before: int = 0, max_steps: int | None = None):
        self.corpus, self.training, self.max_steps = corpus, training, max_steps
        self.accelerator = accelerator
        self.seed, self.stage, self.evaluate, self.folder = seed, stage, evaluate, folder
        self.checkpoint_seconds, self.phases = checkpoint_seconds, phases or Phases()
        self.label, self.steps_before = label or stage, steps_before
        self.device = accelerator.device
        self.world, self.rank = accelerator.num_processes, accelerator.process_index
        self.training = training = replace(training, epochs=self.epochs())
        self.bf16, self.compile = bf16, compile
        self.student, self.objective = student, objective
        self.encoder: Any = getattr(student, "base_model", student)
        objective.epochs = training.epochs
        self.trainee = Trainee(student, objective).to(self.device)
        if self.device.type == "cpu":
            cpu.prepare(self.trainee)
        encoder_name = f"student.{getattr(student, 'base_model_prefix', '')}."
        groups = parameter_groups(self.trainee.named_parameters(), encoder_name, training)
        self.optimizer = torch.optim.AdamW(groups, lr=training.lr, betas=training.betas,
                                           eps=training.eps, fused=True)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.feed = Feed(corpus, objective, signals, accumulate=training.accumulate,
                         device=self.device, world=self.world, rank=self.rank, low=bf16,
                         ahead=ahead, phases=self.phases)
        self.parallel: Any = self.trainee
        if self.world > 1:
            self.parallel = torch.nn.parallel.DistributedDataParallel(self.trainee,
                                                                      find_unused_parameters=True)
        self.epoch = self.batch_number = self.step = 0
        self.history: list[dict[str, Any]] = []
        self.selection = Selection()
        self.dev: float | None = None  # the last score of this epoch
        self.best_state: dict[str, Tensor] | None = None
        self.sums: dict[str, Tensor] = {}
        self.counted: dict[str, float] = {}
        self.seconds = 0.0
        self.compilation: dict[str, Any] = {}  # what a measurement has said
        self.compiled = False
        self.due = False  # the main process wants a checkpoint after this step
        self.begun = self.saved = 0.0  # times of this process: of its first step, of its checkpoint

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> list[dict[str, Any]]:
        """Train to the end; returns the history, one entry an epoch: terms, dev score."""
        torch.manual_seed(seed_for(self.seed, "noise", self.stage))
        self.resume()
        total = self.total_steps()
        progress = Progress(self.label, total, "steps", self.step,
                            enabled=self.accelerator.is_main_process)
        self.saved = time.monotonic()
        self.begun = self.saved - self.seconds
        try:
            self.train_to_the_end(total, progress)
        finally:
            self.feed.end()
            self.use_plain_encoder()  # later readers have batches of other shapes
        self.seconds = time.monotonic() - self.begun
        best = self.selection.best
        progress.end(f", dev {best['score']:.4f}" if "score" in best else "")
        if self.training.select == "best" and self.best_state is not None:
            self.trainee.load_state_dict(self.best_state)
        self.trainee.eval()
        return self.history

    def train_to_the_end(self, total: int, progress: Progress) -> None:
        """All epochs that are left."""
        if self.compile is None and not self.compilation:
            with self.phases("compiled or plain"):
                self.compilation = compiling.measured(self, total)
        if self.compile or self.compilation.get("kept") == "compiled":
            self.compile_encoder()
        with stopping.in_steps():
            while self.epoch < self.training.epochs and not self.selection.stopped(self.training):
                self.one_epoch(total, progress)

    def compile_encoder(self) -> None:
        """Compile the encoder alone: what is around it changes from batch to batch."""
        self.encoder.forward = torch.compile(self.encoder.forward, dynamic=True)
        self.compiled = True

    def use_plain_encoder(self) -> None:
        """The encoder as its class has it."""
        if self.compiled:
            del self.encoder.forward
        self.compiled = False

    def epochs(self) -> int:
        """Epochs of the whole run; the last may be a part of one."""
        epochs = self.training.epochs
        if not self.max_steps:
            return epochs
        if self.training.batch_tokens is None:
            steps = len(self.corpus) / self.training.batch_size
            return min(epochs, math.ceil(self.max_steps / steps))
        return next((e for e in range(1, epochs) if self.steps_of(e) >= self.max_steps), epochs)

    def steps_of(self, epochs: int) -> int:
        """Steps of the first so many epochs, each of them whole."""
        return steps_of(self.corpus, self.training, epochs, self.seed, self.world)

    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        total = self.steps_of(self.training.epochs)
        return min(total, self.max_steps) if self.max_steps else total

    def one_epoch(self, total: int, progress: Progress) -> None:
        """The rest of an epoch from where the run stands."""
        batches = self.order(self.epoch)
        every = self.training.eval_steps
        self.trainee.train()
        self.objective.epoch = self.epoch
        self.feed.begin(batches[self.batch_number:])
        while self.batch_number < len(batches):
            self.one_step(batches[self.batch_number], total)
            self.batch_number += 1
            self.step += 1
            if every and self.step % every == 0:
                self.measure()
            progress.at(self.step, f" (epoch {self.epoch + 1}/{self.training.epochs})")
            due = self.due or (self.world == 1 and self.wants_checkpoint())
            if due:
                self.seconds = time.monotonic() - self.begun
                self.checkpoint()
                self.saved = time.monotonic()
            # of several processes all write the checkpoint, so none leaves before it
            if stopping.asked() and (due or self.world == 1):
                stopping.raise_waiting()
        self.end_epoch()

    def wants_checkpoint(self) -> bool:
        """Is it time for one, by this process's clock, or as a signal asks the run to stop?"""
        due = time.monotonic() - self.saved >= self.checkpoint_seconds
        return bool(self.folder) and (due or stopping.asked())

    def order(self, epoch: int) -> list[list[int]]:
        """The epoch's batches, up to the last step of the run."""
        batches = self.whole_order(epoch)
        if self.max_steps:
            return batches[:max(self.max_steps - self.steps_of(epoch), 0)]
        return batches

    def whole_order(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch; the seed names no method, so that all methods of one seed read
        the same order.
        """
        return whole_order(self.corpus, self.training, epoch, self.seed, self.world)

    def one_step(self, indices: list[int], total: int) -> None:
        """One optimiser step on one global batch, in `accumulate` parts.

        Each process draws its own noise. The main one's is that of a training in one process; the
        others' follows from the step, so that a checkpoint need not hold it.
        """
        if self.rank:
            torch.manual_seed(seed_for(self.seed, "noise", self.stage, f"{self.rank}/{self.step}"))
        parts = self.parts(indices)
        counts = self.global_counts(parts)
        rate = learning_rate(self.step, total, self.training)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        for number, batch in enumerate(parts):
            last = number == len(parts) - 1
            with self.parallel.no_sync() if self.world > 1 and not last else nullcontext():
                terms = self.forward_and_backward(batch, counts)
            self.add_up(terms)
        for name, term in terms.items():
            self.counted[name] = self.counted.get(name, 0.0) + divisor(term.per, counts)
        with self.phases("optimiser"):
            if self.training.clip:
                clip(self.trainee.parameters(), self.training.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    def forward_and_backward(self, batch: Batch, counts: dict[str, float]) -> dict[str, Term]:
        """Add the gradients of one part; returns its loss terms."""
        with self.phases("student forward"), self.autocast():
            terms = {name: Term(*term) for name, term in self.parallel(batch).items()}
            # DDP averages gradients over processes: the world size turns that back into a sum
            loss = loss_of(terms, counts) * self.world
        with self.phases("student backward"):
            loss.backward()
        return terms

    def add_up(self, terms: dict[str, Term]) -> None:
        """Add one part's terms to the epoch's sums."""
        for name, term in terms.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros((), device=self.device, dtype=torch.float64)
            self.sums[name] = self.sums[name] + term.total.detach()

    def parts(self, indices: list[int]) -> list[Batch]:
        """This process's share of the batch on the device, in parts."""
        return self.feed.parts(indices)

    def global_counts(self, parts: list[Batch]) -> dict[str, float]:
        """What the terms are divided by: summed over parts and processes. The main process tells
        the others here whether a checkpoint follows.
        """
        counts: dict[str, float] = {}
        for batch in parts:
            for name, count in batch.counts.items():
                counts[name] = counts.get(name, 0.0) + count
        if self.world > 1:
            names, due = sorted(counts), self.rank == 0 and self.wants_checkpoint()
            own = [*(counts[name] for name in names), float(due)]
            *summed, said = processes.summed(self.accelerator, own)
            counts, self.due = dict(zip(names, summed, strict=True)), said > 0
        return counts

    def autocast(self) -> AbstractContextManager:
        """The context of a forward pass: bf16 where it was asked for."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def end_epoch(self) -> None:
        """Close the epoch: mean terms, dev measures, what was best."""
        terms = self.mean_terms()
        for name, value in terms.items():
            if not math.isfinite(value):
                raise Broken(
                    f"{self.label}: loss term {name} is not finite in epoch {self.epoch + 1}; "
                    f"lower the learning rate ({self.training.lr:g}) or use --precision fp32")
        if not self.training.eval_steps:
            self.measure()
        entry: dict[str, Any] = {"epoch": self.epoch + 1, "terms": terms}
        logged = {f"{self.stage}/{name}": value for name, value in terms.items()}
        if self.dev is not None:
            entry["dev"] = logged[f"{self.stage}/dev"] = self.dev
        self.history.append(entry)
        self.accelerator.log(logged, self.steps_before + self.step)
        self.sums, self.counted, self.dev = {}, {}, None
        self.epoch, self.batch_number = self.epoch + 1, 0

    def mean_terms(self) -> dict[str, float]:
        """The epoch's loss terms, each divided by what it is a sum over."""
        terms = {}
        for name, own in self.sums.items():
            value: Any = self.accelerator.reduce(own, "sum") if self.world > 1 else own
            terms[name] = float(value) / max(self.counted[name], 1.0)
        return terms

    def remarks(self) -> dict[str, Any]:
        """What a record says of how it was trained, besides what was asked for."""
        found: dict[str, Any] = {}
        if self.compilation:
            found["compile"] = self.compilation
        if note := rounding(self.feed.signals):
            found["notes"] = [note]
        return found

    def measure(self) -> None:
        """Measure dev, and keep the weights where they are the best so far."""
        if self.evaluate is None:
            return
        with self.phases("evaluation"), self.feed.paused():
            measures = self.evaluate()
        self.dev = measures["score"]
        improved = self.selection.see(measures, self.training)
        if self.training.select == "best" and self.training.select_by in improved:
            state = self.trainee.state_dict()
            self.best_state = {name: value.detach().to("cpu", copy=True)
                               for name, value in state.items()}


def whole_order(corpus: Corpus, training: Training, epoch: int, seed: int,
                world: int) -> list[list[int]]:
    """All batches of an epoch, each the indices of its examples, over all processes."""
    size, tokens = training.batch_size, training.batch_tokens
    if training.order == "shuffled":
        drawn = seed_for(seed, "order", str(epoch))
        return epoch_batches(corpus.lengths, size, drawn, world, tokens)
    indices = list(range(len(corpus)))
    if training.order == "sampler":
        # DistributedSampler's seed: 0 unless given, plus the epoch, which nobody sets
        generator = torch.Generator().manual_seed(0)
        indices = torch.randperm(len(indices), generator=generator).tolist()
    return cut(indices, corpus.lengths, size, tokens)


def steps_of(corpus: Corpus, training: Training, epochs: int, seed: int, world: int) -> int:
    """Optimiser steps of the first so many epochs, each of them whole."""
    if training.batch_tokens is None:
        return epochs * len(whole_order(corpus, training, 0, seed, world))
    return sum(len(whole_order(corpus, training, epoch, seed, world)) for epoch in range(epochs))
