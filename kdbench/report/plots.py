"""Pictures of a report as inline SVG: no script, no network, colours by CSS so that light and dark
both work.

Every series has a shape of its own (marker or line style) besides its colour, so that nothing
depends on colour. Matplotlib draws with stand-in colours, which become CSS variables (`--ink`,
`--grid`, `--c0`, ...).
"""

from __future__ import annotations

import io
import itertools
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

# Okabe and Ito's colours are told apart by colour-blind readers; the page gives each a light and a
# dark value.
COLOURS = 8
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
IDS = "id-in-picture-"  # begins every id; a page with several pictures numbers it
Pair = tuple[float, float]
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
STAND_INS = {"ink": "#010203", "soft": "#020304", "grid": "#030405", "page": "#050607"}
STAND_INS |= {f"c{i}": f"#0405{i:02x}" for i in range(COLOURS)}

LIGHT = (
    "--page: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --soft: #5b6570; --grid: #dde1e6; --mark: "
    "#fff3c4; "
    "--c0: #0072b2; --c1: #b34700; --c2: #00785a; --c3: #8f3f71; --c4: #8a6d00; --c5: #2a7fb8; "
    "--c6: #555555; --c7: #a3262a;"
)
DARK = (
    "--page: #14171b; --panel: #1d2126; --ink: #e6e9ec; --soft: #9aa4ae; --grid: #343a41; --mark: "
    "#4a3f14; "
    "--c0: #5bb4f0; --c1: #f0955a; --c2: #3ecf9e; --c3: #e08cc0; --c4: #e5c84a; --c5: #8fd0ff; "
    "--c6: #b9bec4; --c7: #ff8c8c;"
)


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


@dataclass(frozen=True)
class Gain:
    """A row's gain over the same student without a teacher, in points, with its interval where
    there is one.
    """

    series: Series
    delta: float
    low: float | None
    high: float | None
    separable: bool


