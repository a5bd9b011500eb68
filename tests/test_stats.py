"""Intervals, paired differences and ranks against closed forms and simulation."""

import math

import numpy as np
import pytest

from bench import stats, tails
from bench.stats import Sample

# Two-sided 95% quantiles as every textbook prints them.
T_TABLE = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 19: 2.093, 120: 1.980}


@pytest.mark.parametrize("dof, expected", T_TABLE.items())
def test_t_quantile_is_the_textbook_table(dof, expected):
    assert stats.t_quantile(dof) == pytest.approx(expected, abs=5e-4)


def test_t_quantile_without_freedom_is_infinite():
    assert stats.t_quantile(0) == math.inf


def test_interval_is_student_for_a_fixed_number():
    # Mean 3, s^2 = 2.5, n = 5.
    mean, low, high = stats.interval([1, 2, 3, 4, 5])
    half = 2.7764451 * math.sqrt(2.5 / 5)
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half), rel=1e-7)


def test_interval_takes_its_spread_from_the_first_stage():
    values = [1.0, 2.0, 3.0, 50.0, 0.0, 100.0]
    mean, low, high = stats.interval(values, first_stage=3)
    assert mean == pytest.approx(26)
    assert high - mean == pytest.approx(4.3026527 * 1.0 / math.sqrt(6), rel=1e-7)
    assert stats.interval(values, first_stage=6) == stats.interval(values)


def test_one_chip_of_a_deterministic_level_has_zero_width():
    assert stats.interval([91.2], 1) == (91.2, 91.2, 91.2)


def test_chips_needed_solves_steins_equation():
    first = [0.0, 1.0, 2.0]  # s0 = 1, t_2 = 4.302653, (t / .5)^2 = 74.05
    assert stats.chips_needed(first, 0.5, 1000) == 75
    assert stats.chips_needed(first, 0.5, 40) == 40
    assert stats.chips_needed(first, 100.0, 40) == 3
    assert stats.chips_needed([5.0] * 10, 0.5, 40) == 10
    assert stats.chips_needed([5.0], 0.5, 40) == 1
    n = stats.chips_needed(first, 0.5, 1000)
    assert stats.t_quantile(2) / math.sqrt(n) <= 0.5 < stats.t_quantile(2) / math.sqrt(n - 1)


@pytest.mark.parametrize("sigma, maximum", [(0.7, 40), (0.7, 10_000), (2.0, 40)])
def test_stein_covers_95_percent_and_keeps_the_half_width(sigma, maximum):
    rng = np.random.default_rng(1)
    repeats, hits, sizes = 4000, 0, []
    for _ in range(repeats):
        first = (86 + sigma * rng.standard_normal(10)).tolist()
        n = stats.chips_needed(first, 0.5, maximum)
        values = first + (86 + sigma * rng.standard_normal(n - 10)).tolist()
        found = stats.interval(values, 10)
        hits += found.low <= 86 <= found.high
        sizes.append(n)
        assert n == maximum or found.high - found.mean <= 0.5 + 1e-9
    assert 100 * hits / repeats == pytest.approx(95, abs=1.5)
    assert len(set(sizes)) > 3 or sigma == 2.0


def test_seeds_are_a_second_random_effect():
    seeds = [[90.0, 92.0], [91.0, 93.0], [95.0, 97.0]]  # means 91, 92, 96
    mean, low, high = stats.seeds_interval(seeds)
    assert mean == pytest.approx(93)
    assert high - mean == pytest.approx(4.3026527 * math.sqrt(7 / 3), rel=1e-7)
    assert mean - low == pytest.approx(high - mean)
    assert stats.seeds_interval([[1.0, 2.0, 9.0]], 2) == stats.interval([1.0, 2.0, 9.0], 2)


def test_seeds_interval_covers_the_mean_over_seeds_where_chips_alone_do_not():
    rng = np.random.default_rng(2)
    repeats, hits, naive = 2000, 0, 0
    for _ in range(repeats):
        values = 80 + rng.standard_normal((3, 1)) + 0.5 * rng.standard_normal((3, 10))
        found, chips = stats.seeds_interval(values.tolist()), stats.interval(values.ravel().tolist())
        hits += found.low <= 80 <= found.high
        naive += chips.low <= 80 <= chips.high
    assert 100 * hits / repeats == pytest.approx(95, abs=1.5)
    assert naive / repeats < 0.6


def test_chip_scores_average_levels_and_take_single_chips_as_constants():
    sample = stats.chip_scores([[90.0], [80.0, 82.0, 84.0], [70.0, 71.0]], [1, 2, 2])
    assert sample.values == pytest.approx([80.0, 81.0])
    assert sample.first_stage == 2
    assert stats.chip_scores([[90.0], [80.0]], [1, 1]).values == [85.0]


