"""The protocol's promises: few false alarms, known shifts found, nothing decided by order or by too few seeds."""

import json

import numpy as np
import pytest

from kdbench.score import statistics
from kdbench.score.metrics import METRICS
from kdbench.score.statistics import (
    Cache,
    Interval,
    contrast,
    crossed_interval,
    gap_recovered,
    holm,
    iqm,
    overall,
    prediction_interval,
    retention,
    tie_groups,
    wilcoxon,
)

ACCURACY = METRICS["accuracy"].finish
F1 = METRICS["micro_f1"].finish


def simulate(rng, seeds=5, units=500, mean=0.75, sd=0.02, common=None):
    """Counts (S, U, 2) of one method's accuracy: each seed has its own skill, items their own difficulty."""
    hard = common if common is not None else rng.normal(scale=1.0, size=units)
    skill = rng.normal(mean, sd, size=seeds)
    right = rng.random((seeds, units)) < np.clip(skill[:, None] - 0.15 * hard, 0, 1)
    return np.stack([right, np.ones_like(right)], axis=2).astype(float)


def rejections(repeats, gap=0.0, **size):
    found = 0
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        hard = rng.normal(scale=1.0, size=size.get("units", 500))
        a, b = simulate(rng, mean=0.75 + gap, common=hard, **size), simulate(rng, common=hard, **size)
        found += crossed_interval(a, b, ACCURACY, replicates=400).excludes_zero
    return found / repeats


def test_identical_methods_are_called_different_in_at_most_8_percent_of_300_repeats():
    assert rejections(300) <= 0.08


def test_it_also_holds_with_many_units_where_seeds_are_most_of_the_noise():
    assert rejections(100, units=2000) <= 0.10


def test_unpaired_identical_methods_too():
    found = 0
    for repeat in range(150):
        rng = np.random.default_rng(repeat)
        hard = rng.normal(size=500)
        a, b = simulate(rng, common=hard), simulate(rng, seeds=6, common=hard)
        found += crossed_interval(a, b, ACCURACY, paired=False, replicates=400).excludes_zero
    assert found / 150 <= 0.08


def test_a_large_shift_is_found_and_a_known_shift_is_covered():
    assert rejections(60, gap=0.12) >= 0.95
    covered = 0
    for repeat in range(100):
        rng = np.random.default_rng(repeat)
        hard = rng.normal(size=500)
        # on the probabilities inside (0, 1) the accuracies differ by 0.03 on average
        a, b = simulate(rng, mean=0.53, sd=0.02, common=hard), simulate(rng, mean=0.50, sd=0.02, common=hard)
        interval = crossed_interval(a, b, ACCURACY, replicates=400)
        covered += interval.low <= 0.03 <= interval.high
    assert covered >= 92


def test_shared_seed_effects_are_used_when_paired():
    rng = np.random.default_rng(0)
    effect = rng.normal(scale=0.05, size=(8, 1))
    hard = rng.normal(size=2000)

    def runs(mean):
        right = rng.random((8, 2000)) < np.clip(mean + effect - 0.15 * hard, 0, 1)
        return np.stack([right, np.ones_like(right)], axis=2).astype(float)

    a, b = runs(0.7), runs(0.68)
    paired, unpaired = (crossed_interval(a, b, ACCURACY, paired=choice) for choice in (True, False))
    assert paired.high - paired.low < 0.7 * (unpaired.high - unpaired.low)


@pytest.mark.parametrize("paired", [True, False])
def test_swapping_flips_the_sign_only(paired):
    rng = np.random.default_rng(1)
    a, b = simulate(rng), simulate(rng, mean=0.7)
    there = crossed_interval(a, b, ACCURACY, paired=paired)
    back = crossed_interval(b, a, ACCURACY, paired=paired)
    assert (there.delta, there.low, there.high, there.p) == (-back.delta, -back.high, -back.low, back.p)


def as_runs(counts, names=None, order=None):
    names = names or [f"PMID{i}" for i in range(counts.shape[1])]
    return {seed: (names, counts[seed]) for seed in (order or range(len(counts)))}


