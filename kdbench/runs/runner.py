"""Cells -> records: plan them with their controls, run what is not there yet, write each when it is
done.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from kdbench.base import code, options
from kdbench.base.errors import BadInput, Broken, Skip
from kdbench.base.folders import new_folder
from kdbench.base.identity import digest
from kdbench.base.progress import Phases, say
from kdbench.base.registry import METHODS, TASKS
from kdbench.data import corpora
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.models.load import Model, Role
from kdbench.models.sources import Source, fetch, on_disk, resolve
from kdbench.models.zoo import MODELS
from kdbench.runs import provenance, store, trackers
from kdbench.score import metrics
from kdbench.serve import measure
from kdbench.serve.serving import labels_of
from kdbench.train import cpu, spec
from kdbench.train.lab import Lab
from kdbench.train.method import Method
from kdbench.train.mlm import unlabelled
from kdbench.train.prediction import agreed
from kdbench.train.spec import Cell, Settings
from kdbench.train.stage_cache import StageCache

REST = "rest"  # unlabelled: the training examples that --max-train-examples leaves out


@dataclass(frozen=True)
class Request:
    """What a user asks for: one configuration, before defaults, data and models are filled in."""

    method: str
    task: str
    teacher: str = "tiny-teacher"
    student: str = "tiny-student"
    variant: str = "corrected"
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    task_options: dict[str, Any] = field(default_factory=dict)
    recipe: str = "default"
    data_dir: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)
    unlabelled: Path | None = None


@dataclass(frozen=True)
class Job:
    """A cell with everything that it takes to run it."""

    cell: Cell
    role: str  # teacher, control or method
    method: Method
    task: Task
    data: Data
    settings: Settings
    student: Source
    teacher: Source | None
    unlabelled: tuple[Example, ...] = ()


@lru_cache(maxsize=8)
def load_data(task: str, data_dir: Path | None, files: tuple[tuple[str, Path], ...],
              task_options: tuple[tuple[str, Any], ...]) -> tuple[Task, Data, Any]:
    """The task, its data (the look-alike where no folder is given) and its resolved options."""
    found: Task = TASKS.get(task)
    if not task_options and found.options is None:
        chosen = None
    elif found.options is None:
        raise BadInput(f"task {task} has no options; leave --task-set out")
    else:
        chosen = options.build(found.options, "corrected", dict(task_options), f"task {task}")
    data = corpora.load(found, LoadOptions(data_dir, dict(files), chosen))
    return corpora.settled(found, data), data, chosen


def identity(source: Source) -> str:
    """What stands for a model's weights in a record."""
    return known_weights(source, on_disk(source.hub) if source.hub else None)


@lru_cache(maxsize=32)
def known_weights(source: Source, snapshot: Path | None) -> str:
    """`identity`, kept for as long as the hub's files of a model stay where they are."""
    return digest(source.identity())


def device_type(device: str) -> str:
    """What `device` ("auto", "cpu" or "cuda") is on this machine: figures of a CPU and of a GPU are
    not the same.
    """
    if device != "auto":
        return device
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None else "cpu"


def code_behind(method: Method, task: Task) -> dict[str, Any]:
    """Versions, or digests, of all code that decides a cell's result."""
    scored = dict.fromkeys((task.metric, *task.metrics))
    return {
        "training": code.core("training"),
        "scoring": code.core("scoring"),
        "metrics": {name: metrics.code_of_metric(name) for name in scored},
        "method": code.method_code(type(method)),
    }


def content_of(role: str, method: Method, task: Task, data: Data, student: Source | None,
               teacher: Source | None, unlabelled: Sequence[Example],
               device: str) -> dict[str, Any]:
    """All that decides a cell's result and that no name, option or setting of it shows."""
    return {
        "data": data.digests,
        "unlabelled": digest([e.key for e in unlabelled], 24) if unlabelled else None,
        "task": {
            "kind": task.task_type, "metric": task.metric, "negative": task.negative,
            "scheme": task.scheme
        },
        "student": identity(student) if student else None,
        "teacher": identity(teacher) if teacher else None,
        "code": code_behind(method, task),
        "device": device,
        # the very same fine-tuning may be one cell's teacher, with the teacher's rate, and
        # another's control
        **({"role": "teacher"} if role == "teacher" else {}),
    }