def test_score_interval_is_centred_on_the_mean_of_level_means():
    levels = [[90.0], [80.0, 82.0, 84.0], [70.0, 71.0]]
    sample = stats.chip_scores(levels, [1, 2, 2])
    found = stats.score_interval([levels], [sample])
    assert found.mean == pytest.approx((90 + 82 + 70.5) / 3)
    # Chip scores 80 and 81: s0 = sqrt(.5), N = 2.
    assert found.high - found.mean == pytest.approx(12.7062047 * 0.5, rel=1e-7)
    both = stats.score_interval([levels, [[90.0], [80.0], [70.0]]], [sample, sample])
    assert both.mean == pytest.approx((found.mean + 80) / 2)


@pytest.mark.parametrize("spread", [0.05, 0.2])
def test_score_interval_covers_with_unequal_chip_numbers(spread):
    rng = np.random.default_rng(3)
    repeats, hits, sizes = 2000, 0, set()
    for _ in range(repeats):
        chip = rng.standard_normal(60)
        levels = []
        for k in (1, 2):  # positively correlated levels, as shared chips make them
            full = (80 + k * 0.6 * chip + spread * rng.standard_normal(60)).tolist()
            levels.append(full[: stats.chips_needed(full[:10], 0.5, 60)])
        sizes.add(tuple(map(len, levels)))
        sample = stats.chip_scores(levels, [10, 10])
        found = stats.score_interval([levels], [sample])
        hits += found.low <= 80 <= found.high
    assert hits / repeats > 0.935
    assert len(sizes) > 50


def test_pairing_removes_what_chips_do_to_both():
    rng = np.random.default_rng(4)
    luck = 3 * rng.standard_normal(20)
    a = (85 + luck + 0.1 * rng.standard_normal(20)).tolist()
    b = (84.5 + luck + 0.1 * rng.standard_normal(20)).tolist()
    found = stats.paired({0: Sample(a, 20)}, {0: Sample(b, 20)})
    d = np.subtract(a, b)
    half = 2.0930241 * d.std(ddof=1) / math.sqrt(20)
    assert found[:3] == pytest.approx((d.mean(), d.mean() - half, d.mean() + half), rel=1e-7)
    assert found.low > 0 and found.p < 1e-6
    # Unpaired, the intervals overlap by far.
    assert stats.interval(b).high > stats.interval(a).mean


def test_paired_p_value_is_students_and_dual_to_the_interval():
    # d = 1, 2, 3: t = 2 sqrt(3) = 3.4641, two degrees of freedom: p = 1 - t / sqrt(t^2 + 2) = .07418.
    found = stats.paired({0: Sample([1.0, 2.0, 3.0], 3)}, {0: Sample([0.0, 0.0, 0.0], 3)})
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-9)
    assert found.low < 0
    rng = np.random.default_rng(5)
    for _ in range(200):
        d = (0.6 + rng.standard_normal(12)).tolist()
        found = stats.paired({0: Sample(d, 10)}, {0: Sample([0.0] * 15, 10)})
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_paired_uses_the_common_chips_and_the_smaller_first_stage():
    a, b = Sample([1.0, 2.0, 4.0, 8.0], 4), Sample([0.0, 0.0, 0.0, 0.0, 99.0], 3)
    found = stats.paired({0: a}, {0: b})
    assert found.mean == pytest.approx(15 / 4)
    s0 = np.std([1, 2, 4], ddof=1)
    assert found.high - found.mean == pytest.approx(4.3026527 * s0 / 2, rel=1e-7)


def test_paired_over_seeds_is_t_over_seed_means_where_chips_matter_little():
    a = {0: Sample([1.9, 2.1], 2), 1: Sample([3.9, 4.1], 2), 2: Sample([5.9, 6.1], 2), 9: Sample([1e9, 1e9], 2)}
    b = {seed: Sample([0.0, 0.0], 2) for seed in (0, 1, 2, 7)}
    found = stats.paired(a, b)
    assert found.mean == pytest.approx(4)
    assert found.high - found.mean == pytest.approx(4.3026527 * 2 / math.sqrt(3), rel=1e-7)


def test_paired_without_a_common_seed_separates_nothing():
    found = stats.paired({0: Sample([1.0, 2.0], 2)}, {1: Sample([90.0, 91.0], 2)})
    assert found.p == 1.0
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_one_exact_difference_is_no_evidence():
    one, two = Sample([91.0], 1), Sample([92.0], 1)
    assert stats.paired({0: one}, {0: two}) == (-1.0, -math.inf, math.inf, 1.0)
    assert stats.paired({0: one}, {0: one}) == (0.0, 0.0, 0.0, 1.0)
    assert stats.ranks([{0: one}, {0: two}, {0: Sample([99.0], 1)}]) == [1, 1, 1]
    # Against chips an exact value is the same on every one.
    against = stats.paired({0: Sample([92.0, 93.0, 94.0], 3)}, {0: one})
    assert against.mean == pytest.approx(2)
    assert against.high - against.mean == pytest.approx(4.3026527 / math.sqrt(3), rel=1e-7)


