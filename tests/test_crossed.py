"""Seeds and chips as crossed random effects: mean squares by hand, coverage by simulation."""

import itertools

import numpy as np
import pytest

from bench import stats
from bench.crossed import Effects, Prior, prior_of
from bench.stats import Sample

RANDOM = np.random.default_rng(11)


def test_mean_squares_are_those_of_a_two_way_table():
    # Rows (seeds) 1 2 3, 3 4 8: grand mean 3.5, row means 2 and 5, column means 2, 3, 5.5.
    found = Effects.of([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]], 3)
    assert found.mean == pytest.approx(3.5)
    assert found.of_seeds == pytest.approx(3 * 2 * 1.5**2)
    assert found.of_chips == pytest.approx(2 * (1.5**2 + 0.5**2 + 2**2) / 2)
    # What rows and columns leave: .5 .5 -1 and the same with the other sign.
    assert found.of_rest == pytest.approx(2 * (0.25 + 0.25 + 1) / 2)
    total = 3 * 2 * 1.5**2 + 2 * (1.5**2 + 0.5**2 + 2**2) + 2 * 1.5
    assert total == pytest.approx(sum((x - 3.5) ** 2 for x in (1, 2, 3, 3, 4, 8)))


def test_chips_beyond_the_first_stage_count_in_means_alone():
    short, long = [[1.0, 2.0], [4.0, 6.0]], [[1.0, 2.0, 9.0], [4.0, 6.0, 2.0]]
    a, b = Effects.of(short, 2), Effects.of(long, 2)
    assert (a.of_chips, a.of_rest) == (b.of_chips, b.of_rest)
    assert b.mean == pytest.approx(4.0) and b.n_chips == 3


def test_without_chips_it_is_students_t_over_seeds():
    found = Effects.of([[91.0], [92.0], [96.0]], 1)
    assert found.half_width(0.05) == pytest.approx(4.3026527 * (7 / 3) ** 0.5, rel=1e-7)
    assert found.p_value() < 1e-3


def test_p_value_is_dual_to_the_interval():
    for _ in range(300):
        values = 0.8 + RANDOM.normal(0, 0.5, (3, 1)) + RANDOM.normal(0, 0.8, (1, 8)) + RANDOM.normal(0, 0.5, (3, 8))
        found, prior = Effects.of(values.tolist(), 6), Prior(4.0, 0.2)
        for given in (None, prior):
            assert (found.p_value(given) < 0.05) == (abs(found.mean) > found.half_width(0.05, given))


# Standard deviations of seeds, chips and the rest; in the last two neither seeds nor chips, or hardly, matter.
CASES = (
    (1.0, 1.0, 1.0),
    (0.3, 1.0, 0.3),
    (1.0, 0.3, 0.3),
    (0.1, 1.0, 0.1),
    (0.5, 1.0, 0.2),
    (1.0, 0.0, 1.0),
    (0.2, 0.2, 1.0),
    (0.0, 0.0, 1.0),
)


def drawn(case: tuple[float, float, float], shape: tuple[int, int]) -> np.ndarray:
    """values[seed, chip] of mean 0."""
    of_seeds, of_chips, of_rest = case
    seeds, chips = RANDOM.normal(0, of_seeds, (shape[0], 1)), RANDOM.normal(0, of_chips, (1, shape[1]))
    return seeds + chips + RANDOM.normal(0, of_rest, shape)


def covers(hits: int, repeats: int) -> bool:
    """95% +- 1.5, and two standard errors of so many repeats."""
    return abs(100 * hits / repeats - 95) <= 1.5 + 200 * (0.05 * 0.95 / repeats) ** 0.5


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("case", CASES)
def test_95_percent_of_intervals_hold_the_mean_over_seeds_and_chips(case, seeds):
    values = [drawn(case, (seeds, 10)).tolist() for _ in range(3000)]
    assert covers(sum(low <= 0 <= high for _, low, high in map(stats.seeds_interval, values)), 3000)


@pytest.mark.parametrize("shape", [(3, 5), (3, 10), (3, 40), (4, 10), (5, 10), (10, 10)])
def test_coverage_holds_wherever_variances_lie_also_at_zero(shape):
    """Mean squares drawn from their laws: many repeats of each pair of variances of seeds and chips."""
    (n_seeds, n_chips), repeats = shape, 4000
    # The variance of the rest is 1.
    dof = n_seeds - 1, n_chips - 1, (n_seeds - 1) * (n_chips - 1)
    for of_seeds, of_chips in itertools.product((0.0, 0.1, 1.0, 30.0), repeat=2):
        expected = np.array([n_chips * of_seeds + 1, n_seeds * of_chips + 1, 1.0])
        squares = expected * RANDOM.chisquare(dof, (repeats, 3)) / dof
        means = RANDOM.normal(0, ((expected[0] + expected[1] - 1) / (n_seeds * n_chips)) ** 0.5, repeats)
        made = [Effects(m, *s, n_seeds, n_chips, n_chips) for m, s in zip(means, squares, strict=True)]
        hits = sum(abs(effects.mean) <= effects.half_width(0.05) for effects in made)
        assert covers(hits, repeats), (of_seeds, of_chips, hits)


def test_two_seeds_are_no_claim_that_is_too_strong():
    for case in CASES:
        values = [drawn(case, (2, 10)).tolist() for _ in range(1500)]
        hits = sum(low <= 0 <= high for _, low, high in map(stats.seeds_interval, values))
        assert 0.935 * 1500 <= hits <= 0.985 * 1500


