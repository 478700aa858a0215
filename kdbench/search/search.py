"""The search: trials at growing numbers of steps, until the time for the finals begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from kdbench.base.errors import BadInput, Broken, Skip, one_line
from kdbench.base.progress import Overall, clock, hushed, say
from kdbench.base.registry import METHODS
from kdbench.data.apart import TRIAL
from kdbench.runs.cell import Cell
from kdbench.runs.grid import Engine, run_cells
from kdbench.runs.planning import plan
from kdbench.runs.runner import Runner
from kdbench.runs.store import Record
from kdbench.search import space
from kdbench.search.shapes import Fit, Form, Shape, Timing, fit_of, shapes_for
from kdbench.search.trials import POINT, Owned, Trials, died, rung_facts, rungs
from kdbench.search.wish import SEEDS, Clock, Wish

FITTING = 1 / 6  # of the time, at most, goes to timing shapes
FINALS = 0.45  # of the time, about, goes to the finals
FINALISTS = 2  # that the length of a training is reckoned with
FIRST = 2  # methods that each kind of shape begins with
FIRST_STEPS = 6  # of the training that tells how long a step takes


@dataclass(frozen=True)
class Candidate:
    """A shape that fits, in the form it fits in.

    rate     the learning rate of its own
    methods  that can train it
    """

    shape: Shape
    form: Form
    rate: float
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Pace:
    """Seconds of a step of a shape's training, of all else that a trial takes, and of the teacher's
    answers that it read.
    """

    step: float
    beside: float
    heard: float = 0.0

    def seconds(self, steps: int) -> float:
        """About what a trial of so many steps takes."""
        return self.beside + steps * self.step


@dataclass(frozen=True)
class Scored:
    """A trial as far as it came.

    score  on the part of dev that is kept apart;  dev  on the part that chose its epoch
    steps  of its last rung;  whole  was that the last one?
    """

    number: int
    point: dict[str, Any]
    score: float
    dev: float
    steps: int
    seconds: float
    whole: bool


@dataclass
class Search:
    """A search for students of one teacher.

    wish     what is asked for, its teacher being trained
    runner   of trials; its records lie apart from those of finals
    engine   through which trials run
    least    below this dev score a trial has learned too little to be compared with
    """

    wish: Wish
    runner: Runner
    engine: Engine
    clock: Clock
    least: float = -math.inf
    candidates: list[Candidate] = field(default_factory=list)
    trials: Trials = field(init=False)
    fits: list[Fit] = field(default_factory=list)
    pace: dict[str, Pace] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)  # trials that have no time left for their next rung
    ended: list[Scored] | None = None  # the trials that the finals are chosen of
    last_refusal: str = ""

    # --- what fits --------------------------------------------------------------------------------

    def look(self, teacher: Cell, name: str) -> None:
        """Time the shapes, or find what was found before; keep those within the budget.

        teacher  a cell whose student it is
        """
        self.trials = Trials(self.runner.folder / "search", name, self.draw,
                             self.wish.sampler, self.wish.pruner, self.wish.seed,
                             most=self.wish.trials, least=self.least)
        spent = 0.0
        for trial in self.trials.all:
            for _, facts in rung_facts(trial):
                spent += facts["seconds"]
                if "pace" in facts:
                    self.keep_pace(trial.user_attrs[POINT], Pace(*facts["pace"]))
        self.clock.before = spent / self.engine.workers
        known = self.trials.fact("fits", lambda: self._timed(teacher))
        self.fits = [Fit(Shape(tuple(one["students"]), one["options"], one["method"]),
                         tuple(Form(**form) for form in one["forms"]), one["why"])
                     for one in known]
        for fit, one in zip(self.fits, known, strict=True):
            form = fit.best(self.wish.budget)
            if form is not None and one["methods"]:
                self.candidates.append(Candidate(fit.shape, form, one["rate"],
                                                 tuple(one["methods"])))

        self.trials.first(self.first_points())

    def first_points(self) -> list[dict[str, Any]]:
        """What is tried before anything is drawn: of each kind of shape the ablest, by the first of
        its methods, then by the second.
        """
        ablest: dict[str, Candidate] = {}
        for one in self.candidates:
            ablest.setdefault(one.shape.name.partition(":")[0], one)
        return [{"shape": one.shape.name, of_these(one.methods): one.methods[turn]}
                for turn in range(FIRST) for one in ablest.values() if turn < len(one.methods)]

    def _timed(self, teacher: Cell) -> list[dict[str, Any]]:
        """Every shape with its figures, as JSON has them."""
        config = self.runner.lab(teacher, "").student().module.config
        shapes = shapes_for(config.num_hidden_layers, config.hidden_size, self.wish.students)
        for method in self.wish.tried():
            cls = METHODS.entry(method).load()
            if teacher.task.task_type in cls.task_types:
                shapes += [Shape((name,), options, method)
                           for name, options in cls.own_students(config.hidden_size).items()]
        found: list[dict[str, Any]] = []
        for shape in shapes:
            if self.clock.spent > FITTING * self.clock.seconds and found:
                found.append(as_facts(Fit(shape, why="no time to look at it"), 0.0, ()))
                continue
            with hushed():
                found.append(self._looked_at(shape))
        return found

    def _looked_at(self, shape: Shape) -> dict[str, Any]:
        """One shape with its figures."""
        methods, cell, trainers = [], None, self.trainers(shape)
        why = "" if trainers else "no method that is tried trains it"
        for method in trainers:
            try:
                planned = self.cell(shape, method)
                planned.method.check(self.runner.lab(planned, ""))
            except (BadInput, Skip) as error:
                why = why or one_line(error)
                continue
            methods.append(method)
            cell = cell or planned
        if cell is None:
            return as_facts(Fit(shape, why=why), 0.0, ())
        lab = self.runner.lab(cell, "")
        first = cell.method
        model = (lambda: first.untrained(lab)) if shape.method else lab.student
        wish = self.wish
        fit = fit_of(shape, model, lab.reading,
                     Timing(cell.data.dev, wish.forms, wish.threads, wish.device))
        return as_facts(fit, model().lr, methods)

    def trainers(self, shape: Shape) -> list[str]:
        """The methods that can train a shape: the one that builds it, or all that build none."""
        if shape.method:
            return [shape.method]
        return [method for method in self.wish.tried()
                if not METHODS.entry(method).load().builds_student]

    def cell(self, shape: Shape, method: str) -> Cell:
        """A cell of this shape and method, with the method's defaults."""
        point = {**of_shape(shape, shape.name), "method": method, "settings": {},
                 "options": self.options_of(shape, method)}
        return plan(self.wish.of_point(point, FIRST_STEPS, TRIAL), device=self.runner.device)[-1]

    def options_of(self, shape: Shape, method: str) -> dict[str, Any]:
        """The options that a method must be given: those that keep the shape, and the user's."""
        own = {each.name for each in fields(METHODS.entry(method).load().Options)}
        given = {**self.wish.request.options, **shape.options}
        return {name: value for name, value in given.items() if name in own}

    # --- what is tried ----------------------------------------------------------------------------

    def draw(self, trial: space.Draw) -> dict[str, Any]:
        """A point: shape, first weights, method, its options, settings."""
        by_name = {one.shape.name: one for one in self.candidates}
        chosen = by_name[trial.suggest_categorical("shape", list(by_name))]
        shape, student = chosen.shape, chosen.shape.name
        if len(shape.students) > 1:
            student = trial.suggest_categorical(f"{shape.name} begins as", shape.students)
        method = chosen.methods[0]
        if len(chosen.methods) > 1:
            method = trial.suggest_categorical(of_these(chosen.methods), chosen.methods)
        fixed = self.options_of(shape, method)
        drawn = space.draw(trial, method, METHODS.entry(method).load().Options,
                           [*fixed, *self.wish.request.settings], chosen.rate, budgeted=True)
        return {**of_shape(shape, student), "form": chosen.form.kind, "method": method,
                "options": {**fixed, **drawn.options}, "settings": drawn.settings}

    # --- how long it takes ------------------------------------------------------------------------

    def full_steps(self) -> int:
        """The steps of the last rung: those of an ordinary training, as far as the finals of two
        students have the time for them.
        """
        if self.wish.steps:
            return self.wish.steps
        usual = self.usual_steps()
        return self.trials.fact("steps", lambda: self._reckoned(usual))

    def _reckoned(self, usual: int) -> int:
        ablest = self.candidates[0]
        cell = self.cell(ablest.shape, ablest.methods[-1])
        record = self.run([cell], "how long a step takes: ")[0]
        if record["status"] != "done":
            raise Broken(f"{cell.label}: {record['reason'] or record['error']['message']}")
        self.pace[ablest.shape.name] = pace_of(record)
        each = max(self.pace[ablest.shape.name].step, 1e-4)
        return max(FIRST_STEPS, min(usual, int(self.final_seconds() / each)))

    def usual_steps(self) -> int:
        """The steps of an ordinary training, which reads every text `epochs` times, also those
        that only the teacher labels.
        """
        def found() -> int:
            ablest = self.candidates[0]
            cells = [self.cell(ablest.shape, method) for method in ablest.methods]
            texts = max(map(texts_of, cells))
            settings = cells[0].settings
            return settings.epochs * math.ceil(texts / settings.batch_size)
        return self.trials.fact("usual steps", found)

    def final_seconds(self) -> float:
        """About the seconds of one training of the finals, of the whole time."""
        room = FINALS * self.clock.seconds * self.engine.workers
        return room / (FINALISTS * (self.wish.seeds or SEEDS))

    def final_steps(self, trial: Scored, seconds: float) -> int:
        """The steps of a final that has so many seconds: those of the search, which are as many as
        the ablest shape has the time for; of a faster shape more, up to an ordinary training.
        """
        pace = self.pace.get(trial.point["shape"])
        if self.wish.steps or not trial.whole or pace is None:
            return trial.steps
        room = seconds - pace.beside - self.heard.get(trial.point["method"], 0.0)
        return max(trial.steps, min(self.usual_steps(), int(room / max(pace.step, 1e-4))))

    def decided_steps(self, trial: Scored, seconds: float) -> int:
        """`final_steps`, decided once, so that a killed search goes on to the same student. Where
        it was interrupted, those of the trial.
        """
        if not trial.whole or self.clock.seconds < self.wish.seconds:
            return trial.steps
        found = self.final_steps(trial, seconds)
        name = f"final steps of trial {trial.number} in {self.wish.seconds:g} s"
        return max(trial.steps, self.trials.fact(name, lambda: found))

    def seconds_of(self, shape: str, steps: int) -> float:
        """About how long a trial of a shape takes; of one that was not tried, as the slowest."""
        known = [self.pace[shape]] if shape in self.pace else [*self.pace.values()]
        return max((pace.seconds(steps) for pace in known), default=0.0)

    def seconds_of_final(self, trial: Scored, steps: int, seeds: int) -> float:
        """About how long a final takes. The teacher's answers of the first seed are there; others
        have copies of their own.
        """
        each = self.seconds_of(trial.point["shape"], steps)
        heard = self.heard.get(trial.point["method"], 0.0)
        return (seeds * each + (seeds - 1) * heard) / self.engine.workers

    def reserve(self) -> float:
        """Seconds that the finals will take."""
        seeds = self.wish.seeds or SEEDS
        each = [self.seconds_of_final(one, self.final_steps(one, self.final_seconds()), seeds)
                for one in self.leading()]
        return max(each, default=0.0) * len(each)

    def keep_pace(self, point: Mapping[str, Any], pace: Pace) -> None:
        """The pace of a trial is that of its shape, and what it heard of its method."""
        self.pace[point["shape"]] = pace
        self.heard[point["method"]] = max(pace.heard, self.heard.get(point["method"], 0.0))

    # --- the search itself ------------------------------------------------------------------------

    def run(self, cells: Sequence[Cell], label: str) -> list[Record]:
        """The records of cells."""
        overall = Labelled(label, len(cells))
        return run_cells(cells, self.runner, self.engine, overall)

    def go(self) -> None:
        """Try until the time is up, or there are as many trials as were asked for."""
        steps = rungs(self.full_steps(), self.wish.pruner)
        active: list[tuple[Owned, int]] = []
        try:
            while True:
                self._fill(active, steps)
                if not active:
                    return
                cells = [self.planned(owned.point, steps[rung]) for owned, rung in active]
                records = self.run(cells, self.status())
                active = [(owned, rung + 1)
                          for (owned, rung), record in zip(active, records, strict=True)
                          if self._taken(owned, rung, steps, record)]
        finally:
            for owned, _ in active:
                self.trials.leave(owned)

    def planned(self, point: Mapping[str, Any], steps: int) -> Cell:
        """The cell of a trial at a rung."""
        return plan(self.wish.of_point(point, steps, TRIAL), device=self.runner.device)[-1]

    def _fill(self, active: list[tuple[Owned, int]], steps: Sequence[int]) -> None:
        """Take trials until every worker has one; let go of those that have no time left, and of
        first ones that are ahead of the others.
        """
        held = self.trials.held(self.late)
        room = self.clock.left - self.reserve()
        for owned, rung in [*active]:
            late = bool(rung) and self.seconds_of(owned.point["shape"], steps[rung]) > room
            if late:
                self.late.add(owned.number)
            if late or owned.number in held:
                active.remove((owned, rung))
                self.trials.leave(owned)
        while len(active) < self.engine.workers:
            if self.seconds_of("", steps[0]) > room or room <= 0:
                return
            held = self.trials.held(self.late)
            further = self.trials.next(self.late | held)
            if further is None:
                return
            active.append((further, 0))

    def _taken(self, owned: Owned, rung: int, steps: Sequence[int], record: Record) -> bool:
        """Note what a rung gave; returns whether the trial goes on."""
        if record["status"] != "done":
            why = record["reason"] or record["error"]["message"]
            self.last_refusal = f"{point_in_words(owned.point)}: {why}"
            say(f"trial {owned.number + 1}: {why}")
            if died(record) and not self.scored():
                self.trials.leave(owned)
                raise Broken(f"{why}; a script that asks for workers calls this under `if __name__ "
                             '== "__main__":`')
            self.trials.over(owned, record)
            return False
        score = record["score"]
        seconds = record["cost"]["wall_seconds"]
        pace = pace_of(record)
        self.keep_pace(owned.point, pace)
        self.trials.note(owned, rung, steps=steps[rung], seconds=seconds, dev=score["dev"],
                         score=score["test"], run=record["id"],
                         pace=[pace.step, pace.beside, pace.heard])
        given_up = self.trials.report(owned, rung, score["dev"])
        if given_up or rung == len(steps) - 1:
            self.trials.end(owned, score["dev"], given_up and rung < len(steps) - 1)
            return False
        return True

    def status(self) -> str:
        """What stands before the lines of a trial: the best so far, and the time left."""
        leading = self.leading(1)
        best = f", best {100 * leading[0].score:.1f} ({leading[0].point['student']}, " \
               f"{leading[0].point['method']}, {leading[0].steps:,} steps)" if leading else ""
        return f"[{len(self.scored())} trials{best}, {clock(max(0.0, self.clock.left))} left] "

    # --- what came of it --------------------------------------------------------------------------

    def scored(self) -> list[Scored]:
        """The trials with a score, each by its last rung."""
        if self.ended is not None:
            return self.ended
        if not self.fits or not any(True for trial in self.trials.all for _ in rung_facts(trial)):
            return []
        last = rungs(self.full_steps(), self.wish.pruner)[-1]
        found = []
        for trial in self.trials.all:
            facts = [each for _, each in rung_facts(trial)]
            if facts:
                end = facts[-1]
                found.append(Scored(trial.number, trial.user_attrs["point"], end["score"],
                                    end["dev"], end["steps"],
                                    sum(each["seconds"] for each in facts),
                                    end["steps"] == last))
        return found

    def leading(self, most: int = FINALISTS) -> list[Scored]:
        """The best trials, of those with the most steps, on the part of dev that is kept apart; the
        same shape once.
        """
        found: dict[str, Scored] = {}
        order = sorted(self.scored(), key=lambda one: (-one.steps, -one.score, one.number))
        for one in order:
            found.setdefault(one.point["shape"], one)
        return list(found.values())[:most]


