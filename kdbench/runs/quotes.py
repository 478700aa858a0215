"""What an error's message quotes of one's own text is not kept: words that few texts hold."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kdbench.data.task import LEAST_TEXTS, Example

if TYPE_CHECKING:
    from kdbench.runs.cell import Cell

WORD = re.compile(r"\w+")
HIDDEN = "..."


def without_quotes(message: str, cell: Cell) -> str:
    """`message` as a record keeps it: of a cell on one's own text, without words that fewer than
    `LEAST_TEXTS` texts or groups hold, and without names of rows and groups.
    """
    if not (cell.data.own_text or cell.own_unlabelled):
        return message
    data = cell.data
    hidden = told_by((*data.train, *data.dev, *data.test, *cell.unlabelled), message)
    return WORD.sub(lambda found: HIDDEN if found[0].casefold() in hidden else found[0], message)


def told_by(examples: Iterable[Example], message: str) -> set[str]:
    """The words of `message` that tell of single texts, case apart."""
    wanted = words_of(message)
    holders: dict[str, set[str]] = defaultdict(set)
    names: set[str] = set()
    for example in examples:
        for word in words_of(" ".join((*example.words, example.text, example.pair or ""))) & wanted:
            holders[word].add(example.unit)
        for name in (example.id, example.group):
            if not name.isdigit() or len(name) > 5:  # shorter ones are the numbers of rows
                names |= words_of(name) & wanted
    return names | {word for word, units in holders.items() if len(units) < LEAST_TEXTS}


def words_of(text: str) -> set[str]:
    """The words and numbers of a text, case apart."""
    return {word.casefold() for word in WORD.findall(text)}
