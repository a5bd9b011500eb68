"""Of a level's chips what a mean doesn't show: yield, fifth percentile, worst. In the metric's unit."""

from collections.abc import Sequence

# A chip yields if its metric is within this of the clean digital network, in the metric's unit.
YIELD_LOSS = 5.0


def yield_share(
    values: Sequence[float], clean: float, loss: float = YIELD_LOSS, higher_is_better: bool = True
) -> float:
    """Share (0 to 1) of chips whose metric is at most `loss` worse than `clean`, the digital network's."""
    sign = 1 if higher_is_better else -1
    return sum((clean - value) * sign <= loss + 1e-9 for value in values) / len(values)


def fifth_percentile(values: Sequence[float], higher_is_better: bool = True) -> float:
    """The metric that 95% of chips reach or better, linearly interpolated between order statistics."""
    at = (len(values) - 1) * (0.05 if higher_is_better else 0.95)
    ordered, below = sorted(values), int(at)
    low, high = ordered[below], ordered[min(below + 1, len(values) - 1)]
    share = at - below  # from the nearer end, so that rounding can't lead past it
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def worst(values: Sequence[float], higher_is_better: bool = True) -> float:
    """The worst chip's metric."""
    return float(min(values) if higher_is_better else max(values))
