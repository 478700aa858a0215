"""The pictures of a report: score against cost, gains, seeds, shares, learning curves."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdbench.report import point_names
from kdbench.report.svg import COLOURS, MARKERS, STAND_INS, Series, as_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Pair = tuple[float, float]  # epoch, value
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
DASHED = (0, (4, 2))


@dataclass(frozen=True)
class Point:
    """A row in a trade-off: cost and score (x 100), with the score's SD."""

    series: Series
    cost: float
    score: float
    sd: float | None = None


@dataclass(frozen=True)
class Gain:
    """A row's gain over the same student without a teacher, in points, with its interval where
    there is one.
    """

    series: Series
    delta: float
    low: float | None
    high: float | None
    significant: bool


# ---- score against cost --------------------------------------------------------------------------


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats: none is at most as costly and scores more (or as much,
    for less).
    """
    best, kept = -math.inf, []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if point.score > best:
            kept.append(point)
            best = point.score
    return kept


def pareto(points: Sequence[Point], axis: str) -> str:
    """Score against cost, with the frontier as a staircase and its points named."""
    figure, axes = canvas(3.6, 2.9, left=0.48)
    line = frontier(points)
    costs = [p.cost for p in points]
    if len(set(costs)) > 1 and max(costs) > 8 * max(min(costs), 1e-9):
        axes.set_xscale("log")
    axes.step([p.cost for p in line], [p.score for p in line], where="post",
              color=STAND_INS["soft"], linewidth=1, linestyle=DASHED, zorder=1)
    for p in points:
        axes.errorbar(p.cost, p.score, yerr=p.sd, fmt=p.series.marker, color=p.series.colour,
                      markersize=7, elinewidth=1, capsize=2, zorder=3)
    axes.set_xlabel(axis)
    set_title(axes, "test score")
    axes.margins(x=0.1, y=0.2)
    plain_ticks(axes.xaxis, costs)
    axes.autoscale_view()
    low, high = axes.get_ylim()
    if high - low < 2:  # less than two points are no difference that a picture should stretch
        axes.set_ylim((low + high) / 2 - 1, (low + high) / 2 + 1)
    name_points(axes, line, points)
    return as_svg(figure)


def name_points(axes: Axes, line: Sequence[Point], points: Sequence[Point]) -> None:
    """Write each name of the frontier where it covers least: markers, the staircase, other names;
    none leaves the picture.
    """
    dpi = axes.figure.dpi

    def position(point: Point) -> point_names.XY:
        x, y = axes.transData.transform((point.cost, point.score))
        return 72 * x / dpi, 72 * y / dpi

    extent = axes.get_window_extent()
    frame = (72 * extent.x0 / dpi, 72 * extent.y0 / dpi, 72 * extent.x1 / dpi, 72 * extent.y1 / dpi)
    positions = [position(point) for point in points]
    steps = [position(point) for point in line]
    taken = point_names.marks_and_staircase(positions, steps)
    every_name = [point.series.name for point in points]
    for point, own in zip(line, steps, strict=True):
        name = point_names.shortened(point.series.name, every_name)
        place = point_names.best_place(name, own, positions, taken, frame)
        taken.append((place.box, 20.0))
        axes.annotate(name, (point.cost, point.score), xytext=(place.dx, place.dy),
                      textcoords="offset points", ha="center", va="center", fontsize=8,
                      color=STAND_INS["ink"], arrowprops=lead_line(place.far), zorder=4)


def lead_line(far: float) -> dict[str, object] | None:
    """The line from a name to its point; none where the name is beside it."""
    if far <= 10:
        return None
    return {"arrowstyle": "-", "color": STAND_INS["soft"], "linewidth": 0.6, "shrinkA": 0,
            "shrinkB": 4}


# ---- a line a row --------------------------------------------------------------------------------


def spread(rows: Sequence[tuple[Series, Sequence[float]]]) -> str:
    """The test score (x 100) of every seed, a line a row; the bar is the mean."""
    figure, axes = canvas_of_rows([series.name for series, _ in rows])
    for height, (series, scores) in enumerate(reversed(rows)):
        mean = sum(scores) / len(scores)
        axes.plot(scores, [height] * len(scores), series.marker, markersize=5, color=series.colour,
                  alpha=0.75, markeredgewidth=0, zorder=3)
        axes.plot([mean, mean], [height - 0.35, height + 0.35], color=STAND_INS["ink"],
                  linewidth=1.5, zorder=4)
    axes.set_xlabel("test score, one mark a seed")
    return as_svg(figure)


def gains(rows: Sequence[Gain], named: bool = True) -> str:
    """The gains over the same student without a teacher, a line a row; without names only the
    marks show which row is which.
    """
    if named:
        figure, axes = canvas_of_rows([row.series.name for row in rows])
    else:
        figure, axes = canvas(3.6, 2.9, left=0.25)
        label_rows(axes, [""] * len(rows))
        axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=STAND_INS["soft"], linewidth=1, linestyle=DASHED, zorder=1)
    for height, row in enumerate(reversed(rows)):
        colour = row.series.colour
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [height, height], color=colour, linewidth=1.4, zorder=2)
        axes.plot([row.delta], [height], row.series.marker, markersize=6.5, color=colour, zorder=3,
                  markerfacecolor=colour if row.significant else STAND_INS["page"])
    axes.set_xlabel("points of test score gained over no teacher")
    return as_svg(figure)


def retention(tasks: Sequence[str], rows: Sequence[tuple[Series, Sequence[float | None]]]) -> str:
    """Share of the teacher's score (%) kept on every task, a mark a configuration."""
    figure, axes = canvas(4.6, 0.55 + 0.34 * len(tasks), left=room_for(tasks))
    axes.axvline(100, color=STAND_INS["soft"], linewidth=1, linestyle=DASHED, zorder=1)
    for place, (series, kept) in enumerate(rows):
        # marks of one task side by side, not on top of each other
        shift = 0.5 * (place / max(len(rows) - 1, 1) - 0.5)
        values, heights = [], []
        for i, value in enumerate(kept):
            if value is not None:
                values.append(value)
                heights.append(len(tasks) - 1 - i - shift)
        axes.plot(values, heights, series.marker, markersize=5.5, color=series.colour,
                  markeredgewidth=0, zorder=3)
    label_rows(axes, list(reversed(tasks)))
    axes.set_xlabel("% of the teacher's test score")
    return as_svg(figure)