def shuffled(runs, rng):
    out = {}
    for seed in rng.permutation(list(runs)):
        units, counts = runs[seed]
        order = rng.permutation(len(units))
        out[int(seed)] = ([units[i] for i in order], counts[order])
    return out


def test_order_of_rows_and_seeds_does_not_matter_and_the_seed_decides():
    rng = np.random.default_rng(2)
    a, b = as_runs(simulate(rng)), as_runs(simulate(rng))
    first = contrast(a, b, ACCURACY)
    assert contrast(shuffled(a, rng), shuffled(b, rng), ACCURACY) == first
    assert contrast(a, b, ACCURACY) == first
    assert contrast(a, b, ACCURACY, seed=9) != first


def test_a_single_seed_is_compared_with_its_own_like():
    a, b = np.zeros((2, 10, 2)), np.zeros((2, 10, 2))
    a[..., 1] = b[..., 1] = 1
    a[1, :6, 0], b[0, :1, 0], b[1, :4, 0] = 1, 1, 1
    units = [str(i) for i in range(10)]
    found = contrast({1: (units, a[1])}, {seed: (units, b[seed]) for seed in (0, 1)}, ACCURACY)
    assert found.delta == pytest.approx(0.2) and found.low is None and found.seeds == 1


def test_seeds_are_paired_where_both_have_them():
    counts = simulate(np.random.default_rng(3), seeds=12)
    runs = as_runs(counts)
    assert contrast({s: runs[s] for s in range(5)}, {s: runs[s] for s in range(2, 9)}, ACCURACY).paired
    apart = contrast({s: runs[s] for s in range(5)}, {s: runs[s] for s in range(5, 12)}, ACCURACY)
    assert not apart.paired and apart.seeds == 5
    assert contrast(runs, {}, ACCURACY) is None


def test_other_test_units_cannot_be_compared():
    runs = as_runs(simulate(np.random.default_rng(3)))
    other = as_runs(simulate(np.random.default_rng(3)), names=[f"other{i}" for i in range(500)])
    assert contrast(runs, other, ACCURACY) is None


def test_one_seed_gives_no_interval_and_four_no_verdict():
    counts = simulate(np.random.default_rng(4))
    one = crossed_interval(counts[:1], counts[1:2], ACCURACY)
    assert (one.low, one.high, one.p, one.excludes_zero, one.judged) == (None, None, None, False, False)
    assert not crossed_interval(counts[:4], counts[:4], ACCURACY).judged
    assert crossed_interval(counts, counts, ACCURACY).judged


def test_equal_seeds_and_empty_predictions_divide_nothing_by_zero():
    right = simulate(np.random.default_rng(5))
    same = np.repeat(right[:1], 5, axis=0)
    with np.errstate(all="raise"):
        equal = crossed_interval(same, np.repeat(right[1:2], 5, axis=0), ACCURACY)  # V_s = 0, V > 0
        assert equal.low < equal.delta < equal.high
        nothing = crossed_interval(np.zeros((5, 30, 3)), np.zeros((5, 30, 3)), F1)
        assert (nothing.delta, nothing.low, nothing.high, nothing.p) == (0, 0, 0, 1)
        perfect = np.ones((5, 30, 3)) * [1, 1, 1]
        sure = crossed_interval(perfect, np.zeros((5, 30, 3)), F1)
        assert (sure.delta, sure.low, sure.p) == (1, 1, 0)


def test_replicates_equal_a_plain_loop():
    """The matrix product against weights applied one by one."""
    rng = np.random.default_rng(6)
    counts = rng.integers(0, 4, size=(3, 7, 3)).astype(float)
    units, seeds = statistics.unit_weights(7, 20, 0), statistics.seed_weights(3, 20, 1)
    expected = [
        sum(v[s] * float(F1(sum(w[u] * counts[s, u] for u in range(7)))) for s in range(3))
        for w, v in zip(units, seeds, strict=True)
    ]
    np.testing.assert_allclose(statistics.replicate(counts, F1, units, seeds), expected)
    assert (units.sum(axis=1) == 7).all()
    np.testing.assert_allclose(seeds.sum(axis=1), 1)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_weighted_seeds_have_the_variance_of_their_mean(seeds):
    """SD² / S, the SD over S - 1, as of any mean; drawn seeds alone would have (S - 1) / S of it."""
    scores = np.random.default_rng(seeds).normal(0.7, 0.02, size=seeds)
    weighted = statistics.seed_weights(seeds, 40_000, 3) @ scores
    assert weighted.mean() == pytest.approx(scores.mean(), abs=3e-4)
    assert weighted.var() == pytest.approx(scores.var(ddof=1) / seeds, rel=0.04)
    if seeds == 2:  # drawn twice, once or never: 1/2 and 1/2 ± √2 / 2
        values = np.unique(statistics.seed_weights(2, 200, 0).round(9))
        np.testing.assert_allclose(values, [0.5 - 0.5**0.5, 0.5, 0.5 + 0.5**0.5])


