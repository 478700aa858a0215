"""From a request to its cells: defaults, data and models are filled in, and controls added.

Nothing is written here, so that what is wrong with a request shows before anything is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from kdbench.base import options, reading
from kdbench.base.activity import doing
from kdbench.base.errors import BadInput, Skip
from kdbench.base.progress import say, say_once
from kdbench.base.registry import METHODS, TASKS, Entry
from kdbench.data import corpora
from kdbench.data.apart import with_dev_apart
from kdbench.data.contamination import test_among
from kdbench.data.few_labels import with_few_labels
from kdbench.data.task import Data, Example, LoadOptions, Recipe, Task
from kdbench.data.word_rules import cut
from kdbench.models.best import best_teacher, without_any
from kdbench.models.heads import Head
from kdbench.models.load import config_of, declared_names
from kdbench.models.rows import match
from kdbench.models.sources import Source, fetch, on_disk, resolve
from kdbench.models.teachers import FileSource, is_model, parts_of, resolve_teacher
from kdbench.models.zoo import BEST, MODELS, TOY
from kdbench.runs.cell import Cell, LeftOut
from kdbench.runs.request import REST, Request
from kdbench.runs.suite import Suite
from kdbench.runs.teacher_plans import (
    answered_texts,
    check_reads,
    refuse_file,
    rows_of,
    student_of,
)
from kdbench.train import spec
from kdbench.train.method import Method
from kdbench.train.mlm import unlabelled

WITHOUT_LABEL = "without_label"  # the option of a task that lets rows without a label pass


def plan_suite(suite: Suite, data_dir: Path | None = None, seeds: Sequence[int] = (), *,
               device: str = "auto", download: bool = True) -> list[Cell | LeftOut]:
    """All cells of a suite with their controls, each once, and the seeds that cannot be planned.

    data_dir  the folder of the corpora, where the requests do not name it
    seeds     in place of those that the requests name

    A suite that is a single run raises what is wrong with it.
    """
    found: dict[str, Cell | LeftOut] = {}
    for number, request in enumerate(suite.requests):
        if data_dir is not None and suite.data != "lookalike":
            request = replace(request, data_dir=data_dir)
        if seeds:
            request = replace(request, seeds=tuple(seeds))
        try:
            check_data(suite, request)
            cells = plan(request, device=device, download=download)
        except (BadInput, Skip) as error:
            if suite.single:
                raise
            for seed in request.seeds:
                found[f"request {number} seed {seed}"] = LeftOut(request, seed, error)
            continue
        for cell in cells:
            if cell.id not in found or cell.role == "method":
                found[cell.id] = cell
    return list(found.values())


def check_data(suite: Suite, request: Request) -> None:
    """`BadInput` where the suite is for real data and no folder of them is given."""
    if suite.data == "real" and request.data_dir is None:
        raise BadInput(f"data of {request.task}: give --data-dir; `bench.py prepare "
                       f"{request.task}` fetches it or says how to get it")


def plan(request: Request, *, device: str = "auto", download: bool = True) -> list[Cell]:
    """The cells of a request, each seed's controls before its method.

    download  bring the models of the hub here, as a cell is known by their weights; without it, by
              what is here already

    `BadInput` where something is wrong or missing, `Skip` where the method does not apply.
    """
    entry, published = METHODS.entry(request.method), published_for(request)
    method = method_of(request, entry, published)
    named, told = teacher_name(request)
    teacher = teacher_of(named, request.teacher_labels, request.teacher_options,
                         request.teacher_weights)
    refuse_file(request.student)
    student = student_of(request.student, resolve(request.student), teacher)
    check_task_type(request.method, method, TASKS.get(request.task))
    check_reads(request.method, method, teacher)
    task, whole, task_options = data_beside(request, teacher)
    check_task_type(request.method, method, task)
    check_has_labels(request.method, method, teacher, whole)
    settings = spec.settings(
        request.settings, task, lookalike=whole.origin == "lookalike", recipe=request.recipe,
        method=entry.name, options=request.options, most=toy_steps(student))
    if published:
        say_what_is_published(entry.name, task, published)
    data = whole.limited(settings.max_train_examples, settings.max_dev_examples)
    if request.tuning:
        data = with_dev_apart(data, request.tuning["dev_apart"], request.tuning["part"])
    takes_teacher = method.uses_teacher or derived(student)
    if download:
        fetch(student)
        if takes_teacher or request.controls:
            fetch_teacher(teacher, told)
    if request.teacher_labels and is_model(teacher):
        check_teacher_labels(teacher, Head(task.task_type, data.labels))
    extra = unlabelled_examples(request, whole, data, task) if request.unlabelled else ()
    if settings.labels is None:
        extra = (*data.rest, *extra)
    if not is_model(teacher) and (method.uses_teacher or request.controls):
        extra = answered_texts(teacher, task, data, extra, str(request.unlabelled) != REST)
    cell = Cell(
        request=request, role="method", method_name=entry.name, method=method,
        variant=request.variant if has_variants(method) else "corrected", task=task,
        task_options=task_options, data=data, settings=settings, student=student,
        teacher=teacher if takes_teacher else None,
        unlabelled=extra if method.uses_teacher else (), seed=0, device=device_type(device))
    beside = controls_of(cell, teacher, extra) if request.controls else []
    planned = [each for seed in request.seeds for each in at_seed((*beside, cell), seed)]
    return list({each.id: each for each in planned}.values())


def at_seed(cells: Sequence[Cell], seed: int) -> list[Cell]:
    """The cells of one seed; where it draws few labels, with the data that it draws."""
    count = cells[-1].settings.labels
    if count is None:
        return [replace(cell, seed=seed) for cell in cells]
    drawn = cells[-1].request.tuning.get("labels_seed", seed)
    data = with_few_labels(cells[-1].data, count, drawn)
    return [replace(cell, seed=seed, data=data, unlabelled=further(cell, data)) for cell in cells]


def further(cell: Cell, data: Data) -> tuple[Example, ...]:
    """What a cell learns from without labels: the rest of `data` too, as far as its teacher has
    answers.
    """
    if not cell.method.uses_teacher:
        return ()
    texts = (*data.rest, *cell.unlabelled)
    if cell.teacher is None or is_model(cell.teacher):
        return texts
    return answered_texts(cell.teacher, cell.task, data, texts, cell.own_unlabelled)


def controls_of(cell: Cell, teacher: Source, extra: tuple[Example, ...]) -> list[Cell]:
    """The cells beside a method's: the baseline as its teacher, and every control but itself.

    extra  the further training examples of the request, for the controls that have a teacher

    A control that is not for tasks of this type is left out.
    """
    baseline = METHODS.baseline()
    beside = [control_cell(cell, baseline, one, extra, "teacher", one) for one in rows_of(teacher)]
    for entry in METHODS.controls():
        if entry.name != cell.method_name and applies(entry, cell.task, cell.data):
            beside.append(control_cell(cell, entry, teacher, extra, "control", cell.student))
    return beside


def control_cell(cell: Cell, entry: Entry, teacher: Source, extra: tuple[Example, ...], role: str,
                 student: Source) -> Cell:
    """The cell of a control, with its default options, beside the cell of a method."""
    cls = entry.load()
    method = cls(cls.Options())
    takes_teacher = method.uses_teacher or derived(student)
    settings = cell.settings
    if role == "teacher":  # the very teacher that the method has, whose steps are its own
        settings = replace(settings, steps_equal=None)
    return replace(
        cell, role=role, settings=settings, method_name=entry.name, method=method,
        variant="corrected", student=student, teacher=teacher if takes_teacher else None,
        unlabelled=extra if method.uses_teacher else ())


# --- parts of a plan ------------------------------------------------------------------------------


def method_of(request: Request, entry: Entry, published: Recipe | None) -> Method:
    """The method of a request with its options."""
    cls = entry.load()
    implied = options.implied(cls.Options, request.variant, request.settings,
                              published.options if published else {},
                              published.values if published else {})
    return cls(options.build(cls.Options, request.variant, {**implied, **request.options},
                             f"method {request.method}"))


def published_for(request: Request) -> Recipe | None:
    """The published settings that a request asks for, where there are any."""
    if request.recipe != "paper":
        return None
    return TASKS.get(request.task).recipe(METHODS.entry(request.method).name, request.options)


def say_what_is_published(method: str, task: Task, published: Recipe) -> None:
    """Tell the user what --recipe paper took, where that is not the method's own settings."""
    if method not in task.recipes:
        say(f"{method} has no published settings on {task.name}: --recipe paper takes those of "
            f"fine-tuning ({published.source})")
    if published.note:
        say(f"{method} on {task.name}: {published.note}")


