"""The labels of a file as a student counts them, or None where a row has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kdbench.data import tags
from kdbench.data.layouts.values import is_missing
from kdbench.data.readers import Record, is_texts, shown, tagged_words
from kdbench.data.rows import Wanted
from kdbench.tasks.file_columns import Columns
from kdbench.tasks.file_labels import Label, class_name, label_names, zero_or_one
from kdbench.tasks.file_tags import TAG, tags_of


@dataclass(frozen=True)
class Target:
    """The words (of tags only) and the label of a row.

    label   None where the row has none
    wanted  was it looked for
    """

    words: tuple[str, ...] = ()
    label: Label | None = None
    wanted: bool = True


Reader = Callable[[Record], Target]


def target_reader(records: Sequence[Record], columns: Columns, wanted: Wanted,
                  repair: bool) -> Reader:
    """What reads words and label of a row, by the type of the task."""
    if not wanted.labelled:
        return lambda record: Target(words_of(record, columns, wanted), None, False)
    if wanted.task_type == "tags":
        return tag_reader(records, columns, wanted, repair)
    if wanted.task_type == "multi":
        return several_reader(columns, wanted)
    name = columns.labels[0]
    if wanted.task_type == "regression":
        return lambda record: Target(label=number_of(record, name))
    return class_reader(name, wanted)


def words_of(record: Record, columns: Columns, wanted: Wanted) -> tuple[str, ...]:
    """The words of a tagger's row; none where it has a text."""
    value = record.fields.get(columns.text)
    if wanted.task_type != "tags" or not isinstance(value, list):
        return ()
    if not is_texts(value):
        raise record.mistake(f"{columns.text} is {shown(value)}, not a list of texts",
                             "give one text a word")
    return tuple(record.clean(columns.text, word) for word in value)


def number_of(record: Record, name: str) -> float | None:
    """The number of a row."""
    return None if has_none(record, name) else record.number(name)


def class_reader(name: str, wanted: Wanted) -> Reader:
    """One label a row."""
    places = {label: i for i, label in enumerate(wanted.labels)}

    def read(record: Record) -> Target:
        if has_none(record, name):
            return Target()
        return Target(label=places[known(record, name, class_name(record, name), places)])

    return read


def several_reader(columns: Columns, wanted: Wanted) -> Reader:
    """Several labels a row: columns of 0 and 1, a vector of them, or a list of names."""
    names = columns.labels
    places = {label: i for i, label in enumerate(wanted.labels)}

    def read(record: Record) -> Target:
        if all(has_none(record, name) for name in names):
            return Target()
        if len(names) > 1:
            bits = {name: zero_or_one(record, name) for name in names}
            return Target(label=tuple(bits.get(label, 0) for label in wanted.labels))
        value = record.value(names[0])
        if isinstance(value, list) and value and all(type(item) is int for item in value):
            return Target(label=record.hot(names[0], len(places)))
        if isinstance(value, str):
            held = [class_name(record, names[0])]
        else:
            held = label_names(record, names[0])
        for label in held:
            known(record, names[0], label, places)
        return Target(label=tuple(int(label in held) for label in wanted.labels))

    return read


def tag_reader(records: Sequence[Record], columns: Columns, wanted: Wanted,
               repair: bool) -> Reader:
    """A tag a word, in the student's scheme, whatever scheme the file has."""
    if not columns.tags:
        return lambda record: Target(words_of(record, columns, wanted))
    name = columns.tags
    seen = tags_of(records, name)
    own_scheme = tags.scheme_of(wanted.labels)
    scheme = scheme_of_file(records, name, seen, wanted.labels)
    types = {tags.parts(tag)[1] for tag in wanted.labels if tag != "O"}
    places = {tag: i for i, tag in enumerate(wanted.labels)}

    def read(record: Record) -> Target:
        if has_none(record, name):
            return Target(words_of(record, columns, wanted))
        check_types(record, name, types)
        words, found = tagged_words(record, columns.text, name, seen | {"O"}, scheme, repair)
        found = tags.encode(tags.lenient_spans(found), len(words), own_scheme)
        return Target(words, tuple(places[tag] for tag in found))

    return read


def scheme_of_file(records: Sequence[Record], name: str, seen: set[str],
                   labels: Sequence[str]) -> str:
    """The scheme of a file's tags: the student's where all of them are right in it, else the
    plainest that has them.

    A short file may have nothing but O, or of IOBES no E and S; one of BIO may have no I.
    """
    found, own = tags.scheme_of(seen), tags.scheme_of(labels)
    if found == "IO" or not seen <= {*labels}:
        return found
    rows = (record.fields.get(name) for record in records)
    right = all(tags.mistake(row, own) is None for row in rows if is_texts(row))
    return own if right else found


def check_types(record: Record, name: str, types: set[str]) -> None:
    """`BadInput` for an entity type that the student does not give."""
    value = record.value(name)
    for i, tag in enumerate(value if isinstance(value, list) else ()):
        if isinstance(tag, str) and TAG.fullmatch(tag) and tag != "O" \
                and tags.parts(tag)[1] not in types:
            line = record.line + i if record.vertical else record.line
            raise record.source.mistake(line, f"tag {shown(tag)} of word {i + 1} is of no type "
                                        "that this student gives",
                                        f"its types are {shown(', '.join(sorted(types)), 200)}")


def known(record: Record, name: str, label: str, places: Mapping[str, int]) -> str:
    """`label`; `BadInput` where the student does not give it."""
    if label not in places:
        raise record.mistake(f"{name} {shown(label)} is none of the student's",
                             f"they are {shown(', '.join(places), 200)}")
    return label


def has_none(record: Record, name: str) -> bool:
    """Has the row no label?"""
    value = record.fields.get(name)
    return is_missing(value) or isinstance(value, str) and not value.strip()
