"""A search for the smallest student: what fits, what is drawn, who sees the test split, and what is delivered."""

import contextlib
import copy
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import kdbench
from kdbench.base.errors import BadInput, Broken
from kdbench.base.options import option
from kdbench.cli.verbs import main
from kdbench.data import apart, corpora
from kdbench.data.few_labels import data_of
from kdbench.data.task import Data, Example, LoadOptions
from kdbench.models.sources import resolve
from kdbench.report.certificate import committed, in_words
from kdbench.report.groups import grouped
from kdbench.report.search_plots import picture
from kdbench.runs import store, suite
from kdbench.runs.grid import Engine
from kdbench.runs.listing import show
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner
from kdbench.score.trials import expected_best
from kdbench.search import tuned as tuned_methods
from kdbench.search.finals import Export, Finals, Judged
from kdbench.search.search import Candidate, Pace, Scored, Search, pace_of
from kdbench.search.shapes import Budget, Fit, Form, Shape, shapes_for
from kdbench.search.shrink import Taught
from kdbench.search.space import Axis, axes_of, axis_of, draw, protocol_axes
from kdbench.search.trials import Trials, rungs
from kdbench.search.tuned import best_of
from kdbench.search.wish import Clock, Wish

pytestmark = pytest.mark.usefixtures("hasty")

ROOT = Path(__file__).resolve().parent.parent


# --- the space --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """Of no method."""

    rate: float = option(1.0, "", search=(0.1, 10.0, "log"))
    depth: int = option(2, "", search=(1, 4))
    part: str | None = option(None, "", search=[None, "a"])
    plain: float = option(0.5, "")


class Lowest:
    """Draws the lower end, or the first value."""

    def __init__(self):
        self.names = []

    def suggest_float(self, name, low, high, *, log=False):
        """The lower end."""
        self.names.append(name)
        return low

    suggest_int = suggest_float

    def suggest_categorical(self, name, choices):
        """The first."""
        self.names.append(name)
        return choices[0]


def test_options_say_what_is_searched_and_show_prints_it():
    assert axes_of(Options) == [Axis("rate", (), 0.1, 10.0, log=True), Axis("depth", (), 1, 4, whole=True), Axis("part", (None, "a"))]
    assert "searched: 1.0, 2.0, 4.0, 8.0" in " ".join(show("logit_kd").split())
    assert [axis.name for axis in protocol_axes(budgeted=True)] == ["batch_size", "lr"]
    assert "epochs" in [axis.name for axis in protocol_axes(budgeted=False)]


@pytest.mark.parametrize("asked", [(1.0,), (2.0, 1.0), (0.0, 1.0, "log"), (1.0, 2.0, "linear"), (1, 2, 3)])
def test_what_describes_no_axis_is_refused(asked):
    with pytest.raises(TypeError, match="option rate"):
        axis_of("rate", asked)


def test_what_is_given_is_not_searched_and_rates_are_multiples_of_the_models_own():
    lowest = Lowest()
    drawn = draw(lowest, "m", Options, ["depth", "batch_size"], 1e-3, budgeted=True)
    assert drawn.options == {"rate": 0.1, "part": None}
    assert drawn.settings == {"lr": 5e-4}
    assert lowest.names == ["m.rate", "m.part", "lr"]


# --- dev apart --------------------------------------------------------------------------------------


def corpus(rows=60, groups=30):
    return Data((), tuple(Example(str(i), f"text {i}", label=i % 2, group=f"g{i % groups}") for i in range(rows)),
                (Example("t", "test", label=0),), ("a", "b"))


def test_a_trial_is_scored_on_a_part_of_dev_that_chooses_no_epoch_and_a_final_on_test():
    whole = corpus()
    trial, final = (apart.with_dev_apart(whole, 0.5, part) for part in (apart.TRIAL, apart.FINAL))
    assert trial.dev == final.dev and final.test == whole.test
    assert {e.id for e in trial.dev} | {e.id for e in trial.test} == {e.id for e in whole.dev}
    assert not {e.group for e in trial.dev} & {e.group for e in trial.test}  # no unit on both sides
    assert len(trial.test) == 30
    with pytest.raises(BadInput, match="dev has 12 units, and a search needs at least 20"):
        apart.with_dev_apart(corpus(12, 12), 0.5, apart.TRIAL)


def test_a_record_of_a_trial_says_how_its_data_are_found_again():
    wish = Wish(Request("finetune", "gad", student="tiny-student"), Budget())
    point = {"method": "logit_kd", "student": "tiny-student", "options": {}, "settings": {}}
    whole = plan(Request("finetune", "gad"))[-1].data
    for part in (apart.TRIAL, apart.FINAL):
        cell = plan(wish.of_point(point, 10, part, tuned=7))[-1]
        settings = cell.description["settings"]
        assert (settings["part"], settings["dev_apart"], settings["tuned"], settings["steps_equal"]) == (part, 0.5, 7, 10)
        assert data_of(whole, settings, 0).digests == cell.data.digests
    assert plan(Request("finetune", "gad"))[-1].description["settings"].keys().isdisjoint({"part", "tuned", "dev_apart"})


# --- shapes -----------------------------------------------------------------------------------------


def test_shapes_are_no_larger_than_the_teacher():
    names = [shape.name for shape in shapes_for(6, 384, ("other",))]
    assert names[:6] == ["other", "cut:5", "cut:4", "cut:3", "cut:2", "cut:1"]
    assert "bert:6x256" in names and "bert:6x384" not in names and "bilstm:1x128x128" in names
    assert {"bert:2x32"} == {name for name in (s.name for s in shapes_for(2, 64, ())) if name.startswith("bert")}


