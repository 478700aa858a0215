"""The protocol's settings, which all methods of a comparison share: validated and frozen."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.options import WORDS, check, option
from kdbench.base.registry import METHODS, unknown
from kdbench.data.lengths import LONG, POOLING
from kdbench.data.task import LEAST_TEXTS, Task

# These take no part in a cell's identity, each for a reason.
OUTSIDE = {
    "checkpoint_seconds": "a resumed training ends with the weights of an undisturbed one, bit for "
                          "bit",
    "min_texts": "a cell has it in its identity where it trains a vocabulary on one's own text; "
                 "elsewhere it decides nothing",
    "latency": "how latency is measured decides no score; the record says how it was measured",
}
# Settings that are newer than some records. At their defaults they are not part of the identity, so
# that those records stay valid.
LATER = ("batch_tokens", "labels", "long", "max_steps", "pooling", "signal_memory", "steps_equal",
         "stride", "warmup_rule")

# Epochs on look-alike data. A tagged sentence has a label a word, and a BiLSTM takes its time.
TOY_EPOCHS, TOY_EPOCHS_TAGS = 12, 4


@dataclass(frozen=True)
class Settings:
    """The protocol: the same for every method of a comparison. Published studies differ in it, so
    a record holds it.
    """

    epochs: int = option(
        5, "epochs of plain fine-tuning; methods of several phases say how theirs follow",
        minimum=1, search=[3, 5, 8])
    batch_size: int = option(32, "examples an optimiser step", minimum=1, search=[16, 32])
    lr: float | None = option(  # a search tries these multiples of the model's own
        None, "peak learning rate of students (default: the model's own)", minimum=0,
        search=(0.5, 10.0, "log"))
    teacher_lr: float | None = option(
        None, "peak learning rate of the teacher (default: as --lr)", minimum=0)
    weight_decay: float = option(0.01, "AdamW's weight decay", minimum=0)
    warmup: float = option(
        0.1, "linear warm-up: share of the steps, or their number where above 1", minimum=0)
    warmup_rule: str = option(
        "shifted",
        "how the rate rises over w steps, at step s from 0: (s + 1) / (w + 1), or s / w with w "
        "rounded down (int) or up (ceil)",
        choices=("shifted", "int", "ceil"))
    max_length: int | None = option(
        None,
        "tokens a text is cut at (default: what the task states; else the 99th percentile of the "
        "training texts, by each model's own tokenizer, up to that model's limit)", minimum=4)
    long: str = option(
        "cut",
        "texts of more tokens than a model reads: cut, or read in windows, which overlap, in "
        "training and for every answer",
        choices=LONG)
    stride: int | None = option(
        None,
        "--long windows: tokens that a window shares with the one before it (default: half of a "
        "window for tags, a quarter for labels of texts)",
        minimum=0)
    pooling: str = option(
        "mean",
        "--long windows: a text's label by the mean of the logits of its windows, or by their "
        "maximum",
        choices=POOLING)
    accumulate: int = option(1, "parts that a batch is computed in", minimum=1)
    select: str = option(
        "best", "the epoch that is kept: best on dev, or last", choices=("best", "last"))
    max_train_examples: int | None = option(
        None, "at most so many training rows, drawn by a fixed seed", minimum=1)
    max_dev_examples: int | None = option(
        None, "at most so many dev rows, drawn by a fixed seed", minimum=1)
    labels: int | None = option(
        None,
        "so many training rows keep their labels, drawn by the run's seed in proportion to the "
        "labels; the others are unlabelled text, for methods with a teacher",
        minimum=1)
    max_steps: int | None = option(
        None, "at most so many optimiser steps a training, to see that a configuration runs",
        minimum=1)
    steps_equal: int | None = option(
        None,
        "optimiser steps of every student, all its trainings together, in place of what its method "
        "takes: a method of several trainings has as many as one of a single training",
        minimum=1)
    precision: str = option(
        "auto", "bf16 autocast or fp32; auto: bf16 for wide models where the device has it",
        choices=("auto", "fp32", "bf16"))
    batch_tokens: int | None = option(
        None,
        "token positions an optimiser step, padding included, in place of a number of examples; "
        "losses stay means over examples",
        minimum=4)
    compile: str = option(
        "off",
        "torch.compile the encoder that is trained: on, off, or auto (CUDA, and at least 10,000 "
        "steps: both are timed, and the faster is kept); on a CPU no gain (a minute to compile, "
        "then a sixth slower)",
        choices=("off", "on", "auto"))
    checkpoint_seconds: float = option(60.0, "seconds between checkpoints of a training", minimum=0)
    signal_memory: float = option(
        2.0, "gigabytes of teacher signals to keep; more is computed on the fly", minimum=0)
    min_texts: int = option(
        LEAST_TEXTS,
        "texts (groups, where examples have them) that must hold a word before a vocabulary that "
        "is trained on your own text may have pieces of it",
        minimum=1)
    latency: str = option(
        "quick", "how latency is taken: quick (in this process), full (fresh processes), off",
        choices=("quick", "full", "off"))

    def identity(self) -> dict[str, Any]:
        """The settings that decide a result, by name."""
        default = {f.name: f.default for f in dataclasses.fields(self)}
        found = {k: v for k, v in dataclasses.asdict(self).items()
                 if k not in OUTSIDE and not (k in LATER and v == default[k])}
        # what a measurement chooses is in the cost: the id is that of a run that is not compiled
        del found["compile"]
        return {**found, **({"compile": True} if self.compiled else {})}

    @property
    def of_teacher(self) -> Settings:
        """The settings that the teacher trains with."""
        rate = self.lr if self.teacher_lr is None else self.teacher_lr
        return dataclasses.replace(self, lr=rate)

    @property
    def compiled(self) -> bool | None:
        """Is the encoder compiled? None: where a measurement says that it is faster."""
        return {"on": True, "off": False, "auto": None}[self.compile]


def settings(given: Mapping[str, Any], task: Task, *, lookalike: bool, recipe: str = "default",
             method: str = "", options: Mapping[str, Any] | None = None,
             most: int | None = None) -> Settings:
    """Settings from what the user gave, over the published ones of `method` on the task (recipe
    `paper`) or defaults.

    method   by name; without one, the baseline
    options  of the method, as given: published settings can be those of one mode
    most     steps a training on look-alike data, of a model too large for it

    `BadInput` reports all mistakes at once, in one line.
    """
    toy_epochs = TOY_EPOCHS_TAGS if task.task_type == "tags" else TOY_EPOCHS
    values: dict[str, Any] = {
        "max_length": task.max_length,
        "epochs": toy_epochs if lookalike else 5,
        "max_steps": most if lookalike else None,
    }
    if recipe == "paper":
        values.update(published_settings(method or METHODS.baseline().name, task, options))
    values.update({name: value for name, value in given.items() if value is not None})
    if values.get("steps_equal") is not None:
        if given.get("max_steps") is not None:
            raise BadInput("--steps-equal and --max-steps both say how long a student is trained; "
                           "leave one out")
        values["max_steps"] = None
    found = Settings(**checked(values))
    if found.long == "cut" and (found.stride is not None or found.pooling != POOLING[0]):
        raise BadInput("--stride and --pooling say how windows are read; give --long windows, or "
                       "leave them out")
    return found


def published_settings(method: str, task: Task,
                       options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The settings that were published for a method on a task; `BadInput` where none were."""
    published = task.recipe(method, options)
    if published is None:
        raise BadInput(
            f"task {task.name} has no published settings, neither of {method} nor of "
            f"fine-tuning; leave --recipe out")
    return published.values


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, each as its type and inside its bounds; `BadInput` with all mistakes."""
    hints = typing.get_type_hints(Settings)
    facts = {f.name: f.metadata for f in dataclasses.fields(Settings)}
    found, mistakes = {}, []
    for name, value in values.items():
        if name not in hints:
            mistakes.append(unknown("setting", name, hints))
            continue
        if name == "compile":  # it was yes or no
            word = WORDS.get(str(value).lower())
            value = value if word is None else "on" if word else "off"
        try:
            found[name] = check(name, value, hints[name], facts[name])
        except ValueError as error:
            mistakes.append(str(error).replace(f"option {name}", flag_of(name)))
    if mistakes:
        raise BadInput("; ".join(mistakes))
    return found


def flag_of(setting: str) -> str:
    """A setting as the command line calls it: `batch_size` is `--batch-size`."""
    return f"--{setting.replace('_', '-')}"
