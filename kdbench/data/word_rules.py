"""How a raw text is cut into words: a table of rules, and the one by which a corpus was cut.

Each rule is a regular expression whose matches are the words, so that `re.finditer` is all that it
takes to serve a tagger elsewhere. The rule of a corpus is the one that gives its words back:

- from the texts themselves, where the corpus has them;
- else from two texts made of the words: joined by blanks, and set as print sets them (no blank
  before a comma or inside of brackets). Cutting at blanks gives back whatever was joined by them.
  The second text tells whether a text that nobody has cut yet would be cut like the corpus.

Of rules that do equally well the first of the table is taken.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdbench.data.task import Example

Border = tuple[int, int]  # first character of a word and the one after its last

# of students from before rules were learned
FORMER = r"\w+|[^\w\s]"
LAST = 0x20000  # no punctuation mark and no symbol has a higher number
SAMPLE = 1000  # sentences that decide a rule, evenly spread over those given


def _class(members: Callable[[str], bool]) -> str:
    r"""The characters of a regular expression's class, as ranges of \u escapes.

    A range may run over code points that Unicode has not assigned.
    """
    ranges: list[list[int]] = []
    open_range = False
    for code in range(LAST):
        char = chr(code)
        if members(char):
            if not open_range:
                ranges.append([code, code])
            ranges[-1][1] = code
            open_range = True
        elif unicodedata.category(char) not in ("Cn", "Cs", "Co"):
            open_range = False
    return "".join(_escaped(first) + (f"-{_escaped(last)}" if last > first else "")
                   for first, last in ranges)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_punctuation(char: str) -> bool:
    """Punctuation and symbols; a combining accent is neither."""
    return unicodedata.category(char)[0] in "PS"


# Han, kana and their marks of repetition: scripts without blanks between words
IDEOGRAPHS = r"\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff" \
             r"\uff66-\uff9f\U00020000-\U000323af"
CLITIC = r"(?:[nN]['\u2019][tT]|['\u2019](?:[sSmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))(?![^\s{p}])"
# name -> words; {p} stands for punctuation and symbols, {c} for ideographs, {n} for a clitic. Of
# rules that do equally well the first is taken: one that cuts a text nobody has cut yet
RULES: dict[str, str] = {
    "punctuation": r"[^\s{p}]+|[{p}]",
    "edges": r"[^\s{p}](?:\S*[^\s{p}])?|\S",
    "clitics": r"{n}|[^\s{p}](?:(?:(?!{n})\S)*(?!{n})[^\s{p}])?|\S",
    "treebank": r"{n}|[^\s{p}](?:(?:(?!{n})\S)*(?!{n})(?:[^\s{p}]|\.(?!\s*$)))?|\.\.\.|--|''|``|\S",
    "hyphens": r"[^\s{p}](?:(?:(?!{n}|(?<=[^\W\d_])[-\u2013\u2014/~](?=[^\W\d_]))\S)*"
               r"(?!{n})[^\s{p}])?|{n}|\S",
    "numbers": r"\d+(?:[.,]\d+)+(?![^\s{p}])|[^\s{p}]+|[{p}]",
    "runs": r"[^\s{p}]+|[{p}]+",
    "digits": r"\d+|[^\s\d{p}]+|[{p}]",
    "blanks": r"\S+",
    "ideographs": r"[{c}]|[^\s{p}{c}]+|[{p}]",
    "ideographs, edges": r"[{c}]|[^\s{p}{c}](?:[^\s{c}]*[^\s{p}{c}])?|[^\s{c}]",
    "characters": r"\S[\u0300-\u036f\u200d\ufe00-\ufe0f]*",
}
ABOUT = {
    "punctuation": "cut at blanks and at every punctuation mark, also inside of words",
    "edges": "cut at blanks, with punctuation at the edges of words cut off",
    "clitics": "cut at blanks, with punctuation at the edges of words, n't and 's cut off",
    "treebank": "cut as in the Penn Treebank: punctuation at the edges of words, n't and 's cut "
                "off, full stops only at the end",
    "hyphens": "cut at blanks, with punctuation at the edges of words, n't and 's cut off, and at "
               "hyphens and slashes between letters",
    "numbers": "cut at blanks and at every punctuation mark, except in numbers such as 0.5",
    "runs": "cut at blanks and at punctuation, of which a run is one word",
    "digits": "cut at blanks, at every punctuation mark, and between letters and digits",
    "blanks": "cut at blanks alone",
    "ideographs": "cut at blanks and at every punctuation mark, with each ideograph a word",
    "ideographs, edges": "cut at blanks, with punctuation at the edges of words cut off and each "
                         "ideograph a word",
    "characters": "cut into characters",
}


@cache
def pattern(rule: str) -> str:
    """The regular expression of a rule, in ASCII; its matches are the words."""
    punctuation = _class(is_punctuation)
    clitic = CLITIC.replace("{p}", punctuation)
    whole = RULES[rule].replace("{n}", clitic)
    return whole.replace("{p}", punctuation).replace("{c}", IDEOGRAPHS)


CLASS = re.compile(r"\[\^?[^\]]*\]")
LONGEST = 20_000  # characters of a rule's expression; the longest has 7,000


def is_known(expression: str) -> bool:
    """Is this the expression of a rule, whatever its classes hold, which differ between versions of
    Unicode? Any other regular expression might try for ever to match a text.
    """
    forms = {CLASS.sub("[]", whole.replace("{n}", CLITIC)) for whole in (*RULES.values(), FORMER)}
    if len(expression) > LONGEST or CLASS.sub("[]", expression) not in forms:
        return False
    try:
        return compiled(expression) is not None
    except re.error:  # a range that runs backwards
        return False


@cache
def compiled(expression: str) -> re.Pattern[str]:
    """A regular expression, compiled once."""
    return re.compile(expression)


def borders(text: str, expression: str) -> list[Border]:
    """First character and end of every word of a text, by the expression of a rule."""
    return [match.span() for match in compiled(expression).finditer(text)]


def cut(text: str, expression: str) -> list[str]:
    """The words of a text, by the expression of a rule."""
    return [match.group() for match in compiled(expression).finditer(text)]


# ---- texts of words ------------------------------------------------------------------------------

OPENING = frozenset("([{«“‘（「『")
CLOSING = frozenset(".,;:!?)]}%»”…、。，；：！？）」』")
BETWEEN = frozenset("-–/'’")  # they touch the words on both sides
POINT = re.compile(r"(?<=\d)\. (?=\d)")
GLUED = re.compile(r"['’](?:s|m|d|re|ve|ll)|n['’]t", re.IGNORECASE)
SYLLABLE = re.compile(rf"[{IDEOGRAPHS}\uac00-\ud7a3]")  # Hangul too, which may be cut so


def as_printed(words: Sequence[str]) -> str:
    """The words as a text that nobody has cut: without blanks where print has none."""
    parts: list[str] = []
    before = ""
    for word in words:
        if parts and not _touch(before, word):
            parts.append(" ")
        parts.append(word)
        before = word
    return POINT.sub(".", "".join(parts))


def _touch(before: str, word: str) -> bool:
    """Do two neighbours stand in print without a blank between them?"""
    if before in OPENING or word in CLOSING or before in BETWEEN or word in BETWEEN:
        return True
    if GLUED.fullmatch(word):
        return True
    return bool(SYLLABLE.fullmatch(before) and SYLLABLE.fullmatch(word))


def raw_text(example: Example) -> str:
    """The text of a tagged example: its own, where that consists of its words, else the words
    joined by blanks.
    """
    own = example.text and aligned(example.words, example.text) is not None
    return example.text if own else " ".join(example.words)


def aligned(words: Sequence[str], text: str) -> list[Border] | None:
    """First character and end of each word in a text that consists of these words.

    None where it does not: between them may stand only what nobody sees.
    """
    found: list[Border] = []
    place = 0
    for word in words:
        start = text.find(word, place)
        if start < 0 or not _is_unseen(text[place:start]):
            return None
        place = start + len(word)
        found.append((start, place))
    return found if _is_unseen(text[place:]) else None


def _is_unseen(piece: str) -> bool:
    return all(char.isspace() or unicodedata.category(char) in ("Cf", "Cc") for char in piece)


# ---- the rule of a corpus ------------------------------------------------------------------------


@dataclass(frozen=True)
class WordRule:
    """The rule by which the texts of a tagger are cut.

    name      a key of `RULES`
    original  whether the corpus has the texts themselves
    share     of its sentences, from their raw texts, that get the very same words
    """

    name: str
    original: bool
    share: float

    @property
    def pattern(self) -> str:
        """The regular expression whose matches are the words."""
        return pattern(self.name)


def learned(examples: Sequence[Example]) -> WordRule:
    """The rule that gives back the words of most sentences, by a sample of them."""
    sample = examples[::math.ceil(len(examples) / SAMPLE)]
    texts = [[raw_text(example) for example in sample]]
    original = any(example.text == text for example, text in zip(sample, texts[0], strict=True))
    if not original:
        texts.append([as_printed(example.words) for example in sample])
    best, best_shares = "", [-1.0]
    for rule in RULES:
        shares = [_share(sample, each, pattern(rule)) for each in texts]
        if sum(shares) > sum(best_shares):
            best, best_shares = rule, shares
        if min(shares) == 1:  # none can do better
            break
    return WordRule(best, original, round(best_shares[0], 4))


def _share(examples: Sequence[Example], texts: Sequence[str], expression: str) -> float:
    """The share of examples whose text is cut into their words."""
    same = sum(cut(text, expression) == list(example.words)
               for text, example in zip(texts, examples, strict=True))
    return same / len(examples)