def test_where_all_units_are_alike_it_is_the_t_interval_over_seeds():
    """One unit leaves no noise but that of seeds: scipy's paired and Welch's t."""
    from scipy import stats

    rng = np.random.default_rng(11)
    a, b = rng.uniform(0.6, 0.8, size=5), rng.uniform(0.5, 0.7, size=5)
    counts = [np.stack([100 * x, np.full(5, 100.0)], axis=1)[:, None] for x in (a, b)]
    for paired, oracle in ((True, stats.ttest_rel(a, b)),
                           (False, stats.ttest_ind(a, b, equal_var=False))):
        found = crossed_interval(*counts, ACCURACY, paired=paired, replicates=40_000)
        expected = oracle.confidence_interval(0.95)
        width = expected.high - expected.low
        assert found.delta == pytest.approx(a.mean() - b.mean())
        # df grows with V / V_s, which is 1 but for the noise of the bootstrap
        assert found.low == pytest.approx(expected.low, abs=0.03 * width)
        assert found.high == pytest.approx(expected.high, abs=0.03 * width)


def test_where_all_seeds_are_alike_it_is_the_normal_interval_over_units():
    """Seeds that agree leave the noise of units: that of the mean of their paired differences."""
    rng = np.random.default_rng(12)
    right = [rng.random(400) < share for share in (0.8, 0.7)]
    a, b = (np.stack([np.stack([each, np.ones(400)], axis=1).astype(float)] * 3) for each in right)
    found = crossed_interval(a, b, ACCURACY, replicates=40_000)
    difference = right[0].astype(float) - right[1]
    error = difference.std() / 20
    assert found.high - found.low == pytest.approx(2 * 1.959964 * error, rel=0.03)
    assert found.delta == pytest.approx(difference.mean())


def test_a_unit_is_compared_with_itself():
    """A method against itself differs nowhere, in whatever order its files list the units."""
    counts, names = simulate(np.random.default_rng(13)), [f"PMID{i}" for i in range(500)]
    found = contrast(as_runs(counts, names), as_runs(counts[:, ::-1], names[::-1]), ACCURACY)
    assert (found.delta, found.low, found.high, found.p) == (0, 0, 0, 1)
    moved = contrast(as_runs(counts, names), as_runs(counts[:, ::-1], names), ACCURACY)
    assert moved.low < 0 < moved.high, "the same names on other counts are another comparison"


def test_holm_equals_golden_values_of_statsmodels():
    # statsmodels.stats.multitest.multipletests(p, method="holm")
    assert holm([0.04, 0.001, 0.02, 0.5]) == pytest.approx([0.08, 0.004, 0.06, 0.5])
    assert holm([0.01, 0.01, 0.03, 0.005, 0.9]) == pytest.approx([0.04, 0.04, 0.06, 0.025, 0.9])
    assert holm([0.013, 0.2, 0.049, 0.0004, 0.03, 0.051, 0.013]) == pytest.approx(
        [0.078, 0.2, 0.147, 0.0028, 0.12, 0.147, 0.078])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_tie_groups_hold_what_cannot_be_told_from_their_best():
    scores = {"a": 0.80, "b": 0.79, "c": 0.60, "d": 0.59}
    close = {frozenset("ab"), frozenset("cd")}
    groups = tie_groups(scores, lambda x, y: 0.5 if frozenset((x, y)) in close else 0.001)
    assert groups == [["a", "b"], ["c", "d"]]
    assert tie_groups(scores, lambda x, y: None) == [["a", "b", "c", "d"]], "no comparison, no distinction"
    # 0.02 alone would be told apart; among four comparisons it is not
    many = {name: -i for i, name in enumerate("vwxyz")}
    assert tie_groups(many, lambda x, y: 0.02)[0] == list("vwxyz")


