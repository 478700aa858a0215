"""What argparse is extended by: suggestions for misspelt words, NAME=VALUE, settings, seeds."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kdbench.base.errors import BadInput
from kdbench.base.options import MOST_SEEDS
from kdbench.base.registry import unknown

MOST_PROCESSES = 1024  # and threads: more than any machine has cores for
SEED_DIGITS = 12


class Parser(argparse.ArgumentParser):
    """One line instead of the usage text, with a suggestion where a word is close to a known one.

    flags  of this parser, by their long names
    verbs  the parsers of the verbs, by name
    """

    def __init__(self, **arguments: Any):
        self.flags: list[str] = []
        self.verbs: dict[str, Parser] = {}
        super().__init__(**arguments)

    def add_argument(self, *names: Any, **arguments: Any) -> argparse.Action:
        """As argparse's; a value that is none of `choices` gets a suggestion."""
        if choices := arguments.pop("choices", None):
            arguments["type"] = one_of(arguments["metavar"], choices)
        action = super().add_argument(*names, **arguments)
        self.flags += [flag for flag in action.option_strings if flag.startswith("--")]
        return action

    def error(self, message: str) -> NoReturn:
        """Raise `BadInput` instead of ending the program."""
        raise BadInput(f"{message}; see `{self.prog} --help`")


def one_of(noun: str, choices: Sequence[str]) -> Callable[[str], str]:
    """A type for argparse: text that is one of `choices`."""

    def check(text: str) -> str:
        if text not in choices:
            raise BadInput(unknown(noun, text, choices))
        return text

    return check


class Assignment(argparse.Action):
    """Collects NAME=VALUE words in a dictionary."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, word: Any,
                 flag: str | None = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, {**before, **assignments([word], str(flag), before)})


class TaskOption(argparse.Action):
    """An option of the task that has a flag of its own."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: str | Sequence[Any] | None, option_string: str | None = None) -> None:
        """Put the value beside those of `--task-set`."""
        namespace.task_set = {**namespace.task_set, self.dest: values}


class Setting(argparse.Action):
    """Collects settings of the protocol, as text by name, which `kdbench.train.spec` checks."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, word: Any,
                 flag: str | None = None) -> None:
        name = self.option_strings[0].removeprefix("--").replace("-", "_")
        namespace.settings = {**namespace.settings, name: word}


def data_path(text: str) -> Path:
    """A file, a folder or an id of the hub. What is written as a path becomes absolute, as `Path`
    takes ``./`` away, and the rest might then be an id.
    """
    path = Path(text).expanduser()
    written = text.startswith((".", "~")) or text.endswith("/") or "\\" in text
    return path.absolute() if written else path


def assignments(words: Iterable[str], flag: str, before: Iterable[str] = ()) -> dict[str, str]:
    """NAME=VALUE words as a dictionary; `BadInput` where a name is given twice.

    before  names that were given already
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadInput(f"{flag} {word!r}: write NAME=VALUE")
        if name in found or name in before:
            raise BadInput(f"{flag} {name}: given twice")
        found[name] = value
    return found


def parse_seeds(text: str) -> tuple[int, ...]:
    """0-4 or 0,3,7 as whole numbers."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not is_seed(first) or (dash and not is_seed(last)):
            raise BadInput(f"--seeds {shown(text)}: write 0-4 or 0,3,7; a seed has at most "
                           f"{SEED_DIGITS} digits")
        count = len(seeds) + int(last or first) + 1 - int(first)
        if count > MOST_SEEDS:
            raise BadInput(f"--seeds {shown(text)}: {count:,} seeds, and at most {MOST_SEEDS:,} "
                           "can be run at once")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) != len(seeds) or not seeds:
        raise BadInput(f"--seeds {shown(text)}: a seed stands there twice, or none")
    return tuple(seeds)


def is_seed(text: str) -> bool:
    """Is a text a whole number in ASCII digits, and not too long?"""
    return text.isascii() and text.isdigit() and len(text) <= SEED_DIGITS


def shown(text: str) -> str:
    """What was given, for a message, cut after forty characters."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}..."


def parse_threads(text: str) -> int | str:
    """A number of threads, or `auto`."""
    return text if text == "auto" else count("--threads", text, ", or auto")


def parse_count(flag: str) -> Callable[[str], int]:
    """A type for argparse: a number from 1 on, of processes or threads."""
    return lambda text: count(flag, text)


def count(flag: str, text: str, more: str = "") -> int:
    """`text` as a number from 1 to `MOST_PROCESSES`; `BadInput` where it is none.

    more  what else can be given, in words
    """
    known = text.isascii() and text.isdigit() and len(text) < 10
    if not known or not 1 <= int(text) <= MOST_PROCESSES:
        raise BadInput(f"{flag} {text!r}: give a number from 1 to {MOST_PROCESSES:,}{more}")
    return int(text)


def parse_number(flag: str, most: float | None = None) -> Callable[[str], float]:
    """A type for argparse: a number above 0, and at most `most` where it is given."""
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= (most or sys.float_info.max):
            end = f", at most {most:g}" if most else ""
            raise BadInput(f"{flag} {text!r}: give a number above 0{end}")
        return value

    return parse
