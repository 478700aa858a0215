"""The axes of pictures: one width and one size of letters for all, and room for every word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdbench.report.lettering import PITCH, SIZE, wrapped
from kdbench.report.svg import STAND_INS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH = 3.6  # inches of every picture, so that all letters have one size on a page
LEFT, RIGHT, BOTTOM, TOP = 0.55, 0.2, 0.42, 0.29  # inches around the axes, for words
LINE = 50  # letters that fit into the width of a picture
MARK = 12.0  # points that a row of marks is high


def inches(points: float) -> float:
    """Points in inches."""
    return points / 72


def canvas(
    height: float, left: float = LEFT, bottom: float = BOTTOM, top: float = TOP
) -> tuple[Figure, Axes]:
    """A figure of this height (inches) in the stand-in colours, with room around it for words.

    Fixed margins, because a layout engine draws every picture once more, only to measure it; and no
    pyplot, which keeps figures in global state.
    """
    import matplotlib
    from matplotlib.figure import Figure

    ink = STAND_INS["ink"]
    style: dict[Any, object] = {  # matplotlib lists all of its keys as literals
        "font.size": SIZE,
        "font.family": "sans-serif",
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": STAND_INS["soft"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": STAND_INS["grid"],
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.subplots()
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
    figure.subplots_adjust(left=left / WIDTH, right=1 - RIGHT / WIDTH, bottom=bottom / height,
                           top=1 - top / height)
    return figure, axes


def set_title(axes: Axes, title: str, pad: float = 7) -> None:
    """What the vertical axis shows, above it: beside it, wide figures would push it out of the
    picture.
    """
    axes.set_title(title, fontsize=SIZE, color=STAND_INS["ink"], loc="left", x=0.0, pad=pad)


def canvas_of_rows(names: Sequence[str], mark: float = MARK) -> tuple[Figure, Axes, list[float]]:
    """A canvas with a row a name, from the top down, and the height of the middle of each row.

    A name stands above its marks, so that a long one takes no width from them.

    mark  points that the marks of a row take
    """
    rows = [wrapped(name, LINE - 2) for name in names]
    total = sum(PITCH * len(lines) + mark + 4 for lines in rows)
    figure, axes = canvas(BOTTOM + 0.1 + inches(total), left=0.15, top=0.1)
    bare_rows(axes, total)
    heights, y = [], 0.0
    for lines in rows:
        for text in lines:
            axes.text(0, y + PITCH / 2, text, transform=axes.get_yaxis_transform(), va="center",
                      fontsize=SIZE, color=STAND_INS["ink"], zorder=5)
            y += PITCH
        heights.append(y + mark / 2)
        y += mark + 4
    return figure, axes, heights


def bare_rows(axes: Axes, total: float) -> None:
    """A vertical axis of points from the top, without numbers."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(total, 0)
    axes.margins(x=0.08)


def plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Numbers as people write them, also on a logarithmic axis of less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if axis.get_scale() == "log":
        wide = max(values) > 100 * min(values)
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
