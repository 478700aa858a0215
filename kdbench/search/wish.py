"""What a user asks of a search, and the requests that it makes of the runner."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeGuard

from kdbench.base.errors import BadInput
from kdbench.base.identity import digest, file_digest
from kdbench.base.registry import METHODS, SEARCHED, unknown
from kdbench.data.apart import SHARE
from kdbench.models.sources import resolve
from kdbench.runs.certify import Asked
from kdbench.runs.request import Request
from kdbench.search.shapes import FORMS, Budget
from kdbench.search.trials import pruner_of, sampler_of

SEEDS, MORE_SEEDS = 3, 5  # of the finals, and where the time allows


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    request   task, data, teacher, settings and options; its method and student say nothing
    budget    what the student may take
    keep      share of the teacher's score that it has to keep
    label_loss  of each label's recall no more than this may be lost; None: any
    seconds   of the search and the finals, after the teacher
    students  further models to look at
    methods   that are tried; empty: `SEARCHED`
    forms     that a student may be served in
    seeds     of the finals; None: as many as the time allows
    trials    at most so many; None: as the time allows
    steps     of the last rung and of the finals; None: as the time allows
    threads   that the student is timed with
    device    that it is timed and served on: cpu or cuda
    """

    request: Request
    budget: Budget
    keep: float = 0.98
    label_loss: float | None = None
    seconds: float = 3600.0
    students: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    seeds: int | None = None
    trials: int | None = None
    steps: int | None = None
    threads: int | None = None
    sampler: str = "tpe"
    pruner: str = "halving"
    seed: int = 0
    device: str = "cpu"

    @property
    def asked(self) -> Asked:
        """What the certificate is about."""
        return Asked(self.keep, self.label_loss, self.budget.max_ms, self.budget.max_mb,
                     self.device)

    def tried(self) -> list[str]:
        """The names of the methods that are tried."""
        return [METHODS.entry(name).name for name in self.methods or SEARCHED.load()]

    def check(self) -> None:
        """`BadInput` for a number that is out of its range, and for a name that nothing has."""
        shares = {"keep": (self.keep, 2.0), "label_loss": (self.label_loss, 1.0),
                  "max_ms": (self.budget.max_ms, math.inf),
                  "max_mb": (self.budget.max_mb, math.inf),
                  "hours": (self.seconds / 3600, math.inf)}
        for name, (number, most) in shares.items():
            if number is None and name not in ("keep", "hours"):
                continue
            if not is_number(number) or not 0 < number <= most:
                end = f", at most {most:g}" if most < math.inf else ""
                raise BadInput(f"shrink: {name}={number}: give a number above 0{end}")
        for name in ("seeds", "trials", "steps", "threads"):
            count = getattr(self, name)
            if count is not None and (not is_whole(count) or count < 1):
                raise BadInput(f"shrink: {name}={count}: give a whole number from 1 on")
        if self.device not in FORMS:
            raise BadInput(unknown("device that a student is served on", self.device, FORMS))
        if not is_whole(self.seed) or self.seed < 0:
            raise BadInput(f"shrink: seed={self.seed}: give a whole number from 0 on")
        options = {each.name for name in self.tried()
                   for each in fields(METHODS.entry(name).load().Options)}
        for name in self.request.options:
            if name not in options:
                raise BadInput(unknown("option of the methods that are tried", name, options))
        for name in self.students:
            resolve(name)
        sampler_of(self.sampler, 0)
        pruner_of(self.pruner)

    def name(self, content: Mapping[str, Any]) -> str:
        """The search in 16 digits: what is searched, on which data and for which teacher.

        content  of a cell of it
        """
        asked = self.request
        return digest({
            "data": content["data"], "teacher": content["student"], "code": content["code"],
            "unlabelled": texts_as_hash(asked.unlabelled), "settings": asked.settings,
            "options": asked.options, "budget": [self.budget.max_ms, self.budget.max_mb],
            "students": self.students, "methods": self.tried(), "forms": self.forms,
            "steps": self.steps, "threads": self.threads, "sampler": self.sampler,
            "pruner": self.pruner, "seed": self.seed, "device": self.device,
        }, 16)

    # --- requests ---------------------------------------------------------------------------------

    def of_teacher(self, part: str) -> Request:
        """The teacher, trained or as it comes, beside a student that is of no account."""
        return self._request(METHODS.baseline().name, self.request.teacher, {}, {}, part,
                             controls=True)

    def of_point(self, point: Mapping[str, Any], steps: int, part: str, *,
                 seeds: Sequence[int] = (0,), tuned: int = 0) -> Request:
        """A student that a trial describes, with that number of steps.

        point  `beside`: the student that a method is named which builds its own
        tuned  of a final: the trials behind its settings
        """
        student = point.get("beside", point["student"])
        made = self._request(point["method"], student, point["options"],
                             {**point["settings"], "steps_equal": steps}, part, controls=False)
        tuning = {**made.tuning, **({"tuned": tuned} if tuned else {})}
        return replace(made, seeds=tuple(seeds), tuning=tuning)

    def _request(self, method: str, student: str, options: Mapping[str, Any],
                 settings: Mapping[str, Any], part: str, *, controls: bool) -> Request:
        alone: dict[str, Any] = {} if controls else {"alone": True}
        if alone and self.request.settings.get("labels") is not None:
            alone["labels_seed"] = 0  # the teacher's: other seeds would bring labels of their own
        return replace(
            self.request, method=method, student=student, options=dict(options),
            settings={**self.request.settings, **settings, "latency": "off"}, controls=controls,
            seeds=(0,), tuning={"dev_apart": SHARE, "part": part, **alone})


def is_whole(number: Any) -> bool:
    """Is it a whole number, and no yes or no?"""
    return isinstance(number, int) and not isinstance(number, bool)


def is_number(number: Any) -> TypeGuard[float]:
    """Is it a number, and no yes or no?"""
    return is_whole(number) or isinstance(number, float)


def texts_as_hash(unlabelled: Path | None) -> str:
    """Texts without labels by what is in their file."""
    if unlabelled is None or not unlabelled.is_file():
        return str(unlabelled or "")
    return file_digest(unlabelled)


@dataclass
class Clock:
    """The time of a search, with what was spent on it before.

    seconds  in all
    """

    seconds: float
    before: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds until now."""
        return self.before + time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds from now on."""
        return self.seconds - self.spent
