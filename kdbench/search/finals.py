"""Finals: the best of a search trained with several seeds, exported, chosen among by dev, and
certified on test.
"""

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
from kdbench.runs.certify import Answered, answered, compared, kept_of, metric_with_sums, pair_of
from kdbench.runs.grid import Engine, run_cells
from kdbench.runs.planning import plan
from kdbench.runs.runner import Runner
from kdbench.runs.store import Record
from kdbench.score.kept import YES
from kdbench.score.metrics import gold_labels
from kdbench.search.search import Labelled, Scored, Search
from kdbench.search.shapes import Form
from kdbench.search.wish import MORE_SEEDS, SEEDS, Wish
from kdbench.serve import measure
from kdbench.serve.export import answers
from kdbench.serve.serving import open_artefact
from kdbench.serve.temperature import CALIBRATED, fitted

MOST = 3  # finalists
TRAINED = 0.8  # of the time of the finals; the rest goes to exports, scores and latencies
QUICK = 300.0  # seconds of a search below which latencies are taken by the quick protocol


@dataclass(frozen=True)
class Rows:
    """Rows with their gold answers, and the teacher's answers to them."""

    examples: Sequence[Example]
    teacher: Answered


@dataclass(frozen=True)
class Judged:
    """A student of the finals, judged on dev.

    trial      behind it
    form       that it is served in
    records    of its seeds, the best on dev first
    exports    of each seed
    on_dev     what it keeps there
    p50_ms     on dev;  over  the budget, by how much
    """

    trial: Scored
    form: str
    records: tuple[Record, ...]
    exports: tuple[Export, ...]
    on_dev: dict[str, Any]
    p50_ms: float
    over: str

    @property
    def order(self) -> tuple[Any, ...]:
        """The best first: what keeps the budget; the fastest of those that certainly keep enough
        on dev; then what keeps most there.
        """
        kept = self.on_dev["share"] or 0.0
        enough = self.on_dev["verdict"] == YES
        return bool(self.over), not enough, self.p50_ms if enough else -kept, self.p50_ms


@dataclass(frozen=True)
class Finalist:
    """A student of the finals, with its certificate on test."""

    judged: Judged
    report: dict[str, Any]


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
    each = [search.seconds_of_final(one, one.steps, seeds) for one in chosen]
    count = 1
    while count < min(MOST, len(chosen)) and sum(each[:count + 1]) <= search.clock.left:
        count += 1
    room = TRAINED * search.clock.left * search.engine.workers / (count * seeds)
    return [replace(one, steps=search.decided_steps(one, room)) for one in chosen[:count]]


