"""The picture of a search: its trials and finals against their cost, its time, and what is lost of
each label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.report.axes import BOTTOM, canvas, canvas_of_rows, plain_ticks, set_title
from kdbench.report.plots import DASHED, beside_marks, score_limits
from kdbench.report.svg import STAND_INS, Series, as_svg, series_of, sheet

NAMES = {"p50_ms": "latency", "megabytes": "size"}
AXES = {"p50_ms": "median latency, ms a text", "megabytes": "MB of weights"}


@dataclass(frozen=True)
class Tried:
    """A trial: its cost, its score (x 100), and the seconds that were spent when it ended.

    whole  did it come to the last rung?
    """

    series: Series
    cost: float
    score: float
    spent: float
    whole: bool


@dataclass(frozen=True)
class Final:
    """A finalist: its cost and its test score (x 100), with the share of the teacher's it keeps."""

    series: Series
    cost: float
    score: float


def picture(certificate: Mapping[str, Any], title: str) -> str:
    """One SVG file of a certificate of `shrink`."""
    searched = certificate["searched"]
    names = [one["method"] for one in (*searched["trials"], *searched["finals"])]
    by_name = series_of(names)
    cost, _ = cost_of(certificate["asked"])
    costs = {one["shape"]: {form["kind"]: form[cost] for form in one["forms"]}
             for one in searched["shapes"]}
    tried, spent = [], 0.0
    for one in searched["trials"]:
        spent += one["seconds"]
        tried.append(Tried(by_name[one["method"]], costs[one["shape"]][one["form"]],
                           100 * one["dev apart"], spent, one["whole"]))
    finals = [Final(by_name[one["method"]], one[cost], 100 * one["score"])
              for one in searched["finals"]]
    panels = []
    if tried or finals:
        panels.append((f"Trials (dev, hollow: given up) and finals (test, large) by {NAMES[cost]};"
                       " dashed: what was asked for", front(tried, finals, certificate)))
    if len(tried) > 1:
        panels.append(("Best score on dev by time", by_time(tried)))
    if certificate["labels"]:
        panels.append(("Recall lost of each label, 95% interval", losses(certificate["labels"])))
    return sheet(title, panels, list(by_name.values()))


def cost_of(asked: Mapping[str, Any]) -> tuple[str, float | None]:
    """The cost that is drawn, with its limit: size where it is limited and latency is not."""
    if asked["max_ms"] is None and asked["max_mb"] is not None:
        return "megabytes", asked["max_mb"]
    return "p50_ms", asked["max_ms"]


def front(tried: Sequence[Tried], finals: Sequence[Final], certificate: Mapping[str, Any]) -> str:
    """Score against latency, or size where that alone is limited, with the budget and the share to
    keep as lines.
    """
    figure, axes = canvas(2.48 + BOTTOM)
    costs = [*(one.cost for one in tried), *(one.cost for one in finals)]
    asked, teacher = certificate["asked"], 100 * certificate["score"]["teacher"]
    (cost, limit), keep = cost_of(asked), asked["keep"] * teacher
    if max(costs) > 8 * max(min(costs), 1e-9):
        axes.set_xscale("log")
    for one in tried:
        axes.plot([one.cost], [one.score], one.series.marker, color=one.series.colour, markersize=5,
                  markerfacecolor=one.series.colour if one.whole else STAND_INS["page"],
                  alpha=0.8, zorder=2, clip_on=False)
    for final in finals:
        axes.plot([final.cost], [final.score], final.series.marker, color=final.series.colour,
                  markersize=10, markeredgecolor=STAND_INS["ink"], zorder=3, clip_on=False)
    soft = STAND_INS["soft"]
    axes.axhline(keep, color=soft, linewidth=1, linestyle=DASHED, zorder=1)
    if limit is not None:
        axes.axvline(limit, color=soft, linewidth=1, linestyle=DASHED, zorder=1)
        costs.append(limit)
    scores = [*(one.score for one in tried), *(one.score for one in finals), keep]
    axes.set_ylim(score_limits(scores))
    axes.set_xlabel(AXES[cost])
    set_title(axes, "score")
    axes.margins(x=0.1)
    plain_ticks(axes.xaxis, costs)
    return as_svg(figure)


def by_time(tried: Sequence[Tried]) -> str:
    """The best score of the trials that came to the last rung, as time went on."""
    figure, axes = canvas(2.48 + BOTTOM)
    best, points = -1.0, []
    for one in tried:
        best = max(best, one.score)
        points.append((one.spent / 60, best))
        axes.plot([one.spent / 60], [one.score], one.series.marker, color=one.series.colour,
                  markersize=4.5, alpha=0.8, clip_on=False,
                  markerfacecolor=one.series.colour if one.whole else STAND_INS["page"])
    axes.step(*zip(*points, strict=True), where="post", color=STAND_INS["ink"], linewidth=1.2,
              zorder=1)
    axes.set_ylim(score_limits([one.score for one in tried]))
    axes.set_xlabel("minutes of trials")
    set_title(axes, "score on dev")
    return as_svg(figure)


def losses(labels: Sequence[Mapping[str, Any]]) -> str:
    """What is lost of the recall of each label, in points, the worst first."""
    order = sorted(labels, key=lambda one: -one["lost"])
    names = [f"{one['label']} ({one['mentions']:,})" for one in order]
    figure, axes, heights = canvas_of_rows(names)
    beside_marks(axes, 0, heights, 12.0)
    for height, one in zip(heights, order, strict=True):
        low, high, value = (100 * one[name] for name in ("low", "high", "lost"))
        axes.plot([low, high], [height, height], color=STAND_INS["c0"], linewidth=1.4, zorder=2)
        axes.plot([value], [height], "o", markersize=6, color=STAND_INS["c0"], zorder=3)
    axes.set_xlabel("points of recall lost")
    return as_svg(figure)
