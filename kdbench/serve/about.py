"""What a student was trained for: task.json beside its weights, for files that come later.

It has the task's name and metrics, and how its training file was read (`Data.reading`): columns,
tag scheme, what divides labels. A folder without it answers all the same.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdbench.base import checksums
from kdbench.base.errors import BadInput
from kdbench.base.folders import write_text
from kdbench.base.registry import TASKS
from kdbench.data import tags
from kdbench.data.corpora import METRICS
from kdbench.data.rows import Wanted, reader_task
from kdbench.data.task import Task
from kdbench.serve.labels import FILE as LABELS_FILE
from kdbench.serve.labels import Labels

FILE = "task.json"
RUN_ID = re.compile("[0-9a-f]+")


@dataclass(frozen=True)
class About:
    """The task of a student; the fields are empty where nothing is known.

    reading  how its training file was read
    """

    task: str = ""
    metric: str = ""
    metrics: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> About:
        """From task.json; an empty one where there is none.

        Raises `BadInput` where it is damaged: files would be read otherwise than those it was
        trained on.
        """
        if not os.path.lexists(folder / FILE):
            return cls()
        try:
            found = checksums.read_object(folder / FILE)
            if wrong := mistake(found):
                raise ValueError(f"{FILE}: {wrong}")
        except ValueError as error:
            raise BadInput(f"{folder}: {error}; {checksums.AGAIN}. If the change is yours, delete "
                           f"`{checksums.KEY}` in it") from None
        values: dict[str, Any] = found
        return cls(values["task"], values["metric"], tuple(values["metrics"]), values["reading"])

    def write(self, folder: Path) -> None:
        """Write task.json into `folder`."""
        content = {"task": self.task, "metric": self.metric, "metrics": list(self.metrics),
                   "reading": dict(self.reading)}
        text = json.dumps(checksums.sealed(content), indent=2, ensure_ascii=False)
        write_text(folder / FILE, text + "\n")

    def wanted(self, labels: Labels, options: Mapping[str, Any], *, labelled: bool = False,
               plain: bool = False) -> Wanted:
        """What the student says of a file that it is asked about; see `Wanted`."""
        return Wanted(labels.task_type, labels.labels, self.reading, options, labelled, plain)

    def task_with(self, labels: Labels) -> Task:
        """The task with the student's labels; without a known one, that of users' own files."""
        task: Task = TASKS.get(self.task) if self.task in TASKS else reader_task()
        if not task.task_type:
            metrics = self.metrics or METRICS[labels.task_type]
            task = replace(task, task_type=labels.task_type, metric=self.metric or metrics[0],
                           metrics=metrics)
        if task.tagging:
            task = replace(task, scheme=tags.scheme_of(labels.labels))
        return replace(task, labels=labels.labels)


TYPES = {"task": str, "metric": str, "metrics": list, "reading": dict}


def mistake(content: Mapping[str, object]) -> str:
    """What is wrong with the values of a task.json; empty where nothing is."""
    for name, kind in TYPES.items():
        if not isinstance(content.get(name), kind):
            return f"{name} is not what it should be"
    metrics = content["metrics"]
    if isinstance(metrics, list) and not all(isinstance(metric, str) for metric in metrics):
        return "metrics is not a list of names"
    return ""


def student_folder(name: str) -> Path | None:
    """The folder of a student that `name` is, None where it may be the id of a run.

    Beside a folder that is called like a run and holds no student, the run is meant. `BadInput` for
    a path where there is no folder.
    """
    folder = Path(name).expanduser()
    if (folder / "adapter_config.json").is_file():
        from kdbench.models.sources import refuse_adapter

        refuse_adapter(folder)
    student = any((folder / file).is_file() for file in (LABELS_FILE, "config.json"))
    if student or (folder.is_dir() and not RUN_ID.fullmatch(name)):
        return folder
    if "/" in name or name.startswith((".", "~")):
        raise BadInput(f"{name}: no such folder; give a run's id, or the folder of a student")
    return None
