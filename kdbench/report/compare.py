"""Two runs beside each other: the interval of their difference, and the examples on which they
differ.

Texts are shown only where they are asked for: notes must not end up in a terminal's log because two
models were compared. Rows are known by their number and, where the data is found again, by id and
gold label.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from kdbench.base.errors import BadInput
from kdbench.data.tags import lenient_spans
from kdbench.data.task import Example
from kdbench.report.contrasts import Contrasts
from kdbench.report.evidence import Case, Corpora, Unchecked
from kdbench.report.groups import grouped
from kdbench.report.rows import Record, Row, nested
from kdbench.runs import store
from kdbench.runs.store import find_record
from kdbench.runs.stored import REMEDY, damage_of_predictions
from kdbench.score import metrics, statistics
from kdbench.score.counts import positive_probability, reaches
from kdbench.score.metrics import METRICS
from kdbench.score.statistics import Finish, Interval
from kdbench.serve.labels import Labels

SAME = {  # what two runs must share, in words, and where a record has it
    "task": ("cell", "task"),
    "kind of data": ("data", "kind"),
    "metric": ("score", "metric"),
    "options of the task": ("cell", "task_options"),
}
Answer = str  # a prediction or a gold label, as people read it
Read = Callable[[Any, Example | None], Answer]


@dataclass(frozen=True)
class Difference:
    """An example on which two runs differ.

    row    its number in the test set, from 1
    id     as the data has it; None, like gold, where the data is not here
    right  "first", "second", or "neither"; None without gold
    text   only where it was asked for
    """

    row: int
    first: Answer
    second: Answer
    id: str | None = None
    gold: Answer | None = None
    right: str | None = None
    text: str | None = None


@dataclass
class Comparison:
    """Two runs on the same test data.

    students  the interval of the first minus the second student: test units drawn anew, these two
              trained models
    methods   that of their rows over all seeds in the folder: seeds and test units drawn anew; None
              where one has a single seed
    one_row   both are seeds of one row
    rows      of the test set
    counts    how many examples both have right, one has, none has; empty without gold
    unknown   why gold labels or predictions are not shown
    """

    records: tuple[Record, Record]
    metric: str
    rows: int
    delta: float
    students: Interval | None = None
    methods: Interval | None = None
    one_row: bool = False
    differences: list[Difference] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    unknown: str = ""


def compare(
    results_dir: Path,
    first: str,
    second: str,
    data_dir: Path | None = None,
    files: Mapping[str, Path] | None = None,
    *,
    texts: bool = False,
) -> Comparison:
    """Compare two runs of a results folder, which are named by the beginnings of their ids.

    data_dir, files  where the test data is, as for `kdbench.report.verify`; look-alikes are made
                     anew
    `BadInput` where they cannot be compared: another task, other test data, no score.
    """
    pair = find_record(results_dir, first), find_record(results_dir, second)
    check_comparable(*pair)
    scores = [nested(record, "score", "test") for record in pair]
    found = Comparison(pair, pair[0]["score"]["metric"], nested(pair[0], "data", "rows", "test"),
                       scores[0] - scores[1])
    add_intervals(found, results_dir)
    corpora = Corpora(data_dir, dict(files or {}))
    cases = [case_of(results_dir, record, corpora) for record in pair]
    try:
        add_differences(found, cases, texts)
    except Unchecked as why:
        found.unknown = str(why)
    return found


def check_comparable(first: Record, second: Record) -> None:
    """`BadInput` unless two records have scores on the same test data."""
    if first["id"] == second["id"]:
        raise BadInput(f"run {first['id']}: both names mean this run; name another one")
    for record in (first, second):
        if record["status"] != "done" or nested(record, "score", "test") is None:
            raise BadInput(f"run {record['id']}: its status is {record['status']}, so there is no "
                           "score to compare")
    names = f"runs {first['id'][:8]} and {second['id'][:8]}"
    for what, path in SAME.items():
        one, other = (without_name(nested(each, *path)) for each in (first, second))
        if one != other:
            raise BadInput(f"{names}: the {what} is not the same ({one or 'none'}, "
                           f"{other or 'none'}); compare two runs of one task")
    if test_data(first) != test_data(second):
        raise BadInput(f"{names}: they were scored on other test data, and the difference would be "
                       "one of the data; compare two runs of the same test file and labels")


def without_name(value: Any) -> Any:
    """Options of a task without what tables call the corpus, which says nothing of the data."""
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if name != "name"}
    return value


def test_data(record: Record) -> tuple[Any, ...]:
    """What tells test sets apart; a record without content has the checksum of the file."""
    content = nested(record, "content", "data")
    if isinstance(content, dict) and "test" in content:
        return content["test"], content.get("labels")
    return nested(record, "data", "sha256", "test"), nested(record, "data", "rows", "test")


def case_of(results_dir: Path, record: Record, corpora: Corpora) -> Case:
    """A record with what lies beside it; `BadInput` where its predictions are damaged. They may be
    gone: without them there is less to compare.
    """
    path = store.path_of(results_dir, record["id"], record["cell"]["task"])
    there = os.path.lexists(path.with_suffix(".npz"))
    if there and (wrong := damage_of_predictions(path, record)):
        raise BadInput(f"run {record['id']}: its predictions are damaged ({wrong}); {REMEDY}")
    return Case(path, results_dir, record["id"], record, corpora)


# ---- intervals -----------------------------------------------------------------------------------


def add_intervals(found: Comparison, results_dir: Path) -> None:
    """The intervals that there are; metrics that are no function of sums have none."""
    metric = METRICS.get(found.metric)
    if metric is None or metric.finish is None:
        return
    counts = [store.counts(results_dir, record) for record in found.records]
    if counts[0] is None or counts[1] is None:
        return
    sides = [statistics.sort_units(*each) for each in counts if each is not None]
    if sides[0][0] == sides[1][0]:
        found.students = units_interval(sides[0][1], sides[1][1], metric.finish)
    contrasts = Contrasts(metric.name, metric.finish,
                          lambda record: store.counts(results_dir, record), None)
    first, second = rows_of(results_dir, found.records)
    found.one_row = first is second
    interval = contrasts.between(first, second)
    found.methods = interval if interval and interval.seeds > 1 else None


def units_interval(a: ndarray, b: ndarray, finish: Finish) -> Interval:
    """The interval of the score of A minus that of B over test units alone, for counts (U, K).

    As `kdbench.score.statistics.crossed_interval`, whose seeds are left out: delta +- z sqrt(V)
    with V the variance of replicates that draw the same units for both. It tells whether these two
    trained models would differ on another test set, and nothing of how they were trained.
    """
    weights = statistics.unit_weights(len(a), statistics.REPLICATES, 0)
    one = np.ones((len(weights), 1))
    drawn = [statistics.replicate(side[None], finish, weights, one) for side in (a, b)]
    delta = float(finish(a.sum(axis=0)) - finish(b.sum(axis=0)))
    error = float(np.std(drawn[0] - drawn[1], ddof=1))
    low, high, p = statistics.t_interval(delta, error, np.inf, statistics.LEVEL)
    return Interval(delta, low, high, p, 1, True)


def rows_of(results_dir: Path, records: Sequence[Record]) -> list[Row]:
    """The row of a table in which each record stands, with its other seeds."""
    task = records[0]["cell"]["task"]
    every = [one for one in store.records(results_dir) if one["cell"]["task"] == task]
    rows = [row for group in grouped(every) for row in group.rows if not row.part]
    by_id = {one["id"]: row for row in rows for one in row.records.values()}
    return [by_id[record["id"]] for record in records]


# ---- examples ------------------------------------------------------------------------------------


def add_differences(found: Comparison, cases: Sequence[Case], texts: bool) -> None:
    """The examples on which the runs differ, with gold where the data is here."""
    predictions = [case.predictions for case in cases]
    if len(predictions[0]) != len(predictions[1]):
        raise Unchecked("the two runs have not stored as many predictions")
    examples: Sequence[Example] | None = None
    names: Sequence[str] | None = labels_beside(cases)
    try:
        data = cases[0].same_data.data
        examples, names = data.test, data.labels
    except Unchecked as why:
        found.unknown = f"gold labels and ids: {why}"
    kind = nested(found.records[0], "content", "task", "kind") or kind_of(cases[0])
    read = reader(kind, names, texts)
    gold: Sequence[Any] | None = None
    if examples is not None:
        gold = metrics.gold_labels(kind, examples)
        found.counts = dict.fromkeys(("both", "first", "second", "neither"), 0)
    said = []
    for record, each in zip(found.records, predictions, strict=True):
        said.append(decided(kind, nested(record, "score", "threshold"))(each))
    for number, (one, other) in enumerate(zip(*said, strict=True)):
        example = examples[number] if examples is not None else None
        answer = None if gold is None else decided(kind)([gold[number]], True)[0]
        add_example(found, number, (one, other, answer), example, read, texts)
    if kind == "regression":
        found.differences.sort(key=lambda one: -abs(float(one.first) - float(one.second)))


def kind_of(case: Case) -> str:
    """The type of the task of a record without content, by what it stored."""
    if "test_lengths" in case.arrays:
        return "tags"
    return "regression" if case.arrays["test_predictions"].ndim == 1 else "single"


def add_example(
    found: Comparison, number: int, answers: tuple[Any, Any, Any], example: Example | None,
    read: Read, texts: bool,
) -> None:
    """Count one example, and keep it where the runs differ.

    answers  of the first run, of the second, and gold (None where it is not known)
    """
    first, second, gold = answers
    who = None if gold is None else right(first, second, gold)
    if who is not None:
        found.counts[who] += 1
    if first == second:
        return
    found.differences.append(Difference(
        number + 1, read(first, example), read(second, example),
        example.id if example else None, None if gold is None else read(gold, example),
        who, text_of(example) if example and texts else None))


def right(first: Any, second: Any, gold: Any) -> str:
    """Who of two has an example right; of two numbers, the closer one."""
    if isinstance(gold, float):
        one, other = abs(first - gold), abs(second - gold)
        return "both" if one == other else "first" if one < other else "second"
    if first == gold:
        return "both" if second == gold else "first"
    return "second" if second == gold else "neither"


def decided(kind: str, threshold: float | None = None) -> Callable[..., list[Any]]:
    """What turns stored predictions, or gold labels where so told, into answers that can be
    compared.

    threshold  the probability from which the last of two classes is predicted, where the run has
               one
    """

    def answers(values: Sequence[Any], is_gold: bool = False) -> list[Any]:
        if kind == "regression":
            return [float(value) for value in values]
        if kind == "tags":
            return [tuple(int(tag) for tag in row) for row in values]
        if kind == "multi":
            return [tuple(int(value > 0) for value in row) for row in values]
        if is_gold:
            return [int(value) for value in values]
        logits = np.asarray(values)
        if threshold is not None and logits.shape[1] == 2:
            return reaches(positive_probability(logits), threshold).astype(int).tolist()
        return logits.argmax(1).tolist()

    return answers


def labels_beside(cases: Sequence[Case]) -> Sequence[str] | None:
    """The names of the labels, as a stored student has them; None where none is kept."""
    for case in cases:
        folder = case.root / "models" / (case.record.get("artefact") or "none")
        if (folder / "labels.json").is_file():
            return Labels.read(folder).labels
    return None


def reader(kind: str, names: Sequence[str] | None, texts: bool) -> Read:
    """What writes an answer for people: names of labels, or their numbers where no name is known;
    entities by the numbers of their words, and by the words where texts were asked for.
    """

    def name(index: int) -> str:
        return names[index] if names and index < len(names) else f"label {index}"

    def read(answer: Any, example: Example | None) -> Answer:
        if kind == "regression":
            return f"{answer:.4g}"
        if kind == "multi":
            return ", ".join(name(i) for i, held in enumerate(answer) if held) or "none"
        if kind != "tags":
            return name(answer)
        words = example.words if example and texts else ()
        return entities(answer, names, words)

    return read


def entities(tags: Sequence[int], names: Sequence[str] | None, words: Sequence[str]) -> Answer:
    """The entities of a sentence: type and first to last word, counted from 1."""
    if not names:
        return "tags " + " ".join(map(str, tags))
    said = []
    for first, end, kind in lenient_spans([names[tag] for tag in tags]):
        place = f"{first + 1}" if end == first + 1 else f"{first + 1}-{end}"
        quoted = f" {' '.join(words[first:end])!r}" if words else ""
        said.append(f"{kind} {place}{quoted}".strip())
    return "; ".join(said) or "none"


def text_of(example: Example) -> str:
    """The text of an example on one line."""
    parts = [" ".join(example.words) or example.text, example.pair or ""]
    return " ".join(" ".join(filter(None, parts)).split())


# ---- for people and programs ---------------------------------------------------------------------


def as_json(found: Comparison, limit: int) -> dict[str, Any]:
    """A comparison for programs; differences up to the limit (0: all)."""
    shown = found.differences[: limit or None]
    return {
        "runs": [record["id"] for record in found.records], "metric": found.metric,
        "rows": found.rows, "test": [record["score"]["test"] for record in found.records],
        "difference": found.delta,
        "students": asdict(found.students) if found.students else None,
        "methods": asdict(found.methods) if found.methods else None,
        "counts": found.counts or None, "differing": len(found.differences),
        "differences": [asdict(one) for one in shown], "unknown": found.unknown or None,
    }