def test_equal_differences_are_worth_what_the_sign_test_says():
    for n in (2, 5, 6, 10):
        chips = np.linspace(-3, 3, n)
        found = stats.paired({0: Sample((chips + 1).tolist(), n)}, {0: Sample(chips.tolist(), n)})
        assert found.p == pytest.approx(2 * 0.5**n), "n heads, or n tails"
        assert (found.p < 0.05) == (found.low > 0)
    exact = {seed: Sample([91.0 + seed], 1) for seed in (0, 1)}
    assert stats.paired(exact, {seed: Sample([90.0 + seed], 1) for seed in (0, 1)}).p == 0.5


def test_seeds_alone_are_tested_with_students_t():
    a = {seed: Sample([90.0 + wobble], 1) for seed, wobble in enumerate((0.0, 0.1, 0.2))}
    b = {seed: Sample([80.0], 1) for seed in range(3)}
    assert stats.ranks([b, a]) == [2, 1]


def test_holm_is_the_step_down():
    # Holm's order: .01 <= .05/4, .02 > .05/3: stop there, though .03 <= .05.
    assert stats.holm([0.02, 0.01, 0.03, 0.9]) == [False, True, False, False]
    assert stats.holm([0.01, 0.016, 0.02, 0.04]) == [True, True, True, True]
    assert stats.holm([0.05]) == [True]
    assert stats.holm([]) == []


def scored(mean: float, wobble: float = 0.0, n: int = 10) -> dict[int, Sample]:
    """Chip scores with a shared chip pattern; `wobble` is the method's own, of mean zero."""
    chip = np.linspace(-3, 3, n)
    own = wobble * np.tile([1.0, -1.0], n // 2)
    return {0: Sample((mean + chip + own).tolist(), n)}


def test_ranks_share_ties_and_count_who_is_better():
    methods = [scored(80, 0.1), scored(86, 0.1), scored(80.01, 0.3), scored(90, 0.2)]
    assert stats.ranks(methods) == [3, 2, 3, 1]
    assert stats.ranks(methods, higher_is_better=False) == [1, 3, 1, 4]


def test_ranks_need_not_be_transitive():
    # a > c only: b can be told from neither, so it shares the first rank and c is beaten once.
    methods = [scored(80.5, 0.05), scored(80.25, 0.8), scored(80.0, 0.05)]
    assert stats.ranks(methods) == [1, 1, 2]


def test_ranks_of_none_one_and_identical_methods():
    assert stats.ranks([]) == []
    assert stats.ranks([scored(80)]) == [1]
    assert stats.ranks([scored(80), scored(80), scored(80)]) == [1, 1, 1]


def test_adjusted_p_values_are_holms():
    """Holm 1979 by hand: 4 x .01, 3 x .02 = .06, 2 x .04 = .08, and never less than one before it."""
    assert stats.holm_adjusted([0.04, 0.01, 0.9, 0.02]) == pytest.approx([0.08, 0.04, 0.9, 0.06])
    assert stats.holm_adjusted([0.03, 0.029, 0.6]) == pytest.approx([0.087, 0.087, 0.6])
    assert stats.holm_adjusted([]) == []
    methods = [{0: Sample([80.0 + m + 0.1 * c * (1 + m) for c in range(10)], 10)} for m in (0, 3, 5)]
    found = stats.differences(methods)
    assert found[0, 2].mean == -found[2, 0].mean and found[0, 2].p == found[2, 0].p and len(found) == 6


def test_ranks_correct_for_the_number_of_pairs():
    """Of eight equal methods, tables with any false order stay within 5%."""
    rng = np.random.default_rng(6)
    repeats, wrong = 600, 0
    for _ in range(repeats):
        luck = rng.standard_normal(10)
        methods = [{0: Sample((luck + rng.standard_normal(10)).tolist(), 10)} for _ in range(8)]
        wrong += stats.ranks(methods) != [1] * 8
    assert wrong / repeats <= 0.06


def test_yield_counts_chips_within_the_loss():
    values = [91.0, 86.2, 86.1, 40.0]
    assert tails.yield_share(values, clean=91.2) == 0.5
    assert tails.yield_share(values, clean=91.2, loss=0.1) == 0.0
    assert tails.yield_share(values, clean=91.2, loss=60) == 1.0
    # A perplexity may rise by the loss.
    assert tails.yield_share([20.0, 25.0, 25.1], clean=20.0, higher_is_better=False) == pytest.approx(2 / 3)


def test_tail_statistics_flip_with_the_metric():
    values = list(range(101))
    assert tails.fifth_percentile(values) == 5
    assert tails.fifth_percentile(values, higher_is_better=False) == 95
    assert tails.worst(values) == 0
    assert tails.worst(values, higher_is_better=False) == 100


def test_runs_of_methods_that_are_not_apart_are_the_longest_ones():
    far = {(0, 2), (0, 3), (1, 3)}
    assert stats.tied_runs(4, lambda i, j: (i, j) in far) == [(0, 1), (1, 2), (2, 3)]
    assert stats.tied_runs(4, lambda i, j: False) == [(0, 3)]
    assert stats.tied_runs(3, lambda i, j: True) == []
    # 0 and 2 are apart, so no run holds both, though 2 and 3 are not apart from 1.
    assert stats.tied_runs(4, lambda i, j: (i, j) == (0, 2)) == [(0, 1), (1, 3)]
