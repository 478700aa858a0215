"""Score against the number of training labels, where a study has tried several."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from kdbench.report.axes import BOTTOM, canvas, plain_ticks, set_title
from kdbench.report.groups import Group, Section
from kdbench.report.names import method_name
from kdbench.report.plots import LINES, score_limits
from kdbench.report.svg import STAND_INS, Series, as_svg, key, series_of

Study = tuple[str, str, str]  # task, origin of the data, metric
Models = tuple[str, str, str]  # method, student, teacher


class Point(NamedTuple):
    """A number of labels, the mean score (x 100) of all seeds, and their SD."""

    labels: int
    score: float
    sd: float


class Curves(NamedTuple):
    """The curves of one study in one picture, and what marks each of them."""

    title: str
    task: str
    picture: str
    series: list[Series]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The marks, as pictures, with their names."""
        return [(key(one), one.name) for one in self.series]


def curves(sections: Sequence[Section]) -> list[Curves]:
    """A picture for each task of which at least two numbers of labels were tried, all labels being
    one of them.
    """
    studies: dict[Study, list[Group]] = defaultdict(list)
    for section in sections:
        group = section.group
        studies[group.task, group.origin, group.metric].append(group)
    found = []
    for (task, origin, metric), groups in studies.items():
        points = points_of(groups)
        tried = {point.labels for each in points.values() for point in each}
        if len(tried) > 1 and any(labels_of(group) for group in groups):
            series = series_of(names_of(list(points)))
            rows = list(zip(series.values(), points.values(), strict=True))
            title = f"{task} · {metric} · {origin} data"
            found.append(Curves(title, task, picture(rows), list(series.values())))
    return found


def labels_of(group: Group) -> int | None:
    """How many training labels the rows of a group have kept; None: all."""
    return next((row.settings.get("labels") for row in group.rows), None)


def points_of(groups: Sequence[Group]) -> dict[Models, list[Point]]:
    """By method and models the points of a curve, from few labels to many. A configuration that
    has several rows at one number of labels is left out: its points would be two curves.
    """
    found: dict[Models, list[Point]] = defaultdict(list)
    for group in groups:
        count = labels_of(group) or (group.data.get("rows") or {}).get("train")
        for row in group.rows:
            scores = [100 * score for score in row.scores().values()]
            if count and scores and not row.part:
                spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
                point = Point(count, statistics.mean(scores), spread)
                found[method_name(row), row.student, row.teacher_name].append(point)
    kept = {}
    for models, points in sorted(found.items()):
        if len({point.labels for point in points}) == len(points) > 1:
            kept[models] = sorted(points)
    return kept


def names_of(keys: Sequence[Models]) -> list[str]:
    """What curves are called: student and teacher are said where there are several."""
    students = {student for method, student, _ in keys if method != "teacher"}
    teachers = {teacher for _, _, teacher in keys} - {""}
    names = []
    for method, student, teacher in keys:
        name = f"{method}, {student}" if method == "teacher" or len(students) > 1 else method
        names.append(f"{name}, from {teacher}" if teacher and len(teachers) > 1 else name)
    return names


def picture(rows: Sequence[tuple[Series, Sequence[Point]]]) -> str:
    """The curves, with whiskers of one SD over seeds; labels on a logarithmic axis."""
    figure, axes = canvas(2.48 + BOTTOM)
    axes.set_xscale("log")
    counts = sorted({point.labels for _, points in rows for point in points})
    low, high = score_limits([end for _, points in rows for point in points
                              for end in (point.score - point.sd, point.score + point.sd)])
    for number, (series, points) in enumerate(rows):
        ends = [[min(point.sd, point.score - low) for point in points],
                [min(point.sd, high - point.score) for point in points]]
        axes.errorbar([point.labels for point in points], [point.score for point in points],
                      yerr=ends, fmt=series.marker, linestyle=LINES[number % len(LINES)],
                      color=series.colour, markersize=5, linewidth=1.2, elinewidth=0.8, capsize=2,
                      markerfacecolor=series.colour, zorder=3, clip_on=False)
    axes.set_xlabel("training labels")
    set_title(axes, "test score")
    plain_ticks(axes.xaxis, counts)
    axes.set_xticks(counts)
    axes.tick_params(axis="x", which="minor", bottom=False, color=STAND_INS["soft"])
    axes.set_ylim(low, high)
    return as_svg(figure)
