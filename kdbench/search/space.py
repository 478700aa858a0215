"""What a search tries: the options of a method that say so, and settings of the protocol.

    rate: float = option(1.0, "...", search=(0.1, 10.0, "log"))      # a range, on a log scale
    depth: int = option(2, "...", search=(1, 4))                     # a range
    text: str = option("task", "...", search=["task", "states"])     # these values
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kdbench.base.options import written
from kdbench.train.spec import Settings

DIGITS = 3  # of a drawn number: it is printed, and typed again, without a loss


class Draw(Protocol):
    """What draws values: a trial of Optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number of a range."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number of a range."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of these values."""


@dataclass(frozen=True)
class Axis:
    """One option or setting that is searched.

    values  the only ones that are tried; empty: a range
    low, high, log, whole  the range, its scale, and whether it holds whole numbers alone
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def drawn(self, name: str, draw: Draw) -> Any:
        """A value by `draw`, for which it is called `name`."""
        if self.values:
            # texts, as a journal of trials keeps them, so that lists and None are values too
            chosen = draw.suggest_categorical(name, [written(value) for value in self.values])
            return self.values[[written(value) for value in self.values].index(chosen)]
        if self.whole:
            return draw.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return rounded(draw.suggest_float(name, self.low, self.high, log=self.log))

    def __str__(self) -> str:
        """The axis in words, as `show` prints it."""
        if self.values:
            return ", ".join(map(written, self.values))
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


def rounded(number: float) -> float:
    """`number` with `DIGITS` digits."""
    return float(f"{number:.{DIGITS}g}")


def axis_of(name: str, asked: Sequence[Any], hint: Any = float) -> Axis:
    """The axis that `search=` describes; `TypeError` where it describes none."""
    if isinstance(asked, list):
        return Axis(name, values=tuple(asked))
    bounds = [value for value in asked if isinstance(value, int | float)]
    log = len(asked) == 3 and asked[2] == "log"
    if len(bounds) != 2 or len(asked) != 2 + log or not bounds[0] < bounds[1]:
        raise TypeError(f"option {name}: search={asked!r} is neither (low, high), (low, high, "
                        '"log") nor a list')
    if log and bounds[0] <= 0:
        raise TypeError(f"option {name}: search={asked!r}: a log scale has no 0")
    low, high = bounds
    return Axis(name, (), low, high, log=log, whole=hint is int)


def axes_of(cls: type) -> list[Axis]:
    """The axes that the fields of a class of options declare, in their order."""
    hints = typing.get_type_hints(cls)
    return [axis_of(field.name, field.metadata["search"], hints[field.name])
            for field in dataclasses.fields(cls) if field.metadata.get("search")]


def protocol_axes(budgeted: bool) -> list[Axis]:
    """The axes of the protocol. Where the number of steps is given, `epochs` says only how a method
    shares them out, and is not searched.
    """
    return [axis for axis in axes_of(Settings) if not (budgeted and axis.name == "epochs")]


# ---- what is drawn for a trial -------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """The options of a method, and settings, that a trial tries."""

    options: dict[str, Any]
    settings: dict[str, Any]


def draw(trial: Draw, method: str, cls: type, fixed: Sequence[str], rate: float,
         budgeted: bool) -> Drawn:
    """A point of the space of one method.

    fixed     options and settings that are given, and not searched
    rate      the student's own learning rate, whose multiples `lr` is searched in
    budgeted  is the number of steps given?
    """
    options = {axis.name: axis.drawn(f"{method}.{axis.name}", trial)
               for axis in axes_of(cls) if axis.name not in fixed}
    settings = {axis.name: axis.drawn(axis.name, trial)
                for axis in protocol_axes(budgeted) if axis.name not in fixed}
    if "lr" in settings:
        settings["lr"] = rounded(rate * settings["lr"])
    return Drawn(options, settings)
