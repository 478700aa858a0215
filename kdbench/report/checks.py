"""The checks of one record: what must follow from what lies beside it, and does not.

Each gives a `Difference` for what does not follow, and raises `Unchecked` where something that it
needs is not there.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from kdbench.base import reading
from kdbench.base.checksums import damage
from kdbench.base.identity import record_id
from kdbench.report.evidence import Case, Unchecked
from kdbench.report.findings import CLOSE, NOTE, UNCHECKED, Difference, Result, near, results_of
from kdbench.report.rerun import rerun
from kdbench.report.rows import Record
from kdbench.runs import store
from kdbench.runs.stored import damage_of_predictions, is_linked
from kdbench.runs.units import SALT, in_their_places
from kdbench.score import metrics

Check = Callable[[Case], Iterable[Difference]]
DATA_PARTS = ["dev", "domain", "labels", "test", "train"]
OF_FEW_LABELS = {"rest", "drawn_from"}  # further ones, where a part of the labels is drawn


def check_all(case: Case) -> list[Result]:
    """All checks of one record by itself."""
    checks: dict[str, Check] = {
        "file": check_file,
        "id": check_id,
        "facts": check_facts,
        "code": check_code,
        "data": check_data,
    }
    done = case.record["status"] == "done"
    if done:
        checks |= {
            "record": check_record,
            "score": check_score,
            "counts": check_counts,
            "naive": check_naive,
            "student": check_student,
        }
        if case.piece_metrics:
            checks["word pieces"] = check_pieces
    results: list[Result] = []
    for name, check in checks.items():
        results += results_of(name, case.where, check(case))
    if done:
        why = "size, latency, cost, curves and dev scores follow from nothing that is stored"
        results.append(Result("measured", case.where, UNCHECKED, why))
    return results + uncheckable_rows(case)


def uncheckable_rows(case: Case) -> list[Result]:
    """The further rows of a record, whose predictions are kept nowhere."""
    results = []
    for name, key, why in (
        ("further rows", "rows_more", "their predictions are not stored"),
        ("exports", "artefacts", "exports are not kept with the results"),
    ):
        rows = case.record.get(key)
        for number in range(len(rows) if isinstance(rows, list) else 0):
            results.append(Result(name, f"{case.where}, {key}.{number}", UNCHECKED, why))
    return results


# ---- without data --------------------------------------------------------------------------------


def check_file(case: Case) -> Iterator[Difference]:
    """Name, place and format of the record, and whether what lies beside it can be read."""
    record, path = case.record, case.path.with_suffix(".npz")
    if case.path.stem != record["id"]:
        yield Difference("the file's name is not the id", record["id"], case.path.stem)
    folder = case.path.parent.name
    if folder != record["cell"]["task"]:
        yield Difference("the folder is not the task", record["cell"]["task"], folder)
    if record["format"] != store.FORMAT:
        yield Difference("format", record["format"], store.FORMAT)
    if not re.fullmatch(r"[0-9a-f]*", record.get("artefact") or ""):
        yield Difference(f"artefact {record['artefact']!r} is no hash")
    beside = damage_of_predictions(case.path, record) if os.path.lexists(path) else ""
    if wrong := damage(record) or beside:
        yield Difference(wrong)
    elif path.is_file() and not is_linked(path):
        try:
            reading.arrays(path)
        except reading.Unreadable as error:
            yield Difference(f"{path.name} {error.why}")
    if record["status"] != "done" and (record.get("score") or path.is_file()):
        yield Difference("it has figures, and its status says that it has none", record["status"])


def check_id(case: Case) -> Iterator[Difference]:
    """The id against the hash of cell and content."""
    content = case.record.get("content")
    if content is None:
        yield Difference("it has no content, so its id says nothing; run it again")
        return
    found = record_id(case.record["cell"], content)
    if found != case.record["id"]:
        yield Difference("not the hash of cell and content", case.record["id"], found)


def check_facts(case: Case) -> Iterator[Difference]:
    """What a record says in two places: beside its content, which its id holds, and elsewhere."""
    for what, one, other in facts_said_twice(case):
        if one != other:
            yield Difference(f"{what}, said twice", one, other)
    yield from dev_of_curves(case.record)


def facts_said_twice(case: Case) -> Iterator[tuple[str, object, object]]:
    """What the fact is, as the record has it, and as its content has it."""
    record = case.record
    content = record.get("content") or {}
    models, provenance = record.get("models", {}), record.get("provenance", {})
    yield "student", models.get("student"), content.get("student")
    yield "teacher", models.get("teacher"), content.get("teacher")
    yield "is a teacher's row", record.get("role") == "teacher", content.get("role") == "teacher"
    yield "device", provenance.get("device"), content.get("device")
    parts = set(content.get("data") or {}) - OF_FEW_LABELS
    yield "parts of the data", sorted(parts), DATA_PARTS
    if record["status"] != "done":
        return
    yield "metric", case.metric, (content.get("task") or {}).get("metric")
    made = (content.get("code") or {}).get("metrics") or {}
    # what is reported beside its metrics is no part of the content; older records lack it
    more = set(metrics.beside(made))
    wanted = {*made, *more} if more & case.test_scores.keys() else made
    yield "metrics", sorted(case.test_scores), sorted(wanted)
    yield "naive scores", "test" in record["score"]["naive"], True


def dev_of_curves(record: Record) -> Iterator[Difference]:
    """The dev score against those that the student's last training went through, where it was kept
    from one of them.
    """
    every = (record.get("cost") or {}).get("stages") or ()
    stages = [stage for stage in every if stage.get("name") != "signals"]
    if record["status"] != "done" or not stages or stages[-1].get("key") != record.get("artefact"):
        return
    last = stages[-1]["name"], stages[-1]["role"]
    seen = []
    for entry in record.get("curves") or ():
        if (entry["stage"], entry["role"]) == last and entry.get("dev") is not None:
            seen.append(entry["dev"])
    if seen and not any(near(record["score"]["dev"], dev) for dev in seen):
        yield Difference("dev score, and those of its training", record["score"]["dev"], seen)


def check_code(case: Case) -> Iterator[Difference]:
    """Is the code that made it the code that is here? If not, its figures are another version's,
    and are not judged.
    """
    if changed := case.changed_code:
        raise Unchecked(f"made by other code than is here: {', '.join(changed)}")
    yield from ()  # like the other checks it runs when somebody asks for its differences


def check_record(case: Case) -> Iterator[Difference]:
    """What a record says twice, and what the counts beside it say again; no data are needed."""
    score = case.record["score"]
    for name in not_finite(case.record):
        yield Difference(f"{name} is not a finite number")
    for split, every in score["all"].items():
        if (split == "test" or every) and not near(score[split], every.get(case.metric)):
            what = f"{split} score is not its {case.metric}"
            yield Difference(what, score[split], every.get(case.metric))
    for name, array in case.arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield Difference(f"{name} has values that are not finite")
    rows, predicted = case.record["data"]["rows"]["test"], len(case.predictions)
    if predicted != rows:
        yield Difference("rows of test, and of its predictions", rows, predicted)
    if "test_counts" not in case.arrays:
        return
    counts, units = case.arrays["test_counts"], case.arrays["test_units"]
    if len(counts) != len(units):
        yield Difference("units of the counts", len(units), len(counts))
    metric = metrics.METRICS.get(case.metric)
    if metric is not None and metric.finish is not None:
        total = float(metric.finish(counts.sum(axis=0)))
        if not near(score["test"], total):
            what = f"test {case.metric} is not what its counts give"
            yield Difference(what, score["test"], total)


def not_finite(value: object, name: str = "") -> Iterator[str]:
    """Where a record has NaN or an infinity, which JSON does not know but Python reads."""
    children: Iterable[tuple[object, object]] = ()
    if isinstance(value, float) and not math.isfinite(value):
        yield name
    elif isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from not_finite(child, f"{name}.{key}".lstrip("."))


# ---- from predictions and data -------------------------------------------------------------------


def check_data(case: Case) -> Iterator[Difference]:
    """Checksums, digests and rows of the data."""
    for what, stored, found in case.changes_of_data():
        yield Difference(what, stored, found)


def check_score(case: Case) -> Iterator[Difference]:
    """The test scores against those of the stored predictions."""
    for name in (case.metric, *case.test_scores):
        if name not in metrics.METRICS:
            raise Unchecked(f"there is no metric {name} here")
    case.require_same_scoring(case.metric)
    for name, found in case.recomputed.all.items():
        if not near(case.test_scores.get(name), found):
            yield Difference(f"test {name}", case.test_scores.get(name), found)


def check_pieces(case: Case) -> Iterator[Difference]:
    """The test scores that read word pieces, and how much lies beyond the length limit."""
    for name in case.piece_metrics:
        case.require_same_scoring(metrics.METRICS[name].of or name)
    for name, score in case.scores(case.piece_metrics).all.items():
        if not near(case.test_scores[name], score):
            yield Difference(f"test {name}", case.test_scores[name], score)
    stored = (case.record["score"].get("beyond_limit") or {}).get("test")
    if stored is not None:
        data = case.same_data.data
        found = metrics.beyond_limit(data.labels, data.test, case.predictions)
        if stored != found:
            yield Difference("what lies beyond the length limit", stored, found)


def check_counts(case: Case) -> Iterator[Difference]:
    """The counts that statistics resample against those of the stored predictions."""
    case.require_same_scoring(case.metric)
    found = case.recomputed
    if found.counts is None:
        raise Unchecked(f"{case.metric} is no function of sums, so it has none")
    if "test_counts" not in case.arrays:
        yield Difference("not stored beside the predictions")
        return
    counts, units = case.arrays["test_counts"], case.arrays["test_units"].tolist()
    wanted = case.names_of_units(found.units)
    if wanted is None:  # their number and order can be checked, their names cannot
        what = f"its units are hashed, and the {SALT} of its run is not here: names not compared"
        yield Difference(what, state=NOTE)
        wanted = in_their_places(units, len(found.units))
    if units != wanted:
        pairs = itertools.zip_longest(units, wanted)
        stored, own = next(pair for pair in pairs if pair[0] != pair[1])
        yield Difference("the first unit that differs", stored, own)
    elif counts.shape != found.counts.shape:
        yield Difference("shape", counts.shape, found.counts.shape)
    else:
        off = ~np.isclose(counts, found.counts, rtol=CLOSE, atol=CLOSE).all(axis=1)
        if off.any():
            first = int(off.argmax())
            what = f"of {off.sum()} of {len(off)} units, the first being {units[first]}"
            yield Difference(what, counts[first].tolist(), found.counts[first].tolist())


def check_naive(case: Case) -> Iterator[Difference]:
    """The naive predictor's scores against those of the data."""
    case.require_same_scoring(case.metric)
    for split, stored in case.record["score"]["naive"].items():
        found = case.same_data.naive(case.metric, split)
        if not near(stored, found):
            yield Difference(f"on {split}", stored, found)


def check_student(case: Case) -> Iterator[Difference]:
    """The stored student's answers against the stored predictions."""
    found, stored = rerun(case), case.record["score"]["test"]
    if not found.share and not found.unexplained:
        return
    score = case.scores([case.metric], found.predictions).main
    what = f"{found.share:.2%} of its answers differ"
    if found.unexplained:
        yield Difference(f"{what}, {found.unexplained}; {case.metric}", stored, score)
    else:
        yield Difference(f"{what}, all within rounding; {case.metric}", stored, score, NOTE)
