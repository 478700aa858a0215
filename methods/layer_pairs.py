"""Which layer of the teacher each layer of the student learns from."""

from __future__ import annotations


def layer_pairs(teacher: int, student: int, count: int) -> list[tuple[int, int]]:
    """`count` pairs (teacher layer, student layer), spread evenly over both depths.

    Pair i of n is (round(i · teacher / n), round(i · student / n)) for i = 1..n, so that the last
    layers are always a pair.

    teacher, student  depths, in layers; layer 0 is the embedding's output
    """
    return [(round(i * teacher / count), round(i * student / count)) for i in range(1, count + 1)]
