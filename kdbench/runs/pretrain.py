"""Stages by themselves: the first stage of a method on a text corpus, as an ordinary model
folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from kdbench.base import options
from kdbench.base.errors import BadInput
from kdbench.base.folders import new_folder
from kdbench.base.registry import METHODS
from kdbench.data.task import Data, Task
from kdbench.models.sources import Source, resolve
from kdbench.runs.runner import Runner, teacher_of
from kdbench.train import spec
from kdbench.train.lab import Lab
from kdbench.train.stage_cache import StageCache
from kdbench.train.textfile import TextFile

OWN_PIECES = 10_000  # lines of the corpus that a tiny model's own vocabulary is trained on


def no_data(_: Any) -> Data:
    return Data((), (), (), ())


# no labels, and so no other head than the masked-LM one
TEXT = Task(name="text", task_type="mlm", about="unlabelled text", metric="accuracy", load=no_data)


def pieces_from(corpus: Path, models: Sequence[Source]) -> tuple[str, ...]:
    """Text for the vocabularies of models that have one of their own to train; none where no model
    has.
    """
    if not any(model.recipe and "vocab_size" in model.recipe.config for model in models):
        return ()
    return tuple(example.text for example in islice(TextFile(corpus), OWN_PIECES))


def pretrain(method: str, student: str, teacher: str | None, given: dict[str, Any], out: Path, *,
             variant: str = "corrected", settings: dict[str, Any] | None = None, seed: int = 0,
             results_dir: Path = Path("results/local"), device: str = "auto",
             threads: int | None = None) -> dict[str, Any]:
    """Run `method`'s masked-LM stage on its `corpus` option and put the student's folder at `out`.

    Without a teacher the student's own vocabulary is the one that is kept or expanded. Returns what
    `stage.json` says.
    """
    cls = METHODS.get(method)
    if not hasattr(cls, "pretrain"):
        raise BadInput(f"method {method} has no stage of pre-training; take adapt or ve_kd")
    made = cls(options.build(cls.Options, variant, given, f"method {method}"))
    if not made.options.corpus:
        raise BadInput("pretrain needs a text file, one sequence a line: --corpus FILE")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(
            f"{out}: is not empty and is never overwritten; give the name of a new folder")
    runner = Runner(results_dir, device=device, threads=threads)
    protocol = spec.settings({"select": "last", **(settings or {})}, TEXT, lookalike=False)
    models = resolve(student), teacher_of(teacher or student)
    data = replace(no_data(None), domain_text=pieces_from(Path(made.options.corpus), models))
    lab = Lab(TEXT, data, seed, variant, protocol, *models, StageCache(results_dir),
              runner.accelerator)
    made.check(lab)
    model = made.pretrain(lab)
    with new_folder(out) as partial:
        for path in lab.cache.stage(model.key).iterdir():
            if path.name not in ("objective.safetensors", "stage.json"):
                shutil.copy2(path, partial / path.name)
    return lab.stages[-1]
