"""Lists that a cell of a table spells out in brackets, as programs print them.

    ["a", "b"]    ['a', 'b']    [1, 0]    JSON and Python
    ['a' 'b']     [1 0]         [1. 0.]   numpy; its long lists run over several lines
    {'a', 'b'}    set()                   sets of Python
    ('a', 'b')    ('a',)        ()        tuples
    array(['a', 'b'], dtype=object)       numpy in a list of Python
    [a, b]        {a,"b c"}     []        bare names, as by hand or as a database prints an array

Python joins texts without a comma between them: ``['a' 'b']`` would be the one text ``ab``. So a
list of texts in quotes is read by its quotes before anything else.
"""

from __future__ import annotations

import ast
import re

from kdbench.base.reading import check_depth, parsed

LONGEST = 400  # characters of a number; the longest that a float has are below it
PAIRS = {"[": "]", "{": "}", "(": ")"}
EMPTY = ("set()", "frozenset()")
QUOTED = r"""[bru]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
TEXT = re.compile(QUOTED, re.DOTALL)
TEXTS = re.compile(rf"{QUOTED}(?:(?:\s*,\s*|\s+|){QUOTED})*\s*,?", re.DOTALL)
CALL = re.compile(r"(?:array|list|set|frozenset|tuple|Index)\((.+?)(?:,\s*dtype=[\w'<>]+)?\)",
                  re.DOTALL)
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
WORDS = {"true": True, "false": False}
ANY_BRACKET = re.compile(r"[\[\]{}()]")


def in_brackets(value: str, bare: bool = False) -> list[object] | None:
    """The list that a cell spells out; None where it is none.

    bare  may its names be without quotes, as in ``[a, b]``
    """
    text = value.strip()
    if text in EMPTY:
        return []
    if call := CALL.fullmatch(text):
        text = call[1].strip()
    if len(text) < 2 or PAIRS.get(text[0]) != text[-1]:
        return None
    inner = text[1:-1].strip()
    if not inner:
        return [] if bare or text[0] == "[" else None
    if TEXTS.fullmatch(inner):
        return _texts(inner)
    found = _parsed(text) if text[0] == "[" else None
    if found is None and (text[0] != "(" or "," in inner):  # (1) is no tuple
        found = _numbers(inner)
    return _names(inner) if found is None and bare else found


def _texts(inner: str) -> list[object]:
    """The texts in quotes, with whatever between them."""
    found: list[object] = []
    for quoted in TEXT.findall(inner):
        one = _parsed(f"[{quoted}]")
        found += one if one is not None else [quoted[1:-1]]
    return found


def _parsed(text: str) -> list[object] | None:
    """A list of JSON or of Python."""
    for parse in (parsed, ast.literal_eval):
        try:
            found = parse(text)
            check_depth(found)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _numbers(inner: str) -> list[object] | None:
    """Numbers or truth values with commas or blanks between them."""
    found: list[object] = []
    for item in re.split(r"\s*,\s*|\s+", inner.rstrip(", ")):
        if item.lower() in WORDS:
            found.append(WORDS[item.lower()])
        elif len(item) <= LONGEST and NUMBER.fullmatch(item):
            found.append(float(item) if set(item) & set(".eE") else int(item))
        else:
            return None
    return found


def _names(inner: str) -> list[object] | None:
    """Names with commas between them, of which some may be in quotes."""
    found: list[object] = []
    for item in re.split(rf"\s*({QUOTED}|[^,]+)\s*", inner)[1::2]:
        name = item.strip()
        if TEXT.fullmatch(name):
            found += _texts(name)
        elif ANY_BRACKET.search(name) or not name:
            return None
        else:
            found.append(name)
    return found
