"""Does a stored figure still follow from what lies beside it? Records are recomputed and compared.

Test scores, counts and naive scores follow from the stored predictions and the data, an id from
what the record says of itself, an interval from the counts, a student's answers from its weights
(`kdbench.report.rerun`). A check holds, differs, or could not be made and says why: nothing passes
because its inputs are missing. Scores, counts and intervals must agree to `CLOSE`: the same
numbers were added, at most in another order.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from kdbench.base import render
from kdbench.base.errors import BadInput, one_line
from kdbench.base.identity import file_digest, record_id
from kdbench.base.progress import Progress
from kdbench.report.evidence import (
    UNREADABLE,
    Case,
    Corpora,
    Unchecked,
    inside,
    read_arrays,
)
from kdbench.report.rerun import rerun
from kdbench.runs import store
from kdbench.score import metrics

CLOSE = 1e-9
HOLDS, DIFFERS, UNCHECKED, NOTE = "holds", "differs", "unchecked", "note"
CHECKS = {
    "file": "readable, in its place, under its own id",
    "id": "the hash of what the record says",
    "record": "its figures agree with each other",
    "facts": "what it says twice",
    "code": "what made it is what is here",
    "data": "checksums, digests, rows",
    "score": "on test, from the predictions",
    "word pieces": "what reads them, from the predictions",
    "counts": "what statistics resample",
    "naive": "scores without reading",
    "student": "its answers on test, run again",
    "weights": "checksum in stage.json",
    "intervals": "from the counts",
    "measured": "what was measured once",
    "further rows": "models made on the way",
    "exports": "of the student",
}
# what a record of another format, or a damaged one, makes of code that expects this one
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError)
SHAPE: dict[str, Any] = {
    "format": int,
    "id": str,
    "status": str,
    "cell.task": str,
    "cell.settings": dict,
    "cell.task_options": dict,
    "data.kind": str,
    "data.rows": dict,
    "data.sha256": dict,
}
SHAPE_DONE: dict[str, Any] = {
    "artefact": str,
    "score.metric": str,
    "score.test": (float, int, type(None)),
    "score.naive": dict,
    "score.all.dev": dict,
    "score.all.test": dict,
}


@dataclass(frozen=True)
class Difference:
    """`what` is not what was stored; a `NOTE` is worth a line, and holds."""

    what: str
    stored: Any = None
    found: Any = None
    state: str = DIFFERS


@dataclass(frozen=True)
class Result:
    """One check of one thing: a record, a stage, an interval. `what` differs, or why unchecked."""

    check: str
    where: str
    state: str
    what: str = ""
    stored: Any = None
    found: Any = None

    @property
    def line(self) -> str:
        figures = f": stored {shown(self.stored)}, found {shown(self.found)}"
        said = f"{self.where}: {self.check}: {self.what}"
        return said if self.stored is None and self.found is None else said + figures


def verify(
    target: str,
    results_dir: Path,
    data_dir: Path | None = None,
    files: Mapping[str, Path] | None = None,
) -> list[Result]:
    """All checks of a results folder, of a folder of such, or of one record.

    target       a folder, or the beginning of the id of a record in `results_dir`
    data_dir     the folder of the real corpora; look-alikes are made anew
    files        the files of task `files` by split, as its run had them
    `BadInput` where there is no such folder or record.
    """
    folder = Path(target).expanduser()
    paths = records_below(folder) if folder.is_dir() else records_named(results_dir, target)
    corpora, results = Corpora(data_dir, dict(files or {})), list[Result]()
    progress = Progress("verify", len(paths), "records")
    cases: dict[Path, list[Case]] = {}
    for number, path in enumerate(paths):
        progress.at(number)
        root = path.parents[2]
        case = Case(path, root, f"{root.resolve().name}/{path.stem}", {}, corpora)
        try:
            case.record = read_record(path)
        except (OSError, ValueError, RecursionError) as error:
            why = f"{path.name} is no record ({one_line(error)}); tables leave it out"
            results.append(Result("file", case.where, DIFFERS, why))
            continue
        results += checked(case)
        cases.setdefault(root, []).append(case)
    for root, found in cases.items():
        results += weights(root, found)
        if folder.is_dir():
            results += intervals(root, found)
    progress.end()
    return results


def records_below(folder: Path) -> list[Path]:
    """The record files of a results folder, or of all right below a folder that is none itself."""
    roots = [folder] if (folder / "records").is_dir() else sorted(folder.iterdir())
    found = [path for root in roots for path in sorted(root.glob("records/*/*.json"))]
    alone = [
        path
        for root in roots
        for path in sorted(root.glob("records/*/*.npz"))
        if not path.with_suffix(".json").is_file()
    ]
    # which are no records, and are said to be none
    found += [path.with_suffix(".json") for path in alone]
    if not found:
        raise BadInput(
            f"results folder {folder}: no records in it; give one that runs were "
            "written to, or a run's id"
        )
    return found


def records_named(results_dir: Path, run: str) -> list[Path]:
    found = [
        path
        for path in sorted(results_dir.glob("records/*/*.json"))
        if run and path.stem.startswith(run)
    ]
    if not found:
        raise BadInput(
            f"{run}: no such folder, and no record in {results_dir} whose id begins so; "
            "give a results folder, or the run's with --results-dir"
        )
    if len(found) > 1:
        ids = ", ".join(path.stem for path in found[:5])
        raise BadInput(f"run {run!r}: several records begin so ({ids}); give more of the id")
    return found


def read_record(path: Path) -> dict[str, Any]:
    """The record in `path`, whatever id it has; `ValueError` where it has not a record's shape."""
    if path.is_symlink():
        raise ValueError("a link, which is not followed")
    record = json.loads(path.read_text(encoding="utf-8"))
    done = isinstance(record, dict) and record.get("status") == "done"
    for name, wanted in {**SHAPE, **(SHAPE_DONE if done else {})}.items():
        value = record
        for part in name.split("."):
            value = value.get(part, ...) if isinstance(value, dict) else ...
        if not isinstance(value, wanted):
            raise ValueError(f"no {name}" if value is ... else f"{name} is not what it should be")
    return record


