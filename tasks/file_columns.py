"""Which column of a file is what: by option, by name, or because only one is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kdbench.data.layouts.tables import IDS, LABELS, TEXTS
from kdbench.data.readers import Record, shown
from kdbench.tasks.file_options import FilesOptions

WORDS, TAGS = ("tokens", "words"), ("ner_tags", "tags", "labels")
# what columns of a multi-label task hold, in small letters
BITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
GROUPS = ("group",)
PAIRS = {
    "sentence1": ("sentence2",),
    "text1": ("text2",),
    "premise": ("hypothesis",),
    "question1": ("question2",),
    "question": ("context", "passage", "sentence"),
    "text": ("text_pair",),
}


@dataclass(frozen=True)
class Columns:
    """Which column is what; `labels` has several names for columns of 0 and 1."""

    text: str
    pair: str | None = None
    labels: tuple[str, ...] = ()
    tags: str | None = None
    id: str | None = None
    group: str | None = None


def find_columns(records: Sequence[Record], settings: FilesOptions) -> Columns:
    """The columns of these rows; `BadInput` where the options name one that is not there, or where
    text or label are open.
    """
    check_names(records[0], settings)
    return tagged_columns(records[0], settings) or labelled_columns(records, settings)


def check_names(first: Record, settings: FilesOptions) -> None:
    """`BadInput` where the options name a column that the first row does not have."""
    names = (settings.text_column, settings.pair_column, *settings.label_column,
             settings.tags_column, settings.id_column, settings.group_column)
    for name in filter(None, names):
        first.value(name)


def merged(records: Sequence[Record]) -> Record:
    """The first row with the fields of all, each with its first value that is one."""
    fields: dict[str, object] = {}
    for record in records:
        for name, value in record.fields.items():
            if fields.get(name) in (None, ""):
                fields[name] = value
    return Record(records[0].source, records[0].line, fields)


def by_name(record: Record, candidates: Iterable[str]) -> str | None:
    """The column with the first of these names, in any case of letters."""
    lower = {name.lower(): name for name in reversed(list(record.fields))}
    return next((lower[name] for name in candidates if name in lower), None)


def tagged_columns(first: Record, settings: FilesOptions) -> Columns | None:
    """The columns of a file of tagged words; None for any other file."""
    words = settings.text_column or by_name(first, WORDS)
    tags = settings.tags_column or by_name(first, TAGS)
    tagged = words and tags and isinstance(first.fields[words], list)
    if not tagged and not settings.tags_column:
        return None
    if words is None or tags is None:
        raise first.mistake("no column of words", "say --task-set text_column=NAME")
    return Columns(words, tags=tags, id=settings.id_column or by_name(first, IDS),
                   group=settings.group_column or None)


def labelled_columns(records: Sequence[Record], settings: FilesOptions) -> Columns:
    """The columns of a file of texts with labels."""
    first = records[0]
    id, group = settings.id_column or by_name(first, IDS), settings.group_column or None
    text, labels = settings.text_column or by_name(first, TEXTS) or "", settings.label_column
    pair = settings.pair_column or by_name(first, PAIRS.get(text.lower(), ()))
    if not labels and (label := by_name(first, LABELS)):
        labels = (label,)
    known = (text, pair, id, group, *labels)
    left = [name for name in first.fields if name not in known and not is_index(records, name)]
    indicators = () if labels else indicators_of(records, left)
    others = [name for name in left if name not in indicators]
    if indicators and len(others) == (not text):
        text, labels, left = text or others[0], indicators, []
    if not text and not labels and len(left) == 2:
        longer, shorter = sorted(left, key=lambda name: -characters(records, name))
        text, labels = longer, (shorter,)
    elif bool(text) != bool(labels) and len(left) == 1:
        text, labels = text or left[0], labels or (left[0],)
    for what, column in (("text", text), ("label", labels)):
        if not column:
            names = shown(", ".join(first.fields), 200)
            several = f", or {what}_column=A,B,... for columns of 0 and 1" * (what == "label")
            raise first.mistake(f"which column has the {what}? There are {names}",
                              f"say --task-set {what}_column=NAME{several}")
    return Columns(text, pair, labels, id=id, group=group)


def indicators_of(records: Sequence[Record], names: Sequence[str]) -> tuple[str, ...]:
    """Two or more columns of 0 and 1, or of True and False, with both values somewhere."""
    found = []
    for name in names:
        values = {str(record.fields.get(name)).strip().lower() for record in records}
        if values <= BITS.keys():
            found.append(name)
    seen = {BITS[str(record.fields[name]).strip().lower()] for name in found for record in records}
    return tuple(found) if len(found) > 1 and seen == {0, 1} else ()


def characters(records: Sequence[Record], name: str) -> int:
    """The length of all values of a column."""
    return sum(len(str(record.fields.get(name))) for record in records)


def is_index(records: Sequence[Record], name: str) -> bool:
    """An unnamed column that counts the rows, as pandas writes it."""
    return name.startswith("column ") and len(records) > 1 and all(
        record.fields.get(name) == str(i) for i, record in enumerate(records))


def describe(layout: str, columns: Columns) -> str:
    """Layout and columns in words, for `Data.notes`."""
    parts = [f"{'words' if columns.tags else 'text'} from {columns.text!r}"]
    if columns.tags:
        parts.append(f"tags from {columns.tags!r}")
    if columns.pair:
        parts.append(f"pair from {columns.pair!r}")
    if columns.labels:
        parts.append(f"label from {', '.join(map(repr, columns.labels))}")
    return f"{layout}, {', '.join(parts)}"