@dataclass
class Finals:
    """The finals of a search.

    runner     of the results folder itself
    dev, test  the whole of dev, with the part that was kept apart, chooses who is delivered; test
               has no part in it
    out        a folder for the exports
    """

    wish: Wish
    runner: Runner
    engine: Engine
    search: Search
    task: Task
    data: Data
    dev: Rows
    test: Rows
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

    def judged(self, trial: Scored, seeds: int) -> Judged:
        """What a trial's training keeps on dev with these seeds; the seed that would be delivered
        is the best there.
        """
        records = sorted(self.of(trial, range(seeds)), key=lambda one: -one["score"]["dev"])
        form = trial.point["form"]
        exports = [Export(exported(self.runner.folder, one, [form], self.wish, self.out, self.task,
                                   self.data) / form, self.wish) for one in records]
        timed = timed_on(self.dev, exports[0], form)
        return judged_on(self.dev, trial, timed, records, exports, self.task)

    def all(self, trials: Sequence[Scored]) -> list[Finalist]:
        """The finalists, the best first; with more seeds where the time allows. Interrupted, those
        that are there, or the first with one seed.
        """
        found: list[Judged] = []
        try:
            self._judge(trials, found)
        except KeyboardInterrupt:
            say("interrupted: " + ("the finals so far count" if found else
                                   "the best is scored as it is, with one seed"))
            if not found:  # as it was in the search, where it was trained
                number = trials[0].number
                tried = next(one for one in self.search.scored() if one.number == number)
                found.append(self.judged(tried, 1))
        certified: list[Finalist] = []
        try:
            for one in sorted(found, key=lambda one: one.order):
                certified.append(certified_of(one, self.task, self.test, self.wish))
                say(f"on test: {in_line(one)}, {in_short(certified[-1].report)}")
        except KeyboardInterrupt:
            if not certified:
                raise
            say("interrupted: the others are not scored on test")
        return certified

    def _judge(self, trials: Sequence[Scored], found: list[Judged]) -> None:
        """Put the finalists into `found`, one after another; the best with more seeds at the end
        where the time allows.
        """
        for trial in trials:
            found.append(self.judged(trial, self.wish.seeds or SEEDS))
            say(f"finals: {in_line(found[-1])}, {share_in_words(found[-1].on_dev)} kept on dev")
        found.sort(key=lambda one: one.order)
        if self.wish.seeds is None and found:
            last, more = (self.search.seconds_of_final(found[0].trial, found[0].trial.steps, seeds)
                          for seeds in (SEEDS, MORE_SEEDS))
            if more - last < self.search.clock.left:
                found[0] = self.judged(found[0].trial, MORE_SEEDS)
                say(f"finals: {in_line(found[0])}, {share_in_words(found[0].on_dev)} kept on dev")


@dataclass(frozen=True)
class Export:
    """An exported student, opened when it is asked."""

    folder: Path
    wish: Wish

    def answered(self, record: Record | None, task: Task, examples: Sequence[Example]) -> Answered:
        """Its answers, as it is served."""
        artefact = open_artefact(self.folder, threads=self.wish.threads, device=self.wish.device)
        return answered(record, self.folder, artefact, task, examples)


def timed_on(dev: Rows, export: Export, kind: str) -> Form:
    """What an export of this kind takes."""
    figures = measure.latency(export.folder, dev.examples, "quick", threads=export.wish.threads,
                              device=export.wish.device)
    return Form(kind, figures["p50_ms"], measure.disk_megabytes(export.folder))


def judged_on(dev: Rows, trial: Scored, form: Form, records: Sequence[Record],
              exports: Sequence[Export], task: Task) -> Judged:
    """Students of one training, one a seed, judged on dev."""
    wish = exports[0].wish
    answers = [export.answered(None, task, dev.examples) for export in exports]
    kept = kept_of(pair_of(answers, dev.teacher, metric_with_sums(task)), wish.keep)
    return Judged(trial, form.kind, tuple(records), tuple(exports), kept, form.p50_ms,
                  wish.budget.over(form))


def certified_of(one: Judged, task: Task, test: Rows, wish: Wish) -> Finalist:
    """A judged student with its certificate on test."""
    answers = [export.answered(record, task, test.examples)
               for record, export in zip(one.records, one.exports, strict=True)]
    report = compared(task, test.examples, answers, test.teacher, wish.asked, wish.threads,
                      protocol_for(wish))
    return Finalist(one, report)


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


def in_line(one: Judged) -> str:
    """A finalist in a line."""
    point = one.trial.point
    seeds = f"{len(one.records)} seed{'s' * (len(one.records) != 1)}"
    return f"{point['student']}, {point['method']}, {one.form}, {seeds}"


def share_in_words(kept: dict[str, Any]) -> str:
    """What is kept, in percent."""
    return "none" if kept["share"] is None else f"{100 * kept['share']:.1f}%"


def in_short(report: dict[str, Any]) -> str:
    """A certificate in a few words."""
    return (f"{share_in_words(report['kept'])} kept, {report['latency']['p50_ms']:.2f} ms, "
            f"{report['megabytes']:.1f} MB: {report['verdict']}")
