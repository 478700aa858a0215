"""Is the gain real? Intervals over seeds *and* test units, for a handful of seeds.

The question of every comparison: if training were run again with new seeds, and a new test set of
this size were drawn, would A still beat B? Seeds and test units are both random; a test of only one
of them calls identical methods different far too often. So units (documents, patients, texts) and
seeds are resampled together, and the spread of the replicates is read against Student's t, because
five seeds are few.

A run is given by its counts (U, K): the sums of its metric for each of U units
(`kdbench.score.metrics`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy import ndarray

from kdbench.base.checksums import read_object, sealed
from kdbench.base.errors import one_line
from kdbench.base.folders import write_text
from kdbench.base.progress import say_once

LEAST_SEEDS = 5  # below, differences are preliminary: shown, never judged
LEAST_TASKS = 6  # below, Wilcoxon's smallest two-sided p is above 0.05
LEVEL = 0.95
REPLICATES = 1000

Finish = Callable[[ndarray], ndarray]
Runs = Mapping[int, tuple[Sequence[str], ndarray]]


@dataclass(frozen=True)
class Interval:
    """A difference A - B with its interval; `low`, `high` and `p` are None for a single seed."""

    delta: float
    low: float | None
    high: float | None
    p: float | None
    seeds: int
    paired: bool

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def judged(self) -> bool:
        """Whether there are seeds enough for a verdict."""
        return self.seeds >= LEAST_SEEDS

    def flipped(self) -> Interval:
        """The interval of B - A."""
        low = None if self.high is None else -self.high
        high = None if self.low is None else -self.low
        return Interval(-self.delta, low, high, self.p, self.seeds, self.paired)


# ---- within a task -------------------------------------------------------------------------------


def contrast(
    a: Runs, b: Runs, finish: Finish, *, replicates: int = REPLICATES, seed: int = 0
) -> Interval | None:
    """The interval of A - B over {seed: (units, counts)}; None where the two were not scored on the
    same units.

    Seeds that both have are paired; without at least two of them, all seeds of both are used
    unpaired, unless one side has a single seed, which is then compared with the same seed of the
    other. The order of units and of seeds does not matter.
    """
    shared = sorted(a.keys() & b.keys())
    paired = len(shared) >= 2 or len(shared) == min(len(a), len(b))
    of_a, of_b = (shared, shared) if paired else (sorted(a), sorted(b))
    sides = [sorted_runs(a, of_a), sorted_runs(b, of_b)]
    if not sides[0] or not sides[1]:
        return None
    units = sides[0][0][0]
    for side in sides:
        if any(names != units for names, _ in side):
            return None
    first, second = map(stacked, sides)
    return crossed_interval(first, second, finish, paired=paired, replicates=replicates, seed=seed)


def sorted_runs(runs: Runs, seeds: Sequence[int]) -> list[tuple[list[str], ndarray]]:
    """Units and counts of these seeds, the units in one order."""
    return [sort_units(*runs[seed]) for seed in seeds]


def stacked(side: Sequence[tuple[list[str], ndarray]]) -> ndarray:
    """The counts of all seeds, (S, U, K)."""
    return np.stack([counts for _, counts in side])


def sort_units(units: Sequence[str], counts: ndarray) -> tuple[list[str], ndarray]:
    """Names of the units in order, and their counts."""
    names = [str(unit) for unit in units]
    order = sorted(range(len(names)), key=names.__getitem__)
    return [names[i] for i in order], np.asarray(counts)[order]


def crossed_interval(
    a: ndarray,
    b: ndarray,
    finish: Finish,
    *,
    paired: bool = True,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Interval of the mean score of A minus that of B, by a bootstrap crossed over seeds and units.

    a, b      counts (S, U, K); with `paired`, row s of both shares its seed
    finish    sums (..., K) -> scores (...)

    A replicate draws unit weights w, the same for A and B, and seed weights v (jointly for both
    when paired), spread to v <- 1/S + (v - 1/S) sqrt(S / (S - 1)) because S seeds understate their
    own variance. It scores every seed on the weighted units and averages by v. With V the variance
    of the replicates and V_s the variance of the mean that the S seeds show alone, the interval is

        delta +- t_df sqrt(V),   df = (S - 1) max(1, (V / V_s)^2)

    (unpaired: Welch's degrees of freedom in place of S - 1). One seed gives no interval.
    """
    # one order of drawing, so that swapping A and B flips the sign only
    if not paired and a.tobytes() > b.tobytes():
        return crossed_interval(
            b, a, finish, paired=False, replicates=replicates, seed=seed, level=level
        ).flipped()
    scores_a, scores_b = finish(a.sum(axis=1)), finish(b.sum(axis=1))
    delta, seeds = float(scores_a.mean() - scores_b.mean()), min(len(a), len(b))
    if seeds < 2:
        return Interval(delta, None, None, None, seeds, paired)
    units = unit_weights(a.shape[1], replicates, seed)
    drawn_a = seed_weights(len(a), replicates, seed + 1)
    drawn_b = drawn_a if paired else seed_weights(len(b), replicates, seed + 2)
    differences = replicate(a, finish, units, drawn_a) - replicate(b, finish, units, drawn_b)
    spread = np.var(differences, ddof=1)
    if paired:
        of_seeds, freedom = np.var(scores_a - scores_b, ddof=1) / seeds, seeds - 1.0
    else:
        of_seeds, freedom = welch(scores_a, scores_b)
    if of_seeds > 0:
        freedom *= max(1.0, (spread / of_seeds) ** 2)
    else:
        freedom = np.inf
    low, high, p = t_interval(delta, float(np.sqrt(spread)), freedom, level)
    return Interval(delta, low, high, p, seeds, paired)


