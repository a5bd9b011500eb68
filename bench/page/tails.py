"""Yield curves: the share of chips that reach a threshold of the metric, for a row of round thresholds."""

import math
from collections.abc import Sequence

import numpy as np

from bench.groups import Group
from bench.labels import Record, swept
from bench.summary import at

MOST = 60  # thresholds of a group
STEPS = (1, 2, 5, 10)
ROUNDING = 1e-9


def thresholds(members: Sequence[Record]) -> list[float]:
    """Round numbers, evenly apart, from below the worst chip of a group's records to above the best; [] without any."""
    chips = [value for record in members for level in record["levels"] for value in level["chips"]]
    if not chips:
        return []
    low, high = min(chips), max(chips)
    least = max((high - low) / (MOST - 2), 1e-9 * max(abs(low), abs(high)), 1e-12)
    decade = 10 ** math.floor(math.log10(least))
    step = next(s * decade for s in STEPS if s * decade >= least * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def yields(found: Sequence[Record], group: Group, limits: Sequence[float]) -> list[list[float] | None]:
    """By point of the sweep: the share (0 to 1) of chips that are at least as good as each limit, the mean over seeds.

    None where chips met a part of the test set only: their spread has the luck of their samples.
    """
    done = [record for record in found if record["status"] == "done"]
    if not done:
        return []
    made: list[list[float] | None] = []
    for point in swept(done[0]["evaluation"])[1]:
        levels = [level for _, level in at(done, group.sweep, point)]
        if any(level["samples"] is not None for level in levels):
            made.append(None)
            continue
        shares = [_shares(level["chips"], limits, group.higher_is_better) for level in levels]
        made.append(np.mean(shares, axis=0).tolist())
    return made


def _shares(chips: Sequence[float], limits: Sequence[float], higher: bool) -> np.ndarray:
    """For each limit the share of chips that are at least as good: (limits,), as stats.yield_share without a loss."""
    short_by = (np.asarray(limits)[:, None] - np.asarray(chips)) * (1 if higher else -1)
    return np.mean(short_by <= ROUNDING, axis=1)
