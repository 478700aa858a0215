"""The values of labels.json, each of the type and within the bounds that answers need."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kdbench.data.lengths import POOLING
from kdbench.data.task import TASK_TYPES
from kdbench.data.word_rules import is_known

LONGEST = 1_000_000  # tokens
PREFIX = 8  # characters; a blank is usual


def is_texts(value: object) -> bool:
    """A list of texts, none of them twice."""
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return texts and len(set(value)) == len(value)  # type: ignore[arg-type, call-overload]


def is_names(value: object) -> bool:
    """A table of texts."""
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def is_length(value: object) -> bool:
    """A number of tokens."""
    return type(value) is int and 1 <= value <= LONGEST


def is_stride(value: object) -> bool:
    """A number of tokens, from 0; it may be missing."""
    return value is None or (type(value) is int and 0 <= value <= LONGEST)  # type: ignore[operator]


def is_pooling(value: object) -> bool:
    """How the windows of a text make one answer."""
    return isinstance(value, str) and value in POOLING


def is_share(value: object) -> bool:
    """A probability or a share; it may be missing."""
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)  # type: ignore[operator]


def is_temperature(value: object) -> bool:
    """What logits are divided by; it may be missing."""
    return value is None or (type(value) in (int, float) and 0 < value < LONGEST)  # type: ignore[operator]


def is_ids(value: object) -> bool:
    """A list of token ids."""
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def is_text(value: object) -> bool:
    """A text."""
    return isinstance(value, str)


def is_prefix(value: object) -> bool:
    """A text of a few characters."""
    return isinstance(value, str) and len(value) <= PREFIX


def is_rule(value: object) -> bool:
    """The regular expression of a rule that cuts texts into words."""
    return isinstance(value, str) and is_known(value)


RULES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "kind": (lambda value: isinstance(value, str) and value in TASK_TYPES, "a type of task"),
    "labels": (is_texts, "a list of texts, each once"), "names": (is_names, "a table of texts"),
    "max_length": (is_length, f"a whole number from 1 to {LONGEST:,}"),
    "stride": (is_stride, f"a whole number from 0 to {LONGEST:,}"),
    "pooling": (is_pooling, f"one of {', '.join(POOLING)}"),
    "threshold": (is_share, "a number from 0 to 1"),
    "positive_rate": (is_share, "a number from 0 to 1"),
    "temperature": (is_temperature, "a number above 0"),
    "hidden_ids": (is_ids, "a list of token ids"), "members": (is_texts, "a list of names"),
    "word_rule": (is_text, "a text"), "word_prefix": (is_prefix, "a text of a few characters"),
    "word_pattern": (is_rule, "a rule that is known here; for a newer one, upgrade kdbench"),
}


def mistake(content: Mapping[str, object]) -> str:
    """What is wrong with the values of a labels.json; empty: nothing."""
    for name, value in content.items():
        if name in RULES and not RULES[name][0](value):
            given = repr(value)
            given = given if len(given) <= 40 else f"{given[:40]}..."
            return f"{name} is {given}, not {RULES[name][1]}"
    return ""