def replicate(counts: ndarray, finish: Finish, units: ndarray, seeds: ndarray) -> ndarray:
    """Scores (R,) of counts (S, U, K) under unit weights (R, U) and seed weights (R, S): one matrix
    product.
    """
    s, u, k = counts.shape
    sums = units @ counts.transpose(1, 0, 2).reshape(u, s * k)
    return (finish(sums.reshape(-1, s, k)) * seeds).sum(axis=1)


# the pairs of a table share their test set, so the weights are drawn once a table
@lru_cache(maxsize=2)
def unit_weights(units: int, replicates: int, seed: int) -> ndarray:
    """How often each unit is drawn, (R, U)."""
    rng = np.random.default_rng((seed, units))
    rows = rng.integers(0, units, size=(replicates, units)) + units * np.arange(replicates)[:, None]
    drawn = np.bincount(rows.ravel(), minlength=replicates * units)
    return drawn.reshape(replicates, units).astype(float)


@lru_cache(maxsize=64)
def seed_weights(seeds: int, replicates: int, seed: int) -> ndarray:
    """Weights (R, S) of the seeds; each row sums to 1, spread by sqrt(S / (S - 1))."""
    rng = np.random.default_rng((seed, seeds))
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds
    return 1 / seeds + (drawn - 1 / seeds) * np.sqrt(seeds / (seeds - 1))


def welch(a: ndarray, b: ndarray) -> tuple[float, float]:
    """Variance of the difference of two means, and its degrees of freedom (Welch-Satterthwaite)."""
    of_a, of_b = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    total = of_a + of_b
    if total == 0:
        return 0.0, np.inf
    return total, total**2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))


def t_interval(
    delta: float, error: float, freedom: float, level: float
) -> tuple[float, float, float]:
    """Ends of the two-sided interval and the p-value of 0, for a standard error with `freedom`
    degrees.
    """
    if error == 0:
        return delta, delta, float(delta == 0)
    half = t_quantile(freedom, level) * error
    return delta - half, delta + half, 2 * t_below(-abs(delta) / error, freedom)


