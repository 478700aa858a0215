"""Teachers that answer and are no single model: a file of answers, and several teachers together.

Both give logits of the task's labels for texts that they know. Nothing else can be read of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit, logsumexp

from kdbench.base.errors import BadInput, Skip
from kdbench.base.identity import digest
from kdbench.data.answers import Labels
from kdbench.data.task import Data, Example, Task
from kdbench.data.teacher_answers import Answer, Answers, answers_of
from kdbench.data.teacher_lines import read_lines
from kdbench.models.load import Model, Role
from kdbench.models.sources import Source
from kdbench.models.teachers import (
    BY_DEV,
    FileSource,
    SeveralSource,
    renamed_labels,
    shares,
)
from kdbench.score import metrics
from kdbench.train.objective import Batch
from kdbench.train.signals import Rows, StoredSignals

if TYPE_CHECKING:
    from kdbench.train.lab import Lab
    from kdbench.train.teaching import Teaching

WEIGHT = "logits_weight"  # the signal that says what each answer counts


@dataclass(frozen=True)
class FileTeacher:
    """A teacher that is a file of answers."""

    name: str
    key: str
    answers: Answers


@dataclass(frozen=True)
class Several:
    """Teachers that answer together: the weighted mean of their probabilities (of a regression, of
    their values), of each text over those that have an answer for it.

    shares  the weight of each member
    """

    name: str
    key: str
    members: tuple[Model | FileTeacher, ...]
    shares: tuple[float, ...]


Answering = FileTeacher | Several


class PartialSignals(StoredSignals):
    """Logits of texts of which some have no answer, or whose answers count less than others.

    `logits_weight` says what each counts: (B, 1), of tags (B, W), 0 where there is no answer. The
    count "answered" is of the texts that have one.
    """

    def read(self, batch: Batch) -> None:
        """As of stored signals, with the weights and the count."""
        super().read(batch)
        answered = (batch.signals[WEIGHT] > 0).any(-1)
        batch.counts["answered"] = float(answered.sum())

    add = read


# ---- what answers --------------------------------------------------------------------------------


def trained_teacher(lab: Lab, source: Source | None = None) -> Model | Answering:
    """The teacher of a lab (or the one of `source`), ready to answer: a model after its
    fine-tuning, a file as it is, several of them together.
    """
    source = lab.teacher_source if source is None else source
    if source is None:
        raise Skip("this method needs a teacher; name one with --teacher")
    if isinstance(source, FileSource):
        answers = file_answers(source, lab.task, lab.data, lab.unlabelled, lab.own_unlabelled)
        lab.answer_notes.update(f"{source.name}: {note}" for note in answers.notes)
        return FileTeacher(source.name, digest(source.identity(), 24), answers)
    if isinstance(source, SeveralSource):
        return several(lab, source)
    return lab.finetune(lab.model(source, None, Role.TEACHER))


def several(lab: Lab, source: SeveralSource) -> Several:
    """The members of several teachers, trained, with their weights."""
    members = []
    for one in source.members:
        member = trained_teacher(lab, one)
        assert not isinstance(member, Several)
        members.append(member)
    weights = shares(source.weights, len(members)) if source.weights != BY_DEV \
        else dev_shares(lab, members)
    key = digest({"several": [member.key for member in members], "weights": weights}, 24)
    return Several(source.name, key, tuple(members), tuple(weights))


def dev_shares(lab: Lab, members: Sequence[Model | FileTeacher]) -> list[float]:
    """The dev score of each member as its weight; all alike where none is above 0.

    `BadInput` where one cannot be scored, or a lower score is the better one.
    """
    if not lab.data.dev or not metrics.metric_of(lab.task, lab.task.metric).higher_is_better:
        raise BadInput(f"--teacher-weights {BY_DEV}: there is no dev score by which more is "
                       "better; give numbers")
    scores = []
    for member in members:
        score = score_of(lab, member, "dev")
        if score is None:
            raise BadInput(f"--teacher-weights {BY_DEV}: {member.name} has no answer for some dev "
                           "texts; give numbers")
        scores.append(max(score.main, 0.0) if math.isfinite(score.main) else 0.0)
    return scores if sum(scores) > 0 else [1.0] * len(scores)


# ---- what they answer ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What decides the answers of a file, by which they are kept, and what they are about."""

    source: FileSource
    task_type: str
    labels: tuple[str, ...]
    digests: str
    data: Data = field(compare=False)
    unlabelled: tuple[Example, ...] = field(compare=False)
    own_unlabelled: bool = False


def file_answers(source: FileSource, task: Task, data: Data, unlabelled: tuple[Example, ...] = (),
                 own_unlabelled: bool = False) -> Answers:
    """The answers of a file for the examples of a cell; `BadInput` where it has none of use."""
    keys = [example.key for example in unlabelled]
    return kept_answers(Asked(source, task.task_type, data.labels, digest([data.digests, keys]),
                              data, unlabelled, own_unlabelled))


@lru_cache(maxsize=4)
def kept_answers(asked: Asked) -> Answers:
    """As `file_answers`; read once for all cells of a request."""
    source = asked.source
    labels = Labels(asked.labels, renamed_labels(source.labels))
    return answers_of(source.name, read_lines(source.path).lines, asked.task_type, labels,
                      source.options, asked.data, asked.unlabelled, asked.own_unlabelled)


