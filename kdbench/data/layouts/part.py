"""What every reader of a layout gives back, and the counts behind its notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kdbench.base.errors import BadInput
from kdbench.data.readers import Record, Source, shown


class Settings(Protocol):
    """The options that a reader of files looks at; a task's own options may have more."""

    @property
    def header(self) -> str:
        """Has a table a header: auto, yes or no."""

    @property
    def encoding(self) -> str:
        """Of a text file; empty: UTF-8."""

    @property
    def label_column(self) -> tuple[str, ...]:
        """The columns of labels, where they are said."""


@dataclass(frozen=True)
class Defaults:
    """The settings of a caller who has none."""

    header: str = "auto"
    encoding: str = ""
    label_column: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lenient(Defaults):
    """The settings of a reader for rows that need no label, and may have no text.

    labelled  are labels looked at where they are there
    """

    text_column: str = ""
    label_separator: str = "auto"
    labelled: bool = False


@dataclass(frozen=True)
class Part:
    """One split as rows, with what was found on the way.

    records   rows; tags are in `words`/`tags` (tag files) or `tokens`/`ner_tags`
    layout    in words, for people
    sha256    of the content of the file, or of all files of a folder
    notes     what was converted, left out or decided, one line each
    headed    does the table begin with a header; None: the layout has none
    group     the field that names the document of a row, or empty
    declared  class names by column, in their own order, where the file has them
    whole     does the path hold the other splits too
    decided   decisions by content (tag scheme, word rule, label lists); test is read as train was
    spare     gives the rows of id and text that nobody has annotated; None: there are none
    """

    records: Sequence[Record]
    layout: str
    sha256: str
    notes: tuple[str, ...] = ()
    headed: bool | None = None
    group: str = ""
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whole: bool = False
    decided: Mapping[str, str] = field(default_factory=dict)
    spare: Callable[[], list[Record]] | None = None


# the notes on what `Part.spare` gives
UNANNOTATED = ("texts without an .ann file, left out", "tasks without annotation, left out")


@dataclass(frozen=True)
class RowSource(Source):
    """A file whose places are not lines: a mistake is in ``FILE, row 3``."""

    unit: str = "row"

    def mistake(self, line: int, what: str, remedy: str) -> BadInput:
        """A `BadInput` that names the row."""
        return BadInput(f"{self.path}, {self.unit} {line}: {what}; {remedy}")


@dataclass
class Tally:
    """How often something happened, and where first."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, place: str, times: int = 1) -> None:
        """Count `what`, which happened at `place`."""
        if times:
            self.counts[what] = self.counts.get(what, 0) + times
            self.first.setdefault(what, place)

    def notes(self) -> list[str]:
        """One line each, in the order in which they first happened."""
        return [f"{what}: {count:,} (first: {self.first[what]})"
                for what, count in self.counts.items()]


def as_list(record: Record, value: object, what: str) -> list:
    """`value`, which must be a list; none at all is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise record.mistake(f"{what} are {shown(value)}", "give a list")
    return value


def as_object(record: Record, value: object, what: str) -> Mapping:
    """`value`, which must be an object."""
    if not isinstance(value, Mapping):
        raise record.mistake(f"{what} is {shown(value)}", "give an object")
    return value


def place_of(record: Record) -> str:
    """Where a row lies, without its folder: notes go into records, and paths do not."""
    unit = record.source.unit if isinstance(record.source, RowSource) else "line"
    return f"{record.source.path.name}, {unit} {record.line}"
