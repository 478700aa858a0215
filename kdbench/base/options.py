"""Typed options of methods: each with its help text, its bounds, its source and its published
value.

    @dataclass(frozen=True)
    class Options:
        margin: float = option(1.0, "margin of the boundary loss", minimum=0.0, source="code")
        scale: str = option("mean", "what the boundary loss is divided by",
                            choices=("mean", "1/1000"), published="1/1000", source="code")

`--variant corrected` takes the defaults; `--variant published` takes `published` where one is
given; `--set name=value` overrides either.

`why` says what stands behind an option on which the variants differ, or which the published code
does not have:

    intent    corrected mends a mistake of the code, or does what the paper describes and the code
              does not
    protocol  a setting of training that corrected leaves to the comparison, so that all methods
              have the same one
    ours      an alternative of this project, which neither variant takes: it is off until `--set`
              asks for it
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.identity import file_digest
from kdbench.base.registry import unknown

VARIANTS = ("corrected", "published")
WHY = ("intent", "protocol", "ours")
_SAME = object()


def option(default: Any, help: str, *, published: Any = _SAME, choices: tuple = (),
           minimum: float | None = None, maximum: float | None = None, source: str = "",
           file: bool = False, why: str = "intent", setting: str = "", follows: str = "",
           later: bool = False, search: Sequence[Any] = ()) -> Any:
    """A field of an options class.

    source   where the value comes from (paper, README, code)
    file     the option names a file, which must exist before anything is trained
    why      one of `WHY`; an option of ours has no published value of its own
    setting  the protocol's setting in whose place the option stands: it takes the value of that
             setting where a user, or the published settings of a task, give one; None is the
             protocol's
    follows  the setting that a published value of the option goes with: where a user gives that
             setting, the option keeps its default
    later    records leave the option out where it has its default, so that those of the time
             before it keep their ids
    search   what a search tries (`kdbench.search.space`): (low, high), (low, high, "log"), or a
             list of values
    """
    if why not in WHY or (why == "ours" and published is not _SAME):
        raise TypeError(
            f"option {help!r}: why is one of {', '.join(WHY)}, and `ours` has no published value")
    facts = {
        "help": help, "choices": choices, "minimum": minimum, "maximum": maximum, "source": source,
        "file": file, "why": why, "setting": setting, "follows": follows, "later": later,
        "search": search
    }
    if published is not _SAME:
        facts["published"] = published
    return dataclasses.field(default=default, metadata=facts)


def build(cls: type, variant: str, given: Mapping[str, Any], owner: str) -> Any:
    """An instance of the options class `cls` for `variant`, with `given` (text or typed values) on
    top.

    `BadInput` reports all mistakes at once, in one line.
    """
    if variant not in VARIANTS:
        raise BadInput(unknown("variant", variant, VARIANTS))
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values = published_values(cls) if variant == "published" else {}
    mistakes = []
    for name, value in given.items():
        if name not in fields:
            mistakes.append(unknown_option(name, owner, fields))
            continue
        try:
            values[name] = check(name, value, hints[name], fields[name].metadata)
        except ValueError as error:
            mistakes.append(f"{owner}: {error}")
    if mistakes:
        raise BadInput("; ".join(mistakes))
    return cls(**values)


def published_values(cls: type) -> dict[str, Any]:
    """The published values of the options that have one, by name."""
    values = {}
    for field in dataclasses.fields(cls):
        if "published" in field.metadata:
            values[field.name] = field.metadata["published"]
    return values


def unknown_option(name: str, owner: str, valid: Iterable[str]) -> str:
    """One line for an option that `owner` does not have."""
    names = list(valid)
    if not names:
        return f"{owner} has no option {name!r}"
    return unknown(f"option of {owner}", name, names)


def implied(cls: type, variant: str, settings: Mapping[str, Any], recipe: Mapping[str, Any],
            published: Mapping[str, Any]) -> dict[str, Any]:
    """The options that follow from settings, so that no setting is passed over in silence.

    An option that the user gives stands before all of these.

    settings   settings that the user gave, by name
    recipe     options of the published settings of a task
    published  those settings
    """
    found = {}
    for field in dataclasses.fields(cls):
        name, setting = field.name, field.metadata.get("setting") or ""
        value = field.default
        if variant == "published":
            value = field.metadata.get("published", value)
        if setting and settings.get(setting) is not None:
            if value is not None:
                found[name] = settings[setting]
        elif name in recipe and settings.get(field.metadata.get("follows", "")) is None:
            found[name] = recipe[name]
        elif setting in published and value is not None:
            found[name] = published[setting]
    return found


def check(name: str, value: Any, hint: Any, facts: Mapping[str, Any]) -> Any:
    """`value` as the type `hint`, inside its choices and bounds.

    facts  what `option` was given: choices, minimum, maximum, file

    `ValueError` says what is wrong.
    """
    value = convert(name, value, hint)
    if value is None:
        return None
    if facts.get("choices"):
        check_choice(name, value, facts["choices"])
    if facts.get("file") and not Path(value).is_file():
        raise ValueError(f"option {name}: {value}: no such file, or none that can be read twice")
    if isinstance(value, (int, float)):
        check_bounds(name, value, facts.get("minimum"), facts.get("maximum"))
    return value


def check_choice(name: str, value: Any, choices: tuple) -> None:
    """`ValueError` unless `value`, or each item of it, is one of `choices`."""
    for item in value if isinstance(value, tuple) else (value,):
        if item not in choices:
            listed = ", ".join(map(str, choices))
            raise ValueError(f"option {name}: {item!r} is not one of {listed}")


def check_bounds(name: str, value: float, minimum: float | None, maximum: float | None) -> None:
    """`ValueError` where `value` lies outside of its bounds."""
    if minimum is not None and value < minimum:
        raise ValueError(f"option {name}: {value} is below its minimum {minimum}")
    if maximum is not None and value > maximum:
        raise ValueError(f"option {name}: {value} is above its maximum {maximum}")


LARGEST = 10**15  # of a whole number; what counts steps or bytes is far below it
MOST_SEEDS = 10_000  # of one command: each is a cell that is planned before anything runs

WORDS = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}


def convert(name: str, value: Any, hint: Any) -> Any:
    """Text from the command line or a value from TOML, as the type `hint`; `ValueError` where it
    is none.
    """
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "")):
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is tuple:
        return convert_items(name, value, typing.get_args(hint)[0])
    if hint is bool and isinstance(value, bool):
        return value
    if hint is bool and str(value).lower() in WORDS:
        return WORDS[str(value).lower()]
    if hint is bool:
        raise ValueError(f"option {name}: {value!r} is not yes or no")
    if isinstance(value, bool):
        raise ValueError(f"option {name}: {value!r} is not a {noun(hint)}")
    try:
        number = hint(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"option {name}: {value!r} is not a {noun(hint)}") from None
    if hint is float and not math.isfinite(number):
        kind = "number" if number != number else "finite number"
        raise ValueError(f"option {name}: {value!r} is not a {kind}")
    if hint is int and abs(number) > LARGEST:
        raise ValueError(f"option {name}: {value!r} is larger than {LARGEST:,}")
    return number


def convert_items(name: str, value: Any, hint: Any) -> tuple:
    """A list, or text with commas, as a tuple of the type `hint`."""
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    return tuple(convert(name, item, hint) for item in items if item != "")


def noun(hint: type) -> str:
    """A type in the words of a message."""
    names = {int: "whole number", float: "number", str: "text"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def recorded(given: Any) -> dict[str, Any]:
    """An instance of an options class as a record keeps it: a file is known by its content,
    ``sha256:...``, never by its path.
    """
    found = dataclasses.asdict(given)
    for field in dataclasses.fields(given):
        if field.metadata.get("file") and found[field.name] is not None:
            found[field.name] = by_content(found[field.name])
        if field.metadata.get("later") and found[field.name] == field.default:
            del found[field.name]
    return found


def by_content(path: str | Path) -> str:
    """What stands for a file in records: the beginning of its SHA-256."""
    return f"sha256:{file_digest(Path(path))[:24]}"


def describe(cls: type) -> list[dict[str, Any]]:
    """Rows for `show` and the documentation: name, default, published value, help, source, why."""
    rows = []
    for field in dataclasses.fields(cls):
        facts = field.metadata
        rows.append({
            "name": field.name,
            "default": field.default,
            "published": facts.get("published", field.default),
            "help": facts.get("help", ""),
            "choices": facts.get("choices", ()),
            "source": facts.get("source", ""),
            "why": facts.get("why", "intent"),
            "search": facts.get("search", ()),
        })
    return rows


def differing(cls: type) -> list[dict[str, Any]]:
    """The rows of `describe` on which the variants differ: corrections of mistakes first, then what
    the protocol decides.
    """
    rows = [row for row in describe(cls) if row["published"] != row["default"]]
    return sorted(rows, key=lambda row: WHY.index(row["why"]))


def alternatives(cls: type) -> list[dict[str, Any]]:
    """The rows of `describe` that are ours: what neither variant does."""
    return [row for row in describe(cls) if row["why"] == "ours"]


def written(value: Any) -> str:
    """An option's value as the command line takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
