"""The pictures of a report: score against cost, gains, seeds, shares, learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdbench.report import point_names
from kdbench.report.axes import (
    BOTTOM,
    LEFT,
    LINE,
    MARK,
    RIGHT,
    TOP,
    WIDTH,
    bare_rows,
    canvas,
    canvas_of_rows,
    inches,
    plain_ticks,
    set_title,
)
from kdbench.report.lettering import LETTER, PITCH, SIZE, letters, wrapped
from kdbench.report.svg import COLOURS, MARKERS, STAND_INS, Series, as_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Pair = tuple[float, float]  # epoch, value
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
DASHED = (0, (4, 2))
BESIDE = 26  # letters of the longest name that stands beside its point


@dataclass(frozen=True)
class Point:
    """A row in a trade-off: cost and score (x 100), with the score's SD.

    hollow  the cost was measured beside other work
    """

    series: Series
    cost: float
    score: float
    sd: float | None = None
    hollow: bool = False


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
    """Score against cost, with the frontier as a staircase.

    The names of its points stand beside them; where there is no room, in a list below.
    """
    line = frontier(points)
    if all(letters(point.series.name) <= BESIDE for point in line):
        figure, axes = trade_off(points, line, axis, BOTTOM)
        if name_points(axes, line, points):
            return as_svg(figure)
    rows = [wrapped(point.series.name, LINE - 4) for point in line]
    depth = BOTTOM + inches(PITCH * sum(map(len, rows)) + 4)
    figure, _ = trade_off(points, line, axis, depth)
    list_names(figure, line, rows)
    return as_svg(figure)


def trade_off(points: Sequence[Point], line: Sequence[Point], axis: str,
              bottom: float) -> tuple[Figure, Axes]:
    """The picture of a trade-off without names, with room at the bottom."""
    figure, axes = canvas(2.48 + bottom, bottom=bottom)
    costs = [p.cost for p in points]
    if len(set(costs)) > 1 and max(costs) > 8 * max(min(costs), 1e-9):
        axes.set_xscale("log")
    low, high = score_limits([end for p in points for end in whisker(p)])
    axes.step([p.cost for p in line], [p.score for p in line], where="post",
              color=STAND_INS["soft"], linewidth=1, linestyle=DASHED, zorder=1)
    for p in points:
        ends = [[min(p.sd, p.score - low)], [min(p.sd, high - p.score)]] if p.sd else None
        axes.errorbar(p.cost, p.score, yerr=ends, fmt=p.series.marker, color=p.series.colour,
                      markersize=7, elinewidth=1, capsize=2, zorder=3, clip_on=False,
                      markerfacecolor=STAND_INS["page"] if p.hollow else p.series.colour)
    axes.set_xlabel(axis)
    set_title(axes, "test score")
    axes.margins(x=0.1)
    plain_ticks(axes.xaxis, costs)
    axes.autoscale_view()
    axes.set_ylim(low, high)
    return figure, axes


def whisker(point: Point) -> Pair:
    """Both ends of the whisker of a point."""
    return point.score - (point.sd or 0), point.score + (point.sd or 0)


def score_limits(scores: Sequence[float], room: float = 0.15) -> Pair:
    """The ends of an axis of scores: just around them, and not beyond 0 and 100 where no score is.

    Less than two points are no difference that a picture should stretch.
    """
    low, high = min(scores), max(scores)
    around = max(room * (high - low), 1 - (high - low) / 2)
    floor = 0.0 if low >= 0 else -math.inf
    # a whisker may reach beyond 100, and no score does
    ceiling = 100.0 if low <= 100 else math.inf
    return max(low - around, floor), min(high + around, ceiling)


def name_points(axes: Axes, line: Sequence[Point], points: Sequence[Point]) -> bool:
    """Write each name of the frontier where it covers least: markers, the staircase, other names;
    returns whether all of them can be read.
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
    boxes: list[point_names.Box] = []
    for point, own in zip(line, steps, strict=True):
        name = point.series.name
        place = point_names.best_place(name, own, positions, taken, frame)
        taken.append((place.box, 20.0))
        boxes.append(place.box)
        axes.annotate(name, (point.cost, point.score), xytext=(place.dx, place.dy),
                      textcoords="offset points", ha="center", va="center", fontsize=SIZE,
                      color=STAND_INS["ink"], arrowprops=lead_line(place.far), zorder=4)
    return not point_names.crowded(boxes, frame)


