"""The masked-LM stage of a method by itself: a text corpus in, an ordinary model folder out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from kdbench.base import options
from kdbench.base.errors import BadInput
from kdbench.base.folders import new_folder
from kdbench.base.identity import digest
from kdbench.base.registry import METHODS, PRETRAIN
from kdbench.data.task import Data, LoadOptions, Task
from kdbench.models.has_read import note_pretraining
from kdbench.models.load import Model
from kdbench.models.sources import Source, resolve
from kdbench.runs.planning import teacher_of
from kdbench.runs.runner import Runner
from kdbench.train import spec
from kdbench.train.lab import Lab
from kdbench.train.stage_cache import StageCache
from kdbench.train.textfile import TextFile

OWN_PIECES = 10_000  # lines of the corpus that a tiny model's own vocabulary is trained on
OF_THE_STAGE = ("objective.safetensors", "stage.json")  # files that are not the model's


def no_data(_: LoadOptions | None) -> Data:
    """Data without an example."""
    return Data((), (), (), ())


# no labels, and so no other head than the masked-LM one
TEXT = Task(name="text", task_type="mlm", about="unlabelled text", metric="accuracy", load=no_data)


class Pretraining(Protocol):
    """A method that has a stage of pre-training."""

    options: Any

    def check(self, lab: Lab) -> None:
        """As `Method.check`."""

    def pretrain(self, lab: Lab) -> Model:
        """The student after masked-LM training."""


def methods() -> list[str]:
    """The methods that have a stage of pre-training. This imports every method."""
    return [name for name in METHODS.names() if hasattr(METHODS.get(name), "pretrain")]


def vocabulary_text(corpus: Path, models: Sequence[Source]) -> tuple[str, ...]:
    """Text for models that train a vocabulary of their own; none where no model does."""
    if not any(model.recipe and "vocab_size" in model.recipe.config for model in models):
        return ()
    return tuple(example.text for example in islice(TextFile(corpus), OWN_PIECES))


def pretrain(method: str | None, student: str, teacher: str | None, given: Mapping[str, Any],
             out: Path, *, variant: str = "corrected", settings: Mapping[str, Any] | None = None,
             seed: int = 0, results_dir: Path = Path("results/local"), device: str = "auto",
             threads: int | None = None) -> dict[str, Any]:
    """Run `method`'s masked-LM stage on its `corpus` option and put the student's folder at `out`.

    method   by name; without one, the plain one, which follows no teacher
    teacher  its vocabulary is the one that is kept or expanded; without one, the student's own

    Returns what `stage.json` says.
    """
    name = method or PRETRAIN.load()
    cls = METHODS.get(name)
    if not hasattr(cls, "pretrain"):
        raise BadInput(f"method {name} has no stage of pre-training; take {' or '.join(methods())}")
    procedure: Pretraining = cls(options.build(cls.Options, variant, given, f"method {name}"))
    corpus = procedure.options.corpus
    if not corpus:
        raise BadInput("pretrain needs a text file, one sequence a line: --corpus FILE")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(
            f"{out}: is not empty and is never overwritten; give the name of a new folder")
    runner = Runner(results_dir, device=device, threads=threads)
    protocol = spec.settings({"select": "last", **(settings or {})}, TEXT, lookalike=False)
    models = resolve(student), teacher_of(teacher or student)
    data = replace(no_data(None), domain_text=vocabulary_text(Path(corpus), models))
    lab = Lab(TEXT, data, seed, variant, protocol, *models, StageCache(results_dir),
              runner.accelerator)
    procedure.check(lab)
    # while it is held, `clean` leaves the stages that no record tells of yet
    with lab.cache.held(f"pretrain-{digest(str(out.absolute()), 16)}", f"pre-training {student}"):
        copy_model(lab, procedure.pretrain(lab), out, Path(corpus))
    return lab.stages[-1]


def copy_model(lab: Lab, model: Model, out: Path, corpus: Path) -> None:
    """The folder of a trained model at `out`, without the files of the stage, and with a note on
    the corpus.
    """
    text = TextFile(corpus)
    with new_folder(out) as partial:
        for path in lab.cache.stage(model.key).iterdir():
            if path.name not in OF_THE_STAGE:
                shutil.copy2(path, partial / path.name)
        note_pretraining(partial, lab.student_source, text.sha256, len(text))
