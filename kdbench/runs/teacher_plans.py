"""Plans with a teacher that only answers: who can learn from it, from which texts, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kdbench.base.errors import BadInput, Skip
from kdbench.base.progress import say, say_once
from kdbench.base.registry import METHODS
from kdbench.data.answer_options import AnswerOptions
from kdbench.data.answers import Labels, Unusable
from kdbench.data.tags import parts
from kdbench.data.task import Data, Example, Task
from kdbench.data.teacher_answers import Answers
from kdbench.models.sources import Source
from kdbench.models.teachers import (
    FileSource,
    SeveralSource,
    is_model,
    names_file,
    parts_of,
    renamed_labels,
)
from kdbench.train.answering import file_answers
from kdbench.train.method import LOGITS, Method

PIECES = 4000  # of the vocabulary that a student gets which reads the teacher's elsewhere


def check_reads(name: str, method: Method, teacher: Source) -> None:
    """`Skip` where a method reads more of its teacher than answers, and the teacher has no more."""
    if is_model(teacher) or not method.uses_teacher or method.reads == LOGITS:
        return
    others = [entry.name for entry in METHODS.entries() if takes_answers(entry.load())]
    what = "is a file of answers" if isinstance(teacher, FileSource) else "are several teachers"
    options = ", with these options," if method.name in others else ""
    raise Skip(f"method {name}{options} reads its teacher's weights, tokens or hidden states, and "
               f"{teacher.name} {what}, with logits alone; by default these methods learn from "
               f"them: {', '.join(others)}")


def takes_answers(cls: type[Method]) -> bool:
    """Can a method, with its default options, learn from answers alone?"""
    return cls.uses_teacher and cls(cls.Options()).reads == LOGITS


def student_of(name: str, student: Source, teacher: Source) -> Source:
    """The student beside this teacher; where the teacher has no word pieces to read, with a
    vocabulary of its own.

    `BadInput` where it takes its layers from the teacher.
    """
    if is_model(teacher):
        return student
    if student.cut and student.base is None:
        raise BadInput(f"student {name}: takes its layers from the teacher, and {teacher.name} "
                       f"only answers; name the model, cut:{student.cut}:MODEL")
    recipe = student.recipe
    if recipe is None or not recipe.reads_teachers_pieces:
        return student
    say_once(f"{student.name}: {teacher.name} has no word pieces, so it learns up to {PIECES:,} of "
             "its own from the texts")
    return replace(student, recipe=replace(recipe, config={**recipe.config, "vocab_size": PIECES}))


def refuse_file(student: str) -> None:
    """`BadInput` for a file of answers as a student."""
    if names_file(student):
        raise BadInput(f"student {student}: a file of answers can teach and cannot be trained; "
                       "give it as --teacher")


def check_file_labels(source: FileSource, task: Task, labels: Sequence[str]) -> None:
    """`BadInput` where --teacher-labels names labels that the task does not have."""
    types = tuple(dict.fromkeys(parts(tag)[1] for tag in labels if tag != "O"))
    known = Labels((*labels, *types) if task.tagging else tuple(labels))
    for theirs, ours in renamed_labels(source.labels).items():
        try:
            known.index(ours)
        except Unusable as why:
            raise BadInput(f"--teacher-labels {theirs}={ours}: names {why}; it has "
                           f"{', '.join(known.names)}") from None


def answered_texts(teacher: Source, task: Task, data: Data, extra: tuple[Example, ...],
                   own_texts: bool) -> tuple[Example, ...]:
    """The further training examples that have an answer, of a teacher that only answers.

    `BadInput` where answers are wrong, or too many of the training texts have none. What is left
    out is said.

    own_texts  are the further examples a file of the user's?
    """
    texts, found = (*data.train, *extra), []
    for source in parts_of(teacher):
        if isinstance(source, FileSource):
            if source.labels:
                check_file_labels(source, task, data.labels)
            found.append(file_answers(source, task, data, extra, own_texts))
    if len(found) == len(list(parts_of(teacher))):  # else a model answers all
        lacking = {example.key: example for example in found[0].missing(texts)}
        for answers in found[1:]:
            unknown = {example.key for example in answers.missing(texts)}
            lacking = {key: example for key, example in lacking.items() if key in unknown}
        found[0].check_share(texts, list(lacking.values()))
        extra = those_answered(teacher, found, extra)
    for answers in found:
        for note in answers.notes:
            say_once(f"{answers.name}: {note}")
    return extra


def those_answered(teacher: Source, found: Sequence[Answers],
                   extra: tuple[Example, ...]) -> tuple[Example, ...]:
    """The examples without labels for which a file has an answer; how many are left out is said."""
    kept = []
    for example in extra:
        if any(answers.of(example) is not None for answers in found):
            kept.append(example)
    if len(kept) < len(extra):
        say(f"{teacher.name}: {len(extra) - len(kept):,} of {len(extra):,} texts without labels "
            "have no answer, and are left out")
    return tuple(kept)


def rows_of(teacher: Source) -> list[Source]:
    """The teachers that get a row of their own: of several each, and all of them together.

    A file's row is that of all its answers, whichever of them teach.
    """
    rows = [replace(part, options=AnswerOptions(spans=part.options.spans,
                                                unusable=part.options.unusable))
            if isinstance(part, FileSource) else part for part in parts_of(teacher)]
    if isinstance(teacher, SeveralSource):
        rows.append(replace(teacher, members=tuple(rows)))
    return rows
