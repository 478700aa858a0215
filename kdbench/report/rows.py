"""Records as rows: one row a configuration, its seeds together, in groups whose figures may be
compared.

A *group* is one protocol: a task with its options, a metric, the same data. Another metric,
look-alike instead of real data, other files or another number of training rows make another group.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kdbench.base import code
from kdbench.base.errors import BadInput
from kdbench.base.options import written
from kdbench.base.render import Value
from kdbench.score.metrics import METRICS

ORIGINS = {"real": "real", "lookalike": "look-alike"}
SPLITS = ("train", "dev", "test")


@dataclass
class Row:
    """Everything of a cell but its seed; or a `part` of it: a method's own teacher, an exported
    form.

    By seed, `records` has the record, and `views` the score, size, latency and cost of this row in
    it (the record itself, or the entry of its part).
    """

    cell: dict[str, Any]
    role: str
    part: str = ""
    # of the record: what no name or option shows
    content: dict[str, Any] = field(default_factory=dict)
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    views: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.cell["method"]

    @property
    def student(self) -> str:
        return self.cell["student"]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted(self.views))

    @property
    def competes(self) -> bool:
        """Whether this is a trained student, which the table compares; teachers and parts stand
        beside.
        """
        return not self.part and self.role != "teacher"

    @property
    def served(self) -> bool:
        """Whether this can be deployed: a model or an export of it, not what a method made on its
        way.
        """
        return not self.part or any(one["name"] == self.part
                                    for record in self.records.values()
                                    for one in record.get("artefacts") or ())

    @property
    def part_role(self) -> str | None:
        """What a part is: "teacher", "control"; None for an exported form."""
        return next((view.get("role") for view in self.views.values()), None) if self.part else None

    def same_cell(self, other: Row) -> bool:
        """Do both come from the same records?"""
        return (self.cell, self.role, self.content) == (other.cell, other.role, other.content)

    @cached_property
    def key(self) -> str:
        return as_text([self.cell, self.content])

    def scores(self, split: str = "test", metric: str | None = None) -> dict[int, float]:
        """By seed, the main score on `split` or that of `metric`, where there is one.

        None of a metric that means something else today: an earlier version's figures do not stand
        beside its name.
        """
        made = (self.content.get("code") or {}).get("metrics") or {}
        if metric in METRICS:
            known = METRICS[metric]
            if made.get(metric, made.get(known.of, known.version)) != known.version:
                return {}
        path = ("score", split) if metric is None else ("score", "all", split, metric)
        found = {seed: at(view, *path) for seed, view in self.views.items()}
        return {seed: score for seed, score in sorted(found.items()) if score is not None}


@dataclass
class Line:
    """A row with its name and its figures by column; `tie` is the letter of its tie group."""

    row: Row
    name: str
    values: dict[str, Value] = field(default_factory=dict)
    tie: str = ""


@dataclass
class Group:
    """The rows of one protocol; `troubles` are the records of cells that failed or were skipped."""

    task: str
    metric: str
    data: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    troubles: list[dict[str, Any]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        origin = self.data.get("kind", "unknown")
        return ORIGINS.get(origin, origin)

    @property
    def students(self) -> list[Row]:
        return [row for row in self.rows if row.competes]

    @property
    def cut_short(self) -> list[str]:
        """In words, the limit that all rows have on the length of a training; where some have it,
        their names say so.
        """
        found = {(row.cell.get("settings") or {}).get("max_steps") for row in self.rows}
        return [f"at most {steps} steps a training" for steps in found if steps and len(found) == 1]

    @property
    def beyond_limit(self) -> list[str]:
        """In words, how much of test lies beyond the length limit.

        Rows differ where their tokenizers do: from the least to the most.
        """
        found = [lost for row in self.rows if not row.part for view in row.views.values()
                 if (lost := at(view, "score", "beyond_limit", "test"))]
        if not any(lost["words"] for lost in found):
            return []
        said = []
        for what in ("words", "entities"):
            every = found[0][f"all_{what}"]
            said.append(f"{span_of([lost[what] for lost in found])} of {every:,} {what}")
        return [f"beyond the length limit, and scored as O: {' and '.join(said)} of test"]

    @cached_property
    def controls(self) -> dict[tuple, list[Row]]:
        """Where the rows to compare with are found: by role, models and, first of all, equal
        settings.
        """
        found: dict[tuple, list[Row]] = {}
        for row in self.rows:
            if row.part:
                continue
            settings = as_text(row.cell.get("settings"))
            names: list[tuple[str, ...]] = []
            if row.method == "finetune" and row.role != "teacher":
                names.append(("plain", row.student))
            if row.method == "logit_kd":
                names.append(("logit", row.student, row.cell.get("teacher") or ""))
            if row.role == "teacher":
                names.append(("teacher", row.student))
            for name in names:
                found.setdefault(name, []).append(row)
                found.setdefault((*name, settings), []).append(row)
        return found

    def control(self, row: Row, *name: str) -> Row | None:
        """The control called `name`, with `row`'s settings where there is one, else with the
        likest.
        """
        same = self.controls.get((*name, as_text(row.cell.get("settings"))))
        candidates = same or self.controls.get(name) or []
        return max(candidates, key=lambda other: likeness(row, other), default=None)

    def plain(self, row: Row) -> Row | None:
        """The same student, fine-tuned without a teacher."""
        return self.built(row) or self.control(row, "plain", row.student)

    def logit(self, row: Row) -> Row | None:
        """The same student, plain logit distillation from the same teacher; none of one that the
        method built itself.
        """
        return None if self.built(row) else self.control(row, "logit", row.student,
                                                         row.cell.get("teacher") or "")

    def built(self, row: Row) -> Row | None:
        """The part of `row` that is its student as the method built it, without a teacher."""
        return next((other for other in self.rows
                     if other.part and other.part_role == "control" and row.same_cell(other)), None)

    def teacher(self, row: Row) -> Row | None:
        """The fine-tuned teacher that `row` learned from; for a row without a teacher, the group's
        only one.
        """
        if row.role == "teacher":  # of its exports, the model that they were made of
            return next((other for other in self.rows if not other.part and row.same_cell(other)),
                        row)
        name = row.cell.get("teacher")
        if name is None:
            names = {key[1] for key in self.controls if key[0] == "teacher"}
            name = names.pop() if len(names) == 1 else None
        return self.control(row, "teacher", name or "")


@dataclass
class Section:
    """A group with its lines; `files` names its test file where another section's words are the
    same.
    """

    group: Group
    lines: list[Line]
    files: str = ""

    @property
    def title(self) -> str:
        """What is compared: task, metric, data."""
        return " · ".join(
            filter(None, (self.group.task, self.group.metric, f"{self.group.origin} data")))

    @property
    def caption(self) -> str:
        """The protocol in words: splits, files, the unit that statistics resample, the naive
        predictor.
        """
        data = self.group.data
        rows = data.get("rows") or {}
        said = [", ".join(f"{split} {rows[split]:,}" for split in rows) + " rows"] if rows else []
        if data.get("published_files") is False:
            said.append("other files than the published ones")
        said += [f"{name}={value}" for name, value in sorted(self.group.options.items()) if value]
        if data.get("unit"):
            said.append(f"resampled by {data['unit']}")
        floor = {split: naive(self.group, split) for split in ("dev", "test")}
        if shown := [
                f"{split} {100 * score:.1f}" for split, score in floor.items() if score is not None
        ]:
            said.append(f"naive predictor: {', '.join(shown)}")
        said += self.group.cut_short + self.group.beyond_limit
        return "; ".join(
            filter(None, [*said, self.files, *(str(note) for note in data.get("notes") or ())]))


def likeness(row: Row, other: Row) -> tuple[bool, bool, bool, bool, int, bool]:
    """Same weights to begin with, device, code of the core; same teacher (a student cut from it, or
    over its word pieces, has one even alone), settings, variant.
    """
    weights = other.content.get("student") in (row.content.get("student"),
                                               row.content.get("teacher"))
    device = other.content.get("device") == row.content.get("device")
    made = [{part: (one.content.get("code") or {}).get(part)
             for part in code.VERSIONS}
            for one in (row, other)]
    mine, theirs = row.cell.get("settings") or {}, other.cell.get("settings") or {}
    teacher, variant = (row.cell.get(name) == other.cell.get(name)
                        for name in ("teacher", "variant"))
    return weights, device, made[0] == made[1], teacher, sum(
        theirs.get(k) == v for k, v in mine.items()), variant


def grouped(records: Iterable[dict[str, Any]]) -> list[Group]:
    """Records as groups of rows, in one order whatever the order of the records."""
    groups: dict[str, Group] = {}
    rows: dict[tuple[str, str, str], Row] = {}
    troubles: list[dict[str, Any]] = []
    for record in sorted(records, key=lambda record: record["id"]):
        cell, data = record["cell"], record.get("data") or {}
        if record["status"] != "done":
            troubles.append(record)
            continue
        metric, options = record["score"]["metric"], cell.get("task_options") or {}
        content = dict(record.get("content") or {})
        digests = {
            name: found
            for name, found in (content.pop("data", None) or {}).items()
            if name != "domain"
        }
        protocol = as_text([
            cell["task"], options, metric,
            data.get("kind"),
            data.get("rows"),
            data.get("sha256"), digests,
            content.pop("task", None)
        ])
        group = groups.setdefault(protocol,
                                  Group(cell["task"], metric, data, options, digests=digests))
        configuration = {
            key: value
            for key, value in cell.items()
            if key not in ("seed", "task_options")
        }
        known = as_text([configuration, content, record["role"] == "teacher"])
        for part, view in parts(record):
            row = rows.get((protocol, known, part))
            if row is None:
                row = rows[protocol, known, part] = Row(configuration, record["role"], part,
                                                        content)
                group.rows.append(row)
            row.records[cell["seed"]] = record
            row.views[cell["seed"]] = view
    ordered = sorted(
        groups.values(), key=lambda g:
        (g.origin != "real", g.task, g.metric, as_text([g.data, g.options])))
    for group in ordered:
        group.rows.sort(key=order)
    for record in troubles:
        task = record["cell"]["task"]
        # nothing of it came through: failures have their place
        if not any(group.task == task for group in ordered):
            ordered.append(Group(task, "", record.get("data") or {}))
        next(group for group in ordered if group.task == task).troubles.append(record)
    return ordered


def parts(record: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The rows that one record carries: its student, and what was scored beside it."""
    yield "", record
    for more in (*(record.get("rows_more") or ()), *(record.get("artefacts") or ())):
        yield more["name"], more


