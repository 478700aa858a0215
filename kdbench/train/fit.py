"""The one training loop: plain PyTorch on accelerate.

AdamW, linear warm-up and decay, clipping, accumulation, bf16 where it helps, selection on dev, and
a checkpoint from which a killed run goes on to the same weights as an undisturbed one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from kdbench.base.errors import Broken
from kdbench.base.folders import damage
from kdbench.base.identity import seed_for
from kdbench.base.progress import Phases, Progress, say
from kdbench.train import cpu
from kdbench.train.batching import Corpus, epoch_batches, pinned
from kdbench.train.objective import Batch, Objective, Term, divisor, loss_of


@dataclass(frozen=True)
class Training:
    """How one model is trained.

    batch_size    examples an optimiser step, over all processes and accumulated parts
    accumulate    parts a batch is computed in, where it does not fit the memory
    lr, head_lr   peak learning rates; without head_lr one rate for everything
    warmup        share of the steps, or their number where above 1
    warmup_rule   how the rate rises, see `learning_rate`
    order         of the examples: "shuffled", anew in every epoch; "file"; "sampler": one
                  permutation for all epochs, the one that torch's DistributedSampler draws while
                  nobody calls its `set_epoch`
    select        "best": the weights with the best dev measure; "last": those of the last epoch
    select_by     that measure: "score" (the task's), or any other ("-" before a name: lower is
                  better)
    eval_steps    dev is measured after so many steps, and not at the end of epochs; weights before
                  the first measurement are not kept
    watch         dev measures that all have to stall for `patience` measurements to stop early ("-"
                  as above)
    ties_improve  a value equal to the best so far is a new best stays_stalled a watched measure
                  that has stalled once counts as stalled, whatever it does afterwards
    decay_all     weight decay on biases and norms as well
    """

    epochs: int = 5
    batch_size: int = 32
    lr: float = 5e-5
    head_lr: float | None = None
    weight_decay: float = 0.01
    decay_all: bool = False
    warmup: float = 0.1
    warmup_rule: str = "shifted"  # or "int", "ceil"
    schedule: str = "linear"  # or "constant"
    clip: float = 1.0
    accumulate: int = 1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    order: str = "shuffled"  # or "file", "sampler"
    select: str = "best"
    select_by: str = "score"
    eval_steps: int | None = None
    patience: int | None = None
    watch: tuple[str, ...] = ("score",)
    ties_improve: bool = False
    stays_stalled: bool = False
    max_length: int = 128

    @property
    def measures(self) -> tuple[str, ...]:
        """The dev measures that decide something."""
        return tuple(dict.fromkeys(("score", self.select_by, *self.watch)))


@dataclass
class Selection:
    """What dev has shown so far: by measure its best value, how many measurements ago that was, and
    what has stalled once.
    """

    best: dict[str, float] = field(default_factory=dict)
    stalled: dict[str, int] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)

    def see(self, measures: dict[str, float], training: Training) -> set[str]:
        """Take in one measurement; returns the measures with a new best."""
        found = set()
        for name in training.measures:
            value = -measures[name[1:]] if name.startswith("-") else measures[name]
            best = self.best.get(name, -math.inf)
            if value > best or (training.ties_improve and value == best):
                self.best[name], self.stalled[name] = value, 0
                found.add(name)
                continue
            self.stalled[name] = self.stalled.get(name, 0) + 1
            if training.patience is not None and self.stalled[
                    name] >= training.patience and name not in self.settled:
                self.settled.append(name)
        return found

    def stopped(self, training: Training) -> bool:
        """Whether every watched measure has stalled: is stalled now, or with `stays_stalled` was so
        once.
        """
        if training.patience is None or not self.stalled:
            return False
        if training.stays_stalled:
            return all(name in self.settled for name in training.watch)
        return all(self.stalled[name] >= training.patience for name in training.watch)


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
        # plain tuples: what DistributedDataParallel can look into to find the loss
        return {
            name: (term.total, term.per, term.weight)
            for name, term in self.objective(self.student, batch).items()
        }


class Trainer:
    """One training run of `student` under `objective`.

    `evaluate()` gives the dev measures, among them "score"; without it the last epoch is kept.
    `folder` is where checkpoints go; a run that finds one there goes on from it. It ends after
    `max_steps` steps, in the middle of an epoch if need be. `steps_before` are those of the cell's
    earlier stages: trackers want steps that only rise.
    """

    def __init__(self, student: nn.Module, objective: Objective, corpus: Corpus, training: Training,
                 *, accelerator: Any, seed: int, stage: str, signals: Any = None,
                 bf16: bool = False, compile: bool = False,
                 evaluate: Callable[[], dict[str, float]] | None = None, folder: Path | None = None,
                 checkpoint_seconds: float = 60.0, label: str = "", phases: Phases | None = None,
                 steps_before: int = 0, max_steps: int | None = None):
        self.max_steps = max_steps
        if max_steps:
            training = replace(
                training, epochs=min(training.epochs,
                                     math.ceil(max_steps * training.batch_size / len(corpus))))
        self.corpus, self.training = corpus, training
        self.accelerator, self.signals = accelerator, signals
        self.seed, self.stage, self.evaluate, self.folder = seed, stage, evaluate, folder
        self.checkpoint_seconds, self.phases = checkpoint_seconds, phases or Phases()
        self.label, self.steps_before = label or stage, steps_before
        self.student, self.objective = student, objective
        self.encoder: Any = getattr(student, "base_model", student)
        self.device = accelerator.device
        self.world, self.rank = accelerator.num_processes, accelerator.process_index
        self.bf16 = bf16
        objective.epochs = training.epochs
        self.trainee = Trainee(student, objective).to(self.device)
        if self.device.type == "cpu":
            cpu.prepare(self.trainee)
        if compile:  # the encoder alone: what is around it changes from batch to batch
            self.encoder.compile(dynamic=True)
        self.optimizer = torch.optim.AdamW(groups(self.trainee, training), lr=training.lr,
                                           betas=training.betas, eps=training.eps, fused=True)
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

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> list[dict[str, Any]]:
        """Train to the end; returns the history, one entry an epoch: terms, dev score."""
        torch.manual_seed(seed_for(self.seed, "noise", self.stage))
        self.resume()
        total = len(self.order(0)) * self.training.epochs
        if self.max_steps:
            total = min(total, self.max_steps)
        progress = Progress(self.label, total, "steps", self.step,
                            enabled=self.accelerator.is_main_process)
        saved = begun = time.monotonic()
        before = self.seconds
        every = self.training.eval_steps
        while self.epoch < self.training.epochs and not self.selection.stopped(self.training):
            batches = self.order(self.epoch)
            self.trainee.train()
            self.objective.epoch = self.epoch
            while self.batch_number < len(batches):
                self.one_step(batches[self.batch_number], total)
                self.batch_number += 1
                self.step += 1
                if every and self.step % every == 0:
                    self.measure()
                progress.at(self.step, f" (epoch {self.epoch + 1}/{self.training.epochs})")
                if self.folder and time.monotonic() - saved >= self.checkpoint_seconds:
                    self.seconds = before + time.monotonic() - begun
                    self.checkpoint()
                    saved = time.monotonic()
            self.end_epoch()
        self.seconds = before + time.monotonic() - begun
        best = self.selection.best
        progress.end(f", dev {best['score']:.4f}" if "score" in best else "")
        if self.training.select == "best" and self.best_state is not None:
            self.trainee.load_state_dict(self.best_state)
        self.trainee.eval()
        self.encoder._compiled_call_impl = None  # whoever reads it now reads other shapes
        return self.history

    def order(self, epoch: int) -> list[list[int]]:
        """The epoch's batches; the seed names no method, so that all methods of one seed read the
        same order.
        """
        size = self.training.batch_size
        if self.training.order == "shuffled":
            batches = epoch_batches(self.corpus.lengths, size,
                                    seed_for(self.seed, "order", str(epoch)), self.world)
        else:
            places = list(range(len(self.corpus)))
            # its seed is 0 where nothing is said, plus the epoch, which stays 0
            if self.training.order == "sampler":
                places = torch.randperm(len(places),
                                        generator=torch.Generator().manual_seed(0)).tolist()
            batches = [places[i:i + size] for i in range(0, len(places), size)]
        return batches[:max(self.max_steps -
                            epoch * len(batches), 0)] if self.max_steps else batches

    def one_step(self, indices: list[int], total: int) -> None:
        """One optimiser step on one global batch, in `accumulate` parts."""
        parts = self.parts(indices)
        counts = self.global_counts(parts)
        rate = learning_rate(self.step, total, self.training)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        for number, batch in enumerate(parts):
            last = number == len(parts) - 1
            wait = self.parallel.no_sync() if self.world > 1 and not last else nullcontext()
            with wait:
                with self.phases("student forward"), self.autocast():
                    terms = {name: Term(*term) for name, term in self.parallel(batch).items()}
                    # DDP averages gradients over processes: the world size turns that back into a
                    # sum
                    loss = loss_of(terms, counts) * self.world
                with self.phases("student backward"):
                    loss.backward()
            for name, term in terms.items():
                zero = torch.zeros((), device=self.device, dtype=torch.float64)
                self.sums[name] = self.sums.get(name, zero) + term.total.detach()
                if last:
                    self.counted[name] = self.counted.get(name, 0.0) + divisor(term.per, counts)
        with self.phases("optimiser"):
            if self.training.clip:
                clip(self.trainee.parameters(), self.training.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

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
                batches.append(
                    (pinned(batch) if self.device.type == "cuda" else batch).to(self.device))
        return batches

    def global_counts(self, parts: list[Batch]) -> dict[str, float]:
        """What the terms are divided by: summed over parts and processes."""
        counts: dict[str, float] = {}
        for batch in parts:
            for name, count in batch.counts.items():
                counts[name] = counts.get(name, 0.0) + count
        if self.world > 1:
            names = sorted(counts)
            summed = self.accelerator.reduce(
                torch.tensor([counts[n] for n in names], device=self.device, dtype=torch.float64),
                "sum")
            counts = dict(zip(names, summed.tolist(), strict=True))
        return counts

    def autocast(self) -> Any:
        return torch.autocast(self.device.type,
                              dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def end_epoch(self) -> None:
        """Close the epoch: mean terms, dev measures, what was best."""
        sums = self.sums
        if self.world > 1:
            sums = {name: self.accelerator.reduce(value, "sum") for name, value in sums.items()}
        terms = {name: float(value) / max(self.counted[name], 1.0) for name, value in sums.items()}
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        if bad:
            raise Broken(
                f"{self.label}: loss term {bad[0]} is not finite in epoch {self.epoch + 1}; lower "
                f"the learning rate "
                f"({self.training.lr:g}) or use --precision fp32")
        entry: dict[str, Any] = {"epoch": self.epoch + 1, "terms": terms}
        if not self.training.eval_steps:
            self.measure()
        if self.dev is not None:
            entry["dev"] = self.dev
        self.history.append(entry)
        dev = {f"{self.stage}/dev": entry["dev"]} if "dev" in entry else {}
        self.accelerator.log(
            {**{f"{self.stage}/{name}": value
                for name, value in terms.items()}, **dev}, self.steps_before + self.step)
        self.sums, self.counted, self.dev = {}, {}, None
        self.epoch, self.batch_number = self.epoch + 1, 0

    def measure(self) -> None:
        """Measure dev, and keep the weights where they are the best so far."""
        if self.evaluate is None:
            return
        with self.phases("evaluation"):
            measures = self.evaluate()
        self.dev = measures["score"]
        if self.training.select_by in self.selection.see(
                measures, self.training) and self.training.select == "best":
            self.best_state = {
                k: v.detach().to("cpu", copy=True)
                for k, v in self.trainee.state_dict().items()
            }

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
        save_model(self.trainee, str(place / "trainee.safetensors"))
        save_file(self.tensors(), place / "state.safetensors")
        if self.best_state is not None:
            best = {name: value.clone() for name, value in self.best_state.items()}
            save_file(best, place / "best.safetensors")
        state = {name: getattr(self, name) for name in STATE}
        (place / "state.json").write_text(json.dumps({**state, "selection": asdict(self.selection)
                                                      }))
        pointer = self.folder / "latest.part"
        pointer.write_text(name)
        os.replace(pointer, self.folder / "latest")
        for old in self.folder.glob("step-*"):
            if old.name != name:
                shutil.rmtree(old, ignore_errors=True)

    def tensors(self) -> dict[str, Tensor]:
        """Optimiser moments, random state and running sums, as tensors by name."""
        tensors = {"rng": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["rng_cuda"] = torch.cuda.get_rng_state(self.device)
        for number, parameter in enumerate(self.trainee.parameters()):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{number}.{name}"] = value.detach().clone()
        tensors.update({f"sum.{name}": value.clone() for name, value in self.sums.items()})
        return tensors

    def resume(self) -> None:
        if self.folder is None or not (self.folder / "latest").is_file():
            return
        place = self.folder / (self.folder / "latest").read_text().strip()
        if place.parent != self.folder or not (place / "state.json").is_file():
            return
        try:
            state = json.loads((place / "state.json").read_text())
            wrong = next(filter(None, map(damage, place.glob("*.safetensors"))), "")
        except ValueError as error:
            wrong = str(error)
        if wrong:  # the machine crashed before all of it was on the disk
            say(f"{self.label}: the checkpoint of {place.name} is damaged ({wrong}); from the "
                f"beginning"
                )
            return
        load_model(self.trainee, str(place / "trainee.safetensors"), device=str(self.device))
        tensors = load_file(place / "state.safetensors", device=str(self.device))
        for number, parameter in enumerate(self.trainee.parameters()):
            prefix = f"adam.{number}."
            found = {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}
            if found:
                self.optimizer.state[parameter] = found
        self.sums = {k[4:]: v for k, v in tensors.items() if k.startswith("sum.")}
        torch.set_rng_state(tensors["rng"].cpu())
        if "rng_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng_cuda"].cpu(), self.device)
        if (place / "best.safetensors").is_file():
            self.best_state = load_file(place / "best.safetensors")
        for name in STATE:
            setattr(self, name, state[name])
        self.selection = Selection(**state["selection"])


def clip(parameters: Iterable[nn.Parameter], most: float) -> None:
    """`clip_grad_norm_`, which multiplies all gradients by 1 where nothing is to be clipped: a pass
    that a CPU can be spared. On a GPU, to look at the norm would be to wait for it.
    """
    given = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(
        [parameter.grad for parameter in given if parameter.grad is not None], foreach=True)
    if norm.device.type != "cpu" or not norm <= most:  # not: one that is not a number
        nn.utils.clip_grads_with_norm_(given, most, norm, foreach=True)


def groups(trainee: Trainee, training: Training) -> list[dict[str, Any]]:
    """Parameter groups: head or encoder rate, weight decay or none (biases and norms)."""
    base = getattr(trainee.student, "base_model_prefix", "")
    found: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in trainee.named_parameters():
        if not parameter.requires_grad:
            continue
        head = training.head_lr is not None and not name.startswith(f"student.{base}.")
        plain = parameter.ndim < 2 and not training.decay_all
        found.setdefault((head, plain), []).append(parameter)
    return [{"params": parameters, "lr": training.head_lr if head else training.lr,
             "weight_decay": 0.0 if plain else training.weight_decay}
            for (head, plain), parameters in found.items()]


def learning_rate(step: int, total: int, training: Training) -> float:
    """The share of the peak rate at `step` (from 0) of `total`: linear warm-up, then linear decay
    to zero, or constant.

    Of `warm` steps of warm-up, a share of the total or a number, the step s has
    shifted   (s + 1) / (warm + 1): no step is lost at a rate of 0
    int       s / warm, warm a share rounded down (DSG-KD)
    ceil      s / warm, warm a share rounded up (LinkBERT, VE-KD); both as transformers' linear
              schedule does it
    """
    warm = training.warmup if training.warmup > 1 else training.warmup * total
    if training.warmup_rule != "shifted":
        warm = int(warm) if training.warmup_rule == "int" else math.ceil(warm)
    if step < warm:
        return (step + 1) / (warm + 1) if training.warmup_rule == "shifted" else step / warm
    if training.schedule == "constant":
        return 1.0
    return max(0.0, (total - step) / max(1.0, total - warm))
