"""What of the training text a student's files hold in plain words: its vocabulary.

Four kinds of entries are listed, of those that were learned from one's own text: of words that too
few texts hold, numbers, words that the text always writes with a capital letter, as names are, and
all words of a script without capitals. A name that is typed in small letters looks as any word.
Entries of a public model's vocabulary are nobody's secret. What the weights reveal is another
matter (see the page "Where a note's text ends up").
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer, decoders

from kdbench.base.errors import BadInput
from kdbench.data.task import LEAST_TEXTS, Example
from kdbench.models.common_words import bare, learned, own_pieces, words_by
from kdbench.serve.labels import Labels

WORD = re.compile(r"\w+")
SHOWN = 10  # entries of a kind in a line
KINDS = ("rare", "numbers", "capitalised", "caseless")


@dataclass(frozen=True)
class Contents:
    """Entries of a student's vocabulary that were learned from one's own text.

    own          how many there are, single characters left out
    least        each is a part of a word that so many texts hold; 0: nobody knows
    rare         those of words that fewer than `LEAST_TEXTS` texts (groups) hold
    numbers      those of digits alone, two or more
    capitalised  words that the training text always writes with a capital letter
    caseless     words of a script without capitals, where names look as other words do
    """

    own: int = 0
    least: int = 0
    rare: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    capitalised: tuple[str, ...] = ()
    caseless: tuple[str, ...] = ()

    @property
    def listed(self) -> dict[str, tuple[str, ...]]:
        """By kind, in words, what is listed."""
        kinds = {
            f"of words in fewer than {LEAST_TEXTS} texts": self.rare,
            "numbers": self.numbers, "words always capitalised": self.capitalised,
            "words of a script without capitals": self.caseless,
        }
        return {kind: entries for kind, entries in kinds.items() if entries}

    def lines(self) -> list[str]:
        """What is listed, for people: a line a kind."""
        found = []
        for kind, entries in self.listed.items():
            more = f", and {len(entries) - SHOWN:,} more" if len(entries) > SHOWN else ""
            found.append(f"vocabulary, {kind}: {len(entries):,} ({', '.join(entries[:SHOWN])}"
                         f"{more})")
        return found


class Own(NamedTuple):
    """The learned entries of one tokenizer, and how many texts hold the word of each."""

    tokenizer: Tokenizer
    entries: tuple[str, ...]
    least: int


def contents_of(folder: Path, examples: Sequence[Example], public: frozenset[str] | None = None
                ) -> Contents:
    """What the vocabulary of a student in `folder`, or those of its members, holds.

    examples  those it was trained on
    public    where its tokenizer does not note what was learned (of an older version): entries of
              the public models that it came from; None: it does
    """
    parts = [folder / name for name in Labels.read(folder).members or (".",)]
    found = [own for part in parts if (own := own_of(part, public)) is not None]
    kinds: dict[str, dict[str, None]] = defaultdict(dict)
    for own in found:
        kinds["rare"] |= dict.fromkeys(rare(own, examples))
        kinds["numbers"] |= dict.fromkeys(filter(is_number, texts_of(own)))
        kinds["capitalised"] |= dict.fromkeys(capitalised(own, examples))
        kinds["caseless"] |= dict.fromkeys(filter(is_caseless, texts_of(own)))
    every = set[str]().union(*(own.entries for own in found))
    least = min((own.least for own in found), default=0)
    return Contents(len(every), least, *(tuple(kinds[name]) for name in KINDS))


def own_of(folder: Path, public: frozenset[str] | None) -> Own | None:
    """The learned entries of the tokenizer in a folder; None where there are none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare ones
        raise BadInput(f"{path}: cannot be read; train the student again with --overwrite"
                       ) from error
    noted = own_pieces(config_of(folder))
    if noted is None and public is None:
        return None
    first, least = noted or (0, 0)
    entries = [entry for entry in learned(tokenizer, first) if entry not in (public or ())]
    return Own(tokenizer, tuple(entries), least) if entries else None


def config_of(folder: Path) -> dict[str, object]:
    """tokenizer_config.json; nothing where it cannot be read."""
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# ---- kinds ---------------------------------------------------------------------------------------