# ---- curves --------------------------------------------------------------------------------------


def curves(lines: dict[str, list[Pair]], stages: dict[str, float], title: str) -> str:
    """Named curves by epoch, of (epoch, value) pairs; a value that is not a number breaks its line.

    stages  each one's first epoch, marked where there are several
    """
    named = list(lines) != [title]
    columns = 1 if max(map(len, lines), default=0) > 14 else 2
    depth = 0.42 + 0.16 * math.ceil(len(lines) / columns) * named
    figure, axes = canvas(3.2, 1.7 + depth, bottom=depth)
    for i, (name, points) in enumerate(lines.items()):
        axes.plot(*zip(*points, strict=True), color=STAND_INS[f"c{i % COLOURS}"],
                  linestyle=LINES[i % len(LINES)], marker=MARKERS[i % len(MARKERS)], markersize=3.5,
                  linewidth=1.2, label=name)
    if spans_decades(lines):
        axes.set_yscale("log")
    if named and lines:
        axes.legend(fontsize=7.5, frameon=False, labelcolor=STAND_INS["ink"], handlelength=3,
                    ncols=columns, borderpad=0, loc="lower left", bbox_to_anchor=(0.03, 0.0),
                    bbox_transform=figure.transFigure)
    set_title(axes, title)
    axes.set_xlabel("epoch")
    whole_ticks(axes.xaxis)
    if len(stages) > 1:
        mark_stages(axes, stages)
    return as_svg(figure)


def whole_ticks(axis: Axis) -> None:
    """Whole numbers alone, as epochs are."""
    from matplotlib.ticker import AutoLocator

    locator = AutoLocator()
    locator.set_params(integer=True)
    axis.set_major_locator(locator)


def spans_decades(lines: dict[str, list[Pair]]) -> bool:
    """Whether the values are above 0 and more than twenty-fold apart."""
    values = [value for points in lines.values() for _, value in points if math.isfinite(value)]
    return bool(values) and 0 < min(values) < max(values) / 20


def mark_stages(axes: Axes, stages: dict[str, float]) -> None:
    """A line where each stage begins, with its name."""
    axes.margins(y=0.2)  # room for their names
    for name, begin in stages.items():
        axes.axvline(begin - 0.5, color=STAND_INS["soft"], linewidth=0.8, linestyle=":")
        axes.annotate(name, (begin - 0.5, 1), xycoords=("data", "axes fraction"), xytext=(2, -7),
                      textcoords="offset points", fontsize=7, color=STAND_INS["soft"])


# ---- axes ----------------------------------------------------------------------------------------


def canvas(
    width: float, height: float, left: float = 0.5, bottom: float = 0.42
) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches in the stand-in colours, with room `left` and `bottom`
    for words.

    Fixed margins, because a layout engine draws every picture once more, only to measure it; and no
    pyplot, which keeps figures in global state.
    """
    import matplotlib
    from matplotlib.figure import Figure

    ink = STAND_INS["ink"]
    style: dict[Any, object] = {  # matplotlib lists all of its keys as literals
        "font.size": 8,
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
        figure = Figure(figsize=(width, height))
        axes = figure.subplots()
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
    figure.subplots_adjust(left=left / width, right=1 - 0.12 / width, bottom=bottom / height,
                           top=1 - 0.22 / height)
    return figure, axes


def set_title(axes: Axes, title: str) -> None:
    """What the vertical axis shows, above it: beside it, wide figures would push it out of the
    picture.
    """
    axes.set_title(title, fontsize=8, color=STAND_INS["ink"], loc="left", x=0.0)


def canvas_of_rows(names: Sequence[str]) -> tuple[Figure, Axes]:
    """A canvas with a named line a row, from the top down; long names go over several lines."""
    wrapped = [textwrap.wrap(name, 40) or [""] for name in reversed(names)]
    left = room_for([line for lines in wrapped for line in lines])
    pitch = 0.14 + 0.14 * max(map(len, wrapped))
    figure, axes = canvas(max(4.6, left + 3), 0.55 + pitch * len(names), left=left)
    label_rows(axes, ["\n".join(lines) for lines in wrapped])
    return figure, axes


def room_for(names: Sequence[str]) -> float:
    """Inches that the longest name needs at 8 points, in a font of the reader's choice."""
    return 0.25 + 0.068 * max(map(len, names), default=0)


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names at the vertical axis, from the bottom up."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.margins(x=0.08)


def plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Numbers as people write them, also on a logarithmic axis of less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if axis.get_scale() == "log":
        wide = max(values) > 100 * min(values)
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