def near(stored: Any, found: Any) -> bool:
    """Equal up to `CLOSE`; a figure that is not defined is stored as null."""
    if stored is None or found is None or not math.isfinite(found):
        return stored is None and (found is None or not math.isfinite(found))
    return math.isclose(stored, found, rel_tol=CLOSE, abs_tol=CLOSE)


def judged(check: str, where: str, differences: Iterable[Difference]) -> list[Result]:
    """What a check found: the differences, or that it holds, or why it could not be made."""
    found: list[Result] = []
    try:
        for one in differences:
            found.append(Result(check, where, one.state, one.what, one.stored, one.found))
    except Unchecked as reason:
        return found or [Result(check, where, UNCHECKED, str(reason))]
    except BadInput as error:
        found.append(Result(check, where, DIFFERS, one_line(error)))
    except MALFORMED as error:
        why = f"cannot be computed ({type(error).__name__}: {one_line(error)})"
        found.append(Result(check, where, DIFFERS, why))
    if any(one.state == DIFFERS for one in found):
        return found
    return [*found, Result(check, where, HOLDS)]


# ---- one record --------------------------------------------------------------------------------


def checked(case: Case) -> list[Result]:
    """All checks of one record by itself."""
    checks = {
        "file": check_file,
        "id": check_id,
        "facts": check_facts,
        "code": check_code,
        "data": check_data,
    }
    if case.record["status"] == "done":
        checks |= {
            "record": check_record,
            "score": check_score,
            "counts": check_counts,
            "naive": check_naive,
            "student": check_student,
        }
        if case.of_pieces:
            checks["word pieces"] = check_pieces
    results: list[Result] = []
    for name, check in checks.items():
        results += judged(name, case.where, check(case))
    if case.record["status"] == "done":
        why = "size, latency, cost, curves and dev scores follow from nothing that is stored"
        results.append(Result("measured", case.where, UNCHECKED, why))
    for name, key, why in (
        ("further rows", "rows_more", "their predictions are not stored"),
        ("exports", "artefacts", "exports are not kept with the results"),
    ):
        rows = case.record.get(key)
        for number in range(len(rows) if isinstance(rows, list) else 0):
            results.append(Result(name, f"{case.where}, {key}.{number}", UNCHECKED, why))
    return results