def plan(request: Request, seeds: Sequence[int], *, controls: bool = True, device: str = "auto",
         download: bool = True) -> list[Job]:
    """The jobs of a request: controls first, then the method; `BadInput` or `Skip` before anything
    is written.

    download  bring the models of the hub here, as a cell is known by their weights; without it, by
              what is here already
    """
    cls, name = METHODS.get(request.method), METHODS.entry(request.method).name
    published = None
    if request.recipe == "paper":
        published = TASKS.get(request.task).recipe(name, request.options)
    chosen_options = options.with_settings(
        cls.Options, request.variant, request.options, request.settings,
        published.options if published else {}, published.values if published else {})
    method = cls(
        options.build(cls.Options, request.variant, chosen_options, f"method {request.method}"))
    teacher, student = teacher_of(request.teacher), resolve(request.student)
    fits(request.method, method, TASKS.get(request.task))
    task, data, chosen = load_data(request.task, request.data_dir,
                                   tuple(sorted(request.files.items())),
                                   tuple(sorted(request.task_options.items())))
    fits(request.method, method, task)
    toy_steps = MODELS.entry(student.name).toy_steps if student.name in MODELS else None
    settings = spec.settings(request.settings, task, lookalike=data.origin == "lookalike",
                             recipe=request.recipe, method=name, options=request.options,
                             most=toy_steps)
    if published and name not in task.recipes:
        say(f"{name} has no published settings on {task.name}: --recipe paper takes those of "
            f"fine-tuning ({published.source})"
            )
    if published and published.note:
        say(f"{name} on {task.name}: {published.note}")
    whole, data = data, data.limited(settings.max_train_examples, settings.max_dev_examples)
    device = device_type(device)
    for source in (student,
                   *([teacher] if method.uses_teacher or controls or derived(student) else [])
                   ) if download else ():
        fetch(source)
    extra = left_out(whole, data) if str(request.unlabelled) == REST else read_unlabelled(
        request.unlabelled, task)

    def job(role: str, name: str, student: Source, seed: int, method: Method, variant: str,
            given: dict[str, Any]) -> Job:
        uses = method.uses_teacher or derived(student)
        has = tuple(extra) if method.uses_teacher else ()
        content = content_of(role, method, task, data, student, teacher if uses else None, has,
                             device)
        two_variants = any("published" in f["facts"] for f in fields_of(type(method).Options))
        cell = Cell(name, task.name, variant if two_variants else "corrected",
                    teacher.name if uses else None, student.name, seed, given, settings,
                    options.recorded(chosen) if chosen else {}, json.loads(json.dumps(content)),
                    len(has))
        own = settings
        # its row is the very teacher that the method has
        if role == "teacher" and settings.teacher_lr is not None:
            own = replace(settings, lr=settings.teacher_lr)
        return Job(cell, role, method, task, data, own, student, teacher if uses else None, has)

    def control(name: str) -> Method:
        return METHODS.get(name)(METHODS.get(name).Options())

    jobs: list[Job] = []
    for seed in seeds:
        if controls:
            jobs.append(
                job("teacher", "finetune", teacher, seed, control("finetune"), "corrected", {}))
            if name != "finetune":
                jobs.append(
                    job("control", "finetune", student, seed, control("finetune"), "corrected", {}))
            if name != "logit_kd" and "logit_kd" in METHODS:
                other = control("logit_kd")
                jobs.append(
                    job("control", "logit_kd", student, seed, other, "corrected",
                        options.recorded(other.options)))
        jobs.append(
            job("method", name, student, seed, method, request.variant,
                options.recorded(method.options)))
    return list({j.cell.id: j for j in jobs}.values())


def fits(name: str, method: Method, task: Task) -> None:
    """`Skip` where the method is not for this kind of task (the kind of the user's own files shows
    later).
    """
    if task.task_type and task.task_type not in method.task_types:
        raise Skip(
            f"method {name} is for {' or '.join(method.task_types)} tasks, and task {task.name} "
            f"is {task.task_type}"
        )


def fields_of(cls: type) -> list[dict[str, Any]]:
    import dataclasses

    return [{"name": f.name, "facts": f.metadata} for f in dataclasses.fields(cls)]


def teacher_of(name: str) -> Source:
    """`resolve`, refusing what has to take something from a teacher itself."""
    found = resolve(name)
    if derived(found):
        raise BadInput(
            f"teacher {name}: takes its {'layers' if found.cut else 'word pieces'} from a teacher, "
            f"so it can be a student only; "
            "name another with --teacher")
    return found


def derived(student: Source) -> bool:
    """Does this student take its layers or its word pieces from the teacher?"""
    if student.cut:
        return student.base is None
    return student.recipe is not None and student.recipe.reads_teachers_pieces


