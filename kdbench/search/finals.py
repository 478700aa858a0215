"""Finals: the best of a search trained with several seeds, exported, and scored once on test."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from kdbench.base.activity import doing
from kdbench.base.errors import Broken
from kdbench.base.progress import say
from kdbench.data.apart import FINAL
from kdbench.data.task import Data, Example, Task
from kdbench.runs.artefacts import export_run, find_run
from kdbench.runs.certify import CODES, Answered, answered, compared
from kdbench.runs.grid import Engine, run_cells
from kdbench.runs.planning import plan
from kdbench.runs.runner import Runner
from kdbench.runs.store import Record
from kdbench.score.kept import OPEN, YES
from kdbench.score.metrics import gold_labels
from kdbench.search.search import Labelled, Scored, Search
from kdbench.search.wish import MORE_SEEDS, SEEDS, Wish
from kdbench.serve.export import answers
from kdbench.serve.serving import open_artefact
from kdbench.serve.temperature import CALIBRATED, fitted

MOST = 3  # finalists
TRAINED = 0.8  # of the time of the finals; the rest goes to exports, scores and latencies
QUICK = 300.0  # seconds of a search below which latencies are taken by the quick protocol


@dataclass(frozen=True)
class Finalist:
    """A student of the finals.

    trial    behind it
    form     that it is served in
    records  of its seeds
    report   its certificate
    folder   of the export that would be delivered
    """

    trial: Scored
    form: str
    records: tuple[Record, ...]
    report: dict[str, Any]
    folder: Path

    @property
    def code(self) -> int:
        """0: the budget is met and enough is kept; 3: that cannot be told; 1: not."""
        return CODES[self.report["verdict"]]

    @property
    def order(self) -> tuple[Any, ...]:
        """The best first: what is certain, then what is fast, then what keeps most."""
        kept = self.report["kept"]["share"] or 0.0
        if self.report["verdict"] == YES:
            return 0, self.report["latency"]["p50_ms"], self.report["megabytes"]
        return 1 + (self.report["verdict"] != OPEN), -kept, self.report["latency"]["p50_ms"]


def finalists(search: Search, teacher_score: float) -> list[Scored]:
    """The trials that go on: the best, and the smallest that keeps enough on the part of dev that
    is kept apart; and the next best as far as the time goes. Each has as many steps as the time
    allows, up to an ordinary training.

    teacher_score  on that part
    """
    leading = search.leading(len(search.candidates))
    if not leading:
        return []
    by_shape = {one.shape.name: one.form.p50_ms for one in search.candidates}
    whole = [one for one in leading if one.whole] or leading[:1]
    enough = [one for one in whole if one.score >= search.wish.keep * teacher_score]
    smallest = sorted(enough, key=lambda one: by_shape[one.point["shape"]])[:1]
    chosen: list[Scored] = []
    for one in (whole[0], *smallest, *whole[1:]):
        if one not in chosen:
            chosen.append(one)
    seeds = search.wish.seeds or SEEDS
    each = [search.seconds_of(one.point["shape"], one.steps) * seeds / search.engine.workers
            for one in chosen]
    count = 1
    while count < min(MOST, len(chosen)) and sum(each[:count + 1]) <= search.clock.left:
        count += 1
    room = TRAINED * search.clock.left * search.engine.workers / (count * seeds)
    return [replace(one, steps=search.decided_steps(one, room)) for one in chosen[:count]]


@dataclass
class Finals:
    """The finals of a search.

    runner   of the results folder itself
    teacher  its answers to the test split
    out      a folder for the exports
    """

    wish: Wish
    runner: Runner
    engine: Engine
    search: Search
    task: Task
    data: Data
    teacher: Answered
    out: Path

    def of(self, trial: Scored, seeds: Sequence[int]) -> tuple[Record, ...]:
        """The records of a trial's training with these seeds."""
        request = self.wish.of_point(trial.point, trial.steps, FINAL, seeds=seeds,
                                     tuned=len(self.search.scored()))
        cells = plan(request, device=self.runner.device)
        label = f"[finals: {trial.point['student']}, {trial.point['method']}] "
        records = run_cells(cells, self.runner, self.engine, Labelled(label, len(cells)))
        for record in records:
            if record["status"] != "done":
                raise Broken(f"{trial.point['student']}: {record['reason'] or record['error']}")
        return tuple(records)

    def judged(self, trial: Scored, seeds: int) -> Finalist:
        """A finalist with its certificate; the seed that is delivered is the best on dev."""
        records = self.of(trial, range(seeds))
        order = sorted(records, key=lambda one: -one["score"]["dev"])
        form = trial.point["form"]
        answers = [self.answers(record, form) for record in order]
        report = compared(self.task, self.data.test, answers, self.teacher, self.wish.asked,
                          self.wish.threads, protocol_for(self.wish))
        return Finalist(trial, form, tuple(order), report, answers[0].folder)

    def answers(self, record: Record, form: str) -> Answered:
        """A student as it is served, with its answers to the test split."""
        place = exported(self.runner.folder, record, [form], self.wish, self.out, self.task,
                         self.data)
        artefact = open_artefact(place / form, threads=self.wish.threads, device=self.wish.device)
        return answered(record, place / form, artefact, self.task, self.data.test)

    def all(self, trials: Sequence[Scored]) -> list[Finalist]:
        """The finalists, the best first; with more seeds where the time allows. Interrupted, those
        that are there, or the first with one seed.
        """
        found: list[Finalist] = []
        try:
            self._judge(trials, found)
        except KeyboardInterrupt:
            say("interrupted: " + ("the finals so far count" if found else
                                   "the best is scored as it is, with one seed"))
            if not found:  # as it was in the search, where it was trained
                number = trials[0].number
                tried = next(one for one in self.search.scored() if one.number == number)
                found.append(self.judged(tried, 1))
        return sorted(found, key=lambda one: one.order)

    def _judge(self, trials: Sequence[Scored], found: list[Finalist]) -> None:
        """Put the finalists into `found`, one after another; the best with more seeds at the end
        where the time allows.
        """
        for trial in trials:
            found.append(self.judged(trial, self.wish.seeds or SEEDS))
            say(f"finals: {in_line(found[-1])}")
        found.sort(key=lambda one: one.order)
        if self.wish.seeds is None and found:
            more = self.search.seconds_of(found[0].trial.point["shape"], found[0].trial.steps)
            if more * (MORE_SEEDS - SEEDS) / self.engine.workers < self.search.clock.left:
                found[0] = self.judged(found[0].trial, MORE_SEEDS)
                say(f"finals: {in_line(found[0])}")


