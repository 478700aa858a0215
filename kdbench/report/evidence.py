"""What lies beside a record: its data, stored predictions and student, each as its run had it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from kdbench.base import reading
from kdbench.base.errors import BadInput, one_line
from kdbench.base.progress import say
from kdbench.base.registry import TASKS
from kdbench.data.few_labels import data_of
from kdbench.data.task import Data, Task
from kdbench.report.rows import Record
from kdbench.runs.stored import is_linked, wrong_predictions
from kdbench.runs.units import fingerprint, hashed, known_salt, salt_behind
from kdbench.runs.whereabouts import recall
from kdbench.score import metrics

if TYPE_CHECKING:
    from torch.nn import Module

    from kdbench.train.batching import Corpus

NO_PIECES = "the predictions of pieces are not stored: the run is of a version before them"


class Unchecked(Exception):
    """What a check needs is not there; the message says what."""


@dataclass
class LoadedCorpus:
    """A corpus as a record's run had it, limits included; `scores` are the naive predictor's."""

    task: Task
    data: Data
    scores: dict[tuple[str, str], float] = field(default_factory=dict)

    def naive(self, metric: str, split: str) -> float:
        """The naive predictor's score, computed once."""
        if (metric, split) not in self.scores:
            asked = replace(self.task, metric=metric, metrics=())
            self.scores[metric, split] = metrics.naive(asked, self.data, split).main
        return self.scores[metric, split]


class Corpora:
    """Corpora by task, options and limits, each loaded once.

    data_dir  the folder of the real ones
    files     what the user gave for task `files`, by split; without, what is stored of the run
    """

    def __init__(self, data_dir: Path | None, files: dict[str, Path]):
        self.data_dir, self.files = data_dir, files
        self.whole: dict[str, tuple[Task, Data] | BadInput] = {}
        self.limited: dict[tuple[object, ...], LoadedCorpus] = {}

    def of(self, record: Record, root: Path) -> LoadedCorpus:
        """The corpus of a record of the results folder `root`; `Unchecked` where it is not there.
        """
        cell, real = record["cell"], record["data"]["kind"] != "lookalike"
        own = cell["task"] == "files"
        files = self.files or (dict(recall(root, record).files) if own else {})
        if real and own and not files:
            raise Unchecked("the user's own files are not here: give --train, --dev and --test")
        if real and not own and self.data_dir is None:
            raise Unchecked("the corpus is not here: give --data-dir")
        places = {split: str(path) for split, path in files.items()} if own else {}
        key = json.dumps([cell["task"], real, cell["task_options"], places], sort_keys=True)
        if key not in self.whole:
            self.whole[key] = self.load(cell["task"], cell["task_options"], real, files)
        whole = self.whole[key]
        if isinstance(whole, BadInput):
            raise Unchecked(one_line(whole))
        settings = cell["settings"]
        limits = [settings.get(each) for each in ("max_train_examples", "max_dev_examples")]
        drawn = settings.get("labels")
        name = key, *limits, drawn, cell["seed"] if drawn else None
        if name not in self.limited:
            data = data_of(whole[1], settings, cell["seed"])
            self.limited[name] = LoadedCorpus(whole[0], data)
        return self.limited[name]

    def load(self, name: str, options: dict[str, Any], real: bool,
             given: dict[str, Path]) -> tuple[Task, Data] | BadInput:
        """The task and all of its data as they are now, or why they cannot be loaded."""
        if any(str(value).startswith("sha256:") for value in options.values()):
            return BadInput(
                "an option of its task names a file, of which the record knows the content alone"
            )
        if name not in TASKS:
            return BadInput(f"no task {name} here: give the --plugin that registers it")
        if real:
            say(f"reading the corpus of {name}")
        from kdbench.runs.planning import hashable, load_data

        load = inspect.unwrap(load_data)  # it remembers what it read, and files may have changed
        own = name == "files"
        folder = self.data_dir if real and not own else None
        files = tuple(sorted(given.items())) if own else ()
        try:
            return load(name, folder, files, hashable(options))[:2]
        except BadInput as error:
            return error