def order(row: Row) -> tuple:
    """Teachers first, then the controls, then the methods by name; parts below their row."""
    rank = 0 if row.role == "teacher" else {"finetune": 1, "logit_kd": 2}.get(row.method, 3)
    return rank, row.method, row.student, row.key, row.part


def trouble(record: dict[str, Any]) -> str:
    """One line on a cell that failed or was skipped."""
    cell = record["cell"]
    reason = record.get("reason") or at(record, "error", "message") or "no reason recorded"
    what = f"{cell['method']} on {cell['student']}, seed {cell['seed']}"
    return f"{what}, {record['status']}: {' '.join(str(reason).split())}"


@dataclass(frozen=True)
class Name:
    """What a study calls the rows of `method` that have these options and settings, as the command
    line takes them.
    """

    text: str
    method: str
    given: dict[str, str]

    def fits(self, row: Row) -> bool:
        values = asked(row)
        return (row.role != "teacher" and row.method == self.method
                and all(name in values and written(values[name]) == value
                        for name, value in self.given.items()))


def names(rows: list[Row], chosen: Sequence[Name] = ()) -> list[str]:
    """What people call the rows: the method, and in brackets a name that was `chosen`, or what
    tells two such rows apart.
    """
    found = []
    for row in rows:
        fitting = [name for name in chosen if name.fits(row)]
        if len(fitting) > 1:
            raise BadInput(
                f"names: {fitting[0].text!r} and {fitting[1].text!r} fit one row "
                f"({difference(row, rows)}); say more options"
            )
        if fitting and len(
            {as_text(asked(other))
             for other in alike(row, rows)
             if fitting[0].fits(other)}) > 1:
            raise BadInput(
                f"names: {fitting[0].text!r} fits several rows of {row.student} "
                f"({difference(row, rows)}); say more options"
            )
        within = ", ".join(
            filter(None,
                   (fitting[0].text if fitting else difference(row, rows), *told_apart(row, rows))))
        name = f"{called(row)} [{within}]" if within else called(row)
        mark = f" ({', '.join(old)})" if (old := old_versions(row)) else ""
        found.append(f"{name}{mark}" + (f": {row.part}" if row.part else ""))
    return found


