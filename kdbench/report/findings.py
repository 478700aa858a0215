"""What checks found, and how people and programs read it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kdbench.base import render
from kdbench.base.errors import BadInput, one_line
from kdbench.report.evidence import Unchecked

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


@dataclass(frozen=True)
class Difference:
    """`what` is not what was stored; a `NOTE` is worth a line, and holds."""

    what: str
    stored: object = None
    found: object = None
    state: str = DIFFERS


@dataclass(frozen=True)
class Result:
    """One check of one thing: a record, a stage, an interval. `what` differs, or why unchecked."""

    check: str
    where: str
    state: str
    what: str = ""
    stored: object = None
    found: object = None

    @property
    def line(self) -> str:
        """The result as one line."""
        text = f"{self.where}: {self.check}: {self.what}"
        if self.stored is None and self.found is None:
            return text
        return f"{text}: stored {shown(self.stored)}, found {shown(self.found)}"


def near(stored: float | None, found: float | None) -> bool:
    """Equal up to `CLOSE`; a figure that is not defined is stored as null."""
    if stored is None or found is None or not math.isfinite(found):
        return stored is None and (found is None or not math.isfinite(found))
    return math.isclose(stored, found, rel_tol=CLOSE, abs_tol=CLOSE)


def results_of(check: str, where: str, differences: Iterable[Difference]) -> list[Result]:
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


def holds(results: Iterable[Result]) -> bool:
    """Does everything hold that could be checked?"""
    return not any(one.state == DIFFERS for one in results)


# ---- what is printed -----------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value in a line."""
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
        if states:
            found[check] = counted(list(states.values()))
    return found


def counted(states: list[dict[str, str]]) -> dict[str, Any]:
    """Of one check: what it found in each place, counted."""
    differ = sum(DIFFERS in state for state in states)
    hold = sum(HOLDS in state for state in states)
    why = Counter(state[UNCHECKED] for state in states if UNCHECKED in state)
    unchecked = dict(why.most_common())
    return {"checked": hold + differ, "hold": hold, "differ": differ, "unchecked": unchecked}


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
    return "\n\n".join(filter(None, parts))


def as_json(results: Sequence[Result]) -> str:
    """The same for programs."""
    report = {
        "holds": holds(results),
        "differences": list(in_state(results, DIFFERS)),
        "notes": list(in_state(results, NOTE)),
        "summary": summary(results),
    }
    return json.dumps(report, indent=1, ensure_ascii=False)


def in_state(results: Iterable[Result], state: str) -> Iterator[dict[str, Any]]:
    """The fields of the results that have a state."""
    return (asdict(one) for one in results if one.state == state)