def check_file(case: Case) -> Iterator[Difference]:
    record, path = case.record, case.path.with_suffix(".npz")
    if case.path.stem != record["id"]:
        yield Difference("the file's name is not the id", record["id"], case.path.stem)
    if case.path.parent.name != record["cell"]["task"]:
        there = case.path.parent.name
        yield Difference("the folder is not the task", record["cell"]["task"], there)
    if record["format"] != store.FORMAT:
        yield Difference("format", record["format"], store.FORMAT)
    if not re.fullmatch(r"[0-9a-f]*", record.get("artefact") or ""):
        yield Difference(f"artefact {record['artefact']!r} is no hash")
    if path.is_file() and not path.is_symlink():
        try:
            read_arrays(path)
        except UNREADABLE as error:
            why = one_line(error) or type(error).__name__
            yield Difference(f"{path.name} cannot be read ({why})")
    if record["status"] != "done" and (record.get("score") or path.is_file()):
        yield Difference("it has figures, and its status says that it has none", record["status"])


def check_facts(case: Case) -> Iterator[Difference]:
    """What a record says in two places: beside its content, which its id holds, and elsewhere."""
    record = case.record
    content = record.get("content") or {}
    said = {
        "student": (record.get("models", {}).get("student"), content.get("student")),
        "teacher": (record.get("models", {}).get("teacher"), content.get("teacher")),
        "is a teacher's row": (record.get("role") == "teacher", content.get("role") == "teacher"),
        "device": (record.get("provenance", {}).get("device"), content.get("device")),
        "parts of the data": (
            sorted(content.get("data") or {}),
            ["dev", "domain", "labels", "test", "train"],
        ),
    }
    if record["status"] == "done":
        said["metric"] = case.metric, (content.get("task") or {}).get("metric")
        made = (content.get("code") or {}).get("metrics") or {}
        # what is reported beside its metrics is no part of the content; older records lack it
        more = set(metrics.beside(made))
        wanted = {*made, *more} if more & case.named.keys() else made
        said["metrics"] = sorted(case.named), sorted(wanted)
        said["naive scores"] = "test" in record["score"]["naive"], True
    for what, (one, other) in said.items():
        if one != other:
            yield Difference(f"{what}, said twice", one, other)
    yield from dev_of_curves(record)


def dev_of_curves(record: dict[str, Any]) -> Iterator[Difference]:
    """The dev score against those that the student's last training went through, where it was kept
    from one of them.
    """
    stages = [
        stage
        for stage in (record.get("cost") or {}).get("stages") or ()
        if stage.get("name") != "signals"
    ]
    if record["status"] != "done" or not stages or stages[-1].get("key") != record.get("artefact"):
        return
    last = stages[-1]["name"], stages[-1]["role"]
    seen = [
        entry["dev"]
        for entry in record.get("curves") or ()
        if (entry["stage"], entry["role"]) == last and entry.get("dev") is not None
    ]
    if seen and not any(near(record["score"]["dev"], dev) for dev in seen):
        yield Difference("dev score, and those of its training", record["score"]["dev"], seen)


def check_code(case: Case) -> Iterator[Difference]:
    """Is the code that made it the code that is here? If not, its figures are another version's,
    and are not judged.
    """
    if old := case.older_code():
        raise Unchecked(f"made by other code than is here: {', '.join(old)}")
    return
    yield


def check_id(case: Case) -> Iterator[Difference]:
    content = case.record.get("content")
    if content is None:
        yield Difference("it has no content, so its id says nothing; run it again")
        return
    found = record_id(case.record["cell"], content)
    if found != case.record["id"]:
        yield Difference("not the hash of cell and content", case.record["id"], found)


def check_data(case: Case) -> Iterator[Difference]:
    for what, stored, found in case.changes_of_data():
        yield Difference(what, stored, found)


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