def alike(row: Row, rows: Sequence[Row]) -> list[Row]:
    """Those of `rows`, the row itself among them, from which only options and settings tell it
    apart.
    """
    def told(one: Row) -> tuple:
        return called(one), one.student, one.cell.get("teacher"), one.part

    return [other for other in rows if told(other) == told(row)]


def called(row: Row) -> str:
    name = "teacher" if row.role == "teacher" else row.method
    return f"{name} (published)" if row.cell.get("variant") == "published" else name


def asked(row: Row) -> dict[str, Any]:
    """Settings and options of a row by name."""
    return {**(row.cell.get("settings") or {}), **(row.cell.get("options") or {})}


def difference(row: Row, rows: Sequence[Row]) -> str:
    """Of the options and settings of a row those in which one of `rows` differs that is like it
    otherwise.
    """
    mine, facts = asked(row), [asked(other) for other in alike(row, rows)]
    differ = sorted(
        {key
         for other in facts
         for key in other | mine
         if other.get(key) != mine.get(key)})
    return ", ".join(f"{key}={written(mine[key])}" for key in differ if mine.get(key) is not None)


def unmarked(name: str) -> str:
    """A row's name without the mark of an earlier version or of edited code."""
    return re.sub(r" \((?:version|edited code) [^)]*\)", "", name)


