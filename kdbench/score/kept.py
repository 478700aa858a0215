"""Does a student keep enough of its teacher? Shares of a score, and losses of recall, with a
verdict by an interval over seeds and test units.

The question: if new texts of the same kind were drawn, and the student trained again with new
seeds, would it still keep that share? Of a single student, whose weights are delivered as they are,
only the texts are drawn anew.

With score S of the student and T of the teacher, "keeps at least the share k" is the sign of the
contrast D = S - k T. A ratio of two uncertain numbers has no interval of its own form; D has, and
the share's interval is made of all k whose D cannot be told from 0 (Fieller 1954).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from kdbench.score.counts import Finish
from kdbench.score.statistics import (
    LEVEL,
    REPLICATES,
    replicate,
    seed_weights,
    t_quantile,
    unit_weights,
)

YES, NO, OPEN = "yes", "no", "cannot be told"
# No unit of U in which two models differ leaves up to 3.7 of U (97.5 % sure) in which they would;
# 3.7 = 1.96 * sqrt(3.5)
UNSEEN = 3.5
STEPS = 60  # of a bisection, which then is exact to the last digit


@dataclass(frozen=True)
class Contrast:
    """D = S - k T + c with its interval.

    value, low, high  of D
    of_seeds          the part of its variance that more test units do not make smaller
    """

    value: float
    low: float
    high: float
    of_seeds: float

    @property
    def verdict(self) -> str:
        """Is D above 0?"""
        if self.low > 0:
            return YES
        return NO if self.high < 0 else OPEN


class Pair:
    """The scores of a student and its teacher on the same units, drawn anew together.

    students  counts (S, U, K), one row a seed
    teacher   counts (U, K) of the one teacher, or (S, U, K) of a teacher for each seed
    finish    sums (..., K) -> scores (...)
    """

    def __init__(self, students: ndarray, teacher: ndarray, finish: Finish, *,
                 replicates: int = REPLICATES, seed: int = 0, level: float = LEVEL):
        if teacher.ndim == 2:
            teacher = np.broadcast_to(teacher, (len(students), *teacher.shape))
        self.seeds, self.units, _ = students.shape
        self.level = level
        self.scores = finish(students.sum(axis=1)), finish(teacher.sum(axis=1))
        units = unit_weights(self.units, replicates, seed)
        one = np.ones((replicates, 1))
        drawn = seed_weights(self.seeds, replicates, seed + 1) if self.seeds > 1 else one
        self.drawn = (replicate(students, finish, units, drawn),
                      replicate(np.ascontiguousarray(teacher), finish, units, drawn))
        self.unseen = UNSEEN * of_a_difference(students, teacher, finish)

    @property
    def student(self) -> float:
        """The student's score, a mean over seeds."""
        return float(self.scores[0].mean())

    @property
    def teacher(self) -> float:
        """The teacher's."""
        return float(self.scores[1].mean())

    def contrast(self, share: float, offset: float = 0.0) -> Contrast:
        """D = S - share · T + offset, its interval as in `crossed_interval`; of one seed with a
        degree of freedom less than there are units. Its variance is that of the replicates and of
        `UNSEEN` further units in which the models differ, as few such units say little of their
        number, and none of them would leave an interval of no width.
        """
        each = self.scores[0] - share * self.scores[1] + offset
        spread = float(np.var(self.drawn[0] - share * self.drawn[1], ddof=1))
        freedom, of_seeds = self.units - 1.0, 0.0
        if self.seeds > 1:
            of_seeds = float(np.var(each, ddof=1)) / self.seeds
            if of_seeds > 0:
                own = (self.seeds - 1) * max(1.0, (spread / of_seeds) ** 2)
                freedom = min(freedom, own)
        value, half = float(each.mean()), t_quantile(max(freedom, 1.0), self.level)
        half *= math.sqrt(spread + self.unseen)
        return Contrast(value, value - half, value + half, of_seeds)

    def share(self) -> float | None:
        """S / T; None where the teacher scores 0 or less."""
        return self.student / self.teacher if self.teacher > 0 else None

    def interval(self) -> tuple[float | None, float | None]:
        """The shares whose contrast cannot be told from 0; None for an end that there is not."""
        share = self.share()
        if share is None:
            return None, None
        return self.end(share, -1), self.end(share, 1)

    def end(self, share: float, direction: int) -> float | None:
        """The last share in one direction that cannot be told from the true one."""
        verdict = YES if direction < 0 else NO
        inside, outside = share, share + direction * 0.01
        while self.contrast(outside).verdict != verdict:
            inside, outside = outside, share + 2 * (outside - share)
            if abs(outside) > 100:
                return None
        for _ in range(STEPS):
            middle = (inside + outside) / 2
            if self.contrast(middle).verdict == verdict:
                outside = middle
            else:
                inside = middle
        return inside

    def units_to_tell(self, contrast: Contrast) -> int | None:
        """About how many test units could tell, were D what it is here; None where only more seeds
        can.
        """
        spread = ((contrast.high - contrast.low) / 2) ** 2
        quantile = t_quantile(max(self.seeds - 1, 1) if self.seeds > 1 else self.units - 1,
                              self.level)
        fixed = quantile**2 * contrast.of_seeds
        left = contrast.value**2 - fixed
        if left <= 0:
            return None
        return max(self.units + 1, math.ceil(self.units * max(spread - fixed, 0.0) / left))


def of_a_difference(students: ndarray, teacher: ndarray, finish: Finish) -> float:
    """The mean square of what a unit in which the models differ does to S - T; one more, which the
    student has lost as a whole, counts among them.

    students, teacher  counts (S, U, K)
    """
    change = np.mean(without_each(students, finish) - without_each(teacher, finish), axis=0)
    differs = (students != teacher).any(axis=(0, 2))
    present = (teacher != 0).any(axis=(0, 2)) | (students != 0).any(axis=(0, 2))
    score = float(finish(teacher.sum(axis=1)).mean()) or 1.0  # never found yet is not never
    whole = score / max(1, int(present.sum()))
    return float((np.sum(change[differs] ** 2) + whole**2) / (differs.sum() + 1))


def without_each(counts: ndarray, finish: Finish) -> ndarray:
    """What leaving out each unit does to the score (S, U), of counts (S, U, K)."""
    sums = counts.sum(axis=1, keepdims=True)
    return np.nan_to_num(finish(sums - counts) - finish(sums))


# ---- one label at a time -------------------------------------------------------------------------


@dataclass(frozen=True)
class Lost:
    """What a student loses of one label's recall, teacher's minus student's, with its interval.

    mentions  in the gold labels of the test
    """

    label: str
    mentions: int
    student: float
    teacher: float
    lost: float
    low: float
    high: float

    def verdict(self, most: float) -> str:
        """Is no more lost than `most`?"""
        if self.high < most:
            return YES
        return NO if self.low > most else OPEN


def lost(label: str, students: ndarray, teacher: ndarray, **how: int) -> Lost:
    """What is lost of a label's recall.

    students (S, U, 2), teacher (U, 2) or (S, U, 2)  true positives and mentions of each unit
    how      of `Pair`
    """
    pair = Pair(students, teacher, recall_of, **how)
    found = pair.contrast(1.0)
    mentions = round(float(students[0, :, 1].sum()))
    return Lost(label, mentions, pair.student, pair.teacher, -found.value,
                max(-found.high, -1.0), min(-found.low, 1.0))  # no more than all can be lost


def recall_of(sums: ndarray) -> ndarray:
    """True positives over mentions, of sums (..., 2); 0 where there is no mention."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]),
                     where=sums[..., 1] != 0)
