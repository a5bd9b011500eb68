"""Two crossed random effects, training seeds and chips: what a mean over both is worth.

value[seed, chip] = mu + a_seed + b_chip + e, balanced, S seeds and N chips (Searle, Casella, McCulloch 1992, ch. 4).
docs/statistics.md derives the formulas in a few lines; a simulation in tests/test_crossed.py shows what they cover.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import polygamma, psi, stdtr, stdtrit


class Prior(NamedTuple):
    """What the variances of seed means of many comparisons say of one more: as if `dof` seeds had shown `variance`."""

    dof: float
    variance: float


class Effects(NamedTuple):
    """Mean of all, and mean squares that estimate N var(a) + var(e), S var(b) + var(e) and var(e).

    `n_seeds` S, `n_chips` N that all seeds have; `first_stage`: chips behind the last two, run before N was chosen.
    `of_more`: where seeds ran more than N chips, what is left of what chips and of what the rest add to the mean's
    variance, shares of 0 to 1.
    """

    mean: float
    of_seeds: float
    of_chips: float
    of_rest: float
    n_seeds: int
    n_chips: int
    first_stage: int
    of_more: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def of(cls, values: Sequence[Sequence[float]], first_stage: int) -> "Effects":
        """From values[seed][chip], at least two seeds; chips that not all seeds have count in the mean alone.

        One chip: a value that no chip changes.
        """
        n_seeds, sizes = len(values), np.array([len(chips) for chips in values])
        n_chips = int(sizes.min())
        n0 = max(1, min(first_stage, n_chips))
        common, first = (np.array([list(chips[:n]) for chips in values]) for n in (n_chips, n0))
        of_chips = of_rest = 0.0
        if n0 > 1:
            of_chips = n_seeds * float(first.mean(0).var(ddof=1))
            rest = first - first.mean(0) - first.mean(1, keepdims=True) + first.mean()
            of_rest = float((rest**2).sum()) / ((n_seeds - 1) * (n0 - 1))
        of_seeds = n_chips * float(common.mean(1).var(ddof=1))
        mean = math.fsum(math.fsum(chips) / len(chips) for chips in values) / n_seeds
        # Seeds share their first chips: the means of two of n and m have a covariance of var(b) / max(n, m).
        more = (float((n_chips / np.maximum(sizes[:, None], sizes)).mean()), float((n_chips / sizes).mean()))
        return cls(mean, of_seeds, of_chips, of_rest, n_seeds, n_chips, n0, more)

    def half_width(self, alpha: float, prior: Prior | None = None) -> float:
        """Of the interval of mu that holds with 1 - alpha: the wider of two.

        Student's t over seed means, which is exact for these chips, and Satterthwaite's t with the variance of both
        effects, whose degrees of freedom are estimated too and can come out too large where seeds matter most.
        """
        return max(-float(stdtrit(dof, alpha / 2)) * variance**0.5 for variance, dof in self._tests(prior))

    def p_value(self, prior: Prior | None = None) -> float:
        """Two-sided, of mu = 0, dual to the interval: the larger one of both tests. Of values that show no spread 0."""
        known = [(variance, dof) for variance, dof in self._tests(prior) if variance > 0]
        return max((2 * float(stdtr(dof, -abs(self.mean) / variance**0.5)) for variance, dof in known), default=0.0)

    def _tests(self, prior: Prior | None) -> list[tuple[float, float]]:
        """(variance of the mean, degrees of freedom) of both tests.

        What chips add to the variance, S var(b), is estimated by B - E, or by 0 where that is negative: it can't be.
        """
        a, dof_a = self.of_seeds, self.n_seeds - 1.0
        if prior is not None:
            a = (prior.dof * prior.variance * self.n_chips + dof_a * a) / (prior.dof + dof_a)
            dof_a += prior.dof
        size, dof_b = self.n_seeds * self.n_chips, self.first_stage - 1
        of_chips, of_rest = self.of_more
        a -= (1 - of_rest) * min(a, self.of_rest)
        added = of_chips * max(self.of_chips - self.of_rest, 0.0)
        if added == 0.0:
            return [(a / size, dof_a)]
        dof = (a + added) ** 2 / (a**2 / dof_a + added**2 / dof_b)  # between the smaller one and their sum
        return [(a / size, dof_a), ((a + added) / size, dof)]


def prior_of(comparisons: Sequence[Effects], methods: int) -> Prior | None:
    """What the comparisons of `methods` methods say together of the variance of their seed means, each S - 1 dof.

    Variances follow a scaled inverse chi-squared law whose two parameters are found by moments of the logarithm
    (Smyth 2004, "Linear models and empirical Bayes methods", section 6.2). Comparisons of M methods share
    networks, so that they are no more than M - 1 independent ones: more dof than that the prior doesn't get.
    None where there are too few to say anything.
    """
    known = [(c.of_seeds / c.n_chips, c.n_seeds - 1) for c in comparisons if c.of_seeds > 0]
    if methods < 3 or len(known) < 3:
        return None
    variance, dof = np.array(known).T
    logs = np.log(variance) - psi(dof / 2) + np.log(dof / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, dof / 2).mean())
    own = 2 * _inverse_trigamma(excess) if excess > 0 else np.inf
    log_variance = logs.mean() + (psi(own / 2) - np.log(own / 2) if np.isfinite(own) else 0.0)
    return Prior(float(min(own, methods - 1)), float(np.exp(log_variance)))


def _inverse_trigamma(x: float) -> float:
    """y with trigamma(y) = x > 0, by Newton's method on 1 / trigamma, which is convex (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / x) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-10 * y:
            break
    return y


def bootstrap(values: Sequence[Sequence[float]], draws: int = 2000) -> tuple[float, float]:
    """95% percentile interval of the mean of values[seed][chip]: seeds and chips are drawn anew, each for itself.

    The pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1). It assumes no distribution;
    of few seeds or chips it is too short, by sqrt(1 - 1/n) and more, and so stands beside the other interval only.
    """
    n = min(map(len, values))
    table = np.array([list(chips[:n]) for chips in values])
    random = np.random.default_rng(0)
    seeds = random.integers(len(table), size=(draws, len(table)))
    chips = random.integers(n, size=(draws, n))
    means = table[seeds[:, :, None], chips[:, None, :]].mean((1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
