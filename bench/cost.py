"""What a record says its training took: of its own run, and with everything that it rests on. Imports no torch."""

import math
from collections.abc import Sequence

from bench.labels import Record

SPENT = ("epochs", "samples", "forward_passes", "backward_passes", "seconds")
NAMES = ("epochs", "samples", "forward_passes", "passes", "seconds")
COSTS = (*NAMES, *(f"total_{name}" for name in NAMES), "trials")
BACKWARD = 2  # a backward pass takes as many products as two forward passes: by the weights, and by the inputs
PASSES = ("passes", "forward_passes", "samples")  # how training is measured, the best that all rows know


def costs(record: Record) -> dict[str, float | None]:
    """COSTS of one record, and both `backward_passes`; None for what its version of the bench didn't count.

    `passes`: forward-backward passes of a training sample, one without its backward pass being a third. `total_`: with
    all other trainings that the run rests on, each counted once. `trials`: of the tuning that chose its settings.
    """
    cost = record["cost"]
    own = {name: cost.get(name) for name in SPENT}
    others = {name: cost.get(f"teacher_{name}") for name in SPENT}
    total = {name: _sum(own[name], others[name]) for name in SPENT}
    found = own | {"passes": passes(own["forward_passes"], own["backward_passes"])}
    found |= {f"total_{name}": value for name, value in total.items()}
    found["total_passes"] = passes(total["forward_passes"], total["backward_passes"])
    return found | {"trials": cost.get("trials", 0)}


def passes(forward: float | None, backward: float | None) -> float | None:
    """Forward-backward passes: forward passes alone count as the share of products that they take."""
    return None if forward is None or backward is None else (forward + BACKWARD * backward) / (1 + BACKWARD)


def mean_costs(records: Sequence[Record]) -> dict[str, float | None]:
    """Mean of each of COSTS over records, None where one of them doesn't know it."""
    found = [costs(record) for record in records]
    return {name: _mean([cost[name] for cost in found]) for name in COSTS}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _sum(own: float | None, others: float | None) -> float | None:
    return None if own is None or others is None else own + others