def series_of(names: Sequence[str]) -> dict[str, Series]:
    """A marker and a colour for each name; with more than twelve names pairs of both still
    differ.
    """
    return {name: Series(name, MARKERS[i % len(MARKERS)], STAND_INS[f"c{i % COLOURS}"])
            for i, name in enumerate(dict.fromkeys(names))}


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
    if len({p.cost
            for p in points}) > 1 and max(p.cost
                                          for p in points) > 8 * max(min(p.cost
                                                                         for p in points), 1e-9):
        axes.set_xscale("log")
    axes.step([p.cost for p in line], [p.score for p in line], where="post",
              color=STAND_INS["soft"], linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    for p in points:
        axes.errorbar(p.cost, p.score, yerr=p.sd, fmt=p.series.marker, color=p.series.colour,
                      markersize=7, elinewidth=1, capsize=2, zorder=3)
    axes.set_xlabel(axis)
    titled(axes, "test score")
    axes.margins(x=0.1, y=0.2)
    plain_ticks(axes.xaxis, [p.cost for p in points])
    axes.autoscale_view()
    low, high = axes.get_ylim()
    if high - low < 2:  # less than two points are no difference that a picture should stretch
        axes.set_ylim((low + high) / 2 - 1, (low + high) / 2 + 1)
    name_points(axes, line, points)
    return svg(figure)


def name_points(axes: Any, line: Sequence[Point], points: Sequence[Point]) -> None:
    """Write each name of the frontier where it covers least: markers, the staircase, other names;
    none leaves the picture.
    """
    def at(cost: float, score: float) -> tuple[float, float]:
        x, y = axes.transData.transform((cost, score))
        return 72 * x / axes.figure.dpi, 72 * y / axes.figure.dpi

    whole = axes.get_window_extent()
    left, bottom, right, top = (72 * v / axes.figure.dpi
                                for v in (whole.x0, whole.y0, whole.x1, whole.y1))
    places = [at(p.cost, p.score) for p in points]
    # boxes in points, with the weight of covering them
    taken = [(x - 5, y - 5, x + 5, y + 5, 8.0) for x, y in places]
    steps = [at(p.cost, p.score) for p in line]
    for (x, y), (next_x, next_y) in itertools.pairwise(steps):
        taken += [(x, y - 0.5, next_x, y + 0.5, 2.0), (next_x - 0.5, y, next_x + 0.5, next_y, 2.0)]

    def covered(box: tuple[float, float, float, float]) -> float:
        x0, y0, x1, y1 = box
        area = sum(weight * max(0.0,
                                min(x1, b[2]) - max(x0, b[0])) * max(0.0,
                                                                     min(y1, b[3]) - max(y0, b[1]))
                   for *b, weight in taken)
        return area + 100 * (max(0.0, left - x0) + max(0.0, x1 - right) + max(0.0, bottom - y0) +
                             max(0.0, y1 - top - 8))

    for p, (x, y) in zip(line, steps, strict=True):
        name = shortened(p.series.name, [q.series.name for q in points])
        # of 8-point letters, in a font of the reader's choice
        wide, high = 4.7 * len(name) + 4, 11.0
        best = None
        for far in (10, 22, 34, 46, 58):
            for across in (0, 1, -1, 0.5, -0.5):
                for up in (1, -1, 0):
                    if across in (1, -1) or up:
                        dx, dy = across * (far - 4 + wide / 2), up * far
                        box = (x + dx - wide / 2, y + dy - high / 2, x + dx + wide / 2,
                               y + dy + high / 2)
                        # a name closer to another mark than to its own would be read as that one's
                        own = away(box, (x, y))
                        cost = covered(box) + far + 30 * any(
                            away(box, q) < own + 4 for q in places if q != (x, y))
                        if best is None or cost < best[0]:
                            best = cost, dx, dy, far, box
        assert best is not None
        _, dx, dy, far, box = best
        taken.append((*box, 20.0))
        lead = {
            "arrowstyle": "-", "color": STAND_INS["soft"], "linewidth": 0.6, "shrinkA": 0,
            "shrinkB": 4
        } if far > 10 else None
        axes.annotate(name, (p.cost, p.score), xytext=(dx, dy), textcoords="offset points",
                      ha="center", va="center", fontsize=8, color=STAND_INS["ink"], arrowprops=lead,
                      zorder=4)


def shortened(name: str, names: Sequence[str], most: int = 30) -> str:
    """`name` in at most so many letters: its beginning, or its end where another of `names` begins
    like it.
    """
    if len(name) <= most:
        return name
    begin = name[:most - 1]
    return "…" + name[1 - most:] if any(other != name and other.startswith(begin)
                                        for other in names) else begin + "…"


def away(box: tuple[float, float, float, float], point: tuple[float, float]) -> float:
    """Distance of a point from a box (x0, y0, x1, y1)."""
    return math.hypot(max(box[0] - point[0], 0, point[0] - box[2]),
                      max(box[1] - point[1], 0, point[1] - box[3]))


def spread(rows: Sequence[tuple[Series, Sequence[float]]]) -> str:
    """The test score (x 100) of every seed, a line a row; the bar is the mean."""
    axes = named_rows([series.name for series, _ in rows])
    for height, (series, scores) in enumerate(reversed(rows)):
        mean = sum(scores) / len(scores)
        axes.plot(scores, [height] * len(scores), series.marker, markersize=5, color=series.colour,
                  alpha=0.75, markeredgewidth=0, zorder=3)
        axes.plot([mean, mean], [height - 0.35, height + 0.35], color=STAND_INS["ink"],
                  linewidth=1.5, zorder=4)
    axes.set_xlabel("test score, one mark a seed")
    return svg(axes.figure)


def gains(rows: Sequence[Gain], named: bool = True) -> str:
    """The gains over the same student without a teacher, a line a row; without names the marks
    alone tell the rows.
    """
    if named:
        axes = named_rows([row.series.name for row in rows])
    else:
        _, axes = canvas(3.6, 2.9, left=0.25)
        labelled_rows(axes, [""] * len(rows))
        axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=STAND_INS["soft"], linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    for height, row in enumerate(reversed(rows)):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [height, height], color=row.series.colour, linewidth=1.4,
                      zorder=2)
        axes.plot([row.delta], [height], row.series.marker, markersize=6.5, color=row.series.colour,
                  zorder=3,
                  markerfacecolor=row.series.colour if row.separable else STAND_INS["page"])
    axes.set_xlabel("points of test score gained over no teacher")
    return svg(axes.figure)


