"""A cell: what is run and recorded as one, and known by one id."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from kdbench.base import code
from kdbench.base.errors import BadInput, Skip, one_line
from kdbench.base.identity import digest, record_id
from kdbench.base.options import recorded
from kdbench.data.task import Data, Example, Task
from kdbench.models.sources import Source, on_disk
from kdbench.models.teachers import settings_of
from kdbench.runs import store
from kdbench.runs.request import OF_TEACHER, REST, Request
from kdbench.runs.store import Record
from kdbench.score import metrics
from kdbench.train.method import Method
from kdbench.train.spec import Settings


@dataclass(frozen=True, eq=False)
class Cell:
    """One method, task, teacher, student and seed, with everything that it takes to run it.

    Its id is the hash of all that decides its result: `description` is what has a name, `content`
    what has none.

    request      what it was planned from: of a control, the request of the method beside it
    role         its row of the request: teacher, control or method
    method_name  as the registry calls it
    method       with its options
    task_options an instance of the task's own options class, if it has one
    unlabelled   further training examples without a label
    device       the type of the device: figures of a CPU and of a GPU are not the same
    """

    request: Request
    role: str
    method_name: str
    method: Method
    variant: str
    task: Task
    task_options: Any
    data: Data
    settings: Settings
    student: Source
    teacher: Source | None
    unlabelled: tuple[Example, ...]
    seed: int
    device: str

    @cached_property
    def id(self) -> str:
        """16 hex digits: the same for the same result, on any machine."""
        return record_id(self.description, self.content)

    @cached_property
    def description(self) -> dict[str, Any]:
        """The record's `cell`: names, options and settings, no local path."""
        settings = self.settings.identity()
        if self.unlabelled:
            settings["unlabelled"] = len(self.unlabelled)
        if self.learns_words and self.settings.min_texts > 1:
            settings["min_texts"] = self.settings.min_texts
        if labels := self.student.labels or (self.teacher.labels if self.teacher else ""):
            settings["teacher_labels"] = labels
        settings |= settings_of(self.teacher) | settings_of(self.student) | self.request.tuning
        return {
            "method": self.method_name, "task": self.task.name, "variant": self.variant,
            "teacher": self.teacher.name if self.teacher else None, "student": self.student.name,
            "seed": self.seed, "options": self.options,
            "task_options": recorded(self.task_options) if self.task_options else {},
            "settings": settings,
        }

    @property
    def own_unlabelled(self) -> bool:
        """Are the unlabelled texts a file of the user's, and no part of the task?"""
        return bool(self.unlabelled) and str(self.request.unlabelled or REST) != REST

    @property
    def learns_words(self) -> bool:
        """Is a vocabulary trained on text that is the user's own?"""
        own = self.data.own_text
        models = [source for source in (self.student, self.teacher) if source is not None]
        built = [source.base or source for source in models]
        if own and any(one.recipe and "vocab_size" in one.recipe.config for one in built):
            return True
        return self.method.learns_words(own or self.own_unlabelled)

    @cached_property
    def options(self) -> dict[str, Any]:
        """The options of the method, as a record keeps them."""
        return recorded(self.method.options)

    @cached_property
    def content(self) -> dict[str, Any]:
        """All that decides the result and that no name, option or setting shows: digests of data
        and models, versions of the code, the type of the device.
        """
        task, extra = self.task, self.unlabelled
        content = {
            "data": self.data.digests,
            "unlabelled": digest([e.key for e in extra], 24) if extra else None,
            "task": {
                "kind": task.task_type, "metric": task.metric, "negative": task.negative,
                "scheme": task.scheme,
            },
            "student": identity(self.student),
            "teacher": identity(self.teacher) if self.teacher else None,
            "code": code_behind(self.method, task),
            "device": self.device,
        }
        if self.role == "teacher":
            # the same fine-tuning may be one cell's teacher, with the teacher's rate, and another's
            # control
            content["role"] = "teacher"
        return as_json(content)

    @property
    def training_settings(self) -> Settings:
        """The settings that it trains with: the row of the teacher is the very teacher that the
        method has.
        """
        return self.teacher_settings if self.role == "teacher" else self.settings

    @property
    def teacher_settings(self) -> Settings:
        """The settings that its teacher trains with: not those that a trial tries."""
        return replace(self.settings, **self.request.tuning.get(OF_TEACHER, {})).of_teacher

    @property
    def label(self) -> str:
        """The cell in words."""
        return (f"{self.method_name} on {self.task.name}, {self.student.name}, "
                f"seed {self.seed}")

    def has_its_code(self) -> bool:
        """Is the code still what it was when the cell was planned?"""
        return as_json(code_behind(self.method, self.task)) == self.content["code"]


@dataclass(frozen=True)
class LeftOut:
    """A seed of a request that could not be planned, and why: something has to be fetched first
    (`BadInput`), or the method does not apply (`Skip`).
    """

    request: Request
    seed: int
    error: BadInput | Skip

    @property
    def missing(self) -> str:
        """What has to be fetched; empty where the method does not apply."""
        return one_line(self.error) if isinstance(self.error, BadInput) else ""

    @property
    def reason(self) -> str:
        """Why the method does not apply; empty where something is missing."""
        return one_line(self.error) if isinstance(self.error, Skip) else ""

    @property
    def label(self) -> str:
        """The cell in words."""
        return self.request.label(self.seed)

    @property
    def record(self) -> Record:
        """What tables say of it; it is not written."""
        asked = self.request
        error = None
        if self.missing:
            error = {"type": "BadInput", "message": self.missing, "traceback": ""}
        return {
            "format": store.FORMAT, "id": self.label,
            "status": "failed" if self.missing else "skipped", "role": "method",
            "reason": self.reason or None,
            "cell": {
                "method": asked.method, "task": asked.task, "variant": asked.variant,
                "teacher": asked.teacher, "student": asked.student, "seed": self.seed,
                "options": asked.options, "task_options": asked.task_options,
                "settings": asked.settings,
            },
            "data": {}, "error": error,
        }


def as_json(value: Any) -> Any:
    """`value` as it reads from a JSON file: tuples are lists."""
    return json.loads(json.dumps(value))


def identity(source: Source) -> str:
    """What stands for a model's weights in a record."""
    return known_weights(source, on_disk(source.hub) if source.hub else None)


@lru_cache(maxsize=32)
def known_weights(source: Source, snapshot: Path | None) -> str:
    """`identity`, kept for as long as the hub's files of a model stay where they are."""
    return digest(source.identity())


def code_behind(method: Method, task: Task) -> dict[str, Any]:
    """Versions, or digests, of all code that decides a cell's result."""
    scored = dict.fromkeys((task.metric, *task.metrics))
    return {
        "training": code.core("training"),
        "scoring": code.core("scoring"),
        "metrics": {name: metrics.code_of_metric(name) for name in scored},
        "method": code.method_code(type(method)),
    }