@dataclass
class Case:
    """A record in `root/records/TASK/ID.json` and what belongs to it.

    Whatever is not there raises `Unchecked` when it is asked for.
    """

    path: Path
    root: Path
    where: str  # study/id, for people
    record: Record
    corpora: Corpora

    @property
    def test_scores(self) -> dict[str, float | None]:
        """The record's test scores by metric."""
        return self.record["score"]["all"]["test"]

    @property
    def metric(self) -> str:
        """The record's main metric."""
        return self.record["score"]["metric"]

    @cached_property
    def arrays(self) -> dict[str, ndarray]:
        """What the runner stored beside the record."""
        path = self.path.with_suffix(".npz")
        if not path.is_file() or is_linked(path):
            raise Unchecked("no predictions are stored beside the record")
        try:
            found = reading.arrays(path)
        except reading.Unreadable:
            raise Unchecked("its predictions cannot be read") from None
        if wrong := wrong_predictions(found):
            raise Unchecked(f"its predictions are none: {wrong}")
        return found

    @cached_property
    def predictions(self) -> metrics.Labels:
        """As the metrics take them (see `kdbench.score.metrics`)."""
        stored = self.arrays["test_predictions"]
        if "test_lengths" not in self.arrays:
            return stored
        words = split_by(stored, self.arrays["test_lengths"])
        if "test_pieces" not in self.arrays:  # of a run before pieces were stored
            return words
        every = split_by(self.arrays["test_pieces"], self.arrays["test_piece_lengths"])
        pieces, start = [], 0
        for sentence in words:
            pieces.append(every[start : start + len(sentence)])
            start += len(sentence)
        return metrics.WordTags(words, pieces)

    # ---- its data ----

    @cached_property
    def current_data(self) -> LoadedCorpus:
        """The corpus as it is now."""
        found = self.corpora.of(self.record, self.root)
        own, stored = found.data.sha256.values(), self.record["data"]["sha256"].values()
        if self.record["cell"]["task"] == "files" and stored and not set(own) & set(stored):
            raise Unchecked("the files given are not those of this run: give its own")
        return found

    @cached_property
    def same_data(self) -> LoadedCorpus:
        """The corpus, which must be the very one of the record."""
        if any(self.changes_of_data()):
            raise Unchecked("the data found are not those of the record")
        return self.current_data

    def changes_of_data(self) -> list[tuple[str, Any, Any]]:
        """(what, stored, found) of all that the record says of its data and that is otherwise."""
        data, stored = self.current_data.data, self.record["data"]
        content = (self.record.get("content") or {}).get("data") or {}
        pairs: list[tuple[str, Any, Any]] = []
        for split in sorted({*data.sha256, *stored["sha256"]}):
            sums = stored["sha256"].get(split), data.sha256.get(split)
            pairs.append((f"SHA-256 of {split}", *sums))
        for split, rows in data.rows.items():
            pairs.append((f"rows of {split}", stored["rows"].get(split), rows))
        pairs.append(("published files", stored.get("published_files"), data.published_files))
        for name, digest in content.items():
            pairs.append((f"digest of the content of {name}", digest, data.digests.get(name)))
        return [(what, one, other) for what, one, other in pairs if one != other]

    def names_of_units(self, units: Sequence[str]) -> list[str] | None:
        """The names of these units as the record's run stored them; None where it hashed them by a
        salt that is not here.
        """
        behind = salt_behind(self.record)
        if not behind:
            return list(units)
        salt = known_salt(self.root)
        if salt is None or fingerprint(salt) != behind:
            return None
        return hashed(salt, units)

    # ---- its code ----

    @cached_property
    def changed_code(self) -> list[str]:
        """The parts of the code behind this record that are not what is here, in words."""
        made = (self.record.get("content") or {}).get("code") or {}
        own_metrics = [name for name in made.get("metrics") or {} if name in metrics.METRICS]
        now = self.current_code(own_metrics)
        parts = ("training", "scoring", "method")
        changed = [f"the {part}" for part in parts if made.get(part) != now[part]]
        for name in own_metrics:
            if made["metrics"][name] != now["metrics"][name]:
                changed.append(f"metric {name}")
        return changed

    def current_code(self, own_metrics: list[str]) -> dict[str, Any]:
        """The versions that a record of this method and these metrics would have today."""
        from kdbench.base.registry import METHODS
        from kdbench.runs.cell import code_behind

        method, task = self.record["cell"]["method"], self.record["cell"]["task"]
        if method not in METHODS:
            raise Unchecked(f"no method {method} here: give the --plugin that registers it")
        if task not in TASKS:
            raise Unchecked(f"no task {task} here: give the --plugin that registers it")
        asked = TASKS.get(task)
        if own_metrics:
            asked = replace(asked, metric=own_metrics[0], metrics=tuple(own_metrics[1:]))
        return json.loads(json.dumps(code_behind(METHODS.get(method)(None), asked)))

    def require_same_scoring(self, metric: str) -> None:
        """`Unchecked` where this metric's figures are another version's."""
        for part in self.changed_code:
            if part in ("the scoring", f"metric {metric}"):
                raise Unchecked(f"scored by other code than is here ({part})")

    # ---- its student and scores ----

    @cached_property
    def student(self) -> list[tuple[Module, Corpus]]:
        """The stored student's module and the test set in its tokens (`Corpus`); of an ensemble
        that of each member.

        `BadInput` where it is there but cannot be loaded, or has other labels.
        """
        if not self.record["artefact"]:
            raise Unchecked("a teacher that only answers has no weights")
        folder = self.root / "models" / self.record["artefact"]
        if not inside(folder, self.root) or not (folder / "labels.json").is_file():
            raise Unchecked("its weights are not kept here")
        from kdbench.models.heads import Head
        from kdbench.models.load import build
        from kdbench.models.sources import resolve
        from kdbench.serve.serving import Labels
        from kdbench.train.windows import corpus_of

        found = self.same_data
        labels, own = found.data.labels, Labels.read(folder)
        if labels and tuple(own.labels) != tuple(labels):
            raise BadInput(
                f"its labels are {', '.join(own.labels)}, the data's are {', '.join(labels)}"
            )
        stated = self.record["cell"]["settings"]["max_length"]  # None: each model has its own
        head, members = Head(found.task.task_type, labels), []
        for member in own.members or (".",):
            model = build(resolve(str(folder / member)), head, seed=0, texts=list, quiet=True)
            read = Labels.read(folder / member)
            corpus = corpus_of(read.windows)(model, found.data.test, stated or read.max_length,
                                             found.task.task_type, len(labels))
            members.append((model.module.eval(), corpus))
        return members

    @property
    def piece_metrics(self) -> list[str]:
        """The record's metrics that read the predictions of word pieces."""
        known = metrics.METRICS
        return [name for name in self.test_scores if name in known and known[name].pieces]

    def scores(
        self, names: Sequence[str], predictions: metrics.Labels | None = None
    ) -> metrics.Scores:
        """Scores of the stored (or of these) predictions by these metrics and no others.

        The first metric gives the counts.
        """
        found = self.same_data
        asked = replace(found.task, metric=names[0])
        plain = metrics.info_for(asked, found.data, "test")
        given = self.predictions if predictions is None else predictions
        pieces = any(metrics.METRICS[name].pieces for name in names)
        if pieces and not isinstance(given, metrics.WordTags):
            raise Unchecked(NO_PIECES)
        return metrics.evaluate(asked, plain, found.data.test, given, names[1:])

    @cached_property
    def recomputed(self) -> metrics.Scores:
        """Scores of the stored predictions under the record's metrics that read no word pieces.

        Where the main metric reads them it is computed too.
        """
        left_out = (self.metric, *self.piece_metrics)
        others = [name for name in self.test_scores if name not in left_out]
        return self.scores([self.metric, *others])


def split_by(values: ndarray, lengths: ndarray) -> list[ndarray]:
    """`values` in parts of these lengths; of thousands np.split takes ten times as long."""
    ends = np.cumsum(lengths).tolist()
    return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def inside(path: Path, root: Path) -> bool:
    """Does `path` lie in the folder of students, links followed?"""
    return path.resolve().is_relative_to((root / "models").resolve())