def told_apart(row: Row, rows: Sequence[Row]) -> list[str]:
    """Of rows with one name and the same options: with which weights, on which device, by which
    code.
    """
    said = []
    others = [
        other for other in alike(row, rows) if other is not row and asked(other) == asked(row)
    ]
    for what, shown in (("student", "student"), ("teacher", "teacher"), ("device", "on"),
                        ("unlabelled", "texts"), ("code", "code")):
        if what == "code":  # versions have a mark of their own
            others = [] if old_versions(row) else [
                other for other in others if not old_versions(other)
            ]
        mine = row.content.get(what)
        if any(other.content.get(what) != mine for other in others):
            value = mine if what == "device" else hashlib.sha256(
                as_text(mine).encode()).hexdigest()[:6]
            said.append(f"{shown} {value}")
    return said


def old_versions(row: Row) -> list[str]:
    """The versions, of method and core, that made this row and are not today's; code that was
    edited in place has a digest.
    """
    found: dict[str, Any] = {}
    made = row.content.get("code") or {}
    for name, version in {
            **{part: made.get(part)
               for part in code.VERSIONS}, **methods_in(made.get("method"))
    }.items():
        now = code.VERSIONS.get(name) or (code.kept().get(name) or {}).get("version")
        if isinstance(version, str):
            found[name] = f"edited code of {name} {version[:6]}"
        elif version is not None and version != now:
            found[name] = f"version {version}" + ("" if name == row.method else f" of {name}")
    return list(found.values())


def methods_in(made: Any) -> dict[str, Any]:
    """The built-in methods among the code of a method, by name."""
    several = made if isinstance(made, list) else [made]
    return {
        name: version
        for each in several if isinstance(each, dict) and "code" not in each
        for name, version in each.items()
    }


def naive(group: Group, split: str) -> float | None:
    """The naive predictor's score: it reads no text and knows no seed, so any record of the group
    has it.
    """
    return next((score for row in group.rows if not row.part for view in row.views.values()
                 if (score := at(view, "score", "naive", split)) is not None), None)


def shared_share(row: Row, other: Row | None, split: str = "test",
                 metric: str | None = None) -> float | None:
    """Mean score of `row` over that of `other`, on the seeds that both have; None unless that is
    above 0.
    """
    if other is None:
        return None
    ours, theirs = row.scores(split, metric), other.scores(split, metric)
    both = ours.keys() & theirs.keys()
    below = math.fsum(theirs[seed] for seed in both)
    return math.fsum(ours[seed] for seed in both) / below if below > 0 else None


def shared_gain(row: Row, other: Row | None, split: str = "test") -> list[float]:
    """By shared seed, the score of `row` minus that of `other`."""
    if other is None or other is row:
        return []
    ours, theirs = row.scores(split), other.scores(split)
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def span_of(counts: Sequence[int]) -> str:
    """One number, or the least and the largest."""
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def at(thing: Any, *path: str) -> Any:
    """A nested value, None where any step is missing."""
    for step in path:
        if not isinstance(thing, dict):
            return None
        thing = thing.get(step)
    return thing


def as_text(thing: Any) -> str:
    return json.dumps(thing, sort_keys=True, default=str)