def has_variants(method: Method) -> bool:
    """Has any option of the method a published value of its own?"""
    return any("published" in field.metadata for field in dataclasses.fields(type(method).Options))


def check_task_type(name: str, method: Method, task: Task) -> None:
    """`Skip` where the method is not for tasks of this type (that of the user's own files shows
    when they are read).
    """
    if task.task_type and task.task_type not in method.task_types:
        raise Skip(
            f"method {name} is for {' or '.join(method.task_types)} tasks, and task {task.name} "
            f"is {task.task_type}")


def applies(control: Entry, task: Task, data: Data) -> bool:
    """Is a control for tasks of this type (one that names no types is for all), and has it what it
    learns from?
    """
    if control.task_types and task.task_type not in control.task_types:
        return False
    return bool(data.train) or control.load().uses_teacher


def check_has_labels(name: str, method: Method, teacher: Source, data: Data) -> None:
    """`BadInput` where no training example has a label, and the method or its teacher needs some;
    else it is said.
    """
    if data.train:
        return
    if not method.uses_teacher:
        raise BadInput(f"no row of train has a label, and {name} learns from labels alone; give "
                       "labels, or a method that learns from a teacher")
    if not all(isinstance(part, FileSource) for part in parts_of(teacher)):
        raise BadInput(f"no row of train has a label to fine-tune {teacher.name} on; give labels, "
                       "or a teacher that has answers: --teacher predictions:FILE")
    say_once("no row of train has a label: the controls that learn from labels are left out")


