"""What a run keeps of text of one's own: units that are hashed, and a vocabulary whose learned
entries are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kdbench.base.errors import BadInput
from kdbench.data.task import Data
from kdbench.models.common_words import learned, own_pieces
from kdbench.models.sources import on_disk, resolve
from kdbench.runs.units import is_own_text, stored_names
from kdbench.serve.contains import Contents, contents_of, vocabulary_in

if TYPE_CHECKING:
    from kdbench.models.load import Model
    from kdbench.runs.stored import Record
    from kdbench.train.lab import Lab

UNITS = "test_units"


def with_hidden_units(folder: Path, record: Record, data: Data,
                      arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The arrays of a run with the units of one's own data hashed; `record` is told by which salt.

    folder  the results folder, whose salt it is
    """
    if UNITS not in arrays:
        return arrays
    names, salt = stored_names(folder, data, arrays[UNITS].tolist())
    if salt:
        record["data"]["units_salt"] = salt
    return {**arrays, UNITS: np.array(names)}


def vocabulary_facts(lab: Lab, student: Model) -> dict[str, dict[str, int | None]]:
    """What the record of a run on one's own text says under `vocabulary`: the pieces that were
    learned from it, and how many texts hold the word of each (null where none was learned). Nothing
    where all text is public.
    """
    pieces, least = 0, []
    for member in student.members:
        if noted := own_pieces(member.tokenizer.init_kwargs):
            pieces += len(learned(member.tokenizer.backend_tokenizer, noted[0]))
            least.append(noted[1])
    if not (lab.data.own_text or lab.own_unlabelled or pieces):
        return {}
    return {"vocabulary": {"own_pieces": pieces, "min_texts": min(least, default=None)}}


def contents_of_run(record: Record, folder: Path, data: Data) -> Contents:
    """What of its training text the vocabulary of a run's student in `folder` holds; nothing where
    the text is public.
    """
    noted = "vocabulary" in record
    if not is_own_text(record):
        return Contents()
    # a run of a version before these notes is judged by the public models that it began with
    texts = (*data.train, *data.rest)
    return contents_of(folder, texts, None if noted else public_entries(record))


def public_entries(record: Record) -> frozenset[str]:
    """The entries of the models that a run began with, of those that are on this disk."""
    found: set[str] = set()
    for name in (record["cell"]["student"], record["cell"]["teacher"]):
        try:
            source = resolve(name) if name else None
        except BadInput:
            continue
        place = source.folder or on_disk(source.hub) if source else None
        if place is not None:
            found.update(vocabulary_in(place))
    return frozenset(found)