def test_iqm_equals_trim_mean_and_overall_keeps_tasks_fixed():
    from scipy.stats import trim_mean

    rng = np.random.default_rng(8)
    for n in range(1, 20):
        values = rng.normal(size=(n, 3))
        np.testing.assert_allclose(iqm(values), trim_mean(values, 0.25))
    scores = {f"t{i}": (rng.normal(0.5 + 0.1 * i, 0.01, size=5)).tolist() for i in range(4)}
    result = overall(scores)
    means = [np.mean(s) for s in scores.values()]
    assert result.mean == pytest.approx(np.mean(means))
    assert result.iqm == pytest.approx(np.mean(means[1:3]))
    # 5 seeds of SD 0.01 on 4 tasks: the standard error of the mean is about 0.002, whatever lies between tasks
    assert result.mean_interval[0] < result.mean < result.mean_interval[1]
    assert result.mean_interval[1] - result.mean_interval[0] < 0.02
    assert overall({"t": [0.5]}).mean_interval is None


def test_wilcoxon_only_from_six_tasks_on():
    from scipy.stats import wilcoxon as oracle

    deltas = [0.01, 0.02, 0.03, -0.004, 0.05, 0.06, 0.07]
    assert wilcoxon(deltas[:5]) is None
    assert wilcoxon(deltas) == pytest.approx(oracle(deltas).pvalue)
    assert wilcoxon([0.0] * 6) == 1.0


def test_prediction_interval_is_that_of_one_further_run():
    scores = [0.70, 0.71, 0.72, 0.69, 0.73]
    low, high = prediction_interval(scores)
    half = 2.7764451 * np.std(scores, ddof=1) * np.sqrt(1.2)
    assert (low, high) == pytest.approx((0.71 - half, 0.71 + half))
    assert prediction_interval([0.7]) is None
    rng = np.random.default_rng(9)
    intervals = (prediction_interval(rng.normal(size=5)) for _ in range(2000))
    inside = [low <= rng.normal() <= high for low, high in intervals]
    assert 0.93 < np.mean(inside) < 0.97


def test_retention_and_gap():
    lead = Interval(0.1, 0.05, 0.15, 0.001, 5, True)
    assert retention(0.7, 0.8) == pytest.approx(0.875)
    assert retention(0.7, 0.0) is None
    assert gap_recovered(0.75, 0.70, 0.80, lead) == pytest.approx(0.5)
    unclear = Interval(0.1, -0.05, 0.25, 0.2, 5, True)
    assert gap_recovered(0.75, 0.70, 0.80, unclear) is None, "a teacher that is not better leaves no gap"
    assert gap_recovered(0.75, 0.70, 0.80, lead.flipped()) is None
    assert gap_recovered(0.75, 0.70, 0.80, None) is None


def test_cache_finds_intervals_by_content(tmp_path, monkeypatch):
    rng = np.random.default_rng(10)
    a, b = as_runs(simulate(rng)), as_runs(simulate(rng))
    cache = Cache(tmp_path / "deep" / "intervals.json")
    first = cache.contrast(a, b, "accuracy", ACCURACY)
    cache.save()
    assert json.loads(cache.path.read_text())
    again = Cache(cache.path)
    monkeypatch.setattr(statistics, "contrast", lambda *args: pytest.fail("computed twice"))
    assert again.contrast(shuffled(a, rng), b, "accuracy", ACCURACY) == first
    monkeypatch.undo()
    with monkeypatch.context() as upgraded:
        upgraded.setattr(statistics, "code", lambda: "newer")
        assert not Cache(cache.path).known and again.known
    changed = {seed: (units, counts.copy()) for seed, (units, counts) in a.items()}
    changed[0][1][0, 0] += 1
    assert again.contrast(changed, b, "accuracy", ACCURACY) != first
    cache.path.write_text("{broken")
    assert Cache(cache.path).contrast(a, b, "accuracy", ACCURACY) == first
