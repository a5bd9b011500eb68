"""Statistics of chips and seeds: intervals, paired differences, ranks with ties.

Pure functions on plain numbers; docs/statistics.md has the formulas in one place.
All values are in the metric's unit. 95% throughout.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from bench.crossed import Effects, Prior, prior_of

ALPHA = 0.05


class Interval(NamedTuple):
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean of paired differences, its 95% interval, and the two-sided p-value of 'no difference'."""

    mean: float
    low: float
    high: float
    p: float


class Sample(NamedTuple):
    """Chip values of one trained network; position = chip index.

    `first_stage`: how many of them were run before the number of chips was chosen (all, where it
    was fixed). A single value is exact: a chip that no randomness touches.
    """

    values: Sequence[float]
    first_stage: int


def deviation_of(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of a single value."""
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1))


@cache
def t_quantile(dof: int, alpha: float = ALPHA) -> float:
    """Two-sided quantile of Student's t: P(|T| <= t) = 1 - alpha. Infinite for no degrees of freedom."""
    return float(stdtrit(dof, 1 - alpha / 2)) if dof > 0 else math.inf


def chips_needed(first_stage: Sequence[float], half_width: float, maximum: int) -> int:
    """Number of chips N for an interval of +- half_width, from the first n0 chips alone (Stein 1945).

    Asking t_{n0-1} s0 / sqrt(N) <= half_width gives N = ceil((t_{n0-1} s0 / half_width)^2), not
    below n0 (they are run already) and not above `maximum`. N depends on s0 only, so there is no
    looking at the mean before stopping; see `interval` for why that keeps coverage exact.
    """
    n0 = len(first_stage)
    if n0 < 2:
        return n0
    wanted = (t_quantile(n0 - 1) * float(np.std(first_stage, ddof=1)) / half_width) ** 2
    # 1e-9: rounding must not buy a chip.
    return max(n0, min(maximum, math.ceil(wanted - 1e-9)))


def interval(values: Sequence[float], first_stage: int | None = None, alpha: float = ALPHA) -> Interval:
    """Mean and interval over chips, 95% unless told otherwise: mean_N +- t_{n0-1} s0 / sqrt(N).

    s0: standard deviation of the first n0 = `first_stage` chips, N: all chips. For normal chips
    mean_n0 and s0 are independent and the later chips are independent of both; N is a function of
    s0 only. So given s0, mean_N ~ N(mu, sigma^2 / N), and (mean_N - mu) sqrt(N) / s0 has Student's
    t distribution with n0 - 1 degrees of freedom whatever N was: coverage is exactly 95%, also
    where a maximum capped N. Without `first_stage` (fixed number) n0 = N, plain Student.

    A single value has zero width: it is a level where chips can't differ.
    """
    mean = fmean(values)
    half = _half_width(values, first_stage, alpha)
    return Interval(mean, mean - half, mean + half)


def _half_width(values: Sequence[float], first_stage: int | None, alpha: float = ALPHA) -> float:
    if len(values) == 1:
        return 0.0
    n0 = len(values) if first_stage is None else max(2, min(first_stage, len(values)))
    return t_quantile(n0 - 1, alpha) * deviation_of(values[:n0]) / math.sqrt(len(values))


def seeds_interval(per_seed_values: Sequence[Sequence[float]], first_stage: int | None = None) -> Interval:
    """Mean and 95% interval over chips and seeds, two crossed random effects (bench/crossed.py).

    One seed: the interval over its chips, conditional on the seed.
    """
    if len(per_seed_values) == 1:
        return interval(per_seed_values[0], first_stage)
    effects = Effects.of(per_seed_values, min(map(len, per_seed_values)) if first_stage is None else first_stage)
    half = effects.half_width(ALPHA)
    return Interval(effects.mean, effects.mean - half, effects.mean + half)


def chip_scores(levels: Sequence[Sequence[float]], first_stages: Sequence[int]) -> Sample:
    """Score of each chip: its mean over the levels. levels[l][c]: chip c at level l.

    Only chips that were run at every level count; a level with a single chip is a constant.
    With several chip numbers N_l the common number min N_l is still a function of first-stage
    covariances only, so `interval` keeps its coverage for the score.
    """
    random = [i for i, chips in enumerate(levels) if len(chips) > 1]
    n = min((len(levels[i]) for i in random), default=1)
    columns = [list(chips[:n]) if len(chips) > 1 else [chips[0]] * n for chips in levels]
    first = min((first_stages[i] for i in random), default=1)
    return Sample([fmean(chips) for chips in zip(*columns, strict=True)], first)


def score_interval(per_seed_levels: Sequence[Sequence[Sequence[float]]], samples: Sequence[Sample]) -> Interval:
    """Score (mean over levels of the level mean, all chips) and its 95% interval.

    per_seed_levels[s][l][c]; `samples[s]` = `chip_scores` of seed s. Several seeds: both random effects.
    One seed: Stein's half-width of its chip scores. Conservative, as levels that ran more chips than
    the common number only narrow the mean.
    """
    mean = fmean([fmean([fmean(chips) for chips in levels]) for levels in per_seed_levels])
    if len(samples) > 1:
        half = _effects(samples).half_width(ALPHA)
    else:
        half = _half_width(samples[0].values, samples[0].first_stage)
    return Interval(mean, mean - half, mean + half)


def _effects(samples: Sequence[Sample]) -> Effects:
    """Of one sample a seed."""
    return Effects.of([sample.values for sample in samples], min(sample.first_stage for sample in samples))


def paired(a: Mapping[int, Sample], b: Mapping[int, Sample], prior: Prior | None = None) -> Difference:
    """Mean of a - b with its 95% interval, chip by chip; keys are seeds.

    For a seed: d_c = a_c - b_c over the chips both have (a common prefix; an exact value is the
    same on every chip), Stein's interval of `interval`, which holds since both chip numbers are
    functions of the joint first-stage covariance. What a chip does to both methods cancels in d_c.
    Several common seeds: seeds and chips as crossed random effects of d; `prior`: what other comparisons say
    of the variance between seeds. No common seed: nothing is paired, so nothing can be separated (p = 1,
    infinite interval).
    """
    samples = paired_samples(a, b)
    return _tested(samples, _effects(samples) if len(samples) > 1 else None, prior)


def _tested(samples: Sequence[Sample], effects: Effects | None, prior: Prior | None) -> Difference:
    """`effects`: of the samples, if they are of several seeds."""
    if effects is not None:
        return _test_crossed(effects, prior)
    return _test(samples[0]) if samples else Difference(math.nan, -math.inf, math.inf, 1.0)


def paired_samples(a: Mapping[int, Sample], b: Mapping[int, Sample]) -> list[Sample]:
    """a - b, chip by chip, of each seed that both have."""
    return [_difference(a[seed], b[seed]) for seed in sorted(set(a) & set(b))]


def _difference(a: Sample, b: Sample) -> Sample:
    exact = [len(sample.values) == 1 for sample in (a, b)]
    n = max(len(a.values), len(b.values)) if any(exact) else min(len(a.values), len(b.values))
    first = [sample.first_stage for sample, single in zip((a, b), exact, strict=True) if not single]
    x, y = ([*s.values] * n if len(s.values) == 1 else s.values[:n] for s in (a, b))
    return Sample([of_a - of_b for of_a, of_b in zip(x, y, strict=True)], min(first, default=1))


def _test(d: Sample) -> Difference:
    """Two-sided test of mean 0, dual to `interval`: p < .05 exactly where the interval excludes 0.

    Equal differences show no spread to Student's t; what n of them say is the sign test's p = 2^(1 - n).
    So a single difference says nothing.
    """
    mean, low, high = interval(d.values, d.first_stage)
    half = high - mean
    if half < 1e-9:
        return _sign_test(mean, len(d.values))
    dof = max(2, min(d.first_stage, len(d.values))) - 1
    t = abs(mean) / half * t_quantile(dof)
    return Difference(mean, low, high, 2 * float(stdtr(dof, -t)))


def _test_crossed(d: Effects, prior: Prior | None) -> Difference:
    """The same over seeds and chips; where nothing shows a spread to go by, the seeds' signs are tested."""
    half = d.half_width(ALPHA, prior)
    if half < 1e-9:
        return _sign_test(d.mean, d.n_seeds)
    return Difference(d.mean, d.mean - half, d.mean + half, d.p_value(prior))


def _sign_test(mean: float, n: int) -> Difference:
    """What n equal differences say; those that rounding alone made are none."""
    p = 1.0 if abs(mean) < 1e-9 else 2.0 ** (1 - n)
    half = 0.0 if p < ALPHA or abs(mean) < 1e-9 else math.inf
    return Difference(mean, mean - half, mean + half, p)


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which hypotheses are rejected with the chance of any false rejection <= alpha (Holm 1979).

    In order of p, the i-th smallest (i = 0..) is rejected while p <= alpha / (m - i); the first
    failure stops.
    """
    return [p <= alpha for p in holm_adjusted(p_values)]


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """p of each hypothesis, corrected for there being several: `holm` rejects at alpha what is <= alpha here."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for i, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - i) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def differences(methods: Sequence[Mapping[int, Sample]]) -> dict[tuple[int, int], Difference]:
    """methods[i] - methods[j] by (i, j), all pairs both ways round; p is Holm's over the pairs.

    methods[i]: seed -> chip scores. Few seeds say little of how much they differ: pairs with several learn it
    from each other (`prior_of`).
    """
    pairs = list(combinations(range(len(methods)), 2))
    samples = [paired_samples(methods[i], methods[j]) for i, j in pairs]
    effects = [_effects(each) if len(each) > 1 else None for each in samples]
    prior = prior_of([each for each in effects if each is not None], sum(len(seeds) > 1 for seeds in methods))
    found = [_tested(each, of_both, prior) for each, of_both in zip(samples, effects, strict=True)]
    result = {}
    for (i, j), d, p in zip(pairs, found, holm_adjusted([d.p for d in found]), strict=True):
        result[i, j] = Difference(d.mean, d.low, d.high, p)
        result[j, i] = Difference(-d.mean, -d.high, -d.low, p)
    return result


def ranks(methods: Sequence[Mapping[int, Sample]], higher_is_better: bool = True) -> list[int]:
    """Rank of each method = 1 + the number of methods that are significantly better; ties share.

    methods[i]: seed -> chip scores. Better: the paired difference of scores is rejected as 0 by
    Holm's procedure over all pairs of this table, and its sign is right.
    """
    return ranks_of(len(methods), differences(methods), higher_is_better)


def ranks_of(n: int, found: Mapping[tuple[int, int], Difference], higher_is_better: bool = True) -> list[int]:
    """The same of n methods whose `differences` are known."""
    result = [1] * n
    for (_, j), difference in found.items():
        result[j] += is_better(difference, higher_is_better)
    return result


def is_better(difference: Difference, higher_is_better: bool = True) -> bool:
    """Is what comes first in a difference significantly better?"""
    return difference.p <= ALPHA and (difference.mean > 0) == higher_is_better


def tied_runs(n: int, apart: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """(first, last) of the longest runs of neighbours among n methods in order of score, no two of which are apart.

    The bars of a critical-difference diagram (Demsar 2006, J. Mach. Learn. Res. 7). Single methods are no run.
    """
    runs: list[tuple[int, int]] = []
    for first in range(n):
        last = first
        while last + 1 < n and not any(apart(i, last + 1) for i in range(first, last + 1)):
            last += 1
        if last > first and not (runs and runs[-1][1] >= last):
            runs.append((first, last))
    return runs
