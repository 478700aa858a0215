"""`bench.py shrink`: the smallest student that keeps what its teacher knows, under a budget."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput, Broken
from kdbench.base.folders import new_folder, write_page, write_text
from kdbench.base.progress import say
from kdbench.base.registry import METHODS
from kdbench.base.render import markdown
from kdbench.data.apart import FINAL, TRIAL
from kdbench.data.task import Example
from kdbench.models.teachers import is_model
from kdbench.report.certificate import FILE, PICTURE, in_words, searched_in_words
from kdbench.report.search_plots import picture
from kdbench.runs.artefacts import find_run
from kdbench.runs.cell import Cell, known_weights
from kdbench.runs.certify import (
    CODES,
    answered,
    check_device,
    check_units,
    metric_with_sums,
)
from kdbench.runs.grid import Engine
from kdbench.runs.planning import load_data, plan, teacher_name, teacher_of
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner
from kdbench.runs.store import Record
from kdbench.search.finals import (
    Export,
    Finalist,
    Finals,
    Judged,
    Rows,
    certified_of,
    exported,
    finalists,
    judged_on,
    share_in_words,
    timed_on,
)
from kdbench.search.search import Scored, Search
from kdbench.search.shapes import FORMS, TORCH, Budget, Fit, check_forms
from kdbench.search.wish import Clock, Wish
from kdbench.serve.serving import open_artefact

TRIALS = "trials"  # the folder of their records, in the results folder
LEARNED = 0.1  # of the teacher's lead over the naive predictor: less is as good as nothing
LISTS = ("students", "methods", "forms")  # what may be one word in Python


@dataclass(frozen=True)
class Shrunk:
    """What `shrink` found.

    folder       of the delivered student: its export, certificate.json and README.md
    certificate  as `kdbench.runs.certify.compared` gives it, with `searched`
    code         0: the budget is met and enough is kept; 3: that cannot be told; 1: not
    """

    folder: Path
    certificate: dict[str, Any]
    code: int

    def __str__(self) -> str:
        """The certificate in words."""
        return in_words(self.certificate)


@dataclass(frozen=True)
class Taught:
    """The teacher, trained.

    cell, record  of its training and its test score
    apart         its score on the part of dev that is kept apart
    source        what a request calls it: its folder, under its own name
    """

    cell: Cell
    record: Record
    apart: float
    source: str

    @property
    def least(self) -> float:
        """The dev score by which a student has learned something: a tenth of the way from the
        naive predictor's to the teacher's. A correlation that is not defined counts as none.
        """
        score = self.record["score"]
        naive, own = score["naive"]["dev"] or 0.0, score["dev"] or 0.0
        return float(naive + LEARNED * (own - naive))


def shrink(wish: Wish, results_dir: Path, out: Path, *, device: str = "auto",
           workers: int = 1, engine: str = "local", address: str | None = None) -> Shrunk:
    """Look at what fits, search, train the finals, certify the best and deliver it.

    out  a new folder

    `BadInput` where nothing fits, or where something is missing.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: is there already; give the name of a new folder")
    check_device(wish.device)
    wish.check()
    wish = replace(wish, forms=wish.forms or FORMS[wish.device],
                   request=replace(wish.request, teacher=name_of_teacher(wish)))
    check_forms(wish.forms)
    threads = wish.threads if workers == 1 else 1
    finals = Runner(results_dir, device=device, threads=threads)
    trials = Runner(results_dir / TRIALS, device=device, threads=threads, stages=results_dir)
    taught = teach(wish, finals, trials)
    ready = replace(wish, request=replace(wish.request, teacher=taught.source))
    search = Search(ready, trials, Engine(engine, workers, address=address),
                    Clock(wish.seconds), least=taught.least)
    with new_folder(out) as part:
        found = deliver(ready, search, finals, taught, part)
    return replace(found, folder=out)


def shrink_files(task: str, out: str | Path, *, max_ms: float | None = None,
                 max_mb: float | None = None, keep: float = 0.98, hours: float = 1.0,
                 results_dir: str | Path = "results/local", device: str = "auto",
                 workers: int = 1, **asked: Any) -> Shrunk:
    """`kdbench.shrink`: the smallest student that keeps what its teacher knows, under a budget.

    out     a new folder: the student, certificate.json and README.md
    max_ms  median milliseconds of one text, at most;  max_mb  megabytes of the weights
    keep    share of the teacher's score to keep
    hours   of search and finals, after the teacher
    asked   fields of `Request` (teacher, files, data_dir, unlabelled, ...), of `Wish` (students,
            methods, seeds, trials, steps, ...), settings of the protocol, and `serve_on`, the
            device that a student is timed and served on
    """
    load_data.cache_clear()  # files may have changed since this process read them
    known_weights.cache_clear()
    if own := {"request", "budget", "method", "student", "controls", "tuning"} & set(asked):
        raise BadInput(f"shrink: {min(own)} is what it looks for, or makes itself; leave it out")
    if "serve_on" in asked:
        asked["device"] = asked.pop("serve_on")
    asked = {name: [value] if name in LISTS and isinstance(value, str) else value
             for name, value in asked.items()}
    wishes = {name: value for name, value in asked.items() if name in Wish.__dataclass_fields__}
    rest = {name: value for name, value in asked.items() if name not in wishes}
    named = {name: value for name, value in rest.items()
             if name in Request.__dataclass_fields__ and name != "settings"}
    settings = {name: value for name, value in rest.items() if name not in named}
    for name in ("data_dir", "unlabelled"):
        if named.get(name):
            named[name] = Path(named[name])
    if files := named.get("files"):
        if not isinstance(files, Mapping):
            raise BadInput('shrink: files: give {"train": ..., "dev": ..., "test": ...}')
        named["files"] = {split: Path(path) for split, path in files.items()}
    request = Request(METHODS.baseline().name, task, settings=settings, **named)
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                             for name, value in wishes.items()}
    wish = replace(Wish(request, Budget(max_ms, max_mb), keep, seconds=3600.0 * hours), **given)
    return shrink(wish, Path(results_dir), Path(out), device=device, workers=workers)


