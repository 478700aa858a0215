"""Teachers that are no single model: a file of answers, or several teachers together.

    predictions:FILE        a file of answers (`kdbench.data.teacher_lines`); NAME=predictions:FILE
                            gives it a name for the tables, which is else that of the file
    A + B                   the mean of what both answer; models and files alike
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.activity import doing
from kdbench.base.errors import BadInput, Skip
from kdbench.data.answer_options import AnswerOptions, answer_options, deciding
from kdbench.data.readers import shown
from kdbench.data.teacher_lines import read_lines
from kdbench.models.sources import Source, resolve

FILE, AND = "predictions:", " + "
BY_DEV = "dev"  # of the weights of several teachers: by their scores on dev
LONGEST_NAME = 60


@dataclass(frozen=True)
class FileSource(Source):
    """A teacher that is a file of answers.

    path     of the file
    content  SHA-256 of what it says, which is its identity
    options  how it is read
    """

    path: Path = Path()
    content: str = ""
    options: AnswerOptions = AnswerOptions()

    def identity(self) -> dict[str, Any]:
        """What the file says, and the options that decide what of it teaches."""
        found: dict[str, Any] = {"predictions": self.content}
        if how := deciding(self.options):
            found["options"] = how
        return {**found, **({"labels": self.labels} if self.labels else {})}


@dataclass(frozen=True)
class SeveralSource(Source):
    """Several teachers that answer together.

    members  each a model or a file
    weights  of their probabilities: empty (all alike), `BY_DEV`, or one number each
    """

    members: tuple[Source, ...] = ()
    weights: str = ""

    def identity(self) -> dict[str, Any]:
        """The members, and how they are weighed."""
        return {"several": [member.identity() for member in self.members],
                "weights": self.weights}


def is_model(source: Source) -> bool:
    """Is this a model, which has weights, tokens and vectors, and not only answers?"""
    return not isinstance(source, FileSource | SeveralSource)


def require_model(source: Source) -> None:
    """`Skip` where a teacher only answers."""
    if not is_model(source):
        raise Skip(f"teacher {source.name} only answers, and this method reads a model")


def parts_of(source: Source | None) -> Iterator[Source]:
    """The models and files behind a teacher: itself, or the members of several."""
    if isinstance(source, SeveralSource):
        yield from source.members
    elif source is not None:
        yield source


def settings_of(source: Source | None) -> dict[str, str]:
    """What a record says of how a teacher's answers are read, beside its settings; nothing of a
    model.
    """
    said = {}
    for part in parts_of(source):
        if isinstance(part, FileSource) and (how := deciding(part.options)):
            said["teacher_set"] = how
    if isinstance(source, SeveralSource) and source.weights:
        said["teacher_weights"] = source.weights
    return said


def names_file(name: str) -> bool:
    """Does a name stand for a file of answers?"""
    label, found, _ = name.partition(FILE)
    return bool(found) and (not label or label.endswith("="))


def resolve_teacher(name: str, labels: str = "", given: Mapping[str, Any] | None = None,
                    weights: str = "") -> Source:
    """What the name of a teacher stands for; `BadInput` where it stands for nothing.

    labels   what --teacher-labels says
    given    options of files of answers, as --teacher-set has them
    weights  of several teachers: empty, `BY_DEV`, or numbers with commas
    """
    names = name.split(AND)
    if given and not any(map(names_file, names)):
        raise BadInput(f"--teacher-set {next(iter(given))}: is for a teacher that is a file "
                       f"(--teacher {FILE}FILE)")
    if len(names) == 1:
        if weights:
            raise BadInput("--teacher-weights: is for several teachers; repeat --teacher")
        return one(name, labels, given or {})
    if labels:
        raise BadInput("--teacher-labels: is for one teacher, and there are several")
    members = tuple(one(each, "", given or {}) for each in names)
    called = [member.name for member in members]
    if len(set(called)) < len(called):
        twice = next(each for each in called if called.count(each) > 1)
        raise BadInput(f"--teacher {twice}: given twice; NAME={FILE}FILE (or NAME=FOLDER) gives "
                       "one another name")
    return SeveralSource(AND.join(called), members=members,
                         weights=checked_weights(weights, len(members)))


def one(name: str, labels: str, given: Mapping[str, Any]) -> Source:
    """A model or a file."""
    if names_file(name):
        return file_source(name, labels, answer_options(given))
    return replace(resolve(name), labels=labels)


def file_source(name: str, labels: str, options: AnswerOptions) -> FileSource:
    """The file of answers of that name; `BadInput` where it cannot be read."""
    if not name.partition(FILE)[2]:
        raise BadInput(f"teacher {name}: names no file; write {FILE}FILE")
    path = Path(name.partition(FILE)[2]).expanduser()
    called = name_of_file(name)
    if not called.isprintable() or set(called) & set("/\\|<>+\"") or len(called) > LONGEST_NAME:
        raise BadInput(f"teacher {shown(called)}: no name for tables; give NAME={FILE}FILE, of up "
                       f"to {LONGEST_NAME} characters without slashes and | < > +")
    try:
        with doing(f"reading the answers of {called}"):
            return FileSource(called, labels=labels, path=path, content=read_lines(path).content,
                              options=options)
    except reading.Unreadable as error:
        raise BadInput(f"teacher {error}") from error


def name_of_file(name: str) -> str:
    """What tables call a file of answers: what the user calls it, or the name of the file, never
    its path.
    """
    label, _, place = name.partition(FILE)
    return f"{label.removesuffix('=') or Path(place).stem} (file)"


def renamed_labels(labels: str) -> dict[str, str]:
    """What a file calls the task's labels, as --teacher-labels FILE=TASK,... says it."""
    found: dict[str, str] = {}
    for part in filter(None, labels.split(",")):
        theirs, equals, ours = (word.strip() for word in part.partition("="))
        if not equals or theirs in found:
            raise BadInput(f"--teacher-labels {shown(part)}: write FILE=TASK, each label of the "
                           "file once")
        found[theirs] = ours
    return found


def checked_weights(weights: str, members: int) -> str:
    """Weights as they are written in an identity; `BadInput` where they are none."""
    if weights in ("", BY_DEV):
        return weights
    try:
        numbers = [float(part) for part in weights.split(",")]
    except ValueError:
        numbers = []
    sound = all(0 <= number < math.inf for number in numbers) and sum(numbers) > 0
    if len(numbers) != members or not sound:
        raise BadInput(f"--teacher-weights {shown(weights)}: give {members} numbers with commas, "
                       f"one a teacher and not all 0, or {BY_DEV}")
    if len(set(numbers)) == 1:
        return ""
    return ",".join(f"{number:g}" for number in numbers)


def shares(weights: str, members: int) -> list[float]:
    """The weights as numbers; all alike where none are given."""
    return [float(part) for part in weights.split(",")] if weights else [1.0] * members