def list_names(figure: Figure, line: Sequence[Point], rows: Sequence[Sequence[str]]) -> None:
    """Marks and names, in lines, at the bottom of a picture."""
    from matplotlib.lines import Line2D

    wide, high = (72 * size for size in figure.get_size_inches())
    y = PITCH * sum(map(len, rows)) - 2
    for point, lines in zip(line, rows, strict=True):
        colour = point.series.colour
        figure.add_artist(Line2D(
            [10 / wide], [y / high], marker=point.series.marker, color=colour, markersize=6,
            markerfacecolor=STAND_INS["page"] if point.hollow else colour, linestyle=""))
        for text in lines:
            figure.text(18 / wide, y / high, text, fontsize=SIZE, va="center",
                        color=STAND_INS["ink"])
            y -= PITCH


def lead_line(far: float) -> dict[str, object] | None:
    """The line from a name to its point; none where the name is beside it."""
    if far <= 10:
        return None
    return {"arrowstyle": "-", "color": STAND_INS["soft"], "linewidth": 0.6, "shrinkA": 0,
            "shrinkB": 4}


# ---- a line a row --------------------------------------------------------------------------------


def spread(rows: Sequence[tuple[Series, Sequence[float]]]) -> str:
    """The test score (x 100) of every seed, a line a row; the bar is the mean."""
    figure, axes, heights = canvas_of_rows([series.name for series, _ in rows])
    for height, (series, scores) in zip(heights, rows, strict=True):
        mean = sum(scores) / len(scores)
        axes.plot(scores, [height] * len(scores), series.marker, markersize=5, color=series.colour,
                  alpha=0.75, markeredgewidth=0, zorder=3, clip_on=False)
        axes.plot([mean, mean], [height - 4.5, height + 4.5], color=STAND_INS["ink"],
                  linewidth=1.5, zorder=4)
    axes.set_xlim(score_limits([score for _, scores in rows for score in scores], room=0.08))
    axes.set_xlabel("test score, one mark a seed")
    return as_svg(figure)


def gains(rows: Sequence[Gain], named: bool = True) -> str:
    """The gains over the same student without a teacher, a line a row; without names only the
    marks show which row is which.
    """
    if named:
        figure, axes, heights = canvas_of_rows([row.series.name for row in rows])
    else:
        figure, axes = canvas(2.48 + BOTTOM, left=0.25)
        heights = [MARK * (number + 0.5) for number in range(len(rows))]
        bare_rows(axes, MARK * len(rows))
    beside_marks(axes, 0, heights, MARK)
    for height, row in zip(heights, rows, strict=True):
        colour = row.series.colour
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [height, height], color=colour, linewidth=1.4, zorder=2)
        axes.plot([row.delta], [height], row.series.marker, markersize=6.5, color=colour, zorder=3,
                  markerfacecolor=colour if row.significant else STAND_INS["page"])
    axes.set_xlabel("points of test score gained over no teacher")
    return as_svg(figure)


def expected(rows: Sequence[tuple[Series, Sequence[float]]]) -> str:
    """The dev score that the best of n trials can be expected to have, a curve a method."""
    figure, axes = canvas(2.48 + BOTTOM)
    for one, values in rows:
        axes.plot(range(1, len(values) + 1), values, marker=one.marker, color=one.colour,
                  markersize=4.5, linewidth=1.2, clip_on=False)
    axes.set_ylim(score_limits([value for _, values in rows for value in values]))
    axes.set_xlabel("trials")
    whole_ticks(axes.xaxis)
    set_title(axes, "expected best dev score")
    return as_svg(figure)


def beside_marks(axes: Axes, value: float, heights: Sequence[float], high: float) -> None:
    """A dashed line at a value, beside the marks of each row and not through its name."""
    axes.vlines([value] * len(heights), [height - high / 2 - 1 for height in heights],
                [height + high / 2 + 1 for height in heights], color=STAND_INS["soft"],
                linewidth=1, linestyle=[DASHED], zorder=1)


def retention(tasks: Sequence[str], rows: Sequence[tuple[Series, Sequence[float | None]]]) -> str:
    """Share of the teacher's score (%) kept on every task, a mark a configuration."""
    high = max(MARK, 5.0 * len(rows) + 4)
    figure, axes, heights = canvas_of_rows(tasks, high)
    beside_marks(axes, 100, heights, high)
    known = [100.0]
    for place, (series, kept) in enumerate(rows):
        # marks of one task one below the other, not on top of each other
        shift = (high - 7) * (place / max(len(rows) - 1, 1) - 0.5)
        for height, value in zip(heights, kept, strict=True):
            if value is not None:
                known.append(value)
                axes.plot([value], [height + shift], series.marker, markersize=5.5,
                          color=series.colour, markeredgewidth=0, zorder=3, clip_on=False)
    around = max(0.08 * (max(known) - min(known)), 1.0)
    axes.set_xlim(max(min(known) - around, min(0.0, min(known))), max(known) + around)
    axes.set_xlabel("% of the teacher's test score")
    return as_svg(figure)


