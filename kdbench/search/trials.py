"""Trials of a search, kept by Optuna in a journal of the results folder.

A trial tries one point of the space at a growing number of steps (rungs), and is given up where
others did better (successive halving, Jamieson and Talwalkar 2016; asynchronous, Li et al. 2020).
What a trial draws follows from the seed, its number and the trials before it alone: killed and
started again, a search of one worker draws the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kdbench.base.errors import BadInput
from kdbench.base.identity import seed_for
from kdbench.base.registry import unknown
from kdbench.runs.store import WORKER_DIED
from kdbench.search.space import Draw

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from kdbench.runs.store import Record

FACTOR = 3  # of a rung's steps to those of the rung before it
RUNGS = 3
POINT = "point"  # what a trial tries, as an attribute of it
REFUSED = "refused"  # of a trial whose point its method does not take
DEATHS, MOST_DEATHS = "deaths", 3  # of the workers of a trial, which may be killed for a reason


def sampler_of(name: str, seed: int) -> BaseSampler:
    """A sampler by its name."""
    from optuna.samplers import QMCSampler, RandomSampler, TPESampler

    made: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(seed=seed, multivariate=False),
        "random": lambda: RandomSampler(seed=seed),
        "qmc": lambda: QMCSampler(seed=seed, warn_independent_sampling=False),
    }
    if name not in made:
        raise BadInput(unknown("sampler", name, made))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which of its arguments are experimental
        return made[name]()


def pruner_of(name: str) -> BasePruner:
    """A pruner by its name."""
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    made: dict[str, Callable[[], BasePruner]] = {
        "halving": lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR),
        "none": NopPruner,
    }
    if name not in made:
        raise BadInput(unknown("pruner", name, made))
    return made[name]()


def rungs(steps: int, pruner: str) -> list[int]:
    """The steps of each rung of a search, the last being `steps`."""
    if pruner == "none":
        return [steps]
    found = [max(1, round(steps / FACTOR ** (RUNGS - 1 - rung))) for rung in range(RUNGS)]
    return sorted(set(found))


@dataclass(frozen=True)
class Owned:
    """A trial that this process has, with the lock that says so."""

    trial: Trial
    lock: FileLock
    point: dict[str, Any]

    @property
    def number(self) -> int:
        """Its number, from 0."""
        return self.trial.number


@dataclass
class Trials:
    """The trials of one search.

    folder   of the search; its journal and its locks lie there
    name     of the search: what is searched, as a hash
    draw     the point that a trial tries, as JSON can hold it
    sampler, pruner  by name
    defaults  what the first trial tries, in place of something drawn
    most     trials, at most; None: any number
    least    below this dev score nothing was learned yet, and nothing follows from who is ahead
    """

    folder: Path
    name: str
    draw: Callable[[Draw], dict[str, Any]]
    sampler: str = "tpe"
    pruner: str = "halving"
    seed: int = 0
    defaults: dict[str, Any] | None = None
    most: int | None = None
    least: float = -math.inf
    study: Study = field(init=False)

    def __post_init__(self) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder.mkdir(parents=True, exist_ok=True)
        journal = self.folder / f"{self.name}.journal"
        sampler_of(self.sampler, 0)
        storage = JournalStorage(JournalFileBackend(
            str(journal), lock_obj=JournalFileOpenLock(str(journal))))
        with self._lock("study"):
            self.study = optuna.create_study(
                storage=storage, study_name=self.name, direction="maximize", load_if_exists=True,
                pruner=pruner_of(self.pruner))

    def _lock(self, name: str) -> FileLock:
        """A lock of this search."""
        return FileLock(self.folder / f"{self.name}.{name}.lock")

    # --- facts of the whole search ----------------------------------------------------------------

    def fact(self, name: str, found: Callable[[], Any]) -> Any:
        """A fact that whoever comes first decides for all, and for a search that goes on."""
        with self._lock("facts"):
            facts = self.study.user_attrs
            if name not in facts:
                self.study.set_user_attr(name, found())
            return self.study.user_attrs[name]

    def first(self, points: Sequence[Mapping[str, Any]]) -> None:
        """What is tried before anything is drawn; what a point leaves open is drawn."""
        def put() -> int:
            for point in points:
                self.study.enqueue_trial(dict(point))
            return len(points)

        self.fact("first", put)

    @property
    def wave(self) -> list[FrozenTrial]:
        """The first trials, which are compared with each other: alone, the first of all would go
        on to the last rung however poor it is.
        """
        count = self.study.user_attrs.get("first", 0)
        return [trial for trial in self.all
                if trial.number < count and REFUSED not in trial.user_attrs][:self.most]

    def held(self, late: Container[int] = ()) -> set[int]:
        """Those of the first trials that wait for others of them to come as far.

        late  those that are waited for by nobody
        """
        going = {trial.number: len([*rung_facts(trial)]) for trial in self.wave
                 if not trial.state.is_finished() and trial.number not in late}
        behind = min(going.values(), default=0)
        return {number for number, done in going.items() if done > behind}

    def behind_the_first(self, number: int, step: int) -> bool:
        """Is a trial of the first ones not among the best third of them? Unknown, and so no, as
        long as one of them has still to come to this step.
        """
        wave = self.wave
        values = {trial.number: trial.intermediate_values[step] for trial in wave
                  if step in trial.intermediate_values}
        if number not in values or any(not trial.state.is_finished() and trial.number not in values
                                       for trial in wave):
            return False
        cutoff = sorted(values.values(), reverse=True)[max(1, len(values) // FACTOR) - 1]
        return values[number] < cutoff

    def tells(self, step: int) -> bool:
        """Has any trial learned enough by this step that others can be compared with it? Where the
        best of a tagger's first steps are three entities found by luck, who has none may go on.
        """
        return any(trial.intermediate_values.get(step, -math.inf) >= self.least
                   for trial in self.all)

    @property
    def all(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self.study.get_trials(deepcopy=False)

    @property
    def tried(self) -> list[FrozenTrial]:
        """Those that were begun and not refused."""
        return [trial for trial in self.all
                if trial.state.name != "WAITING" and REFUSED not in trial.user_attrs]

    # --- one trial --------------------------------------------------------------------------------

    def next(self, late: Container[int] = ()) -> Owned | None:
        """A trial that nobody is at: one that was begun, or a new one; None where there are `most`
        already. One that was refused counts for nothing, as long as no more than `most` are.

        late  begun ones that are left to a later call
        """
        with self._lock("ask"):
            begun = [found for found in self.all if found.state.name != "WAITING"]
            for found in begun:
                open_ = not found.state.is_finished() and found.number not in late
                if open_ and (owned := self._taken(found._trial_id)):
                    return owned
            most = self.most
            if most is not None and max(len(self.tried), len(begun) - most) >= most:
                return None
            self._seed(len(begun))
            return self._taken(self.study.ask()._trial_id)

    def elsewhere(self) -> bool:
        """Is another process at a trial?"""
        with self._lock("ask"):  # nobody takes one meanwhile
            going = [trial.number for trial in self.all if trial.state.name == "RUNNING"]
            return any(self._is_held(number) for number in going)

    def _is_held(self, number: int) -> bool:
        """Has another process this trial?"""
        try:
            with self._lock(f"trial-{number}").acquire(blocking=False):
                return False
        except Timeout:
            return True

    def _seed(self, number: int, *axes: str) -> None:
        """Let what is drawn next follow from the seed and these names."""
        self.study.sampler = sampler_of(self.sampler,
                                        seed_for(self.seed, "trial", str(number), *axes) % 2**31)

    def _taken(self, trial_id: int) -> Owned | None:
        """A trial, drawn; None where another process is at it."""
        import optuna

        number = self.study._storage.get_trial(trial_id).number
        lock = self._lock(f"trial-{number}")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        with ExitStack() as undo:
            undo.callback(lock.release)
            trial = optuna.Trial(self.study, trial_id)
            point = trial.user_attrs.get(POINT)
            if point is None and number == 0 and self.defaults is not None:
                point = self.defaults
                trial.set_user_attr(POINT, point)
            if point is None:
                point = self.draw(Seeded(trial, lambda name: self._seed(number, name)))
                trial.set_user_attr(POINT, point)
            undo.pop_all()
            return Owned(trial, lock, point)

    def report(self, owned: Owned, rung: int, score: float) -> bool:
        """Note the dev score of a rung; returns whether the trial is given up.

        rung  from 0
        """
        trial, step = owned.trial, FACTOR**rung
        kept = self.study._storage.get_trial(trial._trial_id).intermediate_values
        if step not in kept:  # else it was killed behind this line
            trial.report(score, step)
        given_up = trial.should_prune()  # notes the score, which later trials are compared with
        if owned.number in {one.number for one in self.wave}:
            given_up = self.pruner == "halving" and self.behind_the_first(owned.number, step)
        return given_up and self.tells(step)

    def note(self, owned: Owned, rung: int, **facts: Any) -> None:
        """Keep what a rung of a trial took and gave."""
        owned.trial.set_user_attr(f"rung {rung}", facts)

    def over(self, owned: Owned, record: Record) -> None:
        """The trial is over, with a record that has no score: it failed, or its point is one that
        its method does not take. One whose worker has died is tried again.
        """
        deaths = owned.trial.user_attrs.get(DEATHS, 0) + died(record)
        if died(record) and deaths < MOST_DEATHS:
            owned.trial.set_user_attr(DEATHS, deaths)
            self.leave(owned)
            return
        if record["status"] == "skipped":
            owned.trial.set_user_attr(REFUSED, True)
        self.end(owned, None)

    def end(self, owned: Owned, score: float | None, given_up: bool = False) -> None:
        """The trial is over, with the score of its last rung; None: it came to none."""
        from optuna.trial import TrialState

        # without a score it counts as the worst: a sampler takes no notice of failed trials, and
        # would draw the like of them again and again
        if score is None or given_up:
            self.study.tell(owned.trial, state=TrialState.PRUNED)
        else:
            self.study.tell(owned.trial, score)
        owned.lock.release()

    def leave(self, owned: Owned) -> None:
        """Let another process, or a later one, go on with a trial."""
        owned.lock.release()


@dataclass(frozen=True)
class Seeded:
    """Draws of a trial, each from a seed of its own: whatever was drawn before a kill is drawn
    again, and the rest as it would have been.
    """

    trial: Trial
    reseed: Callable[[str], None]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number of a range."""
        self.reseed(name)
        return self.trial.suggest_float(name, low, high, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number of a range."""
        self.reseed(name)
        return self.trial.suggest_int(name, low, high, log=log)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of these values."""
        self.reseed(name)
        return self.trial.suggest_categorical(name, choices)


def died(record: Record) -> bool:
    """Did the worker of a trial end without a word?"""
    return record["status"] == "failed" and record["error"]["type"] == WORKER_DIED


def rung_facts(trial: FrozenTrial) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """What each rung of a trial took and gave."""
    for rung in range(RUNGS):
        if facts := trial.user_attrs.get(f"rung {rung}"):
            yield rung, facts
