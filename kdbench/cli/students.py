"""What the verbs on trained students share: where a run's data lie, and files that are answered."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from kdbench.cli.parser import SPLITS
from kdbench.cli.shared import variable_folder

if TYPE_CHECKING:
    from kdbench.runs.artefacts import DataPlace
    from kdbench.serve.about import About
    from kdbench.serve.predict import Answer, Predictor


def data_place(args: Namespace) -> DataPlace:
    """What the arguments say of the data of a run."""
    from kdbench.runs.artefacts import DataPlace

    files = {split: path for split in SPLITS if (path := getattr(args, split, None)) is not None}
    return DataPlace(files, variable_folder(args), args.task_set)


def times_100(score: float | None) -> str:
    """A score in points; `undefined` where there is none."""
    return "undefined" if score is None else f"{100 * score:.2f}"


def answers_of(args: Namespace, about: About, predictor: Predictor) -> list[Answer]:
    """The answers to the texts, words or rows that the arguments give."""
    if args.words:
        from kdbench.serve.given_words import given_words

        labels = predictor.artefact.labels
        return predictor.predict(given_words(args.text, args.file, labels.task_type))
    return answers_to_file(args, about, predictor) if args.file else predictor.predict(args.text)


def answers_to_file(args: Namespace, about: About, predictor: Predictor) -> list[Answer]:
    """The answers to the rows of a file; how it was read goes to standard error."""
    from kdbench.base.progress import say
    from kdbench.data.rows import reader_task
    from kdbench.serve.asked import answers

    read = reader_task().read_rows
    assert read is not None
    wanted = about.wanted(predictor.artefact.labels, args.task_set, plain=True)
    rows = read(args.file.expanduser(), wanted)
    for note in rows.notes:
        say(note)
    return answers(predictor, rows)