# ---- curves --------------------------------------------------------------------------------------


def curves(lines: dict[str, list[Pair]], stages: dict[str, float], title: str) -> str:
    """Named curves by epoch, of (epoch, value) pairs; a value that is not a number breaks its line.

    stages  each one's first epoch, marked where there are several
    """
    named = list(lines) != [title]
    columns = 1 if max(map(letters, lines), default=0) > 15 else 2
    labels = {name: "\n".join(wrapped(name, LINE - 8)) for name in lines}
    high = sum(label.count("\n") + 1 for label in labels.values()) if columns == 1 else (
        math.ceil(len(lines) / 2))
    bottom = BOTTOM + inches(11.5 * high + 2) * named
    last = max((epoch for points in lines.values() for epoch, _ in points), default=1.0)
    around = max(0.05 * (last - 1), 0.05)
    heads = stage_heads(stages, 1 - around, last + around) if len(stages) > 1 else []
    top = TOP + inches(PITCH * max((head.top for head in heads), default=0))
    figure, axes = canvas(1.46 + bottom + top, bottom=bottom, top=top)
    for i, (name, points) in enumerate(lines.items()):
        axes.plot(*zip(*points, strict=True), color=STAND_INS[f"c{i % COLOURS}"],
                  linestyle=LINES[i % len(LINES)], marker=MARKERS[i % len(MARKERS)], markersize=3.5,
                  linewidth=1.2, label=labels[name], clip_on=False)
    if named and lines:
        axes.legend(fontsize=SIZE, frameon=False, labelcolor=STAND_INS["ink"], handlelength=2.4,
                    ncols=columns, borderpad=0, loc="lower left", bbox_to_anchor=(0.02, 0.0),
                    bbox_transform=figure.transFigure, labelspacing=0.3, columnspacing=1.2)
    set_title(axes, title, pad=7 + 72 * (top - TOP))
    axes.set_xlabel("epoch")
    axes.set_xlim(1 - around, last + around)
    whole_ticks(axes.xaxis)
    scale_values(axes, lines, is_score=not named)
    for head in heads:
        mark_stage(axes, head)
    return as_svg(figure)


def scale_values(axes: Axes, lines: dict[str, list[Pair]], is_score: bool) -> None:
    """A vertical axis that ends just around the values, with numbers as people write them."""
    values = [value for points in lines.values() for _, value in points if math.isfinite(value)]
    if spans_decades(lines):
        axes.set_yscale("log")
        plain_ticks(axes.yaxis, values)
    elif values and is_score:
        axes.set_ylim(score_limits(values, room=0.08))
    elif values and min(values) >= 0:
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.0))


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


@dataclass(frozen=True)
class Head:
    """The name of a stage above a curve.

    begin   the epoch at whose left the stage begins
    left    where the name stands, in points from the left of the axes
    lines   the name, broken to fit
    top     how many lines there are from the axes to its upper end
    """

    begin: float
    left: float
    lines: list[str]
    top: int


def stage_heads(stages: dict[str, float], first: float, last: float) -> list[Head]:
    """Where the names of stages stand: in the picture, and none on another one.

    first, last  the ends of the axis of epochs
    """
    wide = 72 * (WIDTH - LEFT - RIGHT)
    heads: list[Head] = []
    for name, begin in stages.items():
        lines = wrapped(name, int(wide / LETTER))
        takes = LETTER * max(map(letters, lines))
        left = wide * (begin - 0.5 - first) / (last - first) + 2
        left = max(0.0, min(left, wide - takes))
        above = [head.top for head in heads if ends(head) > left]
        heads.append(Head(begin - 0.5, left, lines, max(above, default=0) + len(lines)))
    return heads


def ends(head: Head) -> float:
    """Points from the left of the axes to the end of a stage's name."""
    return head.left + LETTER * (max(map(letters, head.lines)) + 1)


def mark_stage(axes: Axes, head: Head) -> None:
    """A line where a stage begins, and its name above the axes."""
    soft = STAND_INS["soft"]
    if head.begin >= axes.get_xlim()[0]:
        axes.axvline(head.begin, color=soft, linewidth=0.8, linestyle=":")
    wide = 72 * (WIDTH - LEFT - RIGHT)
    for number, text in enumerate(head.lines, 1):
        up = PITCH * (head.top - number)
        axes.annotate(text, (head.left / wide, 1), xycoords="axes fraction", xytext=(0, up + 5),
                      textcoords="offset points", fontsize=SIZE, color=soft, annotation_clip=False)
