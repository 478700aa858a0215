"""Tag schemes: IO, IOB (every entity opens with B-) and IOBES (E- closes, S- is an entity of one
word).

A tag is ``O`` or a prefix with an optional type: ``B``, ``B-GENE``. All conversions go through
spans: `lenient_spans` reads any sequence, and `encode` writes it in a scheme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

PREFIXES = {"IO": "I", "IOB": "BI", "IOBES": "BIES"}

# first word, word after the last, entity type ("" where the corpus has one type)
Span = tuple[int, int, str]


@lru_cache(maxsize=1024)
def parts(tag: str) -> tuple[str, str]:
    """Prefix and type: ``B-GENE`` -> (B, GENE), ``B`` -> (B, ""), ``O`` -> (O, "")."""
    prefix, _, entity_type = tag.partition("-")
    return prefix, entity_type


def lenient_spans(tags: Sequence[str]) -> list[Span]:
    """Entities of any tag sequence, as seqeval's default mode reads it.

    A word continues the entity before it when it carries I or E of the same type and the word
    before carries B or I; otherwise it opens a new one.
    """
    spans: list[Span] = []
    before, entity_type = "O", ""
    for i, tag in enumerate(tags):
        if tag == "O":  # nine in ten
            before = tag
            continue
        prefix, own = parts(tag)
        if prefix != "O":
            if prefix in "IE" and before in ("B", "I") and own == entity_type:
                spans[-1] = (spans[-1][0], i + 1, own)
            else:
                spans.append((i, i + 1, own))
        before, entity_type = prefix, own
    return spans


def encode(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """The tags of `scheme` for `length` words with these entities."""
    tags = ["O"] * length
    for first, end, entity_type in spans:
        ending = f"-{entity_type}" if entity_type else ""
        prefixes = ["I"] * (end - first)
        if scheme != "IO":
            prefixes[0] = "B"
        if scheme == "IOBES":
            prefixes[-1] = "S" if end - first == 1 else "E"
        tags[first:end] = [prefix + ending for prefix in prefixes]
    return tags


def repair(tags: Sequence[str], scheme: str) -> list[str]:
    """The nearest valid sequence of `scheme`; an I- that opens an entity becomes B-, and so on."""
    return encode(lenient_spans(tags), len(tags), scheme)


def mistake(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """The index of the first tag that breaks `scheme` and the tag that is valid there.

    None where the whole sequence is valid.
    """
    for i, (tag, due) in enumerate(zip(tags, repair(tags, scheme), strict=True)):
        if tag != due:
            return i, due
    return None


def spans(tags: Sequence[str], scheme: str) -> list[Span]:
    """Entities of a sequence that is valid in `scheme`; `ValueError` where it is not."""
    if (first := mistake(tags, scheme)) is not None:
        i, due = first
        raise ValueError(f"tag {i + 1} is {tags[i]}, but {scheme} wants {due} there")
    return lenient_spans(tags)


def convert(tags: Sequence[str], source: str, target: str) -> list[str]:
    """The same entities in another scheme; into IO, entities of one type that touch become one."""
    return encode(spans(tags, source), len(tags), target)


def scheme_of(tags: Iterable[str]) -> str:
    """The plainest scheme that has all these tags."""
    prefixes = {parts(tag)[0] for tag in tags}
    if prefixes & {"E", "S"}:
        return "IOBES"
    return "IOB" if "B" in prefixes or "I" not in prefixes else "IO"


def tag_set(entity_types: Iterable[str], scheme: str) -> tuple[str, ...]:
    """All tags of `scheme` for these entity types, O first: the label set of a tagger."""
    tags = ["O"]
    for entity_type in sorted(set(entity_types)):
        ending = f"-{entity_type}" if entity_type else ""
        tags += [prefix + ending for prefix in PREFIXES[scheme]]
    return tuple(tags)
