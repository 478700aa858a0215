"""Tags of a head as those of a task: other schemes, other spellings, further types.

A tag is read as a letter and an entity type. Its letter stands in front (`B-Drug`, `B_Drug`),
behind (`Drug-B`), or nowhere (`Drug`: the IO scheme without its letter). BILOU and BMEWO are IOBES
in other letters.

Where several rows stand for one tag of the task, the largest counts, so that the answer is the
head's own answer in the words of the task. Where a tag has no row of its own, it gets that of its
nearest tag of the same type and stays behind it: a head of I- alone goes on to answer I-, which
scores as the same entities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdbench.data.tags import scheme_of
from kdbench.models.merged import Rows

LETTERS = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}
FRONT = re.compile(r"([BIESLUMW])(?:[-_ :/.](.*))?", re.IGNORECASE | re.DOTALL)
BACK = re.compile(r"(.+)[-_ :/.]([BIESLUMW])", re.IGNORECASE | re.DOTALL)
OUTSIDE = ("O", "OUT", "OUTSIDE")
# tags that no word gets
BESIDE = ("PAD", "START", "END", "UNK", "X", "CLS", "SEP", "BOS", "EOS", "STOP")
# by scheme of the task and letter of its tag: the letters that mean it
COVERED = {"IO": {"I": "BIES"}, "IOB": {"B": "BS", "I": "IE"},
           "IOBES": {"B": "B", "I": "I", "E": "E", "S": "S"}}
NEAREST = {"B": "ISE", "I": "EBS", "E": "IBS", "S": "BIE"}


@dataclass(frozen=True)
class Tag:
    """One label of a tagger.

    letter  O, B, I, E or S; empty of a tag that no word gets
    name    as it was written
    """

    letter: str
    entity_type: str
    name: str
    written: str = ""  # the letter as it was written


def read_tags(names: Sequence[str]) -> list[Tag] | None:
    """Labels as tags; None where they are none, or have no O."""
    tags: list[Tag | None] = [plain_tag(name) for name in names]
    open_places = [i for i, tag in enumerate(tags) if tag is None]
    if not any(tag is not None and tag.letter == "O" for tag in tags):
        return None
    for read in (in_front, behind, bare):
        found = [read(names[i]) for i in open_places]
        if all(tag is not None for tag in found):
            for i, tag in zip(open_places, found, strict=True):
                tags[i] = tag
            return [tag for tag in tags if tag is not None]
    return None


def plain_tag(name: str) -> Tag | None:
    """O, or a tag that no word gets."""
    word = name.strip("[]<>{}() ").upper()
    if word in OUTSIDE:
        return Tag("O", "", name)
    return Tag("", "", name) if word in BESIDE else None


def in_front(name: str) -> Tag | None:
    """`B-Drug`, `B`, or `B-`."""
    found = FRONT.fullmatch(name)
    return tag_of(found[1], found[2] or "", name) if found else None


def behind(name: str) -> Tag | None:
    """`Drug-B`."""
    found = BACK.fullmatch(name)
    return tag_of(found[2], found[1], name) if found else None


def bare(name: str) -> Tag:
    """`Drug`."""
    return Tag("I", name, name, "I")


def tag_of(letter: str, entity_type: str, name: str) -> Tag:
    """A tag with its letter as IOBES has it."""
    return Tag(LETTERS[letter.upper()], entity_type.strip(), name, letter.upper())


def match_tags(theirs: Sequence[Tag], ours: Sequence[Tag]) -> tuple[Rows | None, str]:
    """The rows that stand for each tag of the task, and the line on it; no rows where a type of
    the task is missing.
    """
    types = type_names(theirs, ours)
    missing = sorted({tag.entity_type for tag in ours if tag.letter in NEAREST}
                     - set(types.values()))
    if missing:
        own = ", ".join(tag.name for tag in theirs)
        what = " and ".join(entity_type or "entities without a type" for entity_type in missing)
        return None, f"new head trained: its labels ({own}) have no tags of {what}"
    scheme = scheme_of(tag.letter for tag in ours)
    places = places_of(theirs, types)
    found = [rows_of(tag, scheme, places) for tag in ours]
    late = tuple(i for i, (_, is_late) in enumerate(found) if is_late)
    rows = Rows(tuple(group for group, _ in found), late)
    return rows, said_of(theirs, ours, types, rows)


def places_of(theirs: Sequence[Tag],
              types: dict[str, str]) -> dict[tuple[str, str], list[int]]:
    """The rows by letter and type of the task. A type that the task does not have is O there."""
    places: dict[tuple[str, str], list[int]] = {}
    for i, tag in enumerate(theirs):
        key = ("O", "")
        if tag.letter in NEAREST and tag.entity_type in types:
            key = (tag.letter, types[tag.entity_type])
        if tag.letter:
            places.setdefault(key, []).append(i)
    return places


def type_names(theirs: Sequence[Tag], ours: Sequence[Tag]) -> dict[str, str]:
    """By entity type of the head, that of the task.

    The same name, or the same without case and punctuation; any name where both have one type.
    """
    own = {tag.entity_type for tag in theirs if tag.letter in NEAREST}
    wanted = {tag.entity_type for tag in ours if tag.letter in NEAREST}
    found = {name: name for name in own & wanted}
    for name in sorted(own - wanted):
        alike = [other for other in wanted - own if plain_type(other) == plain_type(name)]
        if len(alike) == 1 and plain_type(name):
            found[name] = alike[0]
    if not found and len(own) == len(wanted) == 1:
        found = {own.pop(): wanted.pop()}
    return found


def plain_type(name: str) -> str:
    """An entity type without case and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def rows_of(tag: Tag, scheme: str,
            places: dict[tuple[str, str], list[int]]) -> tuple[tuple[int, ...], bool]:
    """The rows that stand for a tag of the task, and whether they stand for a nearer one first."""
    if tag.letter not in NEAREST:
        return tuple(places[tag.letter, ""]), False
    found: list[int] = []
    for letter in COVERED[scheme][tag.letter]:
        found += places.get((letter, tag.entity_type), [])
    if found:
        return tuple(sorted(found)), False
    for letter in NEAREST[tag.letter]:
        if found := places.get((letter, tag.entity_type), []):
            break
    return tuple(found), True


def said_of(theirs: Sequence[Tag], ours: Sequence[Tag], types: dict[str, str], rows: Rows) -> str:
    """What a user is told of tags that were matched."""
    if [tag.name for tag in theirs] == [tag.name for tag in ours]:
        return "head used as it came"
    said = "head used, rows matched by tag"
    one, other = scheme_name(theirs), scheme_name(ours)
    said += f": {one} as {other}" if one != other else ""
    others = sorted(f"{a or 'entities'} taken for {b or 'entities'}" for a, b in types.items()
                    if a != b)
    said += "".join(f"; {line}" for line in others)
    further = sorted({tag.entity_type for tag in theirs if tag.letter in NEAREST} - types.keys())
    said += f"; counted as O: {', '.join(further)}" if further else ""
    used = {row for group in rows.groups for row in group}
    unused = [tag.name for i, tag in enumerate(theirs) if i not in used]
    return said + (f"; not used: {', '.join(unused)}" if unused else "")


def scheme_name(tags: Sequence[Tag]) -> str:
    """The scheme as its users call it."""
    written = {tag.written for tag in tags}
    if written & {"L", "U"}:
        return "BILOU"
    if written & {"M", "W"}:
        return "BMEWO"
    if written & {"E", "S"}:
        return "IOBES"
    return "BIO" if "B" in written else "IO"
