"""The same number of trials for every method of a table, its controls too, each chosen on dev.

A method with luckier rates is no better method. So each gets N trials of its own space (or the same
seconds), by the same sampler, at the training of the protocol; the first is its defaults. Trials
are scored on a part of dev that no training looks at, and the best is trained with every seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdbench.base.activity import doing
from kdbench.base.errors import Skip
from kdbench.base.identity import digest
from kdbench.base.progress import say
from kdbench.base.registry import METHODS
from kdbench.data.apart import FINAL, SHARE, TRIAL
from kdbench.runs.cell import Cell, LeftOut
from kdbench.runs.grid import Engine, run_cells
from kdbench.runs.planning import plan
from kdbench.runs.request import OF_TEACHER, Request
from kdbench.runs.runner import Runner
from kdbench.search import space
from kdbench.search.search import Labelled
from kdbench.search.trials import Owned, Trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TRIALS = "trials"  # the folder of their records, in the results folder
PAUSE = 2.0  # seconds between two looks at what another call does


@dataclass(frozen=True)
class Effort:
    """What every method gets.

    trials   of each; None: as many as the seconds allow
    seconds  of all trials of one method together; None: any
    """

    trials: int | None
    seconds: float | None = None
    sampler: str = "tpe"
    seed: int = 0


def after_trials(planned: Sequence[Cell | LeftOut], runner: Runner, engine: Engine,
                 effort: Effort) -> list[Cell | LeftOut]:
    """The cells of the requests behind `planned`: each method and control with the settings that
    its own trials chose, and the teachers beside them.
    """
    requests = list({id(cell.request): cell.request for cell in planned
                     if isinstance(cell, Cell)}.values())
    apart = Runner(runner.folder / TRIALS, device=runner.device, threads=runner.threads,
                   stages=runner.folder)
    left_out = [cell for cell in planned if isinstance(cell, LeftOut)]
    found: dict[str, Cell | LeftOut] = {f"left out {i}": each for i, each in enumerate(left_out)}
    for request in each_method(requests, runner.device):
        try:
            chosen, scores, count = best_point(request, apart, engine, effort)
        except Skip as error:
            found[f"{request.method} {len(found)}"] = LeftOut(request, request.seeds[0], error)
            continue
        for cell in finals(replace(request, trials=scores), chosen, count, runner.device):
            found.setdefault(cell.id, cell)
    return list(found.values())


def each_method(requests: Sequence[Request], device: str) -> Iterator[Request]:
    """A request for each method and control, each once."""
    seen = set()
    for request in requests:
        beside = plan(replace(request, seeds=request.seeds[:1]), device=device)
        for cell in beside:
            if cell.role == "teacher":
                continue
            one = request
            if cell.role == "control":
                one = replace(request, method=cell.method_name, options={}, variant="corrected")
            key = digest([one.method, one.options, cell.description["student"],
                          cell.description["task"], cell.content["data"], one.variant])
            if key not in seen:
                seen.add(key)
                yield one


def best_point(request: Request, runner: Runner, engine: Engine,
               effort: Effort) -> tuple[Mapping[str, Any], tuple[float, ...], int]:
    """What the trials of a method chose, their scores on the part of dev that is kept apart, and
    how many there were; `Skip` where it does not apply.
    """
    cls = METHODS.entry(request.method).load().Options
    budgeted = request.settings.get("steps_equal") is not None
    cell = plan(at_point(request, NOTHING, TRIAL), device=runner.device)[-1]
    lab = runner.lab(cell, "")
    cell.method.check(lab)
    rate = lab.student().lr

    def draw(trial: space.Draw) -> dict[str, Any]:
        drawn = space.draw(trial, request.method, cls, [*request.options, *request.settings],
                           rate, budgeted)
        return {"options": drawn.options, "settings": drawn.settings}

    name = digest({"cell": cell.id, "effort": [effort.sampler, effort.seed]}, 16)
    trials = Trials(runner.folder / "search", name, draw, effort.sampler, "none", effort.seed,
                    NOTHING, effort.trials)
    spent = tried(trials, cell, runner, engine, effort)
    scored = [trial for trial in trials.all if trial.value is not None]
    if not scored:
        raise Skip(f"none of {len(trials.tried)} trials of {request.method} came to a score")
    best = best_of(scored)
    say(f"{request.method}: trial {best.number + 1} of {len(trials.tried)} chosen in {spent:.0f} "
        f"s, dev {100 * best.user_attrs['rung 0']['dev']:.1f}, apart "
        f"{100 * best.user_attrs['rung 0']['score']:.1f}")
    scores = tuple(trial.user_attrs["rung 0"]["score"] for trial in scored)
    return best.user_attrs["point"], scores, len(trials.tried)


def best_of(scored: Sequence[FrozenTrial]) -> FrozenTrial:
    """The trial that scores best on the part of dev that chose no epoch; of several the first."""
    return max(scored, key=lambda trial: (trial.user_attrs["rung 0"]["score"], -trial.number))


def tried(trials: Trials, first: Cell, runner: Runner, engine: Engine, effort: Effort) -> float:
    """Run the trials of a method, with other calls that are at them; returns the seconds of all."""
    label = f"{first.method_name} on {first.task.name}, {first.student.name}"
    while True:
        spent = seconds_of(trials)
        taken: list[Owned] = []
        if effort.seconds is None or spent < effort.seconds:
            while len(taken) < engine.workers and (owned := trials.next()) is not None:
                taken.append(owned)
        if taken:
            one_each(taken, trials, first, runner, engine)
        elif trials.elsewhere():  # or each call would choose among its own
            with doing(f"{label}: waiting for trials of another call"):
                time.sleep(PAUSE)
        else:
            return spent


def seconds_of(trials: Trials) -> float:
    """What all trials have taken so far."""
    return sum(trial.user_attrs["rung 0"]["seconds"] for trial in trials.all
               if "rung 0" in trial.user_attrs)


def one_each(taken: Sequence[Owned], trials: Trials, first: Cell, runner: Runner,
             engine: Engine) -> None:
    """Run these trials at once, and note what came of them."""
    cells = [plan(at_point(first.request, owned.point, TRIAL, first), device=runner.device)[-1]
             for owned in taken]
    overall = Labelled(f"[{first.method_name}, trial {taken[0].number + 1}] ", len(cells))
    for owned, record in zip(taken, run_cells(cells, runner, engine, overall), strict=True):
        if record["status"] != "done":
            trials.over(owned, record)
            continue
        score = record["score"]
        trials.note(owned, 0, seconds=record["cost"]["wall_seconds"], dev=score["dev"],
                    score=score["test"], run=record["id"])
        trials.report(owned, 0, score["dev"])
        trials.end(owned, score["dev"])


NOTHING: dict[str, Any] = {"options": {}, "settings": {}}  # the defaults, which are tried first


def at_point(request: Request, point: Mapping[str, Any], part: str, first: Cell | None = None,
             tuned: int = 0) -> Request:
    """A request with what a trial tries for its student.

    first  the cell without it, whose teacher is that of every trial
    """
    tuning: dict[str, Any] = {"dev_apart": SHARE, "part": part}
    if first is not None and first.teacher is not None and point["settings"]:
        tuning[OF_TEACHER] = {name: getattr(first.settings, name) for name in point["settings"]}
    if tuned:
        tuning["tuned"] = tuned
    settings = {**point["settings"], **request.settings}
    trial = part == TRIAL
    if trial:
        settings["latency"] = "off"
        tuning["alone"] = True
    return replace(request, options={**point["options"], **request.options}, settings=settings,
                   controls=False, seeds=(0,) if trial else request.seeds, tuning=tuning)


def finals(request: Request, point: Mapping[str, Any], count: int, device: str) -> Iterator[Cell]:
    """The teachers beside a method, and the method as its trials chose it."""
    plain = replace(request, tuning={"dev_apart": SHARE, "part": FINAL}, trials=())
    if request.controls:
        yield from (cell for cell in plan(plain, device=device) if cell.role == "teacher")
    first = plan(at_point(request, NOTHING, FINAL), device=device)[-1]
    yield from plan(at_point(request, point, FINAL, first, count), device=device)
