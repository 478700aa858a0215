"""What a single run is: the protocol's settings and the cell, validated and frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.identity import record_id
from kdbench.base.options import check, option
from kdbench.data.task import Task

# These take no part in a cell's identity, each for a reason.
OUTSIDE = {
    "checkpoint_seconds": "a resumed training ends with the weights of an undisturbed one, bit for "
                          "bit",
    "latency": "how the time of an answer is taken decides no score; the record says which way it "
               "was",
}
# Records made before there were these stay valid: at their default they are not part of the
# identity.
LATER = ("compile", "max_steps", "signal_memory", "warmup_rule")


@dataclass(frozen=True)
class Settings:
    """The protocol: the same for every method of a comparison. Published studies differ in it, so
    it is recorded.
    """

    epochs: int = option(
        5, "epochs of plain fine-tuning; methods of several phases say how theirs follow",
        minimum=1)
    batch_size: int = option(32, "examples an optimiser step", minimum=1)
    lr: float | None = option(None, "peak learning rate of students (default: the model's own)",
                              minimum=0)
    teacher_lr: float | None = option(None, "peak learning rate of the teacher (default: as --lr)",
                                      minimum=0)
    weight_decay: float = option(0.01, "AdamW's weight decay", minimum=0)
    warmup: float = option(0.1, "linear warm-up: share of the steps, or their number where above 1",
                           minimum=0)
    warmup_rule: str = option(
        "shifted",
        "how the rate rises over w steps, at step s from 0: (s + 1) / (w + 1), or s / w with w "
        "rounded down (int) or up (ceil)", choices=("shifted", "int", "ceil"))
    max_length: int = option(128, "tokens a text is cut at", minimum=4)
    accumulate: int = option(1, "parts that a batch is computed in", minimum=1)
    select: str = option("best", "the epoch that is kept: best on dev, or last",
                         choices=("best", "last"))
    max_train_examples: int | None = option(None,
                                            "at most so many training rows, drawn by a fixed seed",
                                            minimum=1)
    max_dev_examples: int | None = option(None, "at most so many dev rows, drawn by a fixed seed",
                                          minimum=1)
    max_steps: int | None = option(
        None, "at most so many optimiser steps a training, to see that a configuration runs",
        minimum=1)
    precision: str = option(
        "auto", "bf16 autocast or fp32; auto: bf16 for wide models where the device has it",
        choices=("auto", "fp32", "bf16"))
    compile: bool = option(
        False,
        "torch.compile the encoder that is trained; on a CPU no gain (a minute to compile, then a "
        "sixth slower)"
    )
    checkpoint_seconds: float = option(60.0, "seconds between checkpoints of a training", minimum=0)
    signal_memory: float = option(
        2.0, "gigabytes of teacher signals to keep; more is computed on the fly", minimum=0)
    latency: str = option(
        "quick", "how latency is taken: quick (in this process), full (fresh processes), off",
        choices=("quick", "full", "off"))

    def identity(self) -> dict[str, Any]:
        """The settings that decide a result, by name."""
        default = {f.name: f.default for f in dataclasses.fields(self)}
        return {k: v for k, v in dataclasses.asdict(self).items()
                if k not in OUTSIDE and not (k in LATER and v == default[k])}


def settings(given: dict[str, Any], task: Task, *, lookalike: bool, recipe: str = "default",
             method: str = "finetune", options: Mapping[str, Any] | None = None,
             most: int | None = None) -> Settings:
    """Settings from what the user gave, over the published ones of `method` on the task (recipe
    `paper`) or defaults.

    options  of the method, as given: published settings can be those of one mode
    most     steps a training on look-alike data, of a model too large for it
    """
    # of the small look-alikes; a tagged sentence has a label a word, and a BiLSTM takes its time
    toy = 4 if task.task_type == "tags" else 12
    values: dict[str, Any] = {
        "max_length": task.max_length, "epochs": toy if lookalike else 5,
        "max_steps": most if lookalike else None
    }
    if recipe == "paper":
        published = task.recipe(method, options)
        if published is None:
            raise BadInput(
                f"task {task.name} has no published settings, neither of {method} nor of "
                f"fine-tuning; leave --recipe out"
            )
        values.update(published.values)
    values.update({k: v for k, v in given.items() if v is not None})
    import typing

    hints = typing.get_type_hints(Settings)
    facts = {f.name: f.metadata for f in dataclasses.fields(Settings)}
    mistakes = []
    for name, value in list(values.items()):
        try:
            values[name] = check(name, value, hints[name], facts[name])
        except ValueError as error:
            mistakes.append(str(error).replace(f"option {name}", f"--{name.replace('_', '-')}"))
    if mistakes:
        raise BadInput("; ".join(mistakes))
    return Settings(**values)


@dataclass(frozen=True)
class Cell:
    """One (method, task, teacher, student, seed, options), and by `content` all that decides its
    result and has no name.

    content  digests of the data that are read, of the models, the versions of the code, the
             device's type
    """

    method: str
    task: str
    variant: str
    teacher: str | None
    student: str
    seed: int
    options: dict[str, Any]
    settings: Settings
    task_options: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    unlabelled: int = 0  # further training examples without a label; `content` knows them

    @cached_property
    def id(self) -> str:
        return record_id(self.described(), self.content)

    def described(self) -> dict[str, Any]:
        """The record's `cell`: names and options, no local path."""
        return {
            "method": self.method, "task": self.task, "variant": self.variant,
            "teacher": self.teacher, "student": self.student, "seed": self.seed,
            "options": self.options, "task_options": self.task_options, "settings": {
                **self.settings.identity(),
                **({"unlabelled": self.unlabelled} if self.unlabelled else {})
            },
        }

    @property
    def label(self) -> str:
        return f"{self.method} on {self.task}, {self.student}, seed {self.seed}"
