"""The types of what a suite's TOML holds, checked before anything else looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[object], bool]

# cells of one entry, before seeds and controls: its lists multiply
GRID_LIMIT = 10_000


def is_number(value: object) -> bool:
    """A number, not below nothing; NaN and infinity are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300


def is_text(value: object) -> bool:
    """A text that can name something: no NUL in it."""
    return isinstance(value, str) and "\0" not in value


def is_scalar(value: object) -> bool:
    """A text, a number, or yes or no."""
    return isinstance(value, str | int | float | bool)


def is_axis(inner: Check) -> Check:
    """A value of a kind, or a list of them with at least one."""

    def check(value: object) -> bool:
        return inner(value) or (isinstance(value, list) and bool(value) and all(map(inner, value)))

    return check


def is_table(inner: Check) -> Check:
    """A table whose values are all of a kind."""

    def check(value: object) -> bool:
        return isinstance(value, dict) and all(map(inner, value.values()))

    return check


def is_seeds(value: object) -> bool:
    """A number of seeds, or a list of them."""
    found = value if isinstance(value, list) else [value]
    return bool(found) and all(type(seed) is int for seed in found)


def is_tables(value: object) -> bool:
    """A list of tables."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def is_figures(value: object) -> bool:
    """A list of published figures: tables of plain values, and of options."""
    return is_tables(value) and all(
        is_scalar(item) or is_table(is_scalar)(item) for figure in value  # type: ignore[attr-defined]
        for item in figure.values())


TEXT, TEXTS, NUMBER = (is_text, "a text"), (is_axis(is_text), "a text, or a list"), \
    (is_number, "a number")
SEEDS = (is_seeds, "a number of seeds or a list of them")
FLAG: tuple[Check, str] = (lambda value: isinstance(value, bool), "true or false")
COUNT: tuple[Check, str] = (lambda value: type(value) is int and value > 0,
                            "a whole number above 0")
TOP: dict[str, tuple[Check, str]] = {
    "about": TEXT, "data": TEXT, "cpu_hours": NUMBER, "gpu_hours": NUMBER, "seeds": SEEDS,
    "controls": FLAG, "trials": COUNT, "trial_seconds": NUMBER,
}
ENTRY: dict[str, tuple[Check, str]] = {
    **dict.fromkeys(("method", "task", "teacher", "student", "teacher_labels", "teacher_weights",
                     "variant", "recipe", "unlabelled"), TEXTS),
    "options": (is_table(is_table(is_axis(is_scalar))), "a table of options for each method"),
    **dict.fromkeys(("task_options", "teacher_options"),
                    (is_axis(is_table(is_scalar)), "a table of options")),
    "resources": (is_table(is_number), "a table of numbers"),
    "published": (is_figures, "a list of tables"),
    "seeds": SEEDS, "controls": FLAG,
}
SETTING = (is_axis(is_scalar), "a text, a number, or a list")


def mistakes_of_types(table: Mapping[str, Any], known: Mapping[str, tuple[Check, str]],
                      otherwise: tuple[Check, str] | None = None) -> list[str]:
    """One line for each value of another type than it should have.

    otherwise  of keys that are not in `known`; None: anything
    """
    mistakes = []
    for key, value in table.items():
        rule = known.get(key, otherwise)
        if rule is not None and not rule[0](value):
            given = repr(value)
            given = given if len(given) <= 40 else f"{given[:40]}..."
            mistakes.append(f"{key} is {given}, not {rule[1]}")
    return mistakes


def grid_size(axes: Mapping[str, Any]) -> int:
    """How many points a grid has."""
    size = 1
    for value in axes.values():
        size *= len(value) if isinstance(value, list) else 1
    return size