def teach(wish: Wish, finals: Runner, trials: Runner) -> Taught:
    """The teacher, trained on the part of dev that chooses epochs, and scored on both others."""
    cell = teacher_cell(wish, FINAL, finals.device)
    metric_with_sums(cell.task)
    check_units(len({example.unit for example in cell.data.test}))
    record = finals.one(cell, "[teacher] ")
    if record["status"] != "done":
        raise Broken(f"teacher {cell.student.name}: "
                     f"{record['reason'] or record['error']['message']}")
    folder = find_run(finals.folder, record["id"])[1]
    source = f"{cell.student.name}={folder}"
    ready = replace(wish, request=replace(wish.request, teacher=source))
    beside = trials.one(teacher_cell(ready, TRIAL, trials.device), "[teacher] ")
    if beside["status"] != "done":
        raise Broken(f"teacher {cell.student.name}: "
                     f"{beside['reason'] or beside['error']['message']}")
    apart = beside["score"]["test"]
    if apart <= 0:
        raise BadInput(f"shrink: teacher {cell.student.name} scores {100 * apart:.1f} on dev, of "
                       "which no share can be kept; give more --epochs, more examples or another "
                       "--teacher")
    return Taught(cell, record, apart, source)


def name_of_teacher(wish: Wish) -> str:
    """The teacher that is asked for, or taken by default; `BadInput` where it is no one model."""
    named, told = teacher_name(wish.request)
    if not is_model(teacher_of(named, wish.request.teacher_labels)):
        raise BadInput("shrink: give one teacher that is a model; a file of answers, or several "
                       "teachers, can label texts for it (`bench.py run --teacher`)")
    if told:
        say(told)
    return named


def teacher_cell(wish: Wish, part: str, device: str) -> Cell:
    """The cell of the teacher's own row."""
    planned = plan(wish.of_teacher(part), device=device)
    return next(cell for cell in planned if cell.role == "teacher")


def deliver(wish: Wish, search: Search, finals: Runner, taught: Taught, out: Path) -> Shrunk:
    """Everything behind the teacher, into the folder `out`."""
    task, data = taught.cell.task, taught.cell.data
    ready = teacher_cell(wish, TRIAL, finals.device)
    dev, test = (with_teacher(finals, taught, examples)
                 for examples in ((*data.dev, *ready.data.test), data.test))
    work = finals.folder / "shrunk"
    whole = the_teacher_itself(wish, finals, taught, dev, work)
    if whole is not None:
        say("the teacher fits the budget itself: nothing has to be distilled")
        return delivered(certified_of(whole, task, test, wish), search, out)
    search.look(ready, wish.name(ready.content))
    say(fits_in_words(search, wish))
    if not search.candidates:
        raise BadInput(nothing_fits(search))
    try:
        search.go()
    except KeyboardInterrupt:
        if not search.scored():
            raise
        say("interrupted: the best so far is scored as it is")
        search.clock.seconds = min(search.clock.spent, wish.seconds - 1)
        wish = replace(wish, seeds=1)
        search.wish = wish
    search.ended = search.scored()
    chosen = finalists(search, taught.apart)
    if not chosen:
        why = search.last_refusal or "none was finished in this time"
        raise BadInput(f"shrink: no trial came to a score ({why}); give more --hours or --steps, "
                       "or fewer --max-train-examples")
    judged = Finals(wish, finals, search.engine, search, task, data, dev, test, work).all(chosen)
    return delivered(judged[0], search, out, judged)


def with_teacher(finals: Runner, taught: Taught, examples: Sequence[Example]) -> Rows:
    """Rows with the teacher's answers to them, in PyTorch."""
    folder = find_run(finals.folder, taught.record["id"])[1]
    artefact = open_artefact(folder, "torch", device=finals.accelerator.device.type)
    return Rows(examples, answered(taught.record, folder, artefact, taught.cell.task, examples))


# ---- the teacher as it is ------------------------------------------------------------------------


