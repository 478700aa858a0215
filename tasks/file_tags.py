"""The tags of one's own files: their scheme and entity types, read from the rows of train."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdbench.data import tags
from kdbench.data.readers import Record, shown, tagged_words
from kdbench.tasks.file_columns import Columns
from kdbench.tasks.file_labels import Label, Labelling

TAG = re.compile(r"O|[BIES](-.+)?")


def read_tags(records: Sequence[Record], columns: Columns, repair: bool,
              declared: Sequence[str] = ()) -> Labelling:
    """The labelling of a file of tagged words; `BadInput` where no word has an entity tag.

    repair    read tags that break the scheme as seqeval does
    declared  tags that the file names, whether a row has them or not
    """
    column = columns.tags or ""
    seen = tags_of(records, column)
    scheme = tags.scheme_of(seen)
    seen |= {tag for tag in declared if TAG.fullmatch(tag)}
    labels = tags.tag_set({tags.parts(tag)[1] for tag in seen if tag != "O"}, scheme)
    if len(labels) < 2:
        raise records[0].mistake("no word of the file has an entity tag",
                               "give tags O, B-TYPE, I-TYPE (or IO, or IOBES)")
    places = {tag: i for i, tag in enumerate(labels)}

    def read(record: Record) -> tuple[tuple[str, ...], Label]:
        check_types(record, column, labels)
        words, own = tagged_words(record, columns.text, column, labels, scheme, repair)
        return words, tuple(places[tag] for tag in own)

    return Labelling("tags", labels, read)


def tags_of(records: Sequence[Record], column: str) -> set[str]:
    """All that looks like a tag; what does not is refused where its row is read."""
    seen = set()
    for record in records:
        value = record.value(column)
        if isinstance(value, list):
            seen |= {tag for tag in value if isinstance(tag, str) and TAG.fullmatch(tag)}
    return seen


def check_types(record: Record, column: str, labels: Sequence[str]) -> None:
    """`BadInput` for an entity type that train does not have."""
    value = record.value(column)
    known = {tags.parts(tag)[1] for tag in labels if tag != "O"}
    for i, tag in enumerate(value if isinstance(value, list) else ()):
        if isinstance(tag, str) and TAG.fullmatch(tag) and tag != "O" \
                and tags.parts(tag)[1] not in known:
            line = record.line + i if record.vertical else record.line
            raise record.source.mistake(
                line, f"unknown tag {shown(tag)} of word {i + 1}",
                f"the types of train are {shown(', '.join(sorted(known)), 200)}; where it is "
                "right, say --labels-from all")
