"""What rows are called: the method, and in brackets what distinguishes two rows of one method."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.base import code
from kdbench.base.errors import BadInput
from kdbench.base.options import written
from kdbench.report.rows import Row, canonical


@dataclass(frozen=True)
class Name:
    """What a study calls the rows of `method` that have these options and settings, as the command
    line takes them.
    """

    text: str
    method: str
    given: dict[str, str]

    def fits(self, row: Row) -> bool:
        """Whether the study calls `row` so."""
        if row.is_teacher or row.method != self.method:
            return False
        values = configuration(row)
        return all(
            name in values and written(values[name]) == value for name, value in self.given.items()
        )


def row_names(rows: list[Row], chosen: Sequence[Name] = ()) -> list[str]:
    """What people call the rows: the method, and in brackets a name that was `chosen`, or what
    distinguishes two such rows.
    """
    return [row_name(row, rows, chosen) for row in rows]


def row_name(row: Row, rows: list[Row], chosen: Sequence[Name]) -> str:
    """The name of one of `rows`, with a mark where other code than today's made it."""
    name = chosen_name(row, rows, chosen)
    options = name.text if name else differing_options(row, rows)
    within = ", ".join(filter(None, (options, *differing_content(row, rows))))
    text = method_name(row) + (f" [{within}]" if within else "")
    if marks := old_versions(row):
        text += f" ({', '.join(marks)})"
    return f"{text}: {row.part}" if row.part else text


def chosen_name(row: Row, rows: Sequence[Row], chosen: Sequence[Name]) -> Name | None:
    """The name of a row among those that were chosen.

    `BadInput` where two names fit it, or one name fits rows of several options.
    """
    fitting = [name for name in chosen if name.fits(row)]
    if not fitting:
        return None
    if len(fitting) > 1:
        raise BadInput(
            f"names: {fitting[0].text!r} and {fitting[1].text!r} fit one row "
            f"({differing_options(row, rows)}); say more options"
        )
    same_name = [other for other in comparable_rows(row, rows) if fitting[0].fits(other)]
    if len({canonical(configuration(other)) for other in same_name}) > 1:
        raise BadInput(
            f"names: {fitting[0].text!r} fits several rows of {row.student} "
            f"({differing_options(row, rows)}); say more options"
        )
    return fitting[0]


def comparable_rows(row: Row, rows: Sequence[Row]) -> list[Row]:
    """Those of `rows`, `row` among them, of the same method, variant, models and part."""
    key = name_key(row)
    return [other for other in rows if name_key(other) == key]


def name_key(row: Row) -> tuple[str, str, str | None, str]:
    """What a table shows of a row without its options."""
    return method_name(row), row.student, row.cell.get("teacher"), row.part


def method_name(row: Row) -> str:
    """The method, or "teacher"; with the variant where that is the published one."""
    name = "teacher" if row.is_teacher else row.method
    return f"{name} (published)" if row.cell.get("variant") == "published" else name


def configuration(row: Row) -> dict[str, Any]:
    """Settings and options of a row by name."""
    return {**row.settings, **row.options}


def differing_options(row: Row, rows: Sequence[Row]) -> str:
    """The options and settings of a row in which it differs from comparable rows."""
    own, differing = configuration(row), set()
    for other in comparable_rows(row, rows):
        theirs = configuration(other)
        differing |= {name for name in theirs | own if theirs.get(name) != own.get(name)}
    shown = [name for name in sorted(differing) if own.get(name) is not None]
    return ", ".join(f"{name}={written(own[name])}" for name in shown)


def unmarked(name: str) -> str:
    """A row's name without the mark of an earlier version or of edited code."""
    return re.sub(r" \((?:version|edited code) [^)]*\)", "", name)


CONTENT = {  # what rows of equal options may still differ in, and how a name says it
    "student": "student",
    "teacher": "teacher",
    "device": "on",
    "unlabelled": "texts",
    "code": "code",
}


def differing_content(row: Row, rows: Sequence[Row]) -> list[str]:
    """With which weights, on which device, by which code, where a comparable row of the same
    options differs in it.
    """
    own = configuration(row)
    others = [other for other in comparable_rows(row, rows) if configuration(other) == own]
    said = []
    for what, word in CONTENT.items():
        if what == "code":  # versions have a mark of their own
            others = [other for other in others if not old_versions(row) + old_versions(other)]
        value = row.content.get(what)
        if any(other.content.get(what) != value for other in others):
            said.append(f"{word} {value if what == 'device' else short_digest(value)}")
    return said


def short_digest(value: object) -> str:
    """Six letters that tell values apart."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:6]


# ---- marks of other code -------------------------------------------------------------------------


def old_versions(row: Row) -> list[str]:
    """The versions, of method and core, that made this row and are not today's; code that was
    edited in place has a digest.
    """
    marks = {}
    for name, version in versions_behind(row):
        today = code.VERSIONS.get(name) or (code.kept().get(name) or {}).get("version")
        if isinstance(version, str):
            marks[name] = f"edited code of {name} {version[:6]}"
        elif version is not None and version != today:
            marks[name] = f"version {version}" + ("" if name == row.method else f" of {name}")
    return list(marks.values())


def versions_behind(row: Row) -> Iterator[tuple[str, int | str | None]]:
    """The versions of the core's parts and of the built-in methods that made a row, by name."""
    made = row.content.get("code") or {}
    for part in code.VERSIONS:
        yield part, made.get(part)
    methods = made.get("method")
    for method in methods if isinstance(methods, list) else [methods]:
        # a plugin's method has its name and a digest instead
        if isinstance(method, dict) and "code" not in method:
            yield from method.items()
