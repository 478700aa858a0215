"""Pictures of a report as inline SVG: no script, no network, colours by CSS so that light and dark both work.

Every series has a shape of its own (marker or line style) besides its colour, so that nothing depends on
colour. Matplotlib draws with stand-in colours, which become CSS variables (`--ink`, `--grid`, `--c0`, ...).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Okabe and Ito's colours are told apart by colour-blind readers; the page gives each a light and a dark value.
COLOURS = 8
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
IDS = "id-in-picture-"  # begins every id; a page with several pictures numbers it
Pair = tuple[float, float]
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
STAND_INS = {"ink": "#010203", "soft": "#020304", "grid": "#030405"}
STAND_INS |= {f"c{i}": f"#0405{i:02x}" for i in range(COLOURS)}


@dataclass(frozen=True)
class Series:
    """What marks one row in all pictures of a task."""

    name: str
    marker: str
    colour: str

    @property
    def css(self) -> str:
        return next(name for name, value in STAND_INS.items() if value == self.colour)


@dataclass(frozen=True)
class Point:
    """A row in a trade-off: cost and score (x 100), with the score's SD."""

    series: Series
    cost: float
    score: float
    sd: float | None = None


def series_of(names: Sequence[str]) -> dict[str, Series]:
    """A marker and a colour for each name; with more than twelve names pairs of both still differ."""
    return {name: Series(name, MARKERS[i % len(MARKERS)], STAND_INS[f"c{i % COLOURS}"])
            for i, name in enumerate(dict.fromkeys(names))}


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats: none is at most as costly and scores more (or as much, for less)."""
    best, kept = -math.inf, []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if point.score > best:
            kept.append(point)
            best = point.score
    return kept


def pareto(points: Sequence[Point], axis: str) -> str:
    """Score against cost, with the frontier as a staircase and its points named."""
    figure, axes = canvas(3.6, 2.9)
    line = frontier(points)
    if len({p.cost for p in points}) > 1 and max(p.cost for p in points) > 8 * max(min(p.cost for p in points), 1e-9):
        axes.set_xscale("log")
    axes.step([p.cost for p in line], [p.score for p in line], where="post", color=STAND_INS["soft"], linewidth=1,
              linestyle=(0, (4, 2)), zorder=1)
    for p in points:
        axes.errorbar(p.cost, p.score, yerr=p.sd, fmt=p.series.marker, color=p.series.colour, markersize=7,
                      elinewidth=1, capsize=2, zorder=3)
    axes.set_xlabel(axis)
    axes.set_ylabel("test score")
    axes.margins(x=0.1, y=0.2)
    plain_ticks(axes.xaxis, [p.cost for p in points])
    axes.autoscale_view()
    for i, p in enumerate(line):  # names grow inwards, so that none leaves the picture, and alternate in height
        across = axes.transAxes.inverted().transform(axes.transData.transform((p.cost, p.score)))[0]
        side, shift = ("left", -4) if across < 0.35 else ("right", 4) if across > 0.65 else ("center", 0)
        axes.annotate(p.series.name, (p.cost, p.score), xytext=(shift, -14 if i % 2 else 8),
                      textcoords="offset points", ha=side, fontsize=8, color=STAND_INS["ink"], zorder=4)
    return svg(figure)


def spread(rows: Sequence[tuple[Series, Sequence[float]]]) -> str:
    """The test score (x 100) of every seed, a line a row; the bar is the mean."""
    names = [series.name for series, _ in reversed(rows)]
    figure, axes = canvas(4.6, 0.55 + 0.28 * len(rows), left=room_for(names))
    for height, (series, scores) in enumerate(reversed(rows)):
        mean = sum(scores) / len(scores)
        axes.plot(scores, [height] * len(scores), series.marker, markersize=5, color=series.colour, alpha=0.75,
                  markeredgewidth=0, zorder=3)
        axes.plot([mean, mean], [height - 0.35, height + 0.35], color=STAND_INS["ink"], linewidth=1.5, zorder=4)
    labelled_rows(axes, names)
    axes.set_xlabel("test score, one mark a seed")
    return svg(figure)


def retention(tasks: Sequence[str], rows: Sequence[tuple[Series, Sequence[float | None]]]) -> str:
    """Share of the teacher's score (%) kept on every task, a mark a configuration."""
    figure, axes = canvas(4.6, 0.55 + 0.34 * len(tasks), left=room_for(tasks))
    axes.axvline(100, color=STAND_INS["soft"], linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    for place, (series, kept) in enumerate(rows):
        shift = 0.5 * (place / max(len(rows) - 1, 1) - 0.5)  # marks of one task side by side, not on top of each other
        shown = [(value, len(tasks) - 1 - i - shift) for i, value in enumerate(kept) if value is not None]
        axes.plot(*zip(*shown, strict=True), series.marker, markersize=5.5, color=series.colour, markeredgewidth=0,
                  zorder=3)
    labelled_rows(axes, list(reversed(tasks)))
    axes.set_xlabel("% of the teacher's test score")
    return svg(figure)


def curves(terms: dict[str, list[Pair]], dev: list[Pair], stages: dict[str, float]) -> str:
    """Loss terms by epoch beside the dev score (x 100).

    terms, dev   (epoch, value) pairs; stages: each one's first epoch, marked where there are several
    """
    depth = 0.42 + 0.15 * math.ceil(len(terms) / 2)
    figure, (left, right) = canvas(5.6, 1.9 + depth, columns=2, bottom=depth)
    for i, (name, points) in enumerate(terms.items()):
        left.plot(*zip(*points, strict=True), color=STAND_INS[f"c{i % COLOURS}"], linestyle=LINES[i % len(LINES)],
                  marker=MARKERS[i % len(MARKERS)], markersize=3.5, linewidth=1.2, label=name)
    values = [value for points in terms.values() for _, value in points]
    if values and 0 < min(values) < max(values) / 20:
        left.set_yscale("log")
    if terms:
        left.legend(fontsize=7.5, frameon=False, labelcolor=STAND_INS["ink"], handlelength=3, ncols=2, borderpad=0,
                    loc="lower left", bbox_to_anchor=(0.03, 0.0), bbox_transform=figure.transFigure)
    if dev:
        right.plot(*zip(*dev, strict=True), color=STAND_INS["ink"], marker="o", markersize=3.5, linewidth=1.2)
    for axes, title in ((left, "loss terms"), (right, "dev score")):
        axes.set_title(title, fontsize=8, color=STAND_INS["ink"], loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        for name, begin in stages.items() if len(stages) > 1 else ():
            axes.axvline(begin - 0.5, color=STAND_INS["soft"], linewidth=0.8, linestyle=":")
            axes.annotate(name, (begin - 0.5, 1), xycoords=("data", "axes fraction"), xytext=(2, -7),
                          textcoords="offset points", fontsize=6.5, color=STAND_INS["soft"])
    return svg(figure)


def key(series: Series) -> str:
    """The marker alone, for a legend in the page's own text."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(series.marker)
    path = style.get_path().transformed(style.get_transform())
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    steps = [letters[int(code)] + " ".join(f"{10 * v:.1f}" for v in (points if code != 79 else ()))
             for points, code in path.iter_segments()]
    return (f'<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true"><path transform="scale(1,-1)" '
            f'style="fill:var(--{series.css});stroke:var(--{series.css})" d="{" ".join(steps)}"/></svg>')


# ---- matplotlib ------------------------------------------------------------------------------------------------------


def canvas(width: float, height: float, columns: int = 1, left: float = 0.5, bottom: float = 0.42) -> tuple[Any, Any]:
    """A figure of `width` x `height` inches in the stand-in colours, with room `left` and `bottom` for words.

    Fixed margins, because a layout engine draws every picture once more, only to measure it; and no pyplot,
    which keeps figures in global state.
    """
    import matplotlib
    from matplotlib.figure import Figure

    ink, grid = STAND_INS["ink"], STAND_INS["grid"]
    style: Any = {"font.size": 8, "axes.edgecolor": STAND_INS["soft"], "axes.labelcolor": ink, "xtick.color": ink,
             "ytick.color": ink, "text.color": ink, "grid.color": grid, "font.family": "sans-serif",
             "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(1, columns)
        for one in axes if columns > 1 else [axes]:
            one.grid(True, linewidth=0.6)
            one.set_axisbelow(True)
    figure.subplots_adjust(left=left / width, right=1 - 0.12 / width, bottom=bottom / height, top=1 - 0.22 / height,
                           wspace=0.22)
    return figure, axes


def room_for(names: Sequence[str]) -> float:
    """Inches that the longest name needs at 8 points, in a font of the reader's choice."""
    return 0.25 + 0.068 * max(map(len, names), default=0)


def labelled_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.margins(x=0.08)


def plain_ticks(axis: Any, values: Sequence[float]) -> None:
    """Numbers as people write them, also on a logarithmic axis of less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if axis.get_scale() == "log":
        wide = max(values) > 100 * min(values)
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())


def svg(figure: Any) -> str:
    """The figure as an SVG element: scalable, CSS colours, no ids but those it refers to itself."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kdbench"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg"):].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 class="plot" role="img"', text, count=1)
    text = re.sub(r' xmlns:xlink="[^"]*"| xmlns="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S).replace("<defs></defs>", "")
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{IDS}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)', rf"\1{IDS}", text)
    for name, stand_in in STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    return text

