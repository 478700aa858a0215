"""Where the names of points are written in a picture: each where it covers least.

All lengths are in points of a printer (1/72 inch), from the lower left corner of the figure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdbench.report import lettering

XY = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top
Covered = tuple[Box, float]  # a box, and the weight of covering it


@dataclass(frozen=True)
class Place:
    """Where a name is written: the offset of its middle from its point.

    far  the distance from the point; beyond the nearest, a line leads to the point
    """

    dx: float
    dy: float
    far: float
    box: Box


def marks_and_staircase(points: Sequence[XY], steps: Sequence[XY]) -> list[Covered]:
    """The boxes that names should not cover: markers, and the staircase through `steps`."""
    taken: list[Covered] = [((x - 5, y - 5, x + 5, y + 5), 8.0) for x, y in points]
    for (x, y), (next_x, next_y) in itertools.pairwise(steps):
        taken.append(((x, y - 0.5, next_x, y + 0.5), 2.0))
        taken.append(((next_x - 0.5, y, next_x + 0.5, next_y), 2.0))
    return taken


def best_place(
    name: str, point: XY, points: Sequence[XY], taken: Sequence[Covered], frame: Box
) -> Place:
    """The place of a name where it covers least, stays in the frame and is read as its point's.

    taken  what is drawn already, other names among it
    """

    def cost(place: Place) -> float:
        own = distance(place.box, point)
        # a name closer to another mark than to its own would be read as that one's
        others = (distance(place.box, other) for other in points if other != point)
        misread = any(other < own + 4 for other in others)
        return covered(place.box, taken) + outside(place.box, frame) + place.far + 30 * misread

    return min(places(name, point), key=cost)


def places(name: str, point: XY) -> Iterator[Place]:
    """The places that are tried, the nearest first."""
    x, y = point
    wide, high = lettering.points(name) + 4, 11.0
    for far in (10, 22, 34, 46, 58):
        for across, up in itertools.product((0, 1, -1, 0.5, -0.5), (1, -1, 0)):
            if up == 0 and across not in (1, -1):
                continue  # it would cover its own mark
            dx, dy = across * (far - 4 + wide / 2), up * far
            left, right = x + dx - wide / 2, x + dx + wide / 2
            bottom, top = y + dy - high / 2, y + dy + high / 2
            yield Place(dx, dy, far, (left, bottom, right, top))


def crowded(boxes: Sequence[Box], frame: Box) -> bool:
    """Whether names cover each other or leave the frame, so that they need a list of their own."""
    pairs = itertools.combinations(boxes, 2)
    return any(overlap(*pair) > 0 for pair in pairs) or any(outside(box, frame) for box in boxes)


def overlap(box: Box, other: Box) -> float:
    """The area that two boxes share."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    return width * height


def covered(box: Box, taken: Sequence[Covered]) -> float:
    """The weighted area of what lies under a box."""
    return math.fsum(weight * overlap(box, other) for other, weight in taken)


def outside(box: Box, frame: Box) -> float:
    """How far a box reaches out of the frame, above which there is room for 8 points."""
    left, bottom = max(0.0, frame[0] - box[0]), max(0.0, frame[1] - box[1])
    right, top = max(0.0, box[2] - frame[2]), max(0.0, box[3] - frame[3] - 8)
    return 100 * (left + right + bottom + top)


def distance(box: Box, point: XY) -> float:
    """Distance of a point from a box."""
    dx = max(box[0] - point[0], 0, point[0] - box[2])
    dy = max(box[1] - point[1], 0, point[1] - box[3])
    return math.hypot(dx, dy)