def the_teacher_itself(wish: Wish, finals: Runner, taught: Taught, dev: Rows,
                       work: Path) -> Judged | None:
    """The teacher in a form that keeps the budget and, on dev, what it knows; None where there is
    none. The same weights lose little, so that no interval is asked for here.
    """
    kinds = [form for form in wish.forms if form != TORCH]
    place = exported(finals.folder, taught.record, kinds, wish, work, taught.cell.task,
                     taught.cell.data)
    for kind in kinds:
        export = Export(place / kind, wish)
        form = timed_on(dev, export, kind)
        over = wish.budget.over(form)
        say(f"teacher as {kind}: {form.p50_ms:.2f} ms, {form.megabytes:.1f} MB"
            + (f", over the budget: {over}" if over else ", fits the budget"))
        if over:
            continue
        point = {"student": taught.cell.student.name, "method": "none", "form": kind,
                 "options": {}, "settings": {}, "shape": ""}
        trial = Scored(-1, point, taught.apart, taught.record["score"]["dev"], 0, 0.0, True)
        one = judged_on(dev, trial, form, [taught.record], [export], taught.cell.task)
        say(f"teacher as {kind}: {share_in_words(one.on_dev)} kept on dev")
        if (one.on_dev["share"] or 0.0) >= wish.keep:
            return one
    return None


# ---- delivered -----------------------------------------------------------------------------------


def delivered(best: Finalist, search: Search, out: Path,
              others: Sequence[Finalist] = ()) -> Shrunk:
    """Write the delivered folder."""
    final = best.judged
    point = final.trial.point
    certificate = {**best.report,
                   "student": f"{point['student']}, {point['method']}, as {final.form}",
                   "trained": {**point, "steps": final.trial.steps}, "form": final.form,
                   "runs": [record["id"] for record in final.records],
                   "searched": searched(search, others)}
    shutil.copytree(final.exports[0].folder, out, dirs_exist_ok=True)
    write_text(out / FILE, json.dumps(certificate, indent=1) + "\n")
    write_text(out / PICTURE, picture(certificate, certificate["student"]))
    card = (out / "README.md").read_text()
    write_page(out / "README.md", card.replace("## Scores", page(certificate), 1))
    return Shrunk(out, certificate, CODES[certificate["verdict"]])


def searched(search: Search, others: Sequence[Finalist]) -> dict[str, Any]:
    """All that was looked at, tried and dropped, as JSON has it."""
    budget = search.wish.budget
    shapes = []
    for fit in search.fits:
        over = {form.kind: budget.over(form) for form in fit.forms}
        shapes.append({"shape": fit.shape.name, "why": fit.why,
                       "forms": [{**vars(form), "over": over[form.kind]} for form in fit.forms]})
    trials = [{"number": one.number, **one.point, "dev": one.dev, "dev apart": one.score,
               "steps": one.steps, "whole": one.whole, "seconds": one.seconds}
              for one in search.scored()]
    finals = [{"student": one.judged.trial.point["student"],
               "method": one.judged.trial.point["method"], "form": one.judged.form,
               "kept on dev": one.judged.on_dev, "kept": one.report["kept"],
               "verdict": one.report["verdict"],
               "score": one.report["score"]["student"],
               "p50_ms": one.report["latency"]["p50_ms"],
               "megabytes": one.report["megabytes"]} for one in others]
    return {"shapes": shapes, "trials": trials, "finals": finals,
            "seconds": round(search.clock.spent, 1)}


def fits_in_words(search: Search, wish: Wish) -> str:
    """The shapes with their figures: those that fit, and what is over the budget."""
    rows = []
    for fit in search.fits:
        form = fit.best(wish.budget) or fit.fastest
        if form is None:
            rows.append([fit.shape.name, "", "", "", fit.why])
            continue
        over = wish.budget.over(form)
        rows.append([fit.shape.name, form.kind, f"{form.p50_ms:.2f}", f"{form.megabytes:.2f}",
                     f"over: {over}" if over else "fits"])
    return markdown(["shape", "form", "p50 ms", "MB", ""], rows)


def nothing_fits(search: Search) -> str:
    """What is said where no shape keeps the budget: the nearest of them."""
    timed: list[Fit] = [fit for fit in search.fits if fit.fastest is not None]
    budget = search.wish.budget
    if not timed:
        return "shrink: no shape could be timed: " + "; ".join(fit.why for fit in search.fits[:3])
    fastest = min(timed, key=lambda fit: fit.fastest.p50_ms)  # type: ignore[union-attr]
    form = fastest.fastest
    assert form is not None
    late = len(search.fits) - len(timed)
    rest = f" ({late} more were not timed: see the table)" if late else ""
    return (f"shrink: none of {len(timed)} shapes keeps the budget{rest}; the fastest is "
            f"{fastest.shape.name} with {form.p50_ms:.2f} ms and {form.megabytes:.2f} MB "
            f"(over: {budget.over(form) or 'no method trains it'}); give more, or other --students")


def page(certificate: dict[str, Any]) -> str:
    """The section of the model card on the certificate, with the head of the next one."""
    return (f"## Certificate\n\n```\n{in_words(certificate)}\n```\n\n"
            f"{searched_in_words(certificate['searched'])}\n\n"
            f"![trials and finals by latency, the time of the search, what is lost of each label]"
            f"({PICTURE})\n\n## Scores")
