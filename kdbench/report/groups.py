"""Rows in groups whose figures may be compared, and which rows of a group are compared.

A *group* is one protocol: a task with its options, a metric, the same data. Another metric,
look-alike instead of real data, other files or another number of training rows make another group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kdbench.base import code
from kdbench.base.identity import digest
from kdbench.base.registry import METHODS
from kdbench.data.lengths import limit_in_words
from kdbench.data.word_rules import ABOUT
from kdbench.report import reading
from kdbench.report.rows import (
    Line,
    Record,
    Row,
    canonical,
    first_found,
    nested,
    order,
    parts,
)

ORIGINS = {"real": "real", "lookalike": "look-alike"}


@dataclass
class Group:
    """The rows of one protocol; `unfinished` are the records of cells that failed or were
    skipped.
    """

    task: str
    metric: str
    data: Record
    options: Record = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    unfinished: list[Record] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Where its data come from: "real" or "look-alike"."""
        origin = str(self.data.get("kind", "unknown"))
        return ORIGINS.get(origin, origin)

    @property
    def students(self) -> list[Row]:
        """The trained students, which are compared."""
        return [row for row in self.rows if row.is_student]

    @property
    def read_before(self) -> list[str]:
        """In words, which teachers have read texts as those of the test split, or may have."""
        return reading.caption(self.rows)

    @property
    def step_limit(self) -> list[str]:
        """In words, the limit that all rows have on the length of a training; where some have it,
        their names say so.
        """
        limits = {row.settings.get("max_steps") for row in self.rows}
        if len(limits) != 1 or not (steps := limits.pop()):
            return []
        return [f"at most {steps} steps a training"]

    @property
    def student_steps(self) -> list[str]:
        """In words, the optimiser steps that students took, all trainings of each together.

        Nothing where there is one student, or the records are older than these counts.
        """
        counts = [count for row in self.students for view in row.views.values()
                  if (count := steps_taken(view))]
        asked = {row.settings.get("steps_equal") for row in self.students}
        if counts and len(asked) == 1 and None not in asked:
            return [f"equal training: {span_of(counts)} steps for every student"]
        if len(self.students) < 2 or not counts:
            return []
        return [f"students took {span_of(counts)} steps"]

    @property
    def said(self) -> list[str]:
        """In words, what of labels, steps, texts and teachers a reader has to know."""
        return [*self.trials, *self.few_labels, *self.step_limit, *self.student_steps,
                *self.beyond_limit, *self.raw_texts, *self.cut_texts, *self.read_before]

    @property
    def trials(self) -> list[str]:
        """In words, how many trials chose the settings of each student."""
        counts = [row.settings["tuned"] for row in self.students if row.settings.get("tuned")]
        if not counts:
            return []
        return [f"settings of every student chosen by {span_of(counts)} trials on a part of dev, "
                "which chose no epoch"]

    @property
    def few_labels(self) -> list[str]:
        """In words, how few training examples have kept their labels."""
        counts = {row.settings.get("labels") for row in self.rows}
        return [f"{count:,} training labels, drawn anew for every seed; the rest is unlabelled "
                "text, dev has all of its labels" for count in counts if count]

    @property
    def beyond_limit(self) -> list[str]:
        """In words, how much of test lies beyond the length limit.

        Rows differ where their tokenizers do: from the least to the most.
        """
        views = (view for row in self.rows if not row.part for view in row.views.values())
        counts = [nested(view, "score", "beyond_limit", "test") for view in views]
        counts = [count for count in counts if count]
        if not any(count["words"] for count in counts):
            return []
        parts = []
        for what in ("words", "entities"):
            span, total = span_of([count[what] for count in counts]), counts[0][f"all_{what}"]
            parts.append(f"{span} of {total:,} {what}")
        return [f"beyond the length limit, and scored as O: {' and '.join(parts)} of test"]

    @property
    def cut_texts(self) -> list[str]:
        """In words, the length limit of each model and how many texts and entities it cuts.

        Nothing where the records are older than these counts.
        """
        found: dict[str, None] = {}
        for row in self.rows:
            for record in row.records.values():
                of_models = [each for each in (record.get("limits") or {}).values() if each]
                # the teacher's first
                for limits in reversed(of_models):
                    found[f"{limits['name']} {limit_in_words(limits)}"] = None
        return list(found)

    @property
    def raw_texts(self) -> list[str]:
        """In words, how raw texts are cut, where that is not how the corpus is cut."""
        views = [view for row in self.rows for view in row.views.values()]
        scored = [view for view in views if nested(view, "score", "raw_text", "texts")]
        if not scored:
            return []
        words = scored[0]["score"]["words"]
        others = span_of([nested(view, "score", "raw_text", "texts") for view in scored])
        return [f"raw texts are {ABOUT[words['rule']]}, which gives {others} of test other words "
                "than the corpus has"]

    # ---- which rows are compared ----

    @cached_property
    def candidates(self) -> dict[tuple[str, ...], list[Row]]:
        """The rows that others are compared with, by role and models, and by settings too."""
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            settings = canonical(row.cell.get("settings"))
            for key in candidate_keys(row):
                found.setdefault(key, []).append(row)
                found.setdefault((*key, settings), []).append(row)
        return found

    def candidate(self, row: Row, *key: str) -> Row | None:
        """The row of this role and these models: with the settings of `row` where there is one,
        and of several the one that has most in common with it.
        """
        same_settings = self.candidates.get((*key, canonical(row.cell.get("settings"))))
        rows = same_settings or self.candidates.get(key) or []
        return max(rows, key=lambda other: similarity(row, other), default=None)

    def baseline(self, row: Row) -> Row | None:
        """The same student, fine-tuned without a teacher."""
        return self.own_baseline(row) or self.candidate(row, "baseline", row.student)

    def distillation(self, row: Row) -> Row | None:
        """The same student, plain logit distillation from the same teacher; none of one that the
        method built itself.
        """
        if self.own_baseline(row):
            return None
        return self.candidate(row, "distillation", row.student, row.teacher_name)

    def own_baseline(self, row: Row) -> Row | None:
        """The part of `row` that is its student as the method built it, without a teacher."""
        for other in self.rows:
            if other.part and other.part_role == "control" and row.same_cell(other):
                return other
        return None

    def teacher(self, row: Row) -> Row | None:
        """The fine-tuned teacher that `row` learned from; for a row without a teacher, the group's
        only one.
        """
        if row.is_teacher:  # of its exports, the model that they were made of
            whole = (other for other in self.rows if not other.part and row.same_cell(other))
            return next(whole, row)
        name = row.cell.get("teacher")
        if name is None:
            names = {other.student for other in self.rows if other.is_teacher and not other.part}
            name = names.pop() if len(names) == 1 else None
        return self.candidate(row, "teacher", name or "")