def hashable(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Options of a task as `load_data` takes them: in order, lists as tuples."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
    return tuple(sorted(values.items()))


def data_beside(request: Request, teacher: Source) -> tuple[Task, Data, Any]:
    """As `load_data`; rows without a label are unlabelled text by default where the teacher is a
    file.
    """
    files, given = tuple(sorted(request.files.items())), hashable(request.task_options)
    cls = TASKS.get(request.task).options
    if cls is not None and WITHOUT_LABEL in {field.name for field in dataclasses.fields(cls)} \
            and WITHOUT_LABEL not in request.task_options \
            and any(isinstance(part, FileSource) for part in parts_of(teacher)):
        found = load_data(request.task, request.data_dir, files,
                          (*given, (WITHOUT_LABEL, "text")))
        if found[1].rest:
            return found
    return load_data(request.task, request.data_dir, files, given)


@lru_cache(maxsize=8)
def load_data(task: str, data_dir: Path | None, files: tuple[tuple[str, Path], ...],
              task_options: tuple[tuple[str, Any], ...]) -> tuple[Task, Data, Any]:
    """The task, its data (the look-alike where no folder is given) and its resolved options."""
    found: Task = TASKS.get(task)
    if found.options is None and task_options:
        raise BadInput(f"task {task} has no options; leave --task-set out")
    chosen = None
    if found.options is not None:
        chosen = options.build(found.options, "corrected", dict(task_options), f"task {task}")
    with doing(f"reading the data of {task}"):
        data = corpora.load(found, LoadOptions(data_dir, dict(files), chosen))
        return corpora.settled(found, data), data, chosen


def device_type(device: str) -> str:
    """What `device` ("auto", "cpu" or "cuda") is on this machine."""
    if device != "auto":
        return device
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None else "cpu"


def toy_steps(student: Source) -> int | None:
    """The steps that a training of this student takes on look-alike data, if they are limited."""
    return MODELS.entry(student.name).toy_steps if student.name in MODELS else None


def teacher_name(request: Request) -> tuple[str, str]:
    """The teacher of a request, and the line on it where the request does not name it: the best
    that there is for real data, and the toy for look-alike data.
    """
    if request.teacher != BEST:
        return request.teacher, ""
    if request.data_dir is None and not request.files:
        return TOY, ""
    return best_teacher()


def fetch_teacher(teacher: Source, told: str) -> None:
    """As `fetch`; `told` says which teacher was taken because nobody named one."""
    try:
        for part in parts_of(teacher):
            fetch(part)
    except BadInput as error:
        raise without_any(error) if told else error from error
    if told:
        say_once(told)


def check_teacher_labels(teacher: Source, head: Head) -> None:
    """`BadInput` where --teacher-labels does not fit the head of a teacher that is here."""
    where = str(teacher.folder or teacher.hub)
    if not where:
        raise BadInput(f"--teacher-labels: {teacher.name} has no head of its own to name rows of")
    if on_disk(where) is not None:
        match(config_of(teacher), head, teacher.labels, declared_names(where))


def teacher_of(name: str, labels: str = "", given: Mapping[str, Any] | None = None,
               weights: str = "") -> Source:
    """The teacher called `name`, as `resolve_teacher`; `BadInput` where it has to take something
    from a teacher itself.
    """
    found = resolve_teacher(name, labels, given, weights)
    for part in parts_of(found):
        if derived(part):
            raise BadInput(
                f"teacher {part.name}: takes its {'layers' if part.cut else 'word pieces'} from a "
                "teacher, so it can be a student only; name another with --teacher")
    return found


def derived(student: Source) -> bool:
    """Does this student take its layers or its word pieces from the teacher?"""
    if student.cut:
        return student.base is None
    return student.recipe is not None and student.recipe.reads_teachers_pieces


def unlabelled_examples(request: Request, whole: Data, kept: Data,
                        task: Task) -> tuple[Example, ...]:
    """The further training examples of a request, without labels."""
    if str(request.unlabelled) == REST:
        return rest_of(whole, kept)
    assert request.unlabelled is not None
    found = read_unlabelled(request.unlabelled, task, kept)
    for note in test_among(kept, found):
        say_once(f"--unlabelled: {note}, on which the student is scored; take them out")
    return found


def rest_of(whole: Data, kept: Data) -> tuple[Example, ...]:
    """The training examples that were not kept, without their labels."""
    ours = {example.id for example in kept.train}
    found = [replace(e, id=f"unlabelled-{e.id}", label=None)
             for e in whole.train if e.id not in ours]
    if not found:
        raise BadInput(f"--unlabelled {REST}: --max-train-examples leaves no labelled example out; "
                       "leave it away (what --labels leaves out and rows without a label are "
                       "unlabelled text already)")
    return tuple(found)


def read_unlabelled(path: Path, task: Task, data: Data) -> tuple[Example, ...]:
    """Texts without labels, one a line; for tags cut into words as the corpus is."""
    try:
        lines = reading.lines(path)
    except reading.Unreadable as error:
        raise BadInput(f"unlabelled text {error}") from error
    if not any(map(str.strip, lines)):
        raise BadInput(f"unlabelled text {path}: the file is empty; give one text a line")
    if task.tagging:
        pattern = data.word_rule.pattern
        return tuple(Example(f"unlabelled-{i}", words=tuple(cut(line, pattern)))
                     for i, line in enumerate(lines) if line.strip())
    return tuple(replace(e, id=f"unlabelled-{e.id}") for e in unlabelled(lines))
