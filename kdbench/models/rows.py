"""Which rows of a head that came with a model are a task's labels, and what a user is told of it.

Rows are matched by the names of their labels: as they stand, or without case, blanks, hyphens and
underscores. A head may have further labels, and tags of another scheme (`tag_rows.py`). Where rows
have no names (`LABEL_0`), the caller compares their answers with the training labels. Everything
else is trained anew, and `Match.said` says why.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedConfig

from kdbench.base.errors import BadInput
from kdbench.models.heads import Head, label_names, trained_head
from kdbench.models.merged import ZERO, Rows
from kdbench.models.tag_rows import match_tags, read_tags

NUMBERED = re.compile(r"(?:label|class|cls|tag|category|cat)?[\s_-]*\d+", re.IGNORECASE)
WITHOUT = "new head trained: the model came without one for the task"
MOST = 8  # label names that a line lists


@dataclass(frozen=True)
class Match:
    """What becomes of a model's own head.

    rows     for each label of the task, the rows that stand for it; none where a new head is
             trained
    said     the line that a user reads
    unnamed  the rows have no names: `rows` are those in the order of the task's labels, and
             agreement with the training labels has to confirm or mend that order
    own      the names of the head's rows
    """

    rows: Rows | None = None
    said: str = ""
    unnamed: bool = False
    own: tuple[str, ...] = ()


def match(config: PreTrainedConfig, head: Head, given: str = "",
          names: Sequence[str] = ()) -> Match:
    """The rows of the model's own head that are the labels of `head`.

    given  what --teacher-labels says: `a=b,...`, or a name for every row
    names  of the rows, where the configuration does not know them

    `BadInput` where `given` does not fit the head and the task.
    """
    if head.task_type == "mlm":
        return Match()
    if not trained_head(config, head):
        if given:
            raise BadInput("--teacher-labels: the teacher came without a head for the task")
        return Match(said=WITHOUT)
    own = list(names or label_names(config))
    if head.task_type == "regression":
        return match_number(own)
    known = renamed(own, head, given) if given else own
    if wrong := wrong_kind(config, head, own, given):
        return Match(said=f"new head trained: {wrong}")
    found = match_labels(known, head, bool(given))
    if given and (found.rows is None or found.unnamed):
        raise BadInput(f"--teacher-labels: {found.said.removeprefix('new head trained: ')}")
    if given:
        return Match(found.rows, f"head used, rows matched by --teacher-labels {given}")
    return Match(found.rows, found.said, found.unnamed, tuple(own))


def match_number(own: Sequence[str]) -> Match:
    """Of a head for a number: it has one row, whatever that is called."""
    if len(own) == 1:
        return Match(Rows(((0,),)), "head used as it came")
    return Match(said=f"new head trained: it has {len(own)} rows ({listed(own)}), and the task is "
                      "one number")


def wrong_kind(config: PreTrainedConfig, head: Head, own: Sequence[str], given: str) -> str:
    """Why a head of this kind does not answer the task, whatever its labels are; empty where it
    may.
    """
    problem = config.problem_type
    if head.task_type == "multi" and problem == "single_label_classification":
        return "its head gives one label a text, and the task has any number"
    if len(own) == 1 and problem == "regression" and not given:
        return "its head gives a number, and the task has labels"
    return ""


def match_labels(own: Sequence[str], head: Head, given: bool = False) -> Match:
    """The rows whose names are the labels of a task; `given` by the user, a number is a name."""
    wanted = head.labels
    if head.task_type == "single" and len(own) == 1 and len(wanted) == 2:
        return match_one_logit(own[0], wanted, given)
    if head.task_type == "tags" and not is_numbered(own):
        ours, theirs = read_tags(wanted), read_tags(own)
        if ours and theirs and all(tag.letter for tag in ours):
            rows, said = match_tags(theirs, ours)
            if rows is not None or not equal_but_unnamed(own, wanted):
                return Match(rows, said)
    found = by_name(own, wanted)
    if found.rows is None and equal_but_unnamed(own, wanted):
        return Match(Rows.one_each(range(len(wanted))), found.said, unnamed=True)
    return found


def equal_but_unnamed(own: Sequence[str], wanted: Sequence[str]) -> bool:
    """Are there as many rows as labels, of which either side has numbers for names?"""
    return len(own) == len(wanted) and (is_numbered(own) or is_numbered(wanted))


def is_numbered(names: Sequence[str]) -> bool:
    """Are these no names, but numbers: `LABEL_0`, `class 1`, `2`?"""
    return all(NUMBERED.fullmatch(name) for name in names)


def match_one_logit(name: str, wanted: Sequence[str], given: bool) -> Match:
    """Of a binary head with one logit: that of the label of its name, against 0 of the other."""
    plain = [plainly(label) for label in wanted]
    if plainly(name) in plain and (given or not is_numbered([name])):
        positive = plain.index(plainly(name))
        groups = ((ZERO,), (0,)) if positive else ((0,), (ZERO,))
        return Match(Rows(groups), f"head used, rows matched by name: its one logit is that of "
                                   f"{wanted[positive]}, against 0 of {wanted[1 - positive]}")
    return Match(Rows(((ZERO,), (0,))), f"new head trained: its one logit ({name}) does not say "
                                        f"which label it is of; {hint([name], wanted)}",
                 unnamed=True)


def by_name(own: Sequence[str], wanted: Sequence[str]) -> Match:
    """The rows whose names are these labels; exactly, or else up to case and blanks."""
    how = "by name"
    groups = groups_named(own, wanted)
    if not all(groups):
        plain_own, plain_wanted = list(map(plainly, own)), list(map(plainly, wanted))
        if len(set(plain_own)) == len(own) and len(set(plain_wanted)) == len(wanted):
            groups = groups_named(plain_own, plain_wanted)
            how = "by name (without case, blanks, hyphens and underscores)"
    if not all(groups):
        return Match(said=f"new head trained: {lacking(own, wanted, groups)}")
    rows = Rows(groups)
    if list(own) == list(wanted):
        return Match(rows, "head used as it came")
    used = {row for group in groups for row in group}
    others = [name for i, name in enumerate(own) if i not in used]
    unused = f"; not used: {listed(others)}" if others else ""
    return Match(rows, f"head used, rows matched {how}{unused}")


def groups_named(own: Sequence[str], wanted: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """For each label the rows of that name; several where --teacher-labels says so."""
    return tuple(tuple(i for i, name in enumerate(own) if name == label) for label in wanted)


def lacking(own: Sequence[str], wanted: Sequence[str], groups: Sequence[Sequence[int]]) -> str:
    """Why a head does not have the task's labels."""
    missing = [label for label, rows in zip(wanted, groups, strict=True) if not rows]
    if len(missing) < len(wanted):
        return f"its labels ({listed(own)}) lack {listed(missing)} of the task's"
    why = f"its labels ({listed(own)}) are not the task's ({listed(wanted)})"
    return f"{why}; {hint(own, wanted)}" if len(own) >= len(wanted) else why


