"""From cells to records: what is not finished is run, and each record is written at its end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from kdbench.base.activity import doing
from kdbench.base.checksums import check_stage
from kdbench.base.errors import BadInput, Broken, Skip, one_line
from kdbench.base.folders import new_folder, sweep_results
from kdbench.base.identity import digest
from kdbench.base.progress import Phases, say, say_once
from kdbench.models.load import Model, Role
from kdbench.models.teachers import is_model
from kdbench.runs import provenance, raw_text, store, trackers, whereabouts
from kdbench.runs.answers import answer_labels, decision_threshold, limits_of
from kdbench.runs.cell import Cell, as_json
from kdbench.runs.own_text import vocabulary_facts, with_hidden_units
from kdbench.runs.packing import arrays_of, finite, score_of_record
from kdbench.runs.quotes import kept, notes_kept, reason_kept
from kdbench.runs.reading import models_of
from kdbench.runs.store import Record
from kdbench.runs.stored import damage_of_predictions, read_or_why
from kdbench.runs.teacher_rows import teacher_row
from kdbench.runs.threads import AUTO, kept_at, threads_of
from kdbench.score import metrics
from kdbench.serve import measure
from kdbench.serve.about import About
from kdbench.train import cpu
from kdbench.train.equal_steps import StepBudget
from kdbench.train.lab import Lab
from kdbench.train.processes import agreed, process_group_settings, wait_for_all
from kdbench.train.stage_cache import StageCache, write_facts

if TYPE_CHECKING:
    from accelerate import Accelerator

Arrays = Mapping[str, np.ndarray]  # what a record's predictions are stored as, by name


class Runner:
    """Runs cells into a results folder.

    device     "auto", "cpu" or "cuda"
    overwrite  run anew what is finished, stages and signals too; without it, finished cells are
               kept and failed ones run again
    threads    of the CPU, or "auto" (see `kdbench.runs.threads`); without it, torch's own number
    profile    record where the time went
    tracker    "tensorboard" or "wandb", which gets the loss terms of every epoch
    stages     the results folder whose stages and signals it shares (default: its own)
    renew      with `overwrite`: what is older than this time is made anew (default: now; a worker
               gets the time of the command)
    """

    def __init__(self, results_dir: Path, *, device: str = "auto", overwrite: bool = False,
                 threads: int | str | None = None, profile: bool = False,
                 tracker: str | None = None, renew: float | None = None,
                 stages: Path | None = None):
        if renew is None:
            renew = time.time() if overwrite else 0.0
        self.folder, self.device = Path(results_dir), device
        self.overwrite, self.renew = overwrite, renew
        self.threads, self.profile, self.tracker = threads, profile, tracker
        self.stages = None if stages is None else Path(stages)
        store.check_writable(self.folder)
        sweep_results(self.folder)
        if tracker:
            trackers.check(tracker)
        self.most_threads = torch.get_num_threads()
        if isinstance(threads, int) and threads:
            torch.set_num_threads(threads)

    @property
    def cache(self) -> StageCache:
        """The stages and signals of the results folder."""
        return StageCache(self.stages or self.folder, self.renew)

    @cached_property
    def accelerator(self) -> Accelerator:
        """The devices and processes of this run; `BadInput` where there is no such device."""
        from accelerate import Accelerator

        if self.device == "cuda" and not torch.cuda.is_available():
            raise BadInput(
                "--device cuda: this machine offers no CUDA device; leave the option out")
        return Accelerator(cpu=self.device == "cpu", log_with=self.tracker,
                           kwargs_handlers=[process_group_settings()],
                           project_dir=str(self.folder / "trackers") if self.tracker else None)

    def synchronize(self) -> None:
        """Wait for the accelerator to finish, where there is one."""
        device = self.accelerator.device
        if device.type != "cpu":
            torch.get_device_module(device).synchronize()

    # --- one cell after the other -----------------------------------------------------------------

    def turns(self, cells: Sequence[Cell]) -> Iterator[int]:
        """The numbers of the cells in the order to run them: a cell that another runner has at that
        moment comes after all others.
        """
        alone = self.accelerator.num_processes == 1  # several processes have to keep in step
        later = []
        for number, cell in enumerate(cells):
            if alone and self.finished(cell) is None and self.busy(cell):
                later.append(number)
            else:
                yield number
        yield from later

    def one(self, cell: Cell, label: str = "") -> Record:
        """The record of one cell: found, or made under a lock, so that two runners share the work.

        Of several processes (torchrun) the main one decides and writes. A cell that fails there
        ends the run, as nobody knows where in the cell the others are.
        """
        several, main = self.accelerator.num_processes > 1, self.accelerator.is_main_process
        if not several and (record := self.finished(cell)) is not None:
            return record
        with self.cache.held(cell.id, f"{label}{cell.label}") if main else nullcontext():
            record = agreed(self.accelerator, self.finished(cell))
            if record is not None:
                return record
            with (trackers.following(self.accelerator, self.tracker, cell),
                  doing(f"{label}{cell.label}")):
                record, arrays = self.execute(cell, label)
            if main:
                store.write(self.folder, record, arrays)
                whereabouts.remember(self.folder, cell, record)
        if several and record["status"] == "failed":
            if not main:
                time.sleep(5)  # most errors reach all processes: the main one may write its record
            raise Broken(f"{cell.label}: {record['error']['type']}: {record['error']['message']}")
        return record

    def attempt(self, cell: Cell, label: str = "") -> Record:
        """The record of one cell of a suite: bad input that shows only now (a model that is not
        there) fails this cell alone.
        """
        try:
            return self.one(cell, label)
        except BadInput as error:
            if self.accelerator.num_processes > 1:  # the first one alone may write
                raise
            say(f"{label}failed: {one_line(error)}")
            return self.failure(cell, "BadInput", one_line(error))

    def failure(self, cell: Cell, error_type: str, message: str) -> Record:
        """Write a failed record for a cell that left none, unless another runner has finished it
        meanwhile.
        """
        record = self.header(cell)
        record["error"] = {
            "type": error_type, "message": kept(message, cell, self.folder), "traceback": ""
        }
        record["cost"] = {
            "teacher_seconds": 0, "student_seconds": 0, "wall_seconds": 0, "stages": []
        }
        record["curves"] = []
        with self.cache.held(cell.id, cell.label):
            if (finished := self.finished(cell)) is not None:
                return finished
            store.write(self.folder, record)
        return record

    def finished(self, cell: Cell) -> Record | None:
        """The record of the cell, if it needs no run."""
        path = store.path_of(self.folder, cell.id, cell.task.name)
        if self.overwrite or not path.exists():
            return None
        record, why = read_or_why(path)
        finished = record is not None and record["status"] in store.FINISHED
        if record is not None and finished:
            why = damage_of_predictions(path, record)
        if why:
            say_once(f"{cell.label}: its record {path.name} is damaged ({why}); made anew")
        return record if finished and not why else None

    def lock(self, cell: Cell) -> FileLock:
        """What a runner holds while it has this cell."""
        return self.cache.lock(cell.id)

    def busy(self, cell: Cell) -> bool:
        """Does another runner have the lock of this cell?"""
        try:
            with self.lock(cell).acquire(blocking=False):
                return False
        except Timeout:
            return True

    # --- what a record holds ----------------------------------------------------------------------

    def execute(self, cell: Cell, label: str) -> tuple[Record, Arrays]:
        """Train, score, measure; an exception becomes a failed record."""
        begun = time.monotonic()
        cpu.give_back_freed_memory()  # or this cell's peak would be that of the largest before it
        measure.reset_peak_memory()
        if self.accelerator.is_main_process:
            say(f"{label}{cell.label}")
        if self.threads == AUTO:
            torch.set_num_threads(threads_of(cell, self.folder, self.most_threads))
        record = self.header(cell)
        arrays: Arrays = {}
        lab = self.lab(cell, label)
        try:
            arrays = self.row(cell, lab, record)
            arrays = with_hidden_units(self.folder, record, cell.data, arrays)
            kept_at(cell, self.folder).unlink(missing_ok=True)
        except (BadInput, KeyboardInterrupt):
            raise
        except Skip as skip:
            record.update(status="skipped", reason=reason_kept(str(skip), cell, self.folder))
        except Exception as error:
            if os.environ.get("KDBENCH_DEBUG"):
                raise
            # no cell's fault, and no record could be written
            if (full := store.no_room(error)) is not None:
                raise full from error
            hidden = (str(self.folder.resolve()),)
            record.update(status="failed", error=provenance.describe_error(error, hidden))
            say(f"{label}failed: {record['error']['type']}: {record['error']['message']}")
            record["error"]["message"] = kept(record["error"]["message"], cell, self.folder)
        record["curves"] = lab.curves
        record["cost"] = self.cost(lab, time.monotonic() - begun)
        return record, arrays

    def lab(self, cell: Cell, label: str) -> Lab:
        """The lab of a cell, in which nothing is done yet."""
        return Lab(cell.task, cell.data, cell.seed, cell.variant, cell.training_settings,
                   cell.student, cell.teacher, self.cache, self.accelerator, label, cell.unlabelled,
                   cell.own_unlabelled, bool(cell.request.tuning.get("alone")),
                   cell.teacher_settings)

    def header(self, cell: Cell) -> Record:
        """What is known of a record before anything is trained."""
        task, data = cell.task, cell.data
        where = provenance.collect(str(self.accelerator.device.type), torch.get_num_threads())
        if self.threads == AUTO:
            where["threads_asked"] = AUTO
        return {
            "format": store.FORMAT, "id": cell.id, "status": "failed", "reason": None,
            "role": cell.role, "cell": cell.description, "content": cell.content,
            "data": {
                "kind": data.origin, "rows": data.rows, "sha256": dict(data.sha256),
                "published_files": data.published_files, "unit": task.unit,
                "licence": task.licence, "notes": notes_kept(data),
                **({"reading": as_json(data.reading)} if data.reading else {}),
            },
            "models": models_of(cell),
            **({"trials": list(cell.request.trials)} if cell.request.trials else {}),
            "notes": [],
            "provenance": where,
        }

    def row(self, cell: Cell, lab: Lab, record: Record) -> Arrays:
        """Train, score and measure; of a teacher that only answers, score its answers."""
        if not is_model(cell.student):
            return teacher_row(lab, cell.student, record)
        student = self.train(cell, lab)
        record["score"], arrays = self.scores(lab, student)
        self.complete(record, lab, student)
        self.label(lab, student)
        return arrays

    def train(self, cell: Cell, lab: Lab) -> Model:
        """The student that the method trains."""
        cell.method.check(lab)
        made: set[str] = set()
        if lab.settings.steps_equal:
            lab.budget, made = self.rehearsed(cell, lab.label)
        lab.draw_anew()
        lab.phases = Phases(self.synchronize) if self.profile else Phases()
        student = self.kept(lab, cell.method.fit(lab))
        for stage in lab.stages:
            stage["cached"] = stage["cached"] and stage["key"] not in made
        if lab.budget is not None:
            lab.budget.check_spent()
        if not cell.has_its_code():
            raise Broken(
                "code of the project was replaced while it ran; a method changes what it needs "
                "in classes of its own")
        return student

    def rehearsed(self, cell: Cell, label: str) -> tuple[StepBudget, set[str]]:
        """The budget of a cell whose student has a given number of steps, and the keys of what its
        rehearsal has made. The student's trainings are removed; the teacher and its signals stay,
        and are found again.
        """
        lab = self.lab(cell, label)
        assert lab.settings.steps_equal is not None
        if self.accelerator.is_main_process:
            say(f"{label}rehearsal of one step a training, to share {lab.settings.steps_equal:,} "
                "steps out")
        budget = lab.budget = StepBudget(lab.settings.steps_equal, cell.id)
        lab.draw_anew()
        cell.method.fit(lab)
        wait_for_all(self.accelerator)
        if self.accelerator.is_main_process:
            for key in budget.trained:
                shutil.rmtree(lab.cache.stage(key), ignore_errors=True)
        budget.rehearsed = True
        return budget, {stage["key"] for stage in lab.stages if not stage["cached"]}

    def complete(self, record: Record, lab: Lab, student: Model) -> None:
        """Add to the record what is measured of the student, besides its score."""
        if lab.diagnostics:
            record["diagnostics"] = self.diagnostics(lab, student)
        record["limits"] = limits_of(lab, student)
        record["artefact"] = student.key
        record |= vocabulary_facts(lab, student)
        record["notes"] += lab.notes
        record["size"] = self.size(lab, student)
        record["latency"] = self.latency(lab, student)
        record["rows_more"] = [self.further_row(lab, name, model)
                               for name, model in lab.extra_rows]
        record["status"] = "done"

    def scores(self, lab: Lab, student: Model) -> tuple[dict[str, Any], Arrays]:
        """Dev and test scores, with what statistics need. The test split is scored here and nowhere
        else.
        """
        scores, found = {}, {}
        if lab.data.dev:
            scores["dev"], found["dev"] = lab.score(student, "dev")
        scores["test"], found["test"] = lab.score(student, "test")
        score = score_of_record(lab, scores)
        if (threshold := decision_threshold(lab)) is not None:
            score["threshold"] = threshold
        if lab.task.task_type == "tags":
            score["beyond_limit"] = {
                split: metrics.beyond_limit(lab.data.labels, lab.data.split(split), tags)
                for split, tags in found.items()}
            score |= raw_text.score(lab, student, found["test"])
        return finite(score), arrays_of(scores["test"], found["test"])

    def diagnostics(self, lab: Lab, student: Model) -> dict[str, dict[str, float]]:
        """By name and split, the further figures that the method takes of its student."""
        found: dict[str, dict[str, float]] = {}
        for name, figure in lab.diagnostics.items():
            for split in ("dev", "test"):
                if examples := lab.data.split(split):
                    found.setdefault(name, {})[split] = figure(student, examples)
        return finite(found)

    def kept(self, lab: Lab, student: Model) -> Model:
        """The student, with a folder of its own. An ensemble, or a model that came trained, has
        none from a stage of training: what it answers by is part of its key, or another run's
        threshold or length limit would take the place of this one's.
        """
        if student.key not in {stage["key"] for stage in lab.stages}:
            own = [student.key, answer_labels(lab, student).identity()]
            student = replace(student, key=digest({"answers": own}, 24))
        folder = lab.cache.stage(student.key)
        if self.accelerator.is_main_process:
            what = f"{lab.label}{student.name}, saved"
            with lab.cache.held(student.key, what):
                keep(student, lab, folder)
        return student

    def label(self, lab: Lab, student: Model) -> None:
        """Write what turns the student's logits into answers beside its weights."""
        folder = lab.cache.stage(student.key)
        if folder.is_dir() and self.accelerator.is_main_process:
            answer_labels(lab, student).write(folder)
            About(lab.task.name, lab.task.metric, lab.task.metrics,
                  lab.data.reading).write(folder)

    def further_row(self, lab: Lab, name: str, model: Model) -> dict[str, Any]:
        """The row of another model of the method: a calibrated teacher, an ablation."""
        score, _ = self.scores(lab, model)
        row = {
            "name": name, "role": str(model.role), "score": score, "size": self.size(lab, model),
            "latency": self.latency(lab, model),
        }
        if model.role is Role.CONTROL:
            own = [stage for stage in lab.stages
                   if (stage["key"], stage["role"]) == (model.key, Role.CONTROL)]
            if own:
                stage = {**own[-1], "role": "student"}
                row["cost"] = {"student_seconds": stage["seconds"], "stages": [stage]}
        return row

    def size(self, lab: Lab, model: Model) -> dict[str, float]:
        """Parameters and megabytes."""
        folder = lab.cache.stage(model.key)
        return measure.size(model, folder if folder.is_dir() else None)

    def latency(self, lab: Lab, model: Model) -> dict[str, Any] | None:
        """Times of an answer; None where they are off, and beside the main process."""
        if lab.settings.latency == "off" or not self.accelerator.is_main_process:
            return None
        return measure.latency(model, lab.data.test, protocol=lab.settings.latency,
                               max_length=lab.reading, device=self.accelerator.device)

    def cost(self, lab: Lab, seconds: float) -> dict[str, Any]:
        """Training seconds, teacher apart from student, as spent when each stage was trained."""
        cost = {
            "teacher_seconds": seconds_of(lab, "teacher"),
            "student_seconds": seconds_of(lab, "student"),
            "wall_seconds": round(seconds, 2), "peak_memory_mb": provenance.peak_memory_mb(),
            "stages": lab.stages, "teacher_forwards": lab.forwards,
        }
        if self.profile:
            cost["profile"] = {name: round(value, 3) for name, value in lab.phases.table().items()}
        return cost


def keep(student: Model, lab: Lab, folder: Path) -> None:
    """Write the folder of a student, unless it is there and whole."""
    try:
        check_stage(folder)
    except BadInput as error:
        say(f"{one_line(error)}: written anew")
        shutil.rmtree(folder)
    if not folder.is_dir():
        with new_folder(folder) as partial:
            measure.write_model(student, lab.reading, partial)
            write_facts(partial, {"key": student.key})


def seconds_of(lab: Lab, role: str) -> float:
    """The seconds that stages of a role took when they were trained."""
    return round(sum(stage["seconds"] for stage in lab.stages if stage["role"] == role), 2)