def stopped(case: tuple[float, float, float], seeds: int, luck: np.ndarray) -> dict[int, Sample]:
    """A row whose every seed ran as many of 40 chips as its own first ten asked for (Stein)."""
    full = (luck + drawn(case, (seeds, 40))).tolist()
    return {seed: Sample(chips[: stats.chips_needed(chips[:10], 0.5, 40)], 10) for seed, chips in enumerate(full)}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [
        ((0.3, 0.7, 0.3), (0.3, 0.7, 0.3)),
        ((0.3, 0.3, 0.7), (0.3, 0.3, 0.3)),
        ((1.0, 0.5, 0.5), (0.5, 0.3, 0.2)),
        ((0.0, 0.0, 0.7), (0.0, 0.0, 0.4)),
    ],
)
def test_rows_and_pairs_whose_seeds_stopped_at_other_numbers_of_chips_are_covered_too(of_a, of_b, seeds):
    repeats, sizes = 2000, set()
    rows = pairs = 0
    for _ in range(repeats):
        luck = RANDOM.normal(0, 0.7, 40)  # of the chips that both rows meet
        a, b = stopped(of_a, seeds, luck), stopped(of_b, seeds, luck)
        sizes.add(tuple(len(sample.values) for sample in (*a.values(), *b.values())))
        found = stats.paired(a, b)
        pairs += found.low <= 0 <= found.high
        _, low, high = stats.seeds_interval([sample.values for sample in a.values()], 10)
        rows += low <= 0 <= high
    assert covers(pairs, repeats) and covers(rows, repeats), (pairs, rows)
    assert len(sizes) > 0.9 * repeats


def test_chips_that_some_seeds_ran_alone_narrow_the_interval_but_not_below_what_seeds_allow():
    values = drawn((0.0, 0.0, 1.0), (3, 10)).tolist()
    more = [[*values[0], *RANDOM.normal(0, 1, 30)], *values[1:]]
    assert Effects.of(more, 10).of_more == pytest.approx(((2 * 3 * 10 / 40 - 10 / 40 + 4) / 9, (10 / 40 + 2) / 3))
    assert Effects.of(more, 10).half_width(0.05) < Effects.of(values, 10).half_width(0.05)
    seeds_differ = [[*(chip + 100 * i for chip in chips)] for i, chips in enumerate(more)]
    half = Effects.of(seeds_differ, 10).half_width(0.05)
    assert half == pytest.approx(Effects.of([chips[:10] for chips in seeds_differ], 10).half_width(0.05), rel=1e-3)


def test_seeds_of_equal_means_show_no_spread_and_are_tested_by_sign():
    a = {seed: Sample(chips, 3) for seed, chips in enumerate([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])}
    found = stats.paired(a, {seed: Sample([1.0] * 3, 3) for seed in (0, 1)})
    assert (found.mean, found.p) == (pytest.approx(1), 0.5)


def test_intervals_of_seed_means_or_of_pooled_chips_would_not_hold_it():
    values = [drawn((0.3, 1.0, 0.3), (3, 10)) for _ in range(2000)]
    of_seeds = [stats.interval(v.mean(1).tolist()) for v in values]
    pooled = [stats.interval(v.ravel().tolist()) for v in values]
    for found in (of_seeds, pooled):
        assert sum(low <= 0 <= high for _, low, high in found) < 0.88 * 2000


def test_prior_finds_the_law_that_variances_were_drawn_from():
    variances = 0.4 * 8 / RANDOM.chisquare(8, 40_000)  # scaled inverse chi-squared: 8 dof, .4
    seen = variances * RANDOM.chisquare(2, 40_000) / 2
    found = prior_of([Effects(0.0, 10 * s, 0.0, 0.0, 3, 10, 10) for s in seen], methods=1000)
    assert found is not None
    assert found.dof == pytest.approx(8, rel=0.25)
    assert found.variance == pytest.approx(0.4, rel=0.1)
    capped = prior_of([Effects(0.0, 10 * s, 0.0, 0.0, 3, 10, 10) for s in seen], methods=5)
    assert capped is not None and capped.dof == 4
    assert prior_of([Effects(0.0, 1.0, 0.0, 0.0, 3, 10, 10)], methods=2) is None


def tables(methods: int, apart: float, repeats: int) -> list[list[dict[int, Sample]]]:
    """Tables of methods with 3 seeds of 10 chips each, `apart` from one to the next; some vary more than others."""
    made = []
    for _ in range(repeats):
        seeds_and_chips = drawn((1.0, 1.0, 0.0), (3, 10))  # what all methods meet alike
        scale = np.exp(RANDOM.normal(0, 0.5, (methods, 3)))
        each = [
            80 + apart * m + seeds_and_chips + drawn((0.7 * s[0], 0.7 * s[1], 2 * s[2]), (3, 10))
            for m, s in enumerate(scale)
        ]
        made.append([{seed: Sample(row.tolist(), 10) for seed, row in enumerate(table)} for table in each])
    return made


def test_any_false_order_in_a_table_is_rarer_than_5_percent():
    repeats = 200
    wrong = sum(max(stats.ranks(table)) > 1 for table in tables(7, 0.0, repeats))
    assert wrong <= 0.05 * repeats + 2 * (0.05 * 0.95 * repeats) ** 0.5


def test_what_pairs_learn_from_each_other_separates_more_of_them():
    told = alone = 0
    for table in tables(7, 2.0, 30):
        told += sum(d.p <= 0.05 for d in stats.differences(table).values()) // 2
        pairs = itertools.combinations(table, 2)
        alone += sum(stats.holm([stats.paired(a, b).p for a, b in pairs]))
    assert told > 1.5 * alone
    assert told > 0.5 * 30 * 21