def left_out(whole: Data, kept: Data) -> list[Example]:
    """The training examples that were not kept, without their labels."""
    ours = {example.id for example in kept.train}
    found = [
        replace(e, id=f"unlabelled-{e.id}", label=None) for e in whole.train if e.id not in ours
    ]
    if not found:
        raise BadInput(f"--unlabelled {REST}: --max-train-examples leaves no training example out")
    return found


def read_unlabelled(path: Path | None, task: Task) -> list[Example]:
    """Texts without labels, one a line; for tags the words between blanks."""
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(
            f"unlabelled text {path}: {error.strerror}; give a file of one text a line") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"unlabelled text {path}: not UTF-8 ({error.reason}); convert it") from error
    if task.tagging:
        return [
            Example(f"unlabelled-{i}", words=tuple(line.split()))
            for i, line in enumerate(lines)
            if line.strip()
        ]
    return [replace(e, id=f"unlabelled-{e.id}") for e in unlabelled(lines)]


class Runner:
    """Runs jobs into a results folder.

    device     "auto", "cpu" or "cuda"
    overwrite  run anew what is finished, stages and signals too; without it finished cells are
               kept, failed ones run again
    renew      with `overwrite`: what was made before this time is made anew (default: now; workers
               are told)
    tracker    "tensorboard" or "wandb": loss terms by epoch go there
    """

    def __init__(self, results_dir: Path, *, device: str = "auto", overwrite: bool = False,
                 threads: int | None = None, profile: bool = False, tracker: str | None = None,
                 renew: float | None = None):
        self.renew = renew if renew is not None else time.time() if overwrite else 0.0
        self.folder, self.device, self.overwrite, self.profile = Path(
            results_dir), device, overwrite, profile
        self.threads, self.tracker = threads, tracker
        store.check_writable(self.folder)
        if tracker:
            trackers.check(tracker)
        if threads:
            torch.set_num_threads(threads)

    @property
    def cache(self) -> StageCache:
        return StageCache(self.folder, self.renew)

    @cached_property
    def accelerator(self) -> Any:
        from accelerate import Accelerator

        if self.device == "cuda" and not torch.cuda.is_available():
            raise BadInput(
                "--device cuda: this machine offers no CUDA device; leave the option out")
        return Accelerator(cpu=self.device == "cpu", log_with=self.tracker,
                           project_dir=str(self.folder / "trackers") if self.tracker else None)

    def run(self, jobs: Sequence[Job], *, fail_fast: bool = False) -> list[dict[str, Any]]:
        """The jobs' records, in order; a failing one does not stop the others."""
        records: dict[int, dict[str, Any]] = {}
        for number in self.turns(jobs):
            records[number] = self.one(jobs[number], f"[{number + 1}/{len(jobs)}] ")
            if fail_fast and records[number]["status"] == "failed":
                break
        return [records[number] for number in sorted(records)]

    def turns(self, jobs: Sequence[Job]) -> Iterator[int]:
        """The jobs' numbers in the order to run them: what another runner is at just then comes
        after all others.
        """
        alone = self.accelerator.num_processes == 1  # several processes have to keep in step
        later = []
        for number, job in enumerate(jobs):
            if alone and self.finished(job) is None and self.busy(job):
                later.append(number)
            else:
                yield number
        yield from later

    def one(self, job: Job, label: str = "") -> dict[str, Any]:
        """The record of one job: found, or made under a lock, so that two runners share the work.

        Of several processes (torchrun) the main one decides and writes. A cell that fails there
        ends the run, as nobody knows where in the cell the others are.
        """
        several, main = self.accelerator.num_processes > 1, self.accelerator.is_main_process
        if not several and (record := self.finished(job)) is not None:
            return record
        with self.lock(job) if main else nullcontext():
            record = agreed(self.accelerator, self.finished(job))
            if record is not None:
                return record
            with trackers.following(self.accelerator, self.tracker, job.cell):
                record, arrays = self.execute(job, label)
            if main:
                store.write(self.folder, record, arrays)
        if several and record["status"] == "failed":
            if not main:
                time.sleep(5)  # most errors reach all processes: the main one may write its record
            raise Broken(
                f"{job.cell.label}: {record['error']['type']}: {record['error']['message']}")
        return record

    def busy(self, job: Job) -> bool:
        """Does another runner have the lock of this job?"""
        try:
            with self.lock(job).acquire(blocking=False):
                return False
        except Timeout:
            return True

    def lock(self, job: Job) -> FileLock:
        return self.cache.lock(job.cell.id)

    def finished(self, job: Job) -> dict[str, Any] | None:
        """The job's record, if it needs no run."""
        record = store.find(self.folder, job.cell.id, job.task.name)
        return record if record and record[
            "status"] in store.FINISHED and not self.overwrite else None

    def execute(self, job: Job, label: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Train, score, measure; an exception becomes a failed record."""
        begun = time.monotonic()
        cpu.give_back_freed_memory()  # or this cell's peak would be that of the largest before it
        measure.reset_peak_memory()
        if self.accelerator.is_main_process:
            say(f"{label}{job.cell.label}")
        record = self.header(job)
        lab = Lab(job.task, job.data, job.cell.seed, job.cell.variant, job.settings, job.student,
                  job.teacher, self.cache, self.accelerator, label, job.unlabelled)
        arrays: dict[str, np.ndarray] = {}
        try:
            job.method.check(lab)
            lab.draw_anew()
            lab.phases = Phases()
            student = self.kept(lab, job.method.fit(lab))
            if json.loads(json.dumps(code_behind(job.method,
                                                 job.task))) != job.cell.content["code"]:
                raise Broken(
                    "code of the project was replaced while it ran; a method changes what it needs "
                    "in classes of its own"
                )
            record["score"], arrays = self.scores(lab, student)
            if lab.diagnostics:
                record["diagnostics"] = self.diagnostics(lab, student)
            record["artefact"] = student.key
            record["notes"] += lab.notes
            record["size"] = self.size(lab, student)
            record["latency"] = self.latency(lab, student)
            record["rows_more"] = [
                self.further_row(lab, name, model) for name, model in lab.extra_rows
            ]
            record["status"] = "done"
            self.label(lab, student)
        except (BadInput, KeyboardInterrupt):
            raise
        except Skip as reason:
            record.update(status="skipped", reason=str(reason))
        except Exception as error:
            if os.environ.get("KDBENCH_DEBUG"):
                raise
            # no cell's fault, and no record could be written
            if (full := store.no_room(error)) is not None:
                raise full from error
            record.update(status="failed",
                          error=provenance.describe_error(error, (str(self.folder.resolve()), )))
            say(f"{label}failed: {record['error']['type']}: {record['error']['message']}")
        record["curves"] = lab.curves
        record["cost"] = self.cost(lab, time.monotonic() - begun)
        return record, arrays

    def header(self, job: Job) -> dict[str, Any]:
        """What is known of a record before anything is trained."""
        task, data = job.task, job.data
        return {
            "format": store.FORMAT, "id": job.cell.id, "status": "failed", "reason": None,
            "role": job.role, "cell": job.cell.described(), "content": job.cell.content, "data": {
                "kind": data.origin, "rows": data.rows, "sha256": dict(data.sha256),
                "published_files": data.published_files, "unit": task.unit, "licence": task.licence,
                "notes": list(data.notes)
            }, "models": {
                "student": identity(job.student),
                "teacher": identity(job.teacher) if job.teacher else None
            }, "notes": [], "provenance": provenance.collect(str(self.accelerator.device.type),
                                                             torch.get_num_threads()),
        }

    def scores(self, lab: Lab, student: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Dev and test scores (test is scored here and nowhere else), with what statistics need."""
        dev, dev_predictions = lab.score(student, "dev") if lab.data.dev else (None, None)
        test, predictions = lab.score(student, "test")
        naive = {
            split: metrics.naive(lab.task, lab.data, split).main
            for split in ("dev", "test")
            if lab.data.split(split)
        }
        score: dict[str, Any] = {
            "metric": lab.task.metric, "dev": dev.main if dev else None, "test": test.main,
            "naive": naive, "all": {"dev": dev.all if dev else {}, "test": test.all}}
        if lab.task.task_type == "tags":
            data, read = lab.data, {"dev": dev_predictions, "test": predictions}
            score["beyond_limit"] = {
                split: metrics.beyond_limit(data.labels, data.split(split), found)
                for split, found in read.items() if found is not None}
        arrays = packed(predictions)
        if test.counts is not None:
            arrays.update(test_counts=test.counts, test_units=np.array(test.units))
        return finite(score), arrays

    def diagnostics(self, lab: Lab, student: Model) -> dict[str, dict[str, float]]:
        """By name and split, what the method watches of the student that it trained."""
        found: dict[str, dict[str, float]] = {}
        for name, figure in lab.diagnostics.items():
            for split in ("dev", "test"):
                if examples := lab.data.split(split):
                    found.setdefault(name, {})[split] = figure(student, examples)
        return finite(found)

    def kept(self, lab: Lab, student: Model) -> Model:
        """The student, with a folder of its own also where no stage of training left one: an
        ensemble, or a model that came trained.
        """
        folder = lab.cache.stage(student.key)
        if self.accelerator.is_main_process and not folder.is_dir():
            with lab.cache.lock(student.key), new_folder(folder) as partial:
                measure.write_model(student, lab.settings.max_length, partial)
        return student

    def label(self, lab: Lab, student: Model) -> None:
        """Put beside the student's weights what turns its logits into answers."""
        folder = lab.cache.stage(student.key)
        if folder.is_dir() and self.accelerator.is_main_process:
            rate = metrics.info_for(lab.task, lab.data, "test").positive_rate
            threshold = rate if lab.task.metric.endswith("_at_rate") else None
            replace(labels_of(student, lab.settings.max_length), task_type=lab.task.task_type,
                    labels=lab.data.labels, names=dict(lab.task.label_names), threshold=threshold,
                    positive_rate=rate).write(folder)

    def further_row(self, lab: Lab, name: str, model: Model) -> dict[str, Any]:
        score, _ = self.scores(lab, model)
        made = {
            "name": name, "role": str(model.role), "score": score, "size": self.size(lab, model),
            "latency": self.latency(lab, model)
        }
        own = [{**stage, "role": "student"}
               for stage in lab.stages
               if (stage["key"], stage["role"]) == (model.key, Role.CONTROL)]
        if own and model.role is Role.CONTROL:
            made["cost"] = {"student_seconds": own[-1]["seconds"], "stages": own[-1:]}
        return made

    def size(self, lab: Lab, model: Model) -> dict[str, float]:
        folder = lab.cache.stage(model.key)
        return measure.size(model, folder if folder.is_dir() else None)

    def latency(self, lab: Lab, model: Model) -> dict[str, Any] | None:
        if lab.settings.latency == "off" or not self.accelerator.is_main_process:
            return None
        return measure.latency(model, lab.data.test, protocol=lab.settings.latency,
                               max_length=lab.settings.max_length, device=self.accelerator.device)

    def cost(self, lab: Lab, seconds: float) -> dict[str, Any]:
        """Training seconds, teacher apart from student, as spent when each stage was trained."""
        spent = {
            role: round(sum(s["seconds"] for s in lab.stages if s["role"] == role), 2)
            for role in ("teacher", "student")
        }
        cost = {
            "teacher_seconds": spent["teacher"], "student_seconds": spent["student"],
            "wall_seconds": round(seconds, 2), "peak_memory_mb": provenance.peak_memory_mb(),
            "stages": lab.stages, "teacher_forwards": lab.forwards
        }
        if self.profile:
            cost["profile"] = {name: round(value, 3) for name, value in lab.phases.table().items()}
        return cost


def packed(predictions: Any) -> dict[str, np.ndarray]:
    """Predictions as plain arrays: logits or values as they are, tags end to end with their
    lengths, those of words and of their pieces.
    """
    if isinstance(predictions, metrics.WordTags):
        words = [piece for pieces in predictions.pieces for piece in pieces]
        return {"test_predictions": np.concatenate(predictions).astype(np.int16),
                "test_lengths": np.array([len(tags) for tags in predictions], dtype=np.int32),
                "test_pieces": np.concatenate(words).astype(np.int16),
                "test_piece_lengths": np.array([len(piece) for piece in words], dtype=np.int16)}
    return {"test_predictions": predictions.astype(np.float32)}


def finite(value: Any) -> Any:
    """JSON knows no NaN: a figure that is not defined is null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return float(value) if isinstance(value, np.floating) else value


def run(method: str, task: str, *, seeds: Sequence[int] = (0, ),
        results_dir: str | Path = "results/local", device: str = "auto", overwrite: bool = False,
        controls: bool = True, **request: Any) -> dict[str, Any] | list[dict[str, Any]]:
    """Run one configuration with its controls; returns the method's record (a list for several
    seeds).

    `request` takes the fields of `Request`: teacher, student, variant, options, data_dir, ...; any
    other name is a setting of the protocol (`epochs`, `batch_size`, `max_train_examples`, ...).
    """
    load_data.cache_clear()  # files may have changed since this process read them
    known_weights.cache_clear()
    known = {
        name
        for name in Request.__dataclass_fields__
        if name not in ("method", "task", "settings")
    }
    given = {name: value for name, value in request.items() if name not in known}
    data_dir = request.pop("data_dir", None)
    asked = Request(method, task, settings=given, data_dir=Path(data_dir) if data_dir else None,
                    **{name: value for name, value in request.items() if name in known})
    jobs = plan(asked, list(seeds), controls=controls, device=device)
    records = Runner(Path(results_dir), device=device, overwrite=overwrite).run(jobs)
    own = [record for record, job in zip(records, jobs, strict=True) if job.role == "method"]
    return own[0] if len(own) == 1 else own