def t_quantile(freedom: float, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's t; the normal one for infinite degrees of freedom."""
    from scipy.special import ndtri, stdtrit

    tail = (1 + level) / 2
    return float(stdtrit(freedom, tail)) if np.isfinite(freedom) else float(ndtri(tail))


def t_below(value: float, freedom: float) -> float:
    """The distribution function of Student's t; the normal one for infinite degrees of freedom."""
    from scipy.special import ndtr, stdtr

    return float(stdtr(freedom, value)) if np.isfinite(freedom) else float(ndtr(value))


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for one family of comparisons (Holm 1979), in the order given."""
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def tie_groups(
    scores: Mapping[str, float], compare: Callable[[str, str], float | None], level: float = LEVEL
) -> list[list[str]]:
    """Names in groups within which no difference is significant, the best first.

    Each group is led by the best name left; it holds all others whose difference from the leader
    has a Holm-adjusted p above 1 - level. `compare(leader, other)` gives that difference's p-value.
    """
    left, groups = sorted(scores, key=lambda name: (-scores[name], name)), []
    while left:
        leader, *others = left
        found = [compare(leader, name) for name in others]
        adjusted = holm([1.0 if p is None else p for p in found])
        tied = [name for name, p in zip(others, adjusted, strict=True) if p > 1 - level]
        groups.append([leader, *tied])
        left = [name for name in others if name not in tied]
    return groups


# ---- derived figures -----------------------------------------------------------------------------


def retention(student: float, teacher: float) -> float | None:
    """Share of the teacher's score that the student keeps."""
    return student / teacher if teacher else None


def gap_recovered(
    student: float, plain: float, teacher: float, gap: Interval | None
) -> float | None:
    """(student - plain) / (teacher - plain): how much of the teacher's lead over the undistilled
    student is made up.

    None unless the interval of that lead, teacher - plain, lies above 0: there is no gap to recover
    otherwise.
    """
    if gap is None or gap.low is None or gap.low <= 0 or teacher == plain:
        return None
    return (student - plain) / (teacher - plain)


def prediction_interval(
    scores: Sequence[float], level: float = LEVEL
) -> tuple[float, float] | None:
    """Where one further run would fall: mean +- t_{S-1} SD sqrt(1 + 1/S). None under two runs.

    A paper's single figure is consistent with ours if it lies inside.
    """
    if len(scores) < 2:
        return None
    error = np.std(scores, ddof=1) * np.sqrt(1 + 1 / len(scores))
    half = t_quantile(len(scores) - 1, level) * error
    return float(np.mean(scores) - half), float(np.mean(scores) + half)


# ---- across tasks --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overall:
    """Mean and interquartile mean over a fixed list of tasks, each with an interval over seeds
    (None: one seed).
    """

    mean: float
    mean_interval: tuple[float, float] | None
    iqm: float
    iqm_interval: tuple[float, float] | None
    tasks: int


def iqm(values: Sequence[float] | ndarray) -> ndarray:
    """Interquartile mean along the first axis: what is left of n values without the n // 4 lowest
    and highest.
    """
    ordered = np.sort(values, axis=0)
    cut = len(ordered) // 4
    return ordered[cut : len(ordered) - cut].mean(axis=0)


def overall(
    scores: Mapping[str, Sequence[float]], *, replicates: int = REPLICATES, seed: int = 0
) -> Overall:
    """{task: a score a seed} as one figure; seeds are resampled within each task, the tasks are
    not.
    """
    tasks = sorted(scores)
    means = np.array([np.mean(scores[task]) for task in tasks])
    intervals: list[tuple[float, float] | None] = [None, None]
    if all(len(scores[task]) > 1 for task in tasks):
        rows = []
        for i, task in enumerate(tasks, 1):
            weights = seed_weights(len(scores[task]), replicates, seed + i)
            rows.append(weights @ np.asarray(scores[task], dtype=float))
        drawn = np.stack(rows)
        for i, figures in enumerate((drawn.mean(axis=0), iqm(drawn))):
            low, high = np.percentile(figures, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
            intervals[i] = float(low), float(high)
    return Overall(float(means.mean()), intervals[0], float(iqm(means)), intervals[1], len(tasks))


def wilcoxon(deltas: Sequence[float]) -> float | None:
    """Two-sided p of the signed-rank test over per-task differences; None under six tasks: it could
    not reach 0.05.
    """
    if len(deltas) < LEAST_TASKS:
        return None
    if not any(deltas):
        return 1.0
    from scipy.stats import wilcoxon as signed_rank

    return float(signed_rank(deltas).pvalue)


# ---- computed once -------------------------------------------------------------------------------


class Cache:
    """Intervals found again by the content of what they were computed from, in one JSON file (None:
    in memory only).

    Intervals that other code computed, before an upgrade say, are not used.
    """

    def __init__(self, path: Path | None = None):
        self.path, self.fresh = path, False
        self.known: dict[str, dict] = {}
        if path is not None and path.is_file():
            try:
                found = read_object(path)
                if found["code"] == code():  # another version's fields are no damage
                    self.known = known_intervals(found["intervals"])
            except (ValueError, TypeError, KeyError) as error:  # it costs time, nothing else
                say_once(f"{path}: damaged ({one_line(error)}); computed anew")

    def contrast(self, a: Runs, b: Runs, metric: str, finish: Finish) -> Interval | None:
        """`contrast`, remembered; `metric` names `finish` in the key."""
        key = self.key(a, b, metric)
        if key not in self.known:
            found = contrast(a, b, finish)
            if found is None:
                return None
            self.known[key] = asdict(found)
            self.fresh = True
        return Interval(**self.known[key])

    def save(self) -> None:
        """Write the file where something was computed since it was read."""
        if self.path is None or not self.fresh:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = sealed({"code": code(), "intervals": self.known})
        write_text(self.path, json.dumps(content, indent=0, sort_keys=True))
        self.fresh = False

    @staticmethod
    def key(a: Runs, b: Runs, metric: str) -> str:
        """The hash of all that an interval is computed from."""
        content = hashlib.sha256(f"{metric} {REPLICATES} {LEVEL}".encode())
        for runs in (a, b):
            for seed in sorted(runs):
                units, counts = sort_units(*runs[seed])
                content.update(f"{seed} {units} {counts.shape}".encode())
                content.update(np.ascontiguousarray(counts, dtype=float).tobytes())
            content.update(b"|")
        return content.hexdigest()[:24]


def known_intervals(stored: object) -> dict[str, dict]:
    """The intervals of a file by their keys; `ValueError` where one is none."""
    if not isinstance(stored, dict):
        raise ValueError("it has no intervals")
    for interval in stored.values():
        fields = interval if isinstance(interval, dict) else {}
        numbers = all(value is None or isinstance(value, (int, float)) for value in fields.values())
        if not numbers or fields.keys() != Interval.__dataclass_fields__.keys():
            raise ValueError("an interval is none")
    return stored


@lru_cache
def code() -> str:
    """What computes intervals: a hash of this file and of the metrics."""
    folder, content = Path(__file__).parent, hashlib.sha256()
    for name in ("statistics.py", "metrics.py", "scoring.py", "counts.py", "tagging.py"):
        content.update((folder / name).read_bytes())
    return content.hexdigest()[:24]