def test_the_fastest_form_within_the_budget_is_taken():
    fit = Fit(Shape(("cut:1",)), (Form("onnx_int8", 1.0, 5.0), Form("onnx", 0.8, 20.0)))
    assert fit.best(Budget()).kind == "onnx"
    assert fit.best(Budget(max_mb=10)).kind == "onnx_int8"
    assert fit.best(Budget(max_ms=0.5)) is None
    assert Budget(0.5, 4).over(fit.forms[0]) == "1.00 ms, 5.00 MB"


def test_students_of_any_size_have_a_name():
    assert resolve("bert:4x320").recipe.config["num_attention_heads"] == 10
    assert resolve("bilstm:1x256x128").recipe.config["embedding_size"] == 128
    for name in ("bert:4x100", "bert:0x64", "bilstm:1x0x32"):
        with pytest.raises(BadInput, match=name):
            resolve(name)


# --- trials -----------------------------------------------------------------------------------------


def drawn(trial):
    shape = trial.suggest_categorical("shape", ["a", "b", "c"])
    return {"shape": shape, "lr": trial.suggest_float("lr", 0.1, 10, log=True), "depth": trial.suggest_int("depth", 1, 5) if shape == "a" else 0}


def worth(point, rung):
    return {"a": 0.1 * point["depth"], "b": 0.0, "c": 0.2}[point["shape"]] - abs(point["lr"] - 2) + 0.1 * rung


def searched(folder, count, killed_after=None):
    """All trials; a process with `killed_after` dies behind so many rungs."""
    trials, done = Trials(folder, "s", drawn, most=count), 0
    trials.first([{"shape": "b"}])
    while (owned := trials.next()) is not None:
        for rung, _ in enumerate(rungs(90, "halving")):
            if done == killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            given_up = trials.report(owned, rung, worth(owned.point, rung))
            if given_up:
                break
        trials.end(owned, worth(owned.point, rung), given_up)
    return [(trial.state.name, trial.user_attrs["point"], trial.value) for trial in trials.all]