def retention(tasks: Sequence[str], rows: Sequence[tuple[Series, Sequence[float | None]]]) -> str:
    """Share of the teacher's score (%) kept on every task, a mark a configuration."""
    figure, axes = canvas(4.6, 0.55 + 0.34 * len(tasks), left=room_for(tasks))
    axes.axvline(100, color=STAND_INS["soft"], linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    for place, (series, kept) in enumerate(rows):
        # marks of one task side by side, not on top of each other
        shift = 0.5 * (place / max(len(rows) - 1, 1) - 0.5)
        shown = [(value, len(tasks) - 1 - i - shift)
                 for i, value in enumerate(kept)
                 if value is not None]
        axes.plot(*zip(*shown, strict=True), series.marker, markersize=5.5, color=series.colour,
                  markeredgewidth=0, zorder=3)
    labelled_rows(axes, list(reversed(tasks)))
    axes.set_xlabel("% of the teacher's test score")
    return svg(figure)


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
    values = [value for points in lines.values() for _, value in points if math.isfinite(value)]
    if values and 0 < min(values) < max(values) / 20:
        axes.set_yscale("log")
    if named and lines:
        axes.legend(fontsize=7.5, frameon=False, labelcolor=STAND_INS["ink"], handlelength=3,
                    ncols=columns, borderpad=0, loc="lower left", bbox_to_anchor=(0.03, 0.0),
                    bbox_transform=figure.transFigure)
    titled(axes, title)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(stages) > 1:
        axes.margins(y=0.2)  # room for their names
        for name, begin in stages.items():
            axes.axvline(begin - 0.5, color=STAND_INS["soft"], linewidth=0.8, linestyle=":")
            axes.annotate(name, (begin - 0.5, 1), xycoords=("data", "axes fraction"),
                          xytext=(2, -7), textcoords="offset points", fontsize=7,
                          color=STAND_INS["soft"])
    return svg(figure)


def key(series: Series) -> str:
    """The marker alone, for a legend in the page's own text."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(series.marker)
    path = style.get_path().transformed(style.get_transform())
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    steps = [letters[int(code)] + " ".join(f"{10 * v:.1f}" for v in (points if code != 79 else ()))
             for points, code in path.iter_segments()]
    return (
        f'<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true"><path transform="scale(1,-1)" '
        f'style="fill:var(--{series.css});stroke:var(--{series.css})" d="{" ".join(steps)}"/></svg>'
    )


def sheet(title: str, panels: Sequence[tuple[str, str]], legend: Sequence[Series]) -> str:
    """Captioned pictures, two a row, and what their marks mean, as one SVG file: light or dark as
    its reader has it.
    """
    wide, high, head, gap = 430, 350, 24, 10
    cells = len(panels) + 1
    height = 30 + math.ceil(cells / 2) * (high + head + gap) + max(0, 22 * len(legend) - high)
    parts = [f'<text x="12" y="22" class="title">{escape(title)}</text>']
    for i in range(cells):
        x, y = gap + (i % 2) * (wide + gap), 34 + (i // 2) * (high + head + gap)
        if i < len(panels):
            caption, picture = panels[i]
            place = f'<svg x="{x}" y="{y + head}" width="{wide}" height="{high}"'
            parts += [f'<text x="{x + 4}" y="{y + 16}">{escape(caption)}</text>',
                      picture.replace(IDS, f"p{i}-").replace("<svg", place, 1)]
            continue
        for row, series in enumerate(legend):
            below = y + head + 20 + 22 * row
            parts += [
                key(series).replace("<svg",
                                    f'<svg x="{x + 30}" y="{below - 12}" width="14" height="14"',
                                    1),
                f'<text x="{x + 52}" y="{below}">{escape(series.name)}</text>'
            ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * wide + 3 * gap} {height}" '
        f'role="img">\n'
        f"<title>{escape(title)}</title>\n<style>svg {{ {LIGHT} }}\n@media (prefers-color-scheme: "
        f"dark) {{ svg {{ {DARK} }} }}\n"
        "text { font-family: system-ui, sans-serif; font-size: 14px; fill: var(--ink); } .title { "
        "font-size: 16px; font-weight: bold; }"
        '</style>\n<rect width="100%" height="100%" style="fill: var(--page)"/>\n' +
        "\n".join(parts) + "\n</svg>\n")


# ---- matplotlib ----------------------------------------------------------------------------------


def canvas(width: float, height: float, left: float = 0.5, bottom: float = 0.42) -> tuple[Any, Any]:
    """A figure of `width` x `height` inches in the stand-in colours, with room `left` and `bottom`
    for words.

    Fixed margins, because a layout engine draws every picture once more, only to measure it; and no
    pyplot, which keeps figures in global state.
    """
    import matplotlib
    from matplotlib.figure import Figure

    ink, grid = STAND_INS["ink"], STAND_INS["grid"]
    style: Any = {
        "font.size": 8, "axes.edgecolor": STAND_INS["soft"], "axes.labelcolor": ink,
        "xtick.color": ink, "ytick.color": ink, "text.color": ink, "grid.color": grid,
        "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots()
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
    figure.subplots_adjust(left=left / width, right=1 - 0.12 / width, bottom=bottom / height,
                           top=1 - 0.22 / height)
    return figure, axes


def titled(axes: Any, title: str) -> None:
    """What the vertical axis shows, above it: beside it, wide figures would push it out of the
    picture.
    """
    axes.set_title(title, fontsize=8, color=STAND_INS["ink"], loc="left", x=0.0)


def named_rows(names: Sequence[str]) -> Any:
    """The axes of a picture with a named line a row, from the top down; long names go over several
    lines.
    """
    wrapped = [textwrap.wrap(name, 40) or [""] for name in reversed(names)]
    left = room_for([line for lines in wrapped for line in lines])
    pitch = 0.14 + 0.14 * max(map(len, wrapped))
    figure, axes = canvas(max(4.6, left + 3), 0.55 + pitch * len(names), left=left)
    labelled_rows(axes, ["\n".join(lines) for lines in wrapped])
    return axes


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
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)  # the page's own
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S).replace("<defs></defs>", "")
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{IDS}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)', rf"\1{IDS}", text)
    for name, stand_in in STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    return text