def exported(results_dir: Path, record: Record, forms: Sequence[str], wish: Wish, out: Path,
             task: Task, data: Data) -> Path:
    """The folder of a run's exports, made unless it is there. Another call that makes it is waited
    for; what a killed one has left is made anew.
    """
    place = out / record["id"] / "+".join(forms)
    place.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with doing(f"exports of {record['id']}: waiting for another call"):
            stack.enter_context(FileLock(place.parent / f"{place.name}.lock"))
        if not (place / "README.md").is_file():  # it is written last
            shutil.rmtree(place, ignore_errors=True)
            export_run(results_dir, record["id"], place, forms, wish.request.data_dir, "quick",
                       wish.threads,
                       temperature=temperature_of(results_dir, record, task, data.dev))
    return place


def temperature_of(results_dir: Path, record: Record, task: Task,
                   dev: Sequence[Example]) -> float | None:
    """What divides the logits of a run's student, by its answers to dev; None where answers are no
    probabilities of one model.
    """
    folder = find_run(results_dir, record["id"])[1]
    artefact = open_artefact(folder, "torch")
    if task.task_type not in CALIBRATED or artefact.labels.members:
        return None
    with doing(f"a temperature by {len(dev):,} texts of dev"):
        logits = np.vstack(answers(artefact, dev))
    return fitted(task.task_type, np.asarray(gold_labels(task.task_type, dev)), logits)


def protocol_for(wish: Wish) -> str:
    """How the latency of what is delivered is taken."""
    return "quick" if wish.seconds < QUICK else "full"


def in_line(one: Finalist) -> str:
    """A finalist in a line."""
    kept, point = one.report["kept"], one.trial.point
    share = "none" if kept["share"] is None else f"{100 * kept['share']:.1f}%"
    seeds = f"{len(one.records)} seed{'s' * (len(one.records) != 1)}"
    return (f"{point['student']}, {point['method']}, {one.form}, {seeds}: "
            f"{share} kept, {one.report['latency']['p50_ms']:.2f} ms, "
            f"{one.report['megabytes']:.1f} MB: {one.report['verdict']}")