class Labelled(Overall):
    """Progress of cells whose lines begin alike."""

    def __init__(self, label: str, total: int):
        super().__init__(total, 0)
        self.text = label

    def label(self, number: int) -> str:
        """What stands before each line."""
        return self.text


def of_these(methods: Sequence[str]) -> str:
    """What a trial calls the choice among these methods."""
    return f"method of {', '.join(methods)}"


def point_in_words(point: Mapping[str, Any]) -> str:
    """A point's student and method."""
    return f"{point['student']}, {point['method']}"


def of_shape(shape: Shape, student: str) -> dict[str, str]:
    """What a point says of its student. A method that builds its own is given the teacher's first
    layer, at which it does not look.
    """
    beside = {"beside": "cut:1"} if shape.method else {}
    return {"shape": shape.name, "student": student, **beside}


def texts_of(cell: Cell) -> int:
    """The texts that a training reads."""
    return len(cell.data.train) + len(cell.unlabelled)


def pace_of(record: Record) -> Pace:
    """The pace of a cell that was run now. What its teacher said, now or for a cell before it, is
    kept, and is no part of what the next one takes.
    """
    cost = record["cost"]
    own = [stage for stage in cost["stages"] if stage["role"] == "student"]
    trained = sum(stage["seconds"] for stage in own)
    here = sum(stage["seconds"] for stage in cost["stages"] if not stage["cached"])
    heard = sum(stage["seconds"] for stage in cost["stages"] if stage["role"] == "teacher")
    return Pace(trained / max(1, sum(stage["steps"] for stage in own)),
                max(0.0, cost["wall_seconds"] - here), heard)


def as_facts(fit: Fit, rate: float, methods: Sequence[str]) -> dict[str, Any]:
    """A shape with its figures as JSON has them."""
    return {"students": list(fit.shape.students), "options": dict(fit.shape.options),
            "method": fit.shape.method, "forms": [vars(form) for form in fit.forms],
            "why": fit.why, "rate": rate, "methods": list(methods)}
