"""The labels of one's own files: their task type and label set, read from the rows of train."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kdbench.data.layouts import schemes
from kdbench.data.layouts.schemes import is_invisible
from kdbench.data.layouts.values import PASS
from kdbench.data.readers import Record, shown
from kdbench.tasks.file_columns import BITS, Columns

# more different whole numbers are a scale, and more labels than half the rows are not labels
MANY_CLASSES = 20
DECIMAL = re.compile(r"[-+]?\d+,\d+")

Label: TypeAlias = int | float | tuple[int, ...]
# the words (of tags only) and the label of a row
LabelReader: TypeAlias = Callable[[Record], tuple[tuple[str, ...], Label]]


@dataclass(frozen=True)
class Labelling:
    """What train says of the labels.

    read  gives the words (of tags only) and the label of a row, as `Example` has them
    """

    task_type: str
    labels: tuple[str, ...]
    read: LabelReader


def read_labels(records: Sequence[Record], columns: Columns,
                declared: Sequence[str] = ()) -> Labelling:
    """The labelling of a file without tags; `BadInput` where its values are no labels.

    declared  class names that the file names in its own order, whether a row has them or not
    """
    if len(columns.labels) > 1:
        return read_indicators(columns.labels)
    name = columns.labels[0]
    values = [record.value(name) for record in records]
    if isinstance(values[0], list):
        if values[0] and all(type(item) is int for item in values[0]):
            return read_vectors(name, len(values[0]))
        return read_sets(records, name, declared)
    refuse_decimal_commas(records, name)
    classes = {class_name(record, name) for record in records}
    labels = sorted(classes)  # of numbers that are equal (1, 01) too, the order is the same
    if all(map(is_number, labels)):
        labels.sort(key=float)
    if classes <= {*declared}:
        labels = list(declared)
    if is_scale(labels, values):
        return Labelling("regression", (), lambda record: ((), record.number(name)))
    return read_classes(records, name, labels)


def refuse_tags(first: Record, name: str, labels: Sequence[str]) -> None:
    """`BadInput` for labels that are the tags of words: such a row is no text with a label."""
    if schemes.are_tags({tag for label in labels for tag in label.split()}):
        raise first.mistake(
            f"the values of {name} ({shown(', '.join(labels))}) are tags of words, not labels of "
            "texts", "give one word and its tag a line (a tab between them, a blank line after "
            "each sentence) or lists tokens and ner_tags; call O otherwise where these are labels")


def refuse_decimal_commas(records: Sequence[Record], name: str) -> None:
    """`BadInput` where all values are numbers, and some have a comma for the point."""
    texts = [str(record.value(name)).strip() for record in records]
    commas = [i for i, text in enumerate(texts) if "," in text]
    if commas and all(is_number(text) or DECIMAL.fullmatch(text) for text in texts):
        raise records[commas[0]].mistake(
            f"{name}: {texts[commas[0]]} is no number: a decimal comma, as in {len(commas):,} of "
            f"{len(texts):,} rows", "write a point instead")


def read_classes(records: Sequence[Record], name: str, labels: Sequence[str]) -> Labelling:
    """One label a row."""
    refuse_tags(records[0], name, labels)
    if len(labels) > max(MANY_CLASSES, len(records) / 2):
        raise records[0].mistake(
            f"{len(labels):,} different values of {name} in {len(records):,} rows are no labels",
            "say --task-set label_column=NAME")
    if len(labels) < 2:
        raise records[0].mistake(f"{name} is {shown(labels[0])} in every row",
                               "give rows of at least two labels")
    places = {label: i for i, label in enumerate(labels)}

    def read(record: Record) -> tuple[tuple[str, ...], Label]:
        label = class_name(record, name)
        check_known(record, name, label, places)
        return (), places[label]

    return Labelling("single", tuple(labels), read)


def read_indicators(names: tuple[str, ...]) -> Labelling:
    """Several labels a row: a column of 0 and 1 each."""
    def read(record: Record) -> tuple[tuple[str, ...], Label]:
        return (), tuple(zero_or_one(record, name) for name in names)

    return Labelling("multi", names, read)


def read_vectors(name: str, width: int) -> Labelling:
    """Several labels a row: a vector of 0 and 1; the labels have no names."""
    return Labelling("multi", tuple(map(str, range(width))),
                     lambda record: ((), record.hot(name, width)))


def read_sets(records: Sequence[Record], name: str, declared: Sequence[str] = ()) -> Labelling:
    """Several labels a row: a list of their names; `declared` as in `read_labels`."""
    labels = tuple(sorted({label for record in records for label in label_names(record, name)}))
    if {*labels} <= {*declared}:
        labels = tuple(declared)
    if not labels:
        raise records[0].mistake(f"{name} is empty in every row",
                               "give lists of label names, or of 0 and 1")
    refuse_tags(records[0], name, labels)
    places = {label: i for i, label in enumerate(labels)}

    def read(record: Record) -> tuple[tuple[str, ...], Label]:
        names = label_names(record, name)
        for label in names:
            check_known(record, name, label, places)
        return (), tuple(int(label in names) for label in labels)

    return Labelling("multi", labels, read)


def check_known(record: Record, name: str, label: str, places: Mapping[str, int]) -> None:
    """`BadInput` for a label that train does not have."""
    if label not in places:
        raise record.mistake(f"unknown {name} {shown(label)}",
                             f"those of train are {shown(', '.join(places), 200)}; where it is "
                             "right, say --labels-from all")


def is_scale(labels: Sequence[str], values: Sequence[Any]) -> bool:
    """Are these numbers with fractions, or more whole ones than a set of classes has?

    labels  the different `values` as texts
    """
    if not all(map(is_number, labels)) or any(isinstance(value, bool) for value in values):
        return False
    whole = all(float(label).is_integer() for label in labels)
    return not whole or len(labels) > MANY_CLASSES


def alike(labels: Sequence[str]) -> list[str]:
    """A note for each two labels that look the same: they differ in what nobody sees."""
    first: dict[str, str] = {}
    notes = []
    for label in labels:
        seen = " ".join("".join(char for char in label if not is_invisible(char) or char.isspace()
                                ).split())
        if seen in first:
            notes.append(f"the labels {shown(first[seen])} and {shown(label)} look the same; if "
                         "they are, write one of them everywhere")
        first.setdefault(seen, label)
    return notes


def is_number(value: str) -> bool:
    """Is this text a finite number?"""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def class_name(record: Record, name: str) -> str:
    """A label as text: numbers as they are written, a float without fraction as the whole
    number.
    """
    value = record.value(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, (list, dict)) or not str(value).strip():
        raise record.mistake(f"{name} is {shown(value)}", "give a label or remove the row" + PASS)
    return record.clean(name, str(value).strip())


def zero_or_one(record: Record, name: str) -> int:
    """The value of a column of 0 and 1, or of True and False."""
    value = record.value(name)
    bit = BITS.get(str(value).strip().lower())
    if bit is None:
        raise record.mistake(f"{name} is {shown(value)}",
                             "columns of a multi-label task have 0 or 1 (or True and False)")
    return bit


def label_names(record: Record, name: str) -> list[str]:
    """The label names of a row."""
    value = record.value(name)
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise record.mistake(f"{name} is {shown(value)}", "give a list of label names in every row")
    return [record.clean(name, item) for item in value]