def hint(own: Sequence[str], wanted: Sequence[str]) -> str:
    """How a user says which row is which label."""
    return f"--teacher-labels {own[0]}={wanted[-1 if len(own) == 1 else 0]},... says which is which"


def plainly(name: str) -> str:
    """A label without case, blanks, hyphens and underscores; itself where nothing else is left."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", "", folded) or folded


def listed(names: Sequence[str]) -> str:
    """Names for people, the first few of many."""
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")


# ---- --teacher-labels ----------------------------------------------------------------------------


def renamed(own: Sequence[str], head: Head, given: str) -> list[str]:
    """The names of the rows as --teacher-labels has them: `a=b,...`, either way round, or a name
    for every row. Of tags `a` and `b` may be entity types.

    A row that it does not name, though its own name is a label of the task, keeps that name.
    """
    parts = [part.strip() for part in next(csv.reader([given], skipinitialspace=True))]
    if not any("=" in part for part in parts):
        if (len(own), len(parts), head.task_type) == (1, 2, "single"):
            return parts[1:]  # the logit is that of the second, as in every binary head
        if len(parts) != len(own):
            raise BadInput(f"--teacher-labels: names {len(parts)} rows, and the teacher's head has "
                           f"{len(own)} ({listed(own)})")
        return parts
    names = list(own)
    for part in parts:
        rename(names, own, head, part)
    return names


def rename(names: list[str], own: Sequence[str], head: Head, part: str) -> None:
    """Write one `a=b` of --teacher-labels into `names`."""
    wanted, theirs = [*head.labels], [*own]
    if head.task_type == "tags":
        wanted += types_of(head.labels)
        theirs += types_of(own)
    pairs = [(part[:i], part[i + 1:]) for i, letter in enumerate(part) if letter == "="]
    readings = [(a.strip(), b.strip()) for a, b in pairs]
    fitting = [(a, b) for a, b in readings if a in theirs and b in wanted]
    fitting = fitting or [(b, a) for a, b in readings if b in theirs and a in wanted]
    if not fitting:
        raise BadInput(f"--teacher-labels {part}: write TEACHER=TASK; the teacher has "
                       f"{listed(own)}, the task has {listed(head.labels)}")
    name, label = fitting[0]
    for i, before in enumerate(own):
        if before == name:
            names[i] = label
        elif name not in own and name in before:
            names[i] = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", lambda _: label, before)


def types_of(names: Iterable[str]) -> list[str]:
    """The entity types of tags; none where they are not read as tags."""
    tags = read_tags(list(names)) or []
    return sorted({tag.entity_type for tag in tags if tag.entity_type})