def candidate_keys(row: Row) -> list[tuple[str, ...]]:
    """The roles in which others are compared with `row`, with the models that they share.

    The first control that is registered is the baseline, the second plain distillation.
    """
    if row.part:
        return []
    if row.is_teacher:
        return [("teacher", row.student)]
    controls = [entry.name for entry in METHODS.controls()]
    if controls[:1] == [row.method]:
        return [("baseline", row.student)]
    if controls[1:2] == [row.method]:
        return [("distillation", row.student, row.teacher_name)]
    return []


def similarity(row: Row, other: Row) -> tuple[bool, bool, bool, bool, bool, int, bool, int]:
    """How much two rows have in common, the most important first: initial weights, device, code of
    the core, trials, teacher, settings, variant; then, how plain the other one is.

    The teacher counts even of a row without one: its student may be cut from the teacher, or read
    the teacher's word pieces.
    """
    initial = (row.content.get("student"), row.content.get("teacher"))
    return (
        other.content.get("student") in initial,
        other.content.get("device") == row.content.get("device"),
        core_versions(row) == core_versions(other),
        row.settings.get("tuned") == other.settings.get("tuned"),
        row.cell.get("teacher") == other.cell.get("teacher"),
        sum(other.settings.get(name) == value for name, value in row.settings.items()),
        row.cell.get("variant") == other.cell.get("variant"),
        -len(other.options),  # a control with its defaults: a later option is recorded if it is not
    )


def core_versions(row: Row) -> list[object]:
    """The versions of the core's parts behind a row."""
    made = row.content.get("code") or {}
    return [made.get(part) for part in code.VERSIONS]


# ---- from records --------------------------------------------------------------------------------


def grouped(records: Iterable[Record]) -> list[Group]:
    """Records as groups of rows, in one order whatever the order of the records."""
    groups: dict[str, Group] = {}
    rows: dict[tuple[str, str, str], Row] = {}
    unfinished: list[Record] = []
    for record in sorted(records, key=lambda record: record["id"]):
        if record["status"] == "done":
            add_record(record, groups, rows)
        else:
            unfinished.append(record)
    ordered = sorted(groups.values(), key=group_order)
    for group in ordered:
        group.rows.sort(key=order)
    for record in unfinished:
        group_of_task(record, ordered).unfinished.append(record)
    tell_apart(ordered)
    return ordered


