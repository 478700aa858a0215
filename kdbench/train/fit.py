"""The one training loop: plain PyTorch on accelerate.

AdamW, linear warm-up and decay, clipping, accumulation, bf16 where it helps, selection on dev, and
a checkpoint from which a killed run goes on to the same weights as an undisturbed one.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kdbench.base.errors import Broken
from kdbench.base.folders import damage, write_text
from kdbench.base.identity import seed_for
from kdbench.base import stopping
from kdbench.base.progress import Phases, Progress, say
from kdbench.train import cpu
from kdbench.train import masks as masks  # registers them
from kdbench.train.batching import Corpus, epoch_batches, pinned
from kdbench.train.objective import Batch, Objective, Term, divisor, loss_of
from kdbench.train.signals import Signals
from kdbench.train.training import Selection, Training, clip, learning_rate, parameter_groups
from kdbench.train.weights import load_weights, save_weights

# of a checkpoint, beside its tensors
STATE = ("epoch", "batch_number", "step", "history", "dev", "counted", "seconds")


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


class Trainer:
    """One training run of `student` under `objective`.

    evaluate      gives the dev measures, among them "score"; without it the last epoch is kept
    folder        where checkpoints go; a run that finds one there goes on from it
    max_steps     the run ends after so many, in the middle of an epoch if need be
    steps_before  of the cell's earlier stages: trackers want steps that only rise
    """

    def __init__(self, student: nn.Module, objective: Objective, corpus: Corpus, training: Training,
                 *, accelerator: Accelerator, seed: int, stage: str, signals: Signals | None = None,
                 bf16: bool = False, compile: bool = False,
                 evaluate: Callable[[], dict[str, float]] | None = None, folder: Path | None = None,
                 checkpoint_seconds: float = 60.0, label: str = "", phases: Phases | None = None,
                 steps_before: int = 0, max_steps: int | None = None):
        if max_steps:
            epochs = math.ceil(max_steps * training.batch_size / len(corpus))
            training = replace(training, epochs=min(training.epochs, epochs))
        self.corpus, self.training, self.max_steps = corpus, training, max_steps
        self.accelerator, self.signals = accelerator, signals
        self.seed, self.stage, self.evaluate, self.folder = seed, stage, evaluate, folder
        self.checkpoint_seconds, self.phases = checkpoint_seconds, phases or Phases()
        self.label, self.steps_before = label or stage, steps_before
        self.device = accelerator.device
        self.world, self.rank = accelerator.num_processes, accelerator.process_index
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
        if self.compile:
            self.compile_encoder()
        with stopping.in_steps():
            while self.epoch < self.training.epochs and not self.selection.stopped(self.training):
                self.one_epoch(total, progress)
        self.seconds = time.monotonic() - self.begun
        best = self.selection.best
        progress.end(f", dev {best['score']:.4f}" if "score" in best else "")
        if self.training.select == "best" and self.best_state is not None:
            self.trainee.load_state_dict(self.best_state)
        self.trainee.eval()
        if self.compile:
            del self.encoder.forward  # the class's own: later readers have batches of other shapes
        return self.history

    def compile_encoder(self) -> None:
        """Compile the encoder alone: what is around it changes from batch to batch."""
        self.encoder.forward = torch.compile(self.encoder.forward, dynamic=True)

    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        total = len(self.order(0)) * self.training.epochs
        return min(total, self.max_steps) if self.max_steps else total

    def one_epoch(self, total: int, progress: Progress) -> None:
        """The rest of an epoch from where the run stands."""
        batches = self.order(self.epoch)
        every = self.training.eval_steps
        self.trainee.train()
        self.objective.epoch = self.epoch
        while self.batch_number < len(batches):
            self.one_step(batches[self.batch_number], total)
            self.batch_number += 1
            self.step += 1
            if every and self.step % every == 0:
                self.measure()
            progress.at(self.step, f" (epoch {self.epoch + 1}/{self.training.epochs})")
            due = time.monotonic() - self.saved >= self.checkpoint_seconds
            if self.folder and (due or stopping.asked()):
                self.seconds = time.monotonic() - self.begun
                self.checkpoint()
                self.saved = time.monotonic()
            if stopping.asked():
                stopping.raise_waiting()
        self.end_epoch()

    def order(self, epoch: int) -> list[list[int]]:
        """The epoch's batches; the seed names no method, so that all methods of one seed read the
        same order.
        """
        size = self.training.batch_size
        if self.training.order == "shuffled":
            batches = epoch_batches(self.corpus.lengths, size,
                                    seed_for(self.seed, "order", str(epoch)), self.world)
        else:
            indices = list(range(len(self.corpus)))
            if self.training.order == "sampler":
                # DistributedSampler's seed: 0 unless given, plus the epoch, which nobody sets
                generator = torch.Generator().manual_seed(0)
                indices = torch.randperm(len(indices), generator=generator).tolist()
            batches = [indices[i:i + size] for i in range(0, len(indices), size)]
        if self.max_steps:
            return batches[:max(self.max_steps - epoch * len(batches), 0)]
        return batches

    def one_step(self, indices: list[int], total: int) -> None:
        """One optimiser step on one global batch, in `accumulate` parts."""
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
        """This process's share of the batch, in parts; each part is as wide as its widest on any
        process.
        """
        pieces = min(self.training.accumulate, max(len(indices) // self.world, 1))
        batches = []
        for number in range(pieces):
            whole = indices[number::pieces]
            width = max(self.corpus.lengths[i] for i in whole)
            with self.phases("data"):
                batch = self.corpus.batch(whole[self.rank::self.world], width)
            if self.signals is not None:
                with self.phases("teacher"):
                    self.signals.add(batch)
            with self.phases("data"):
                self.objective.collate(batch)
                if self.device.type != "cpu":
                    batch = pinned(batch)
                batches.append(batch.to(self.device))
        return batches

    def global_counts(self, parts: list[Batch]) -> dict[str, float]:
        """What the terms are divided by: summed over parts and processes."""
        counts: dict[str, float] = {}
        for batch in parts:
            for name, count in batch.counts.items():
                counts[name] = counts.get(name, 0.0) + count
        if self.world > 1:
            names = sorted(counts)
            own = torch.tensor([counts[name] for name in names], device=self.device,
                               dtype=torch.float64)
            summed: Any = self.accelerator.reduce(own, "sum")
            counts = dict(zip(names, summed.tolist(), strict=True))
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

    def measure(self) -> None:
        """Measure dev, and keep the weights where they are the best so far."""
        if self.evaluate is None:
            return
        with self.phases("evaluation"):
            measures = self.evaluate()
        self.dev = measures["score"]
        improved = self.selection.see(measures, self.training)
        if self.training.select == "best" and self.training.select_by in improved:
            state = self.trainee.state_dict()
            self.best_state = {name: value.detach().to("cpu", copy=True)
                               for name, value in state.items()}

    # --- crash safety ---------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write the full state beside the last one, then point at it: a kill at any moment leaves
        one that is whole.
        """
        assert self.folder is not None
        if not self.accelerator.is_main_process:
            return
        name = f"step-{self.step}"
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        save_weights(self.trainee, place / "trainee.safetensors")
        save_file(self.tensors(), place / "state.safetensors")
        if self.best_state is not None:
            best = {name: value.clone() for name, value in self.best_state.items()}
            save_file(best, place / "best.safetensors")
        state = {name: getattr(self, name) for name in STATE}
        state["selection"] = asdict(self.selection)
        (place / "state.json").write_text(json.dumps(state))
        write_text(self.folder / "latest", name)
        for old in self.folder.glob("step-*"):
            if old.name != name:
                shutil.rmtree(old, ignore_errors=True)

    def tensors(self) -> dict[str, Tensor]:
        """Optimiser moments, random state and running sums, as tensors by name in the CPU's memory:
        a GPU may have no room for copies.
        """
        tensors = {"rng": torch.get_rng_state()}
        if self.device.type != "cpu":
            module = torch.get_device_module(self.device)
            tensors["rng_device"] = module.get_rng_state(self.device)
        for number, parameter in enumerate(self.trainee.parameters()):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{number}.{name}"] = value.detach().to("cpu", copy=True)
        for name, value in self.sums.items():
            tensors[f"sum.{name}"] = value.to("cpu", copy=True)
        return tensors

    def resume(self) -> None:
        """Go on from the last checkpoint, where there is one and it is whole."""
        place = self.last_checkpoint()
        if place is None:
            return
        try:
            state = json.loads((place / "state.json").read_text())
            wrong = next(filter(None, map(damage, place.glob("*.safetensors"))), "")
        except ValueError as error:
            wrong = str(error)
        if wrong:  # the machine crashed before all of it was on the disk
            say(f"{self.label}: the checkpoint of {place.name} is damaged ({wrong}); "
                "from the beginning")
            return
        load_weights(self.trainee, place / "trainee.safetensors")
        self.take_tensors(load_file(place / "state.safetensors", device=str(self.device)))
        if (place / "best.safetensors").is_file():
            self.best_state = load_file(place / "best.safetensors")
        for name in STATE:
            setattr(self, name, state[name])
        self.selection = Selection(**state["selection"])

    def last_checkpoint(self) -> Path | None:
        """The folder of the last checkpoint."""
        if self.folder is None or not (self.folder / "latest").is_file():
            return None
        place = self.folder / (self.folder / "latest").read_text().strip()
        inside = place.parent == self.folder
        return place if inside and (place / "state.json").is_file() else None

    def take_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        for number, parameter in enumerate(self.trainee.parameters()):
            moments = with_prefix(tensors, f"adam.{number}.")
            if moments:
                self.optimizer.state[parameter] = moments
        self.sums = with_prefix(tensors, "sum.")
        torch.set_rng_state(tensors["rng"].cpu())
        if "rng_device" in tensors:
            module = torch.get_device_module(self.device)
            module.set_rng_state(tensors["rng_device"].cpu(), self.device)


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items()
            if name.startswith(prefix)}
