"""What a user asks for, before defaults, data and models are filled in.

The words of the way from here: a `Request` is planned into `Cell`s (`planning.py`), one a seed and
a control, and a cell is run to a `Record` (`runner.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from kdbench.base import hub
from kdbench.base.options import written
from kdbench.models.zoo import BEST

OF_TEACHER = "teacher_settings"  # of `tuning`
REST = "rest"  # unlabelled: the training examples that --max-train-examples leaves out

# where a user names none; which teacher is the best is found by `kdbench.models.best`
TEACHER, STUDENT = BEST, "tiny-student"


@dataclass(frozen=True)
class Request:
    """One configuration: a method on a task with a teacher and a student.

    options, settings, task_options  as given: text from a command line, or typed values
    data_dir    the folder of the corpora; without it, look-alike data
    files       of task `files`: paths by split
    unlabelled  a file of texts that the teacher labels, or `REST`
    seeds       each is a cell, beside those of the controls
    controls    run the controls too
    teacher     a model's or file's name; of several, their names with " + " between
    teacher_labels  which rows of the teacher's head, or labels of its file, are which: `a=b,...`
    teacher_options of a teacher that is a file (`kdbench.data.answer_options`)
    teacher_weights of several teachers: numbers with commas, or `dev`
    tuning      of a search: `dev_apart`, the share of dev that is kept apart; `part`, whether it is
                a trial, scored on that part, or a final; `tuned`, the trials behind its settings;
                `alone`, where no row is wanted that a method trains to be compared with;
                `labels_seed`, by which few labels are drawn for every seed; `teacher_settings`, the
                protocol's for the teacher, where a trial tries others for its student
    trials      of a tuned final: the dev scores of the trials behind it, which its record keeps
    resources   what one cell takes: cpus, gpus, memory_gb
    published   the figures that others published for it: metric, value, system, over
    """

    method: str
    task: str
    teacher: str = TEACHER
    student: str = STUDENT
    variant: str = "corrected"
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    task_options: dict[str, Any] = field(default_factory=dict)
    recipe: str = "default"
    data_dir: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)
    unlabelled: Path | None = None
    seeds: tuple[int, ...] = (0,)
    controls: bool = True
    resources: dict[str, float] = field(default_factory=dict)
    published: tuple[dict[str, Any], ...] = ()
    teacher_labels: str = ""
    teacher_options: dict[str, Any] = field(default_factory=dict)
    teacher_weights: str = ""
    tuning: dict[str, Any] = field(default_factory=dict)
    trials: tuple[float, ...] = ()

    def label(self, seed: int) -> str:
        """One cell of it, in words."""
        return f"{self.method} on {self.task}, {self.student}, seed {seed}"

    def differences(self) -> dict[str, Any]:
        """What tells it from others of the same method, task and student: values that are not the
        default, by name.
        """
        plain = {f.name: f.default for f in fields(self)}
        chosen = {}
        for name in ("teacher", "teacher_labels", "teacher_weights", "variant", "unlabelled"):
            if getattr(self, name) != plain[name]:
                chosen[name] = getattr(self, name)
        return {**chosen, **self.teacher_options, **self.task_options, **self.options}

    def values(self) -> dict[str, str]:
        """Settings, options and fields by name, as the command line takes them."""
        found = {**self.settings, **self.teacher_options, **self.task_options, **self.options}
        for name in ("method", "task", "teacher", "student", "variant", "recipe"):
            found[name] = getattr(self, name)
        if self.unlabelled is not None:
            found["unlabelled"] = self.unlabelled
        return {name: written(value) for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        """All that plans its cells, for another process: paths are absolute."""
        message = asdict(self)
        del message["resources"], message["published"]
        message["files"] = {split: absolute(path) for split, path in self.files.items()}
        for name in ("data_dir", "unlabelled"):
            path = getattr(self, name)
            message[name] = None if path is None else absolute(path)
        return message

    @classmethod
    def from_json(cls, message: dict[str, Any]) -> Request:
        """The request that `to_json` described."""
        given = {**message, "seeds": tuple(message["seeds"]),
                 "trials": tuple(message.get("trials", ()))}
        given["files"] = {split: Path(path) for split, path in message["files"].items()}
        for name in ("data_dir", "unlabelled"):
            given[name] = Path(message[name]) if message[name] else None
        return cls(**given)


def absolute(path: Path) -> str:
    """`path` as another process finds it; `REST` and ids of the hub are no paths."""
    named = str(path) == REST or (not path.exists() and hub.is_id(path.as_posix()))
    return str(path) if named else str(path.absolute())