def rare(own: Own, examples: Sequence[Example]) -> list[str]:
    """Entries whose letters stand in the words of fewer than `LEAST_TEXTS` texts or groups."""
    if own.least >= LEAST_TEXTS:  # the trainer saw no others
        return []
    wanted = {bare(entry) for entry in own.entries}
    longest = max(map(len, wanted))
    units: dict[str, set[str]] = defaultdict(set)  # of each word; a few of them are enough
    words = words_by(own.tokenizer)
    for example in examples:
        for word in set(words(text_of(example))):
            if len(units[word]) < LEAST_TEXTS:
                units[word].add(example.unit)
    holders: dict[str, set[str]] = defaultdict(set)
    for word, own_units in units.items():
        for piece in parts_of(word, longest) & wanted:
            holders[piece] |= own_units
    return [shown for entry, shown in zip(own.entries, texts_of(own), strict=True)
            if len(holders[bare(entry)]) < LEAST_TEXTS]


def parts_of(word: str, longest: int) -> set[str]:
    """All stretches of a word of at least two and at most `longest` letters."""
    found = set()
    for start in range(len(word)):
        for end in range(start + 2, min(len(word), start + longest) + 1):
            found.add(word[start:end])
    return found


def is_caseless(text: str) -> bool:
    """Is this two letters or more of a script that has no capitals, as Hangul?"""
    return len(text) > 1 and text.isalpha() and text.lower() == text.upper()


def is_number(text: str) -> bool:
    """Is this a number of two digits or more?"""
    return len(text) > 1 and text.isdigit()


def capitalised(own: Own, examples: Sequence[Example]) -> list[str]:
    """Entries that are whole words which the text never begins with a small letter."""
    forms: dict[str, bool] = {}  # by word as the tokenizer has it: is it ever written small?
    normalizer = own.tokenizer.normalizer
    for example in examples:
        for word in WORD.findall(text_of(example)):
            plain = (normalizer.normalize_str(word) if normalizer else word).strip().casefold()
            forms[plain] = forms.get(plain, False) or not word[0].isupper()
    found = []
    for entry, text in zip(own.entries, texts_of(own), strict=True):
        begins = bare(entry) == entry  # it is no rest of a word
        small = forms.get(text.casefold(), not text[:1].isupper())
        if begins and len(text) > 1 and text.isalpha() and not small:
            found.append(text)
    return found


# ---- entries and texts ---------------------------------------------------------------------------


def texts_of(own: Own) -> list[str]:
    """The entries as people write them."""
    bytes_ = isinstance(own.tokenizer.decoder, decoders.ByteLevel)
    found = []
    for entry in own.entries:
        text = own.tokenizer.decoder.decode([entry]) if bytes_ else bare(entry)
        found.append(text.strip().lstrip("\u2581"))
    return found


def text_of(example: Example) -> str:
    """All that an example has a model read."""
    return " ".join((*example.words, example.text, example.pair or ""))


def line_for_card(contents: Contents, public_text: bool) -> str:
    """What the card says of the training text; it names no entry."""
    if public_text:
        return "The text it was trained on is a published corpus, or generated."
    said = ("The text it was trained on is not public. Its weights may reveal parts of it. ")
    if not contents.own:
        return said + "Its vocabulary holds nothing that was learned from it."
    common = f", each part of a word in at least {contents.least} texts" if contents.least else ""
    kinds = [f"{len(entries):,} {kind}" for kind, entries in contents.listed.items()]
    return (f"{said}Its vocabulary holds {contents.own:,} pieces that were learned from it{common}"
            + (f"; among them {', '.join(kinds)}." if kinds else "."))


def refuse(contents: Contents, run: str) -> None:
    """`BadInput` where anything is listed."""
    if lines := contents.lines():
        raise BadInput(
            f"run {run}: --strict-privacy: {'; '.join(lines)}; export a student that reads the "
            "pieces of a public model, or leave the option out if these may leave the house")


def vocabulary_in(folder: Path) -> Iterable[str]:
    """The entries of the tokenizer in a model's folder; none where there is none to be read."""
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    except Exception:  # the library raises bare ones
        return ()
