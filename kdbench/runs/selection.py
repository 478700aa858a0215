"""Which requests of a suite a pattern picks, and which records a suite has left."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.options import by_content, written
from kdbench.base.registry import METHODS
from kdbench.models.teachers import AND, name_of_file, names_file
from kdbench.models.zoo import BEST, MODELS, TOY
from kdbench.runs.request import Request
from kdbench.runs.store import Record
from kdbench.runs.suite import Suite


def only(suite: Suite, pattern: str) -> Suite:
    """The requests that ``method=M*,student=tiny*`` picks: by fields, and by options and settings
    that the suite's file gives.
    """
    known = sorted({name for request in suite.requests for name in request.values()})
    wanted = {}
    for part in pattern.split(","):
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in known:
            raise BadInput(f"--only {pattern!r}: write NAME=PATTERN[,...], a name being one of "
                           f"{', '.join(known)}")
        wanted[name.strip()] = value.strip()
    kept = tuple(request for request in suite.requests if fits(request.values(), wanted))
    if not kept:
        raise BadInput(
            f"--only {pattern!r}: picks none of the {len(suite.requests)} cells of {suite.name}")
    return dataclasses.replace(suite, requests=kept)


def fits(values: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Is every wanted name there, with a value that fits its pattern?"""
    return all(name in values and fnmatch.fnmatchcase(values[name], pattern)
               for name, pattern in wanted.items())


def records_of(suite: Suite, records: Iterable[Record]) -> list[Record]:
    """The records that cells of the suite and their controls have left, of any seed; by what the
    suite's file says.
    """
    found = []
    for record in records:
        if any(left_by(record, request, suite.data) for request in suite.requests):
            found.append(record)
    return found


def left_by(record: Record, request: Request, data: str) -> bool:
    """Is this the record of the request, or of one of its controls?"""
    cell = record["cell"]
    origin = (record.get("data") or {}).get("kind", data)
    if cell["task"] != request.task or data not in ("any", origin):
        return False
    settings, task_options = cell.get("settings"), cell.get("task_options")
    if not agrees(request.settings, settings) or not agrees(request.task_options, task_options):
        return False
    teacher = teacher_in(record, request, origin)
    if cell.get("teacher") not in (teacher, None):
        return False
    return is_method(cell, request) or (request.controls and is_control(cell, request, teacher))


def teacher_in(record: Record, request: Request, origin: str) -> str | None:
    """The teacher of a record of the request; where the request names none, on real data whichever
    it was.
    """
    if request.teacher != BEST:
        return model_name(request.teacher)
    if origin != "real":
        return TOY
    cell = record["cell"]
    return cell["student"] if record.get("role") == "teacher" else cell.get("teacher")


def is_method(cell: Mapping[str, Any], request: Request) -> bool:
    """Is a record's `cell` that of the method of the request? Controls have no published reading,
    so that any variant of them is the same.
    """
    entry = METHODS.entry(request.method)
    same = cell["method"] == entry.name and cell["student"] == model_name(request.student)
    read = entry.control or cell.get("variant") == request.variant
    return bool(same and read) and agrees(request.options, cell.get("options"))


def is_control(cell: Mapping[str, Any], request: Request, teacher: str | None) -> bool:
    """Is a record's `cell` that of a control of the request? The baseline has a row for the teacher
    too.
    """
    method, student = cell["method"], model_name(request.student)
    if method == METHODS.baseline().name:
        return cell["student"] in (teacher, student, *(teacher or "").split(AND))
    return method in METHODS and METHODS.entry(method).control != "" and cell["student"] == student


def model_name(model: str) -> str:
    """A model as records call it: without the folder that holds it, and by no alias; a file of
    answers by its name, and several teachers by theirs.
    """
    if model in MODELS:
        return MODELS.entry(model).name
    if AND in model:
        return AND.join(map(model_name, model.split(AND)))
    if names_file(model):
        return name_of_file(model)
    label, _, path = model.rpartition("=")
    return label or (Path(path).name if path.startswith((".", "~", "/")) else path)


def agrees(given: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    """Does every value that the file gives stand in the record? Settings that decide no result do
    not stand there.
    """
    there = found or {}
    return all(same_value(value, there[name]) for name, value in given.items() if name in there)


def same_value(given: Any, found: Any) -> bool:
    """Is a value of a suite's file that of a record, which knows a file by its content?"""
    if isinstance(found, str) and found.startswith("sha256:"):
        return Path(str(given)).is_file() and by_content(str(given)) == found
    return given == found or written(found) == written(given)
