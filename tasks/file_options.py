"""The options of the task `files`."""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.base.options import option
from kdbench.data.layouts.label_lists import SEPARATORS


@dataclass(frozen=True)
class FilesOptions:
    """Which column is what, and what is done where a file leaves it open."""

    text_column: str = option(
        "", "column of the text, or of the list of words; empty: found by name")
    pair_column: str = option("", "column of the second text of a pair; empty: found by name")
    label_column: tuple[str, ...] = option(
        (), "column of the label, or several columns of 0 and 1: one a label")
    tags_column: str = option("", "column of the list of tags; empty: found by name")
    id_column: str = option(
        "", "column of the id; empty: `id` where there is one, else the row number")
    group_column: str = option(
        "", "column that statistics resample (document, patient); empty: the row")
    header: str = option(
        "auto", "do CSV and TSV files begin with a header", choices=("auto", "yes", "no"))
    split_dev: float = option(
        0.1, "share of train that becomes dev where no dev is given", minimum=0.01, maximum=0.5)
    encoding: str = option("", "encoding of text files (cp949, latin-1, ...); empty: UTF-8")
    name: str = option(
        "", "what tables call this corpus; empty: files", later=True)
    split_test: float = option(
        0.2, "share of train that becomes test where no test is given", minimum=0.01, maximum=0.5,
        later=True)
    labels_from: tuple[str, ...] = option(
        ("train",), "splits whose labels count: train, or dev and test too for a label that train "
        "has no example of; all: every split", choices=("train", "dev", "test", "all"), later=True)
    label_separator: str = option(
        "auto", "what divides several labels in a cell of a table; auto: read from the content",
        choices=SEPARATORS, later=True)
    without_label: str = option(
        "refuse", "rows of train without a label: refuse them, or text: they are unlabelled text, "
        "as they are by themselves where the teacher is a file", choices=("refuse", "text"),
        later=True)
    repair: bool = option(
        False, "read tags that break the scheme as seqeval does instead of refusing them")
