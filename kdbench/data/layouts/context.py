"""The rows of one split while their cells are settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from kdbench.data.layouts.part import Part, Settings, Tally
from kdbench.data.readers import Record

Row = dict[str, object]


@dataclass
class Context:
    """A part that is being changed, and what was decided for train before it."""

    part: Part
    settings: Settings
    before: Mapping[str, str]
    rows: list[Row]
    decided: dict[str, str]
    notes: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def names(self) -> list[str]:
        """The fields of all rows, in the order in which they first come."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def pairs(self) -> list[tuple[Record, Row]]:
        """The rows as they were read, each with its changed fields."""
        return list(zip(self.part.records, self.rows, strict=True))


def is_list(value: object) -> TypeGuard[list[object]]:
    """Is it a list of anything?"""
    return isinstance(value, list)


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Is it a list of texts?"""
    return isinstance(value, list) and set(map(type, value)) <= {str}