def not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Where a record has NaN or an infinity, which JSON does not know but Python reads."""
    if isinstance(value, float) and not math.isfinite(value):
        yield name
    children: Any = enumerate(value) if isinstance(value, list) else ()
    for key, child in value.items() if isinstance(value, dict) else children:
        yield from not_finite(child, f"{name}.{key}".lstrip("."))


def check_score(case: Case) -> Iterator[Difference]:
    if unknown := [name for name in (case.metric, *case.named) if name not in metrics.METRICS]:
        raise Unchecked(f"there is no metric {unknown[0]} here")
    case.same_scoring(case.metric)
    for name, found in case.recomputed.all.items():
        if not near(case.named.get(name), found):
            yield Difference(f"test {name}", case.named.get(name), found)


def check_pieces(case: Case) -> Iterator[Difference]:
    for name in case.of_pieces:
        case.same_scoring(metrics.METRICS[name].of or name)
    for name, found in case.scores(case.of_pieces).all.items():
        if not near(case.named[name], found):
            yield Difference(f"test {name}", case.named[name], found)
    stored = (case.record["score"].get("beyond_limit") or {}).get("test")
    if stored is not None:
        data = case.same.data
        lost = metrics.beyond_limit(data.labels, data.test, case.predictions)
        if stored != lost:
            yield Difference("what lies beyond the length limit", stored, lost)


def check_counts(case: Case) -> Iterator[Difference]:
    case.same_scoring(case.metric)
    found = case.recomputed
    if found.counts is None:
        raise Unchecked(f"{case.metric} is no function of sums, so it has none")
    if "test_counts" not in case.arrays:
        yield Difference("not stored beside the predictions")
        return
    counts, units = case.arrays["test_counts"], case.arrays["test_units"].tolist()
    if units != list(found.units):
        pairs = itertools.zip_longest(units, found.units)
        yield Difference("the first unit that differs", *next(p for p in pairs if p[0] != p[1]))
    elif counts.shape != found.counts.shape:
        yield Difference("shape", counts.shape, found.counts.shape)
    else:
        off = ~np.isclose(counts, found.counts, rtol=CLOSE, atol=CLOSE).all(axis=1)
        if off.any():
            at = int(off.argmax())
            what = f"of {off.sum()} of {len(off)} units, the first being {units[at]}"
            yield Difference(what, counts[at].tolist(), found.counts[at].tolist())


def check_naive(case: Case) -> Iterator[Difference]:
    case.same_scoring(case.metric)
    for split, stored in case.record["score"]["naive"].items():
        found = case.same.naive(case.metric, split)
        if not near(stored, found):
            yield Difference(f"on {split}", stored, found)


def check_student(case: Case) -> Iterator[Difference]:
    found, stored = rerun(case), case.record["score"]["test"]
    if not found.share and not found.wrong:
        return
    score = case.scores([case.metric], found.predictions).main
    what = f"{found.share:.2%} of its answers differ"
    if found.wrong:
        yield Difference(f"{what}, {found.wrong}; {case.metric}", stored, score)
    else:
        yield Difference(f"{what}, all within rounding; {case.metric}", stored, score, NOTE)


# ---- a folder ----------------------------------------------------------------------------------


def weights(root: Path, cases: Sequence[Case]) -> list[Result]:
    """The trained stages that records name, each checked once."""
    keys: set[str] = set()
    for case in cases:
        cost = case.record.get("cost")
        stages = cost.get("stages") if isinstance(cost, dict) else None
        for stage in [case.record, *(stages if isinstance(stages, list) else ())]:
            if isinstance(stage, dict) and stage.get("name") != "signals":
                keys |= {str(stage.get("artefact")), str(stage.get("key"))}
    results: list[Result] = []
    for key in sorted(k for k in keys if re.fullmatch(r"[0-9a-f]+", k)):
        differences = check_weights(root / "models" / key, root)
        results += judged("weights", f"{root.resolve().name}/models/{key}", differences)
    return results


def check_weights(folder: Path, root: Path) -> Iterator[Difference]:
    if not inside(folder, root) or not (folder / "stage.json").is_file():
        raise Unchecked("its weights are not kept here")
    made = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
    if "model.safetensors" not in (made.get("sha256") or {}):
        yield Difference("stage.json has no checksum of the weights")
    for name, stored in made["sha256"].items():
        path = folder / Path(name).name
        found = file_digest(path) if path.is_file() else "no file"
        if found != stored:
            yield Difference(f"SHA-256 of {name}", stored, found)


def intervals(root: Path, cases: Sequence[Case]) -> list[Result]:
    """The stored intervals against those that the table of these records has, computed anew."""
    from kdbench.report import tables
    from kdbench.score import statistics

    path, where = root / "intervals.json", f"{root.resolve().name}/intervals.json"
    if not path.is_file():
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        known, code = dict(stored["intervals"]), stored["code"]
    except (OSError, *MALFORMED) as error:
        why = f"cannot be read ({one_line(error)}); remove it, a table makes it anew"
        return [Result("intervals", where, DIFFERS, why)]
    if code != statistics.code():
        why = "made by other code; no table uses it"
        return [Result("intervals", f"{where}, {key}", UNCHECKED, why) for key in known]
    beside: dict[str, dict[str, ndarray]] = {}
    for case in cases:
        try:
            beside[case.record["id"]] = case.arrays
        except Unchecked:
            continue

    def counts(record: dict[str, Any]) -> Any:
        found = beside.get(record["id"], {})
        if "test_counts" not in found:
            return None
        return tuple(found["test_units"].tolist()), found["test_counts"]

    cache = statistics.Cache()
    try:
        tables.build([case.record for case in cases], counts, None, cache)
    except (BadInput, *MALFORMED) as error:
        why = f"the records make no table ({type(error).__name__}: {one_line(error)})"
        return [Result("intervals", where, DIFFERS, why)]
    results: list[Result] = []
    for key, interval in known.items():
        differences = check_interval(interval, cache.known.get(key))
        results += judged("intervals", f"{where}, {key}", differences)
    return results


def check_interval(stored: dict[str, Any], found: dict[str, Any] | None) -> Iterator[Difference]:
    if found is None:
        raise Unchecked("of a part of the table, or of counts that are no longer there")
    for name, value in found.items():
        equal = near(stored[name], value) if isinstance(value, float) else stored[name] == value
        if not equal:
            yield Difference(name, stored[name], value)


# ---- what is printed ---------------------------------------------------------------------------


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "nothing" if value is None else str(value)


def summary(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """By check: how many were checked, hold, differ; {why: how many} were not checked."""
    found = {}
    for check in CHECKS:
        states: dict[str, dict[str, str]] = {}
        for one in results:
            if one.check == check:
                states.setdefault(one.where, {})[one.state] = one.what
        differ = sum(DIFFERS in state for state in states.values())
        hold = sum(HOLDS in state for state in states.values())
        why = Counter(state[UNCHECKED] for state in states.values() if UNCHECKED in state)
        if states:
            found[check] = {
                "checked": hold + differ,
                "hold": hold,
                "differ": differ,
                "unchecked": dict(why.most_common()),
            }
    return found


def as_text(results: Sequence[Result], width: int = render.WIDTH) -> str:
    """The differences, one a line; the summary; why something could not be checked."""
    lines = [one.line for one in results if one.state == DIFFERS]
    lines += [f"{one.line} (holds)" for one in results if one.state == NOTE]
    rows, reasons = [], []
    for check, row in summary(results).items():
        figures = [row["checked"], row["hold"], row["differ"], sum(row["unchecked"].values())]
        rows.append([f"{check}: {CHECKS[check]}", *map(str, figures)])
        for why, number in row["unchecked"].items():
            reasons.append(render.wrap(f"- {check}, {number} not checked: {why}", width))
    table = render.plain(["check", "checked", "hold", "differ", "not checked"], rows, width)
    parts = ["\n".join(lines), table, "\n".join(reasons)]
    return "\n\n".join(part for part in parts if part)


def as_json(results: Sequence[Result]) -> str:
    """The same for programs."""
    report = {
        "holds": holds(results),
        "differences": [asdict(one) for one in results if one.state == DIFFERS],
        "notes": [asdict(one) for one in results if one.state == NOTE],
        "summary": summary(results),
    }
    return json.dumps(report, indent=1, ensure_ascii=False)


def holds(results: Iterable[Result]) -> bool:
    """Does everything hold that could be checked?"""
    return not any(one.state == DIFFERS for one in results)