def answers_for(lab: Teaching, teacher: Model | Answering,
                examples: Sequence[Example]) -> dict[str, Answer]:
    """The answers of a teacher by `Example.key`; none of a text that it does not know."""
    if isinstance(teacher, FileTeacher):
        found = {example.key: teacher.answers.of(example) for example in examples}
        return {key: answer for key, answer in found.items() if answer is not None}
    if isinstance(teacher, Model):
        rows = lab.stored_logits(teacher, examples)
        return {key: Answer(row, np.ones(row.shape[:-1] or 1)) for key, row in rows.items()}
    each = [answers_for(lab, member, examples) for member in teacher.members]
    joint = {}
    for key in dict.fromkeys(example.key for example in examples):
        known = [(share, one[key]) for share, one in zip(teacher.shares, each, strict=True)
                 if share and key in one]
        if known:
            joint[key] = mean_answer(known, lab.task.task_type)
    return joint


def mean_answer(known: Sequence[tuple[float, Answer]], task_type: str) -> Answer:
    """The mean of several answers for one text, of each word over those that say something of it.

    The probabilities are averaged, and come back as logits; of a regression the values.
    """
    logits = np.stack([answer.logits.astype(np.float64) for _, answer in known])
    share = np.array([share for share, _ in known]).reshape(-1, *[1] * (logits.ndim - 1))
    share = np.where(np.isnan(logits).any(-1, keepdims=True), 0, share)
    total = share.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # of what nobody says anything of: NaN
        part = share / total
        weights = np.stack([answer.weight for _, answer in known])
        weight = np.nan_to_num((part[..., 0].reshape(weights.shape) * weights).sum(0))
        if task_type == "regression":
            mean = (np.nan_to_num(logits) * part).sum(0)
        elif task_type == "multi":
            mean = logsumexp(log_expit(logits), 0, part) - logsumexp(log_expit(-logits), 0, part)
        else:
            own = np.nan_to_num(logits - logsumexp(logits, -1, keepdims=True))
            mean = logsumexp(own, 0, np.broadcast_to(part, own.shape))
    return Answer(np.where(total > 0, mean, np.nan), weight)


def signals_of(lab: Teaching, teacher: Answering, examples: Sequence[Example]) -> StoredSignals:
    """The logits of a teacher for these examples, as a training reads them."""
    answers = answers_for(lab, teacher, examples)
    tagging, classes = lab.task.tagging, max(len(lab.data.labels), 1)
    rows: Rows = {"logits": {}, WEIGHT: {}}
    for example in examples:
        answer = answers.get(example.key)
        shape = (len(example.words), classes) if tagging else (classes,)
        logits = np.full(shape, np.nan) if answer is None else answer.logits
        unknown = np.isnan(logits).any(-1)
        weight = np.zeros(shape[:-1] or 1) if answer is None else np.where(
            unknown, 0, answer.weight)
        rows["logits"][example.key] = (logits if tagging else np.nan_to_num(logits)).astype(
            np.float32)
        rows[WEIGHT][example.key] = np.atleast_1d(weight).astype(np.float32)
    key = digest({"answers": teacher.key, "examples": sorted(rows["logits"])}, 24)
    if is_whole(rows, tagging):
        return StoredSignals(key, {"logits": rows["logits"]}, lab.task.task_type)
    return PartialSignals(key, rows, lab.task.task_type)


def is_whole(rows: Rows, tagging: bool) -> bool:
    """Do all answers count alike? Words of which nothing is said are known by NaN."""
    for key, weight in rows[WEIGHT].items():
        known = ~np.isnan(rows["logits"][key]).any(-1) if tagging else True
        if (np.where(known, weight, 1) != 1).any():
            return False
    return True


# ---- their scores --------------------------------------------------------------------------------


def predictions_of(lab: Teaching, teacher: Answering,
                   split: str) -> np.ndarray | metrics.WordTags | None:
    """What a teacher predicts on a split, as the metrics take it; None where it does not know all
    of its texts.
    """
    examples = lab.data.split(split)
    answers = answers_for(lab, teacher, examples)
    rows = [answers[example.key].logits for example in examples if example.key in answers]
    unknown = (np.isnan(row).any() for row in rows)
    if len(rows) < len(examples) or (not lab.task.tagging and any(unknown)):
        return None
    if not lab.task.tagging:
        stacked = np.stack(rows)
        return stacked[:, 0] if lab.task.task_type == "regression" else stacked
    known = [np.flatnonzero(~np.isnan(row).any(-1)) for row in rows]
    tags = [row[words].argmax(-1) for row, words in zip(rows, known, strict=True)]
    return metrics.word_tags(tags, [words.tolist() for words in known],
                             [len(example.words) for example in examples],
                             lab.data.labels.index("O"))


def score_of(lab: Teaching, teacher: Model | Answering, split: str) -> metrics.Scores | None:
    """The scores of a teacher on a split; None where it does not know all of its texts."""
    if isinstance(teacher, Model):
        return lab.score(teacher, split)[0]
    predictions = predictions_of(lab, teacher, split)
    if predictions is None:
        return None
    info = metrics.info_for(lab.task, lab.data, split)
    return metrics.evaluate(lab.task, info, lab.data.split(split), predictions)
