"""How one model is trained: batch size and rates, what is kept of it, and when it stops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from kdbench.base.errors import Broken
from kdbench.data.windows import Windows
from kdbench.models.finite import non_finite


@dataclass(frozen=True)
class Training:
    """How one model is trained.

    batch_size     examples an optimiser step, over all processes and accumulated parts
    batch_tokens   in place of batch_size: token positions a step, padding included
    accumulate     parts a batch is computed in, where it does not fit the memory
    lr, head_lr    peak learning rates; without head_lr one rate for everything
    warmup         share of the steps, or their number where above 1
    warmup_rule    how the rate rises, see `learning_rate`: shifted, int or ceil
    schedule       after the warm-up: linear or constant
    clip           largest norm of the gradient; 0: any
    order          of the examples: "shuffled", anew in every epoch; "file"; "sampler": one
                   permutation for all epochs, the one that torch's DistributedSampler draws while
                   nobody calls its `set_epoch`
    select         "best": the weights with the best dev measure; "last": those of the last epoch
    select_by      that measure: "score" (the task's), "loss", a metric, or one of the method's own
                   ("-" before a name: lower is better)
    eval_steps     dev is measured after so many steps, and not at the end of epochs; weights before
                   the first measurement are not kept
    patience       measurements of dev without a new best until a measure has stalled
    watch          dev measures that all have to stall to stop early ("-" as above)
    ties_improve   a value equal to the best so far is a new best
    stays_stalled  a watched measure that has stalled once counts as stalled, whatever it does
                   afterwards
    decay_all      weight decay on biases and norms as well
    max_length     tokens of a text that are read at once
    windows        how longer texts are read; None: they are cut
    """

    epochs: int = 5
    batch_size: int = 32
    lr: float = 5e-5
    head_lr: float | None = None
    weight_decay: float = 0.01
    decay_all: bool = False
    warmup: float = 0.1
    warmup_rule: str = "shifted"
    schedule: str = "linear"
    clip: float = 1.0
    accumulate: int = 1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    order: str = "shuffled"
    select: str = "best"
    select_by: str = "score"
    eval_steps: int | None = None
    patience: int | None = None
    watch: tuple[str, ...] = ("score",)
    ties_improve: bool = False
    stays_stalled: bool = False
    max_length: int = 128
    batch_tokens: int | None = None
    windows: Windows | None = None

    def content(self) -> dict[str, Any]:
        """All fields by name; without `batch_tokens` where a step has a number of examples, and
        without `windows` where texts are cut, as in trainings from before there was the choice.
        """
        fields = asdict(self)
        for name in ("batch_tokens", "windows"):
            if fields[name] is None:
                del fields[name]
        return fields

    @property
    def measures(self) -> tuple[str, ...]:
        """The dev measures that decide something, with their sign."""
        return tuple(dict.fromkeys(("score", self.select_by, *self.watch)))


@dataclass
class Selection:
    """What dev has shown so far.

    best     by measure its best value
    stalled  by measure how many measurements ago that was
    settled  the measures that have stalled once
    """

    best: dict[str, float] = field(default_factory=dict)
    stalled: dict[str, int] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)

    def see(self, measures: Mapping[str, float], training: Training) -> set[str]:
        """Take in one measurement; returns the measures with a new best."""
        improved = set()
        for name in training.measures:
            value = -measures[name[1:]] if name.startswith("-") else measures[name]
            best = self.best.get(name, -math.inf)
            if value > best or (training.ties_improve and value == best):
                self.best[name], self.stalled[name] = value, 0
                improved.add(name)
                continue
            self.stalled[name] = self.stalled.get(name, 0) + 1
            if self.is_stalled(name, training) and name not in self.settled:
                self.settled.append(name)
        return improved

    def is_stalled(self, name: str, training: Training) -> bool:
        """Has this measure had no new best for `patience` measurements?"""
        return training.patience is not None and self.stalled[name] >= training.patience

    def stopped(self, training: Training) -> bool:
        """Whether every watched measure has stalled: is stalled now, or with `stays_stalled` was so
        once.
        """
        if training.patience is None or not self.stalled:
            return False
        if training.stays_stalled:
            return all(name in self.settled for name in training.watch)
        return all(self.is_stalled(name, training) for name in training.watch)


def learning_rate(step: int, total: int, training: Training) -> float:
    """The share of the peak rate at `step` (from 0) of `total`: linear warm-up, then linear decay
    to zero, or constant.

    `warm` is the length of the warm-up, a share of the total or a number of steps. The step s of it
    has, by `warmup_rule`:

    shifted   (s + 1) / (warm + 1): no step is lost at a rate of 0
    int       s / warm, warm a share rounded down
    ceil      s / warm, warm a share rounded up; both are transformers' linear schedule
    """
    warm = training.warmup if training.warmup > 1 else training.warmup * total
    if training.warmup_rule == "int":
        warm = int(warm)
    elif training.warmup_rule == "ceil":
        warm = math.ceil(warm)
    if step < warm and training.warmup_rule == "shifted":
        return (step + 1) / (warm + 1)
    if step < warm:
        return step / warm
    if training.schedule == "constant":
        return 1.0
    return max(0.0, (total - step) / max(1.0, total - warm))


def parameter_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], encoder: str,
                     training: Training) -> list[dict[str, Any]]:
    """Parameter groups of the optimiser: head or encoder rate, weight decay or none (biases and
    norms). `encoder` is what the names of the encoder's parameters begin with.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        head = training.head_lr is not None and not name.startswith(encoder)
        plain = parameter.ndim < 2 and not training.decay_all
        groups.setdefault((head, plain), []).append(parameter)
    return [{"params": parameters, "lr": training.head_lr if head else training.lr,
             "weight_decay": 0.0 if plain else training.weight_decay}
            for (head, plain), parameters in groups.items()]


def clip(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale all gradients so that their norm is at most `most`.

    As torch's `clip_grad_norm_`, which multiplies the gradients by 1 where nothing is to be
    clipped. A CPU is spared that pass; on a GPU the norm is not read, to avoid a sync.
    """
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    within = norm.device.type == "cpu" and bool(norm <= most)  # False for NaN
    if not within:
        nn.utils.clip_grads_with_norm_(trained, most, norm, foreach=True)


def refuse_non_finite(module: nn.Module, objective: nn.Module, what: str,
                      training: Training) -> None:
    """`Broken` where a training has left weights that are NaN or infinite."""
    if name := non_finite(module) or non_finite(objective):
        raise Broken(f"{what}: its weights are not finite after training ({name}); lower the "
                     f"learning rate ({training.lr:g}) or use --precision fp32")