def test_a_search_that_was_killed_draws_and_gives_up_what_the_undisturbed_one_does(tmp_path):
    undisturbed = searched(tmp_path / "a", 20)
    for number in range(12):
        process = multiprocessing.get_context("fork").Process(target=searched, args=(tmp_path / "b", 20, 1 + number % 5))
        process.start()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
    assert searched(tmp_path / "b", 20) == undisturbed
    assert undisturbed[0][1]["shape"] == "b" and {state for state, _, _ in undisturbed} == {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("first", [2, 0])
def test_nobody_is_given_up_where_nobody_has_learned_anything(tmp_path, first):
    """By three entities found by luck in the first steps of a tagger, all later trials would be given up."""
    trials = Trials(tmp_path, "s", drawn, most=7, least=0.1)
    trials.first([{"shape": "a"}] * first)
    lucky, *others = [trials.next() for _ in range(4)]
    assert [trials.report(one, 0, score) for one, score in zip([lucky, *others], [0.03, 0.0, 0.0, 0.0], strict=True)] == [False] * 4
    learned = [trials.next() for _ in range(2)]
    assert [trials.report(one, 0, score) for one, score in zip(learned, [0.5, 0.4], strict=True)] == [False] * 2  # the best third
    assert trials.report(trials.next(), 0, 0.0), "once somebody has learned, who has not is given up"
    assert not trials.report(others[0], 1, 0.0), "at the next rung nobody has learned anything yet"


def test_what_is_learned_is_of_the_teachers_lead_over_the_naive_predictor():
    def least(naive):
        return Taught(None, {"score": {"dev": 0.8, "naive": {"dev": naive}}}, 0.9, "").least

    assert least(0.6) == pytest.approx(0.62) and least(0.0) == least(None) == pytest.approx(0.08)


def test_two_searches_on_one_folder_never_have_the_same_trial(tmp_path):
    first, second = Trials(tmp_path, "s", drawn), Trials(tmp_path, "s", drawn)
    owned = [first.next(), second.next(), first.next()]
    assert [one.number for one in owned] == [0, 1, 2]
    first.leave(owned[0])
    assert second.next().number == 0  # nobody is at it


def test_a_point_that_a_method_refuses_is_no_trial_and_is_not_drawn_again_and_again(tmp_path):
    trials, drawn_as = Trials(tmp_path, "s", drawn, pruner="none", most=40), []
    while (owned := trials.next()) is not None:
        drawn_as.append(owned.point["shape"])
        if owned.point["shape"] == "b":
            trials.over(owned, {"status": "skipped"})
        else:
            trials.report(owned, 0, worth(owned.point, 0))
            trials.end(owned, worth(owned.point, 0))
    assert len(trials.tried) == 40 and len(drawn_as) == 40 + drawn_as.count("b")
    assert drawn_as[20:].count("b") < drawn_as[:10].count("b")  # the sampler has learned it


def test_a_search_whose_every_point_is_refused_ends(tmp_path):
    trials, refused = Trials(tmp_path, "s", drawn, most=5), 0
    while (owned := trials.next()) is not None:
        trials.over(owned, {"status": "skipped"})
        refused += 1
    assert refused == 10 and not trials.tried


def test_a_search_begins_with_the_ablest_shape_of_each_kind(tmp_path):
    search = Search(Wish(Request("finetune", "gad"), Budget()), Runner(tmp_path, device="cpu"), Engine("local", 1), Clock(60))
    names = {"cut:2": ("recipe", "logit_kd", "finetune"), "cut:1": ("recipe", "logit_kd", "finetune"), "bilstm:1x64x64": ("recipe", "ner_kd"),
             "static:64": ("static",)}
    search.candidates = [Candidate(Shape((name,)), Form("onnx", 1.0, 1.0), 1e-4, methods) for name, methods in names.items()]
    every = [(point.pop("shape"), *point.values()) for point in search.first_points()]
    assert every == [("cut:2", "recipe"), ("bilstm:1x64x64", "recipe"), ("static:64", "static"), ("cut:2", "logit_kd"),
                     ("bilstm:1x64x64", "ner_kd")]


def on_dev(verdict, share, p50, over=""):
    return Judged(None, "onnx", (), (), {"verdict": verdict, "share": share}, p50, over)


def test_finals_are_ordered_by_dev():
    best, fast, slow, worse, late = (on_dev("yes", 0.99, 1.0), on_dev("cannot be told", 1.03, 0.1), on_dev("yes", 1.02, 1.5),
                                     on_dev("cannot be told", 0.99, 0.1), on_dev("yes", 1.1, 0.1, over="by 1 ms"))
    assert sorted([late, worse, slow, fast, best], key=lambda one: one.order) == [best, slow, fast, worse, late]


def test_a_fast_shape_is_trained_for_longer_in_the_finals(tmp_path):
    search = Search(Wish(Request("finetune", "gad"), Budget()), Runner(tmp_path, device="cpu"), Engine("local", 1), Clock(60))
    search.trials = Trials(tmp_path, "s", drawn)
    search.trials.fact("usual steps", lambda: 900)
    search.pace = {"fast": Pace(0.01, 1.0), "slow": Pace(1.0, 1.0)}
    fast, slow = (Scored(0, {"shape": shape, "method": "finetune"}, 0.5, 0.5, 90, 1.0, True) for shape in ("fast", "slow"))
    assert [search.final_steps(fast, seconds) for seconds in (11.0, 6.0, 1.0)] == [900, 500, 90]
    assert search.final_steps(slow, 11.0) == search.final_steps(replace(fast, whole=False), 11.0) == 90
    assert search.decided_steps(replace(fast, whole=False, steps=10), 6.0) == 10  # of a search that came to no whole trial
    search.wish, search.clock.seconds = replace(search.wish, seconds=60.0), 50.0
    assert search.decided_steps(fast, 6.0) == 90  # interrupted
    search.clock.seconds = 60.0
    assert search.decided_steps(fast, 6.0) == search.decided_steps(fast, 11.0) == 500  # as it was decided first
    assert search.decided_steps(replace(fast, steps=600), 6.0) == 600
    search.wish, search.clock.seconds = replace(search.wish, seconds=70.0), 70.0
    assert search.decided_steps(fast, 11.0) == 900
    search.wish = replace(search.wish, steps=90)
    assert search.final_steps(fast, 11.0) == 90


def test_an_ordinary_training_reads_the_texts_without_labels_too(tmp_path, no_data):
    (tmp_path / "more.txt").write_text("".join(f"the {number} gene .\n" for number in range(70)))

    def usual(name, settings=None, **more):
        asked = Request("finetune", "bc2gm_iobes", teacher="tiny:bert", settings={"epochs": 2, "batch_size": 8, **(settings or {})}, **more)
        search = Search(Wish(asked, Budget(), methods=("finetune", "ner_kd")), Runner(tmp_path, device="cpu"), Engine("local", 1), Clock(60))
        search.trials = Trials(tmp_path, name, drawn)
        search.candidates = [Candidate(Shape(("cut:1",)), Form("onnx", 1.0, 1.0), 1e-4, ("finetune", "ner_kd"))]
        return search.usual_steps()

    rows = len(plan(Request("finetune", "bc2gm_iobes"))[-1].data.train)
    assert usual("all") == 2 * math.ceil(rows / 8)
    assert usual("unlabelled", unlabelled=tmp_path / "more.txt") == 2 * math.ceil((rows + 70) / 8)
    assert usual("few", {"labels": 30}) == 2 * math.ceil(rows / 8)


def test_a_trial_trains_the_student_alone_and_it_is_the_same_student(tmp_path, no_data):
    asked = Request("ner_kd", "bc2gm_iobes", teacher="tiny:bert", student="bilstm:1x64x64", options={"embedding": "bert", "epochs": 1},
                    controls=False, settings={"epochs": 1, "steps_equal": 4, "latency": "off", "max_train_examples": 40, "max_dev_examples": 40})
    wish = Wish(asked, Budget())
    point = {"method": "ner_kd", "student": asked.student, "options": asked.options, "settings": {}}
    (trial,) = plan(wish.of_point(point, 4, apart.TRIAL))
    with_control = replace(trial, request=replace(trial.request, tuning={"dev_apart": 0.5, "part": apart.TRIAL}))
    alone, both = (Runner(tmp_path / name, device="cpu").one(cell) for name, cell in (("a", trial), ("b", with_control)))
    assert alone["id"] != both["id"] and alone["score"] == both["score"]
    assert ([stage["role"] for stage in alone["cost"]["stages"]].count("control"), len(alone["rows_more"])) == (0, 0)
    assert ([stage["role"] for stage in both["cost"]["stages"]].count("control"), len(both["rows_more"])) == (1, 1)


def test_students_of_every_seed_have_the_labels_that_their_teacher_had(tmp_path, no_data):
    asked = Request("finetune", "gad", teacher="tiny:bert", settings={"labels": 30, "epochs": 1})
    wish = Wish(asked, Budget())
    (teacher,) = (cell for cell in plan(wish.of_teacher(apart.FINAL)) if cell.role == "teacher")
    point = {"method": "logit_kd", "student": "cut:1", "options": {}, "settings": {}}
    cells = plan(wish.of_point(point, 4, apart.FINAL, seeds=(0, 1, 2), tuned=3))
    drawn = [{example.id for example in cell.data.train} for cell in (teacher, *cells)]
    assert len(cells) == 3 and len(drawn[0]) == 30 and drawn == [drawn[0]] * 4
    whole = corpora.load(teacher.task, LoadOptions())
    for cell in cells:
        again = data_of(whole, cell.description["settings"], cell.seed)
        assert {example.id for example in again.train} == drawn[0]


def test_time_is_kept_for_the_answers_to_the_copies_of_further_seeds(tmp_path):
    search = Search(Wish(Request("finetune", "gad"), Budget()), Runner(tmp_path, device="cpu"), Engine("local", 1), Clock(600))
    search.trials = Trials(tmp_path, "s", drawn)
    search.trials.fact("usual steps", lambda: 90)
    stages = [{"role": "teacher", "seconds": 30.0, "steps": 0, "cached": True}, {"role": "teacher", "seconds": 2.0, "steps": 0, "cached": False},
              {"role": "student", "seconds": 9.0, "steps": 90, "cached": False}]
    pace = pace_of({"cost": {"stages": stages, "wall_seconds": 12.0}})
    assert pace == Pace(0.1, 1.0, 32.0)
    search.keep_pace({"shape": "a", "method": "ner_kd"}, pace)
    search.keep_pace({"shape": "a", "method": "ner_kd"}, Pace(0.1, 1.0))
    search.keep_pace({"shape": "a", "method": "finetune"}, Pace(0.1, 1.0))
    heard, plain = (Scored(0, {"shape": "a", "method": name}, 0.5, 0.5, 90, 1.0, True) for name in ("ner_kd", "finetune"))
    assert search.seconds_of_final(plain, 90, 3) == 3 * 10.0 and search.seconds_of_final(heard, 90, 3) == 3 * 10.0 + 2 * 32.0


class Untrained(Search):
    """A search whose trials are not trained: a step takes a second of its clock."""

    def planned(self, point, steps):
        return point, steps

    def run(self, cells, label):
        return [self.scored_as(point, steps) for point, steps in cells]

    def scored_as(self, point, steps):
        key = point["method"], str(point["settings"]), steps
        if key not in self.asked:
            self.clock.before += steps
        self.asked.append(key)
        stages = [{"role": "student", "seconds": float(steps), "steps": steps, "cached": False}]
        return {"id": "x", "status": "done", "score": {"dev": 0.5 + 0.01 * len(set(self.asked)), "test": 0.5}, "cost": {"wall_seconds": float(steps), "stages": stages}}


def untrained(folder, seconds, shapes=("cut:1",), **asked):
    search = Untrained(Wish(Request("finetune", "gad"), Budget(), steps=90, seeds=1, **asked), Runner(folder, device="cpu"), Engine("local", 1), Clock(seconds))
    search.candidates = [Candidate(Shape((name,)), Form("onnx", 1.0, 1.0), 1e-4, ("finetune",)) for name in shapes]
    search.fits, search.trials, search.asked = [1], Trials(folder, "s", search.draw, most=search.wish.trials), []
    return search


WORTH = {"cut:1": 0.1, "cut:2": 0.5, "cut:3": 0.2, "cut:4": 0.0}


def waved(folder, killed_after=None, **asked):
    """The trials of a search that begins with four shapes; killed behind so many rungs of them."""
    search = untrained(folder, 1e6, tuple(WORTH), **asked)
    trained, went = search.scored_as, []

    def scored_as(point, steps):
        if len(went) == killed_after:
            raise KeyboardInterrupt
        new = (point["student"], steps) not in went
        went.append((point["student"], steps))
        return {**trained(point, steps), "score": {"dev": WORTH[point["student"]] * (steps > 10), "test": 0.1}, "new": new}

    search.scored_as = scored_as
    search.trials.first([{"shape": name} for name in WORTH])
    with contextlib.suppress(KeyboardInterrupt):
        search.go()
    return went, [(trial.state.name, trial.user_attrs.get("point", {}).get("student"), trial.intermediate_values) for trial in search.trials.all]


def test_the_first_trials_are_compared_before_one_of_them_goes_on(tmp_path):
    went, trials = waved(tmp_path / "a", trials=4)
    order = list(dict.fromkeys(went))
    assert order[:4] == [(name, 10) for name in WORTH] and set(order[4:8]) == {(name, 30) for name in WORTH}  # all are equal at 10
    assert order[8:] == [("cut:2", 90)]
    assert [state for state, _, _ in trials] == ["PRUNED", "COMPLETE", "PRUNED", "PRUNED"]
    for number in range(1, 12):
        waved(tmp_path / "b", killed_after=number, trials=4)
    assert waved(tmp_path / "b", trials=4)[1] == trials
    went, trials = waved(tmp_path / "c", trials=2)  # nobody waits for those that will never be
    assert went[-1] == ("cut:2", 90) and [state for state, _, _ in trials][:2] == ["PRUNED", "COMPLETE"]


def test_nobody_waits_for_a_first_trial_that_has_no_time(tmp_path):
    search = untrained(tmp_path, 1e6, tuple(WORTH))
    search.trials.first([{"shape": name} for name in WORTH])
    owned = [search.trials.next() for _ in WORTH]
    for one in owned[1:]:
        search.trials.note(one, 0, seconds=1.0)
    assert search.trials.held() == {1, 2, 3} and search.trials.held({0}) == set()


def test_a_trial_that_has_no_time_for_its_next_rung_is_left_once(tmp_path):
    search = untrained(tmp_path, 300.0)
    search.go()
    assert len(search.asked) == len(set(search.asked)) >= 5  # nothing is found again and again
    assert search.clock.spent > 180


def test_a_worker_that_dies_costs_no_trial(tmp_path):
    gone = {"status": "failed", "reason": None, "error": {"type": "WorkerDied", "message": "signal 9"}}
    search = untrained(tmp_path, 1000.0, trials=2)
    trained, search.scored_as = search.scored_as, lambda *_: gone
    with pytest.raises(Broken, match="signal 9; a script that asks for workers"):
        search.go()
    deaths = iter([1, 0, 1])
    search.scored_as = lambda *cell: gone if search.asked and next(deaths, 0) else trained(*cell)
    search.go()
    assert [trial.state.name for trial in search.trials.all] == ["COMPLETE"] * 2
    trials, seen = Trials(tmp_path / "c", "s", drawn, most=1), []
    while (owned := trials.next()) is not None:
        trials.over(owned, gone)
        seen.append(owned.number)
    assert seen == [0, 0, 0] and trials.all[0].state.name == "PRUNED"  # it may be what kills them


def test_a_search_is_of_the_texts_without_labels_and_not_of_their_file(tmp_path):
    content = {"data": {}, "student": "a", "code": {}}
    (tmp_path / "a.txt").write_text("one text")
    (tmp_path / "b.txt").write_text("one text")
    first, same = (Wish(Request("finetune", "gad", unlabelled=tmp_path / name), Budget()).name(content) for name in ("a.txt", "b.txt"))
    (tmp_path / "a.txt").write_text("another text")
    changed = Wish(Request("finetune", "gad", unlabelled=tmp_path / "a.txt"), Budget()).name(content)
    assert first == same and changed not in (first, Wish(Request("finetune", "gad"), Budget()).name(content))


def test_files_that_changed_are_read_again_in_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr("kdbench.search.shrink.shrink", lambda wish, *_, **__: [one.text for one in plan(wish.request)[-1].data.test])
    files = {split: tmp_path / f"{split}.tsv" for split in ("train", "dev", "test")}
    for number in range(2):
        for path in files.values():
            path.write_text("text\tlabel\n" + "".join(f"{path.stem} {number} {row}\t{'ab'[row % 2]}\n" for row in range(30)))
        found = kdbench.shrink("files", tmp_path / "s", files=files, teacher="tiny:bert")
        assert found[0] == f"test {number} 0"


def test_rungs_grow_threefold_to_the_whole_training():
    assert rungs(90, "halving") == [10, 30, 90]
    assert rungs(2, "halving") == [1, 2]
    assert rungs(90, "none") == [90]


# --- the whole --------------------------------------------------------------------------------------

WORDS = ["shrink", "--task", "bc2gm_iobes", "--teacher", "tiny:bert", "--max-mb", "0.25", "--hours", "0.2", "--steps", "18", "--threads", "1",
         "--methods", "logit_kd,finetune", "--forms", "onnx_int8"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A search of three trials, with the folder of its student."""
    place = tmp_path_factory.mktemp("shrunk")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KDBENCH_DATA", raising=False)
        code = main([*WORDS, "--trials", "3", "--seeds", "2", "--results-dir", str(place / "r"), "-o", str(place / "student")])
    return place, code, json.loads((place / "student" / "certificate.json").read_text())


def test_the_delivered_file_scores_and_costs_what_its_certificate_says(found, capsys):
    place, code, certificate = found
    assert code == {"yes": 0, "no": 1, "cannot be told": 3}[certificate["verdict"]]
    record = store.find_record(place / "r", certificate["runs"][0])
    assert record["cell"]["settings"]["tuned"] == 3
    whole = corpora.load(plan(Request("finetune", "bc2gm_iobes"))[-1].task, LoadOptions())
    lines = [json.dumps({"tokens": e.words, "ner_tags": [whole.labels[tag] for tag in e.label]}) for e in whole.test]
    (place / "test.jsonl").write_text("\n".join(lines))
    exports = [place / "student", *(place / "r" / "shrunk" / run / "onnx_int8" / "onnx_int8" for run in certificate["runs"])]
    served = []
    for folder in exports:
        capsys.readouterr()
        assert main(["evaluate", str(folder), "--file", str(place / "test.jsonl"), "--json"]) == 0
        served.append(json.loads(capsys.readouterr().out)["score"])
    teacher = certificate["score"]["teacher"]
    assert served[0] == served[1] == pytest.approx(certificate["delivered"]["share"] * teacher, abs=1e-9)
    assert sum(served[1:]) / 2 == pytest.approx(certificate["kept"]["share"] * teacher, abs=1e-9)
    assert served[1] != served[2]
    assert certificate["megabytes"] < 0.25 and certificate["latency"]["p50_ms"] > 0 and certificate["peak_mb"] > 10
    assert certificate["seeds"] == 2 and certificate["rows"] == len(whole.test)


def test_trials_never_read_the_test_split(found):
    place, _, certificate = found
    whole = plan(Request("finetune", "bc2gm_iobes"))[-1].data
    trials = [one for one in store.records(place / "r" / "trials") if one["role"] == "method"]
    assert len(certificate["searched"]["trials"]) == 3 and len(trials) >= 3
    for record in store.records(place / "r" / "trials"):
        assert record["content"]["data"]["test"] != whole.digests["test"]
        assert record["data"]["rows"]["test"] + record["data"]["rows"]["dev"] == len(whole.dev)
    finals = list(store.records(place / "r"))
    assert sorted(one["role"] for one in finals).count("method") == 2 * len(certificate["searched"]["finals"])
    assert all(one["content"]["data"]["test"] == whole.digests["test"] for one in finals)


def test_who_is_delivered_is_known_before_anybody_answers_test(found, tmp_path, monkeypatch):
    place, code, certificate = found
    whole = plan(Request("finetune", "bc2gm_iobes"))[-1].data
    texts = {split: {tuple(e.words) for e in getattr(whole, split)} for split in ("dev", "test")}
    asked, answered = [], Export.answered

    def noted(self, record, task, examples):
        asked.append("test" if {tuple(e.words) for e in examples} == texts["test"] else "dev")
        assert asked[-1] == "test" or {tuple(e.words) for e in examples} == texts["dev"]
        return answered(self, record, task, examples)

    monkeypatch.setattr(Export, "answered", noted)
    assert main(again(place, tmp_path / "s")) == code
    finals = certificate["searched"]["finals"]
    assert asked == ["dev"] * 2 * len(finals) + ["test"] * 2 * len(finals)
    shares = [one["kept on dev"]["share"] for one in finals]
    assert shares == sorted(shares, reverse=True)


def test_what_was_looked_at_and_dropped_is_in_the_certificate(found):
    shapes = found[2]["searched"]["shapes"]
    over = {one["shape"]: one["forms"][0]["over"] for one in shapes if one["forms"]}
    assert over["cut:1"] == "" and any(over.values())
    card = (found[0] / "student" / "README.md").read_text()
    assert f"no: student {found[2]['student']}" in card and card.index("## Certificate") < card.index("## Scores")


def test_the_same_command_finds_everything_and_delivers_the_same(found, capsys, monkeypatch):
    place, code, certificate = found
    searches = []
    monkeypatch.setattr("kdbench.search.search.Trials", lambda *words, **named: searches.append(Trials(*words, **named)) or searches[-1])
    before = {path.name for path in (place / "r" / "models").iterdir()}
    words = [*WORDS, "--trials", "3", "--seeds", "2", "--results-dir", str(place / "r"), "-o", str(place / "again")]
    assert main(words) == code
    again = json.loads((place / "again" / "certificate.json").read_text())
    assert {path.name for path in (place / "r" / "models").iterdir()} == before
    for name in ("student", "trained", "runs", "kept", "score", "labels"):
        assert again[name] == certificate[name]
    assert "fine-tuning: 1" not in capsys.readouterr().err
    teacher = store.find_record(place / "r", certificate["teacher"])
    assert [one.least for one in searches] == [Taught(None, teacher, 0.0, "").least] and searches[0].least > 0.01


def again(place, folder, *more):
    """The words of the same search once more."""
    return [*WORDS, "--trials", "3", "--seeds", "2", "--results-dir", str(place / "r"), "-o", str(folder), *more]


def test_half_an_export_is_made_anew(found, tmp_path):
    place, code, certificate = found
    half = place / "r" / "shrunk" / certificate["runs"][0] / "onnx_int8"
    (half / "README.md").unlink()  # as where a call was killed while it exported
    (half / "onnx_int8" / "README.md").unlink()
    assert main(again(place, tmp_path / "s")) == code
    assert "## Certificate" in (tmp_path / "s" / "README.md").read_text()


def test_an_interrupt_in_the_finals_delivers_the_best_with_one_seed(found, tmp_path, monkeypatch, capsys):
    place, judged, asked = found[0], Finals.judged, []

    def interrupted(self, trial, seeds):
        asked.append(seeds)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return judged(self, trial, seeds)

    monkeypatch.setattr(Finals, "judged", interrupted)
    assert main(again(place, tmp_path / "s")) in (0, 1, 3)
    assert asked == [2, 1] and "interrupted: the best is scored as it is" in capsys.readouterr().err
    assert json.loads((tmp_path / "s" / "certificate.json").read_text())["seeds"] == 1


def test_a_study_shows_the_certificates_in_its_folders(found, tmp_path):
    shutil.copytree(found[0] / "student", tmp_path / "student")
    title, words, searched, drawn_as = committed(tmp_path)
    assert title == "### student" and words == f"```\n{in_words(found[2])}\n```" and drawn_as.endswith("(student/search.svg)")
    assert f"{len(found[2]['searched']['trials'])} trials made" in searched


def test_trials_are_drawn_against_what_is_limited(found):
    assert "MB of weights" in (found[0] / "student" / "search.svg").read_text()  # --max-mb alone
    certificate = {**found[2], "asked": {**found[2]["asked"], "max_ms": 2.0}}
    assert "median latency, ms a text" in picture(certificate, "a")


@pytest.mark.parametrize(("wrong", "said"), [
    ({"keep": float("nan")}, "keep=nan: give a number above 0, at most 2"), ({"hours": -1}, "hours=-1.0: give a number above 0"),
    ({"seeds": 0}, "seeds=0: give a whole number from 1 on"), ({"seed": -1}, "seed=-1: give a whole number from 0 on"),
    ({"options": {"nosuch": 1}}, "unknown option of the methods that are tried 'nosuch'"), ({"students": ["nosuch"]}, "unknown model 'nosuch'"),
    ({"trials": 2.5}, "trials=2.5: give a whole number"), ({"seeds": True}, "seeds=True: give a whole number"), ({"keep": None}, "keep=None: give a number"),
    ({"max_ms": "1"}, "max_ms=1: give a number above 0"), ({"students": "nosuch"}, "unknown model 'nosuch'"), ({"methods": "nosuch"}, "unknown method 'nosuch'"),
    ({"student": "cut:1"}, "student is what it looks for"), ({"files": "a.tsv"}, "files: give"), ({"serve_on": "tpu"}, "tpu"),
    ({"sampler": "best"}, "unknown sampler 'best'"),
])
def test_what_is_asked_in_python_is_checked_before_anything_is_trained(tmp_path, wrong, said):
    with pytest.raises(BadInput) as caught:
        kdbench.shrink("gad", tmp_path / "s", teacher="tiny:bert", results_dir=tmp_path / "r", **wrong)
    assert said in str(caught.value) and not (tmp_path / "r").exists()


def test_a_fresh_process_serves_it_without_torch(found):
    place, _, _ = found
    code = ("import sys\nfrom kdbench.serve.predict import load_predictor\n"
            f"print(load_predictor({str(place / 'student')!r}).predict(['the p53 gene .'])); assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_teacher_that_fits_is_delivered_itself(found, tmp_path):
    place, _, _ = found
    result = kdbench.shrink("bc2gm_iobes", tmp_path / "whole", teacher="tiny:bert", keep=0.9, threads=1, forms=["onnx_int8"],
                            results_dir=place / "r", hours=0.2, steps=18, methods=["logit_kd", "finetune"])
    assert result.code == 0 and result.certificate["trained"]["method"] == "none"
    assert "yes: student tiny:bert, none, as onnx_int8" in str(result)


def test_a_student_that_its_method_builds_is_among_the_shapes(tmp_path, capsys, no_data):
    words = ["shrink", "--task", "gad", "--teacher", "tiny:bert", "--keep", "0.1", "--hours", "0.2", "--epochs", "1", "--threads", "1",
             "--trials", "2", "--seeds", "1", "--max-mb", "0.2", "--methods", "static", "--forms", "onnx,onnx_int8", "--results-dir",
             str(tmp_path / "r"), "-o", str(tmp_path / "s"), "--max-train-examples", "200", "--max-dev-examples", "100"]
    assert main(words) in (0, 1, 3)
    found = json.loads((tmp_path / "s" / "certificate.json").read_text())
    fits = {one["shape"]: {form["kind"]: form["megabytes"] for form in one["forms"]} for one in found["searched"]["shapes"]}
    assert found["trained"]["student"].startswith("static:") and found["trained"]["method"] == "static"
    assert found["megabytes"] == pytest.approx(fits[found["trained"]["shape"]][found["form"]], rel=0.02)
    assert found["calibration"]["student"]["temperature"] > 0
    assert json.loads((tmp_path / "s" / "labels.json").read_text())["temperature"] == found["calibration"]["student"]["temperature"]
    about = json.loads((tmp_path / "s" / "config.json").read_text())
    assert about["hidden_size"] == found["trained"]["options"]["size"] == 64  # the teacher's width, less than 256 and 128
    assert [name for name in fits if fits[name]] == ["static:64"]


@pytest.mark.parametrize("more, said", [
    (["--max-ms", "0.000001"], "shapes keeps the budget"),
    (["--max-mb", "0"], "--max-mb '0': give a number above 0"),
    (["--forms", "gguf"], "--forms gguf: is none of"),
    (["--methods", "nothing"], "unknown method 'nothing'"),
    (["--teacher", "tiny:roberta"], "give one teacher that is a model"),
    (["--serve-on", "cuda"], "--serve-on cuda: this machine offers no CUDA device; leave the option out"),
])
def test_what_cannot_be_is_said_in_one_line(found, tmp_path, capsys, more, said):
    words = [*WORDS, "--trials", "1", "--results-dir", str(found[0] / "r"), "-o", str(tmp_path / "s"), *more]
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_what_has_no_certificate_is_refused_before_anything_is_trained(tmp_path, capsys, no_data):
    words = ["shrink", "--teacher", "tiny:bert", "--results-dir", str(tmp_path / "r"), "-o", str(tmp_path / "s")]
    for split, rows in (("train", 60), ("dev", 40), ("test", 5)):
        lines = [json.dumps({"text": f"{split} {i}", "label": "ab"[i % 2]}) for i in range(rows)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    files = [word for split in ("train", "dev", "test") for word in (f"--{split}", str(tmp_path / f"{split}.jsonl"))]
    assert main([*words, "--task", "files", *files]) == 2
    assert "5 test units certify nothing" in capsys.readouterr().err
    assert not (tmp_path / "r" / "models").exists()


def test_what_is_for_programs_is_json_alone(found, tmp_path, capsys):
    capsys.readouterr()
    main([*WORDS, "--trials", "3", "--seeds", "2", "--results-dir", str(found[0] / "r"), "-o", str(tmp_path / "s"), "--json"])
    assert json.loads(capsys.readouterr().out)["student"] == found[2]["student"]


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_choice(found, tmp_path):
    place, code, certificate = found
    words = [sys.executable, "bench.py", *WORDS, "--trials", "3", "--seeds", "2", "--results-dir", str(tmp_path / "r"), "-o", str(tmp_path / "s")]
    drawn_times, kills = random.Random(0), 0
    while kills < 10:
        process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            process.wait(drawn_times.uniform(5, 25))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    if not (tmp_path / "s").exists():
        assert subprocess.run(words, cwd=ROOT).returncode == code
    again = json.loads((tmp_path / "s" / "certificate.json").read_text())
    for name in ("student", "trained", "runs", "kept", "score", "labels"):
        assert again[name] == certificate[name]


# --- the same trials for every method -----------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A table whose methods had two trials each, with its folder."""
    place = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KDBENCH_DATA", raising=False)
        words = ["run", "--method", "dkd", "--task", "gad", "--teacher", "tiny:bert", "--student", "cut:1", "--epochs", "1", "--seeds", "0,1",
                 "--max-train-examples", "64", "--max-dev-examples", "40", "--latency", "off", "--results-dir", str(place)]
        assert main([*words, "--trials", "2"]) == 0
    return place, words


def test_every_method_and_control_has_the_same_number_of_trials_of_its_own(tuned):
    place, _ = tuned
    trials = Counter(one["cell"]["method"] for one in store.records(place / "trials"))
    assert trials == {"finetune": 2, "logit_kd": 2, "dkd": 2}
    finals = list(store.records(place))
    assert Counter((one["role"] == "teacher", one["cell"]["method"]) for one in finals) == {
        (True, "finetune"): 2, (False, "finetune"): 2, (False, "logit_kd"): 2, (False, "dkd"): 2}
    assert {one["cell"]["settings"].get("tuned") for one in finals if one["role"] != "teacher"} == {2}


def test_trials_and_finals_have_the_teacher_of_the_table(tuned):
    """Whatever rate and batches they try for their student: else each trial has a teacher of its own."""
    place = tuned[0]
    trained = {}
    for record in [*store.records(place / "trials"), *store.records(place)]:
        for stage in record["cost"]["stages"]:
            if stage["role"] == "teacher" and stage["name"] == "fine-tuning":
                trained.setdefault(record["cell"]["seed"], set()).add(stage["key"])
    teachers = {record["cell"]["seed"]: {record["artefact"]} for record in store.records(place) if record["role"] == "teacher"}
    assert len(teachers) == 2 and trained == teachers
    tried = [one["cell"]["settings"] for one in store.records(place / "trials") if one["cell"]["method"] == "dkd"]
    given = [one["teacher_settings"] for one in tried if "teacher_settings" in one]
    assert len({one["lr"] for one in tried}) == 2 and given == [{"batch_size": 32, "lr": None}]


def test_the_trial_that_is_best_apart_is_trained_with_every_seed(tuned):
    place, _ = tuned
    for method in ("finetune", "logit_kd", "dkd"):
        trials = [one for one in store.records(place / "trials") if one["cell"]["method"] == method]
        best = max(trials, key=lambda one: one["score"]["test"])
        for final in store.records(place):
            if final["cell"]["method"] == method and final["role"] != "teacher":
                tied = [one for one in trials if one["score"]["test"] == best["score"]["test"]]
                assert (final["cell"]["options"], final["cell"]["settings"]["lr"]) in [
                    (one["cell"]["options"], one["cell"]["settings"]["lr"]) for one in tied]
    whole = plan(Request("finetune", "gad", settings={"max_dev_examples": 40}))[-1].data
    assert all(one["content"]["data"]["test"] != whole.digests["test"] for one in store.records(place / "trials"))


def test_the_report_draws_what_n_trials_find(tuned, tmp_path):
    place, _ = tuned
    for final in store.records(place):
        apart = [one["score"]["test"] for one in store.records(place / "trials") if one["cell"]["method"] == final["cell"]["method"]]
        if final["role"] != "teacher" and final["cell"]["settings"].get("tuned"):
            assert sorted(final["trials"]) == sorted(apart)
        else:
            assert "trials" not in final
    assert main(["report", "--results-dir", str(place), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("How many trials are enough?") == 1


def test_the_expected_best_is_that_of_all_draws():
    scores = [0.2, 0.9, 0.5, 0.5]
    for n, found in enumerate(expected_best(scores), 1):
        assert found == pytest.approx(np.mean([max(drawn) for drawn in itertools.product(scores, repeat=n)]), abs=1e-12)
    assert expected_best([0.3]) == [0.3] and expected_best([]) == []


def test_what_chose_an_epoch_chooses_no_trial():
    trials = [SimpleNamespace(number=number, user_attrs={"rung 0": {"dev": dev, "score": score}})
              for number, (dev, score) in enumerate([(0.9, 0.5), (0.6, 0.7), (0.5, 0.7)])]
    assert best_of(trials).number == 1


def test_the_first_trial_is_the_defaults(tuned):
    defaults = [one for one in store.records(tuned[0] / "trials") if one["cell"]["settings"]["lr"] is None]
    assert Counter(one["cell"]["method"] for one in defaults) == {"finetune": 1, "logit_kd": 1, "dkd": 1}


def test_tuned_rows_stand_in_a_table_of_their_own(tuned, capsys):
    place, words = tuned
    assert main([*words]) == 0  # the same, untuned, into the same folder
    capsys.readouterr()
    assert main(["table", "--results-dir", str(place)]) == 0
    tables = capsys.readouterr().out.split("### ")[1:]
    assert len(tables) == 2
    chosen = [table for table in tables if "settings of every student chosen by 2 trials on a part of dev" in table]
    assert len(chosen) == 1 and all(table.count("| dkd ") == 1 for table in tables)


def test_a_tuned_row_is_compared_with_a_control_of_as_many_trials(tuned):
    records = [copy.deepcopy(one) for one in store.records(tuned[0]) if one["role"] != "teacher" and one["cell"]["settings"].get("tuned") == 2]
    method, fair = (next(one for one in records if one["cell"]["method"] == name) for name in ("dkd", "finetune"))
    other = copy.deepcopy(fair)
    for record, settings in ((method, {"lr": 2e-3, "batch_size": 16}), (fair, {"lr": 1e-3, "batch_size": 32}),
                             (other, {"lr": 2e-3, "batch_size": 16, "tuned": 7})):
        record["cell"]["settings"].update(settings)
    (group,) = grouped([method, other, fair])
    row = next(row for row in group.rows if row.method == "dkd")
    assert group.baseline(row).settings["tuned"] == 2


def test_the_same_command_trains_nothing_again(tuned, capsys):
    place, words = tuned
    before = {path.name for path in (place / "models").iterdir()}
    assert main([*words, "--trials", "2"]) == 0
    assert {path.name for path in (place / "models").iterdir()} == before


def test_seconds_of_trials_end_the_search(tmp_path, tuned):
    words = [word if word != str(tuned[0]) else str(tmp_path) for word in tuned[1]]
    assert main([*words, "--trial-seconds", "0.001", "--no-controls"]) == 0
    assert Counter(one["cell"]["method"] for one in store.records(tmp_path / "trials")) == {"dkd": 1}


def test_calls_side_by_side_choose_among_the_same_trials(tmp_path, monkeypatch):
    """Else each chooses among the trials that it has seen, and the table has two students of one method."""
    def trials():
        return Trials(tmp_path, "s", drawn, pruner="none", most=1)

    theirs = trials()
    owned = theirs.next()

    def waited(seconds):
        theirs.note(owned, 0, seconds=7.0, dev=0.5, score=0.4, run="a")
        theirs.end(owned, 0.5)

    monkeypatch.setattr(tuned_methods.time, "sleep", waited)
    mine, cell = trials(), SimpleNamespace(method_name="dkd", task=SimpleNamespace(name="gad"), student=SimpleNamespace(name="cut:1"))
    assert tuned_methods.tried(mine, cell, None, Engine("local", 1), tuned_methods.Effort(1)) == 7.0
    assert [trial.value for trial in mine.tried] == [0.5]


def test_a_suite_says_how_many_trials_in_its_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('trials = 3\n[[cells]]\nmethod = "dkd"\ntask = "gad"\n')
    assert suite.load(str(path)).trials == 3
    path.write_text('trials = 0\n[[cells]]\nmethod = "dkd"\ntask = "gad"\n')
    with pytest.raises(BadInput, match="trials is 0, not a whole number above 0"):
        suite.load(str(path))
