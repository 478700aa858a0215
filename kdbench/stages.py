"""Stages by themselves: the first stage of a method on a text corpus, as an ordinary model folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from kdbench import options, spec
from kdbench.errors import BadInput
from kdbench.folders import new_folder
from kdbench.lab import Lab, Workshop
from kdbench.models import resolve
from kdbench.registry import METHODS
from kdbench.runner import Runner, teacher_of
from kdbench.task import Data, Task


def no_data(_: Any) -> Data:
    return Data((), (), (), ())


TEXT = Task(name="text", kind="single", about="unlabelled text", metric="accuracy", load=no_data)


def pretrain(method: str, student: str, teacher: str | None, given: dict[str, Any], out: Path, *, variant: str = "corrected",
             settings: dict[str, Any] | None = None, seed: int = 0, results_dir: Path = Path("results/local"), device: str = "auto",
             threads: int | None = None) -> dict[str, Any]:
    """Run `method`'s masked-LM stage on its `corpus` option and put the student's folder at `out`.

    Without a teacher the student's own vocabulary is the one that is kept or expanded. Returns what `stage.json` says.
    """
    cls = METHODS.get(method)
    if not hasattr(cls, "pretrain"):
        raise BadInput(f"method {method} has no stage of pre-training; take adapt or ve_kd")
    made = cls(options.build(cls.Options, variant, given, f"method {method}"))
    if not made.options.corpus:
        raise BadInput("pretrain needs a text file, one sequence a line: --corpus FILE")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: is not empty and is never overwritten; give the name of a new folder")
    runner = Runner(results_dir, device=device, threads=threads)
    protocol = spec.settings({"select": "last", **(settings or {})}, TEXT, lookalike=False)
    lab = Lab(TEXT, no_data(None), seed, variant, protocol, resolve(student), teacher_of(teacher or student),
              Workshop(results_dir), runner.accelerator)
    made.check(lab)
    model = made.pretrain(lab)
    with new_folder(out) as partial:
        for path in lab.shop.stage(model.key).iterdir():
            if path.name not in ("objective.safetensors", "stage.json"):
                shutil.copy2(path, partial / path.name)
    return lab.stages[-1]
