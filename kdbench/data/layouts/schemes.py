"""Tag schemes as files have them, and their tags in the schemes that the tasks read.

    IOB     B-Drug I-Drug               read as it is
    IO      I-Drug I-Drug               read as it is
    IOBES   B-Drug E-Drug, S-Drug       read as it is
    BILOU   B-Drug L-Drug, U-Drug       L is E, U is S
    BMEWO   B-Drug M-Drug E-Drug, W-    M is I, W is S
    BMES    B-Drug M-Drug E-Drug, S-    M is I
    IOB1    B- only between neighbours  entities written anew as IOB
    bare    Drug Drug                   I-Drug: a border between neighbours of one type is lost
    suffix  Drug-B Drug-I               the letter goes to the front
    B_Drug I_Drug                       with underscores in all tags: the same with a hyphen

What a scheme is, is decided by the tags of the whole file. Up to half of those with a type, and a
tenth of those without one, may fit none: a bad tag is named by whoever reads the rows; it does not
turn the file into something else. Letters are mapped tag by tag, so that a sequence that breaks its
scheme still does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

from kdbench.data import tags

Sentences = Sequence[Sequence[str]]

# letters of a scheme and what they are in IO, IOB or IOBES; the plainest scheme first
LETTERS: Mapping[str, Mapping[str, str]] = {
    "IO": {"I": "I"},
    "IOB": {"B": "B", "I": "I"},
    "IOBES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "BMEWO": {"B": "B", "M": "I", "E": "E", "W": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
}
PREFIX = re.compile(r"([BIESLUMW])(-.+)?")
SUFFIX = re.compile(r"(.+)-([BIESLUMW])")
UNDERSCORE = re.compile(r"[BIESLUMW]_.+")
WHOLE = 0.99  # a letter that one tag in a hundred has is a mistake, not another scheme
NEARLY = {"typed": 0.5, "bare letters": 0.9}
OUTSIDE = "O"
SAME = ("", "IO", "IOB", "IOBES")  # read as they are
# more kinds of bare tags than this are words or labels, not entity types
MANY_TYPES = 60


def scheme_of(sentences: Sentences) -> str:
    """The scheme of these tags; empty: none.

    `` suffix`` is added where the letter stands last, `` underscore`` where one divides it.

    Bare types are a scheme only where O is the most frequent tag: entities are the exception, and
    part-of-speech tags or labels of words are not.
    """
    counts = Counter(tag for sentence in sentences for tag in sentence)
    outside = counts.pop(OUTSIDE, 0)
    if not counts or not outside:
        return ""
    if all(map(UNDERSCORE.fullmatch, counts)) and any(tag[0] == "B" for tag in counts):
        hyphens = Counter({with_hyphen(tag): count for tag, count in counts.items()})
        return f"{_by_letter(hyphens, PREFIX, 1)} underscore"
    found = _by_letter(counts, PREFIX, 1)
    if found:
        return "IOB1" if found == "IOB" and is_iob1(sentences) else found
    found = _by_letter(counts, SUFFIX, 2)
    if found:
        return f"{found} suffix"
    frequent = outside >= max(counts.values())
    plain = all(len(tag.split()) == 1 and any(map(str.isalpha, tag)) for tag in counts)
    return "bare" if frequent and plain and len(counts) <= MANY_TYPES else ""


def _by_letter(counts: Mapping[str, int], pattern: re.Pattern[str], place: int) -> str:
    letters: Counter[str] = Counter()
    typed = False
    for tag, count in counts.items():
        match = pattern.fullmatch(tag)
        letters[match[place] if match else ""] += count
        typed = typed or bool(match) and "-" in tag
    fitting = {}
    for scheme, known in LETTERS.items():
        fitting[scheme] = sum(letters[letter] for letter in known)
    total = sum(counts.values())
    whole = [scheme for scheme in LETTERS if fitting[scheme] >= WHOLE * total]
    best = max(fitting, key=fitting.__getitem__)
    if whole:
        return whole[0]
    return best if fitting[best] >= NEARLY["typed" if typed else "bare letters"] * total else ""


def is_iob1(sentences: Sentences) -> bool:
    """Does B- stand only right after an entity of its type, at least once, and does I- open others?

    Both are needed: I- alone is IO, and one I- that opens an entity is a mistake in IOB.
    """
    border = opened = 0
    for sentence in sentences:
        before = ("O", "")
        for tag in sentence:
            prefix, own = tags.parts(tag)
            touches = before[0] != OUTSIDE and before[1] == own
            if prefix == "B" and not touches:
                return False
            border += prefix == "B"
            opened += prefix == "I" and not touches
            before = (prefix, own)
    return border > 0 and opened > 0


def letters_of(scheme: str) -> str:
    """The scheme without where its letters stand."""
    return scheme.removesuffix(" suffix").removesuffix(" underscore")


def is_known(scheme: str) -> bool:
    """Is it a scheme that is read here?"""
    return scheme in (*SAME, "IOB1", "bare") or letters_of(scheme) in LETTERS


def with_hyphen(tag: str) -> str:
    """``B-Drug`` for ``B_Drug``; other tags as they are."""
    return f"{tag[0]}-{tag[2:]}" if UNDERSCORE.fullmatch(tag) else tag


def are_tags(labels: Collection[str]) -> bool:
    """Are these labels the tags of words: O with B-TYPE, I-TYPE, ..., or B and I of one type?"""
    letters: dict[str, set[str]] = {}
    for label in {*labels} - {OUTSIDE}:
        match = PREFIX.fullmatch(with_hyphen(label))
        if match is None:
            return False
        letters.setdefault(match[2] or "", set()).add(match[1])
    both = any({"B", "I"} <= own for own in letters.values())
    return both or OUTSIDE in labels and bool(letters) and "" not in letters


def read_as(scheme: str) -> str:
    """The scheme of the tasks (IO, IOB, IOBES) in which tags of `scheme` are read."""
    letters = letters_of(scheme)
    if letters in ("bare", "IO"):
        return "IO"
    return "IOB" if letters in ("IOB", "IOB1") else "IOBES"


def converted(sentence: Sequence[str], scheme: str) -> list[str]:
    """The tags of one sentence in ``read_as(scheme)``; tags that do not fit stay as they are."""
    if scheme in SAME:
        return list(sentence)
    if scheme == "IOB1":
        return tags.encode(_iob1_spans(sentence), len(sentence), "IOB")
    if scheme == "bare":
        return [tag if tag == OUTSIDE else f"I-{tag}" for tag in sentence]
    letters = LETTERS[letters_of(scheme)]
    if scheme.endswith(" underscore"):
        sentence = [with_hyphen(tag) for tag in sentence]
    if scheme.endswith(" suffix"):
        return [_from_suffix(tag, letters) for tag in sentence]
    return [_from_prefix(tag, letters) for tag in sentence]


def _from_prefix(tag: str, letters: Mapping[str, str]) -> str:
    match = PREFIX.fullmatch(tag)
    if match is None or match[1] not in letters:
        return tag
    return letters[match[1]] + (match[2] or "")


def _from_suffix(tag: str, letters: Mapping[str, str]) -> str:
    match = SUFFIX.fullmatch(tag)
    if match is None or match[2] not in letters:
        return tag
    return f"{letters[match[2]]}-{match[1]}"


def _iob1_spans(sentence: Sequence[str]) -> list[tags.Span]:
    spans: list[tags.Span] = []
    before = ("O", "")
    for i, tag in enumerate(sentence):
        prefix, own = tags.parts(tag)
        if prefix == "I" and before[0] != OUTSIDE and before[1] == own:
            spans[-1] = (spans[-1][0], i + 1, own)
        elif prefix != OUTSIDE:
            spans.append((i, i + 1, own))
        before = (prefix, own)
    return spans


def like_train(scheme: str, train: str) -> str:
    """The scheme of a split, read as train was.

    A short test file may have only some letters of its scheme: only I- of IOB1, or nothing but O.
    """
    letters, wanted = letters_of(scheme), letters_of(train)
    if not train or letters == wanted or letters not in LETTERS:
        return scheme or train
    if wanted == "IOB1":
        return train if letters in ("IO", "IOB") else scheme
    subset = wanted in LETTERS and LETTERS[letters].keys() <= LETTERS[wanted].keys()
    return train if subset else scheme


def note(scheme: str) -> str:
    """What was converted, for people; empty where nothing was."""
    if scheme in SAME:
        return ""
    if scheme == "IOB underscore":
        return "tags are B_TYPE, I_TYPE, read as B-TYPE, I-TYPE"
    what = {"bare": "types without B or I", "IOB1": "IOB1 (B- only between neighbours)"}
    return f"tags are {what.get(scheme, scheme)}, read as {read_as(scheme)}"


def words_kept(words: Sequence[str]) -> list[bool]:
    """False for a word that nobody sees: blanks of any kind, zero-width and control characters."""
    if all(map(str.isprintable, words)) and all(map(str.strip, words)):
        return [True] * len(words)
    return [not is_invisible(word) for word in words]


def is_invisible(word: str) -> bool:
    """Has the word no character that leaves a mark on paper?"""
    return not any(char.isprintable() and not char.isspace() for char in word)


def without(words: Sequence[str], sentence: Sequence[str],
            scheme: str) -> tuple[list[str], list[str]]:
    """Words and tags (of `scheme`: IO, IOB or IOBES) without the invisible ones.

    An entity keeps its other words: where its first one goes, the next one opens it.
    """
    kept = words_kept(words)
    left = [word for word, keep in zip(words, kept, strict=True) if keep]
    gone = [tag for tag, keep in zip(sentence, kept, strict=True) if not keep]
    if set(gone) <= {OUTSIDE}:
        return left, [tag for tag, keep in zip(sentence, kept, strict=True) if keep]
    places = list(accumulate(kept, initial=0))
    spans = []
    for first, end, entity_type in tags.lenient_spans(sentence):
        if places[first] < places[end]:
            spans.append((places[first], places[end], entity_type))
    return left, tags.encode(spans, len(left), scheme)