def name_of(record: Record) -> str:
    """What tables call the data of a record: the name that a user gave them, else the task."""
    return nested(record, "cell", "task_options", "name") or record["cell"]["task"]


def tell_apart(groups: Sequence[Group]) -> None:
    """Add a checksum to the names of corpora that users named alike and whose content differs."""
    contents: dict[str, set[str]] = {}
    for group in groups:
        if group.options.get("name"):
            contents.setdefault(group.task, set()).add(checksum_of(group))
    for group in groups:
        if len(contents.get(group.task, ())) > 1:
            group.task = f"{group.task} #{checksum_of(group)}"


def checksum_of(group: Group) -> str:
    """The beginning of a checksum of all rows of a group's data, or of its files."""
    return digest(group.digests or group.data.get("sha256") or {}, 8)


def add_record(
    record: Record, groups: dict[str, Group], rows: dict[tuple[str, str, str], Row]
) -> None:
    """Put a finished record into its rows and its group, which are made where there are none."""
    cell, data = record["cell"], record.get("data") or {}
    metric, options = record["score"]["metric"], cell.get("task_options") or {}
    content = dict(record.get("content") or {})
    digests = dict(content.pop("data", None) or {})
    digests.pop("domain", None)
    if "drawn_from" in digests:  # every seed has labels of its own, drawn from the same
        for name in ("train", "rest"):
            digests.pop(name, None)
        content.pop("unlabelled", None)
    facts = [data.get(name) for name in ("kind", "rows", "sha256")]
    task = content.pop("task", None)
    protocol = canonical([cell["task"], options, metric, *facts, digests, task])
    if protocol not in groups:
        groups[protocol] = Group(name_of(record), metric, data, options, digests)
    group = groups[protocol]
    shared = {name: cell[name] for name in cell if name not in ("seed", "task_options")}
    configuration = canonical([shared, content, record["role"] == "teacher"])
    for part, view in parts(record):
        key = (protocol, configuration, part)
        if key not in rows:
            rows[key] = Row(shared, record["role"], part, content)
            group.rows.append(rows[key])
        rows[key].records[cell["seed"]] = record
        rows[key].views[cell["seed"]] = view


def group_order(group: Group) -> tuple[bool, str, str, str]:
    """Real data first, then by task and metric."""
    rest = canonical([group.data, group.options])
    return group.origin != "real", group.task, group.metric, rest


def group_of_task(record: Record, groups: list[Group]) -> Group:
    """The first group of the record's task; where no cell of it finished, a new one at the end."""
    task = name_of(record)
    for group in groups:
        if group.task == task:
            return group
    groups.append(Group(task, "", record.get("data") or {}))
    return groups[-1]


def steps_taken(view: Record) -> int:
    """The optimiser steps of all trainings of a student, what it was cut from included."""
    stages = nested(view, "cost", "stages") or []
    return sum(stage.get("steps") or 0 for stage in stages if stage.get("role") == "student")


def naive_score(group: Group, split: str) -> float | None:
    """The naive predictor's score: it reads no text and knows no seed, so any record of the group
    has it.
    """
    views = (view for row in group.rows if not row.part for view in row.views.values())
    return first_found(nested(view, "score", "naive", split) for view in views)


def span_of(counts: Sequence[int]) -> str:
    """One number, or the least and the largest."""
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


# ---- as sections of a table ----------------------------------------------------------------------


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
        facts = (self.group.task, self.group.metric, f"{self.group.origin} data")
        return " · ".join(filter(None, facts))

    @property
    def caption(self) -> str:
        """The protocol in words: splits, files, the unit that statistics resample, the naive
        predictor.
        """
        data = self.group.data
        said = list(row_counts(data))
        if data.get("published_files") is False:
            said.append("other files than the published ones")
        said += [f"{name}={value}" for name, value in sorted(self.group.options.items())
                 if value and name != "name"]
        if data.get("unit"):
            said.append(f"resampled by {data['unit']}")
        said += naive_scores(self.group)
        said += self.group.said
        notes = (str(note) for note in data.get("notes") or ())
        return "; ".join(filter(None, [*said, self.files, *notes]))


def row_counts(data: Record) -> list[str]:
    """In words, how many rows each split has."""
    rows = data.get("rows") or {}
    splits = ", ".join(f"{split} {count:,}" for split, count in rows.items())
    return [f"{splits} rows"] if rows else []


def naive_scores(group: Group) -> list[str]:
    """In words, what the naive predictor scores."""
    shown = []
    for split in ("dev", "test"):
        score = naive_score(group, split)
        if score is not None:
            shown.append(f"{split} {100 * score:.1f}")
    return [f"naive predictor: {', '.join(shown)}"] if shown else []
