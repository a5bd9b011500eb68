"""What a training step of every method costs on one network, taking turns, against nominal."""

import statistics
from collections.abc import Sequence
from typing import Any

import torch

from bench.timing.networks import Case, OurSteps
from methods._base import MethodError
from tasks._base import Splits, Task

REFERENCE = "nominal"
NO_STEPS = "no steps of its own: its cost is that of the runs it rests on"
SEARCHES = "and what its search scores between steps"


def step_costs(
    case: Case, task: Task, splits: Splits, processor: torch.device, rounds: int, methods: Sequence[str]
) -> dict[str, Any]:
    """Milliseconds a step, medians, of those methods and of nominal; why not, of those that have none."""
    turns = {name: OurSteps(name, case, task, splits, processor) for name in dict.fromkeys((REFERENCE, *methods))}
    spent: dict[str, list[float]] = {name: [] for name in turns}
    without: dict[str, str] = {}
    for _ in range(rounds):
        for name, turn in turns.items():
            if name in without:
                continue
            try:
                spent[name] += turn()
            except MethodError as error:
                without[name] = str(error)
            else:
                if not spent[name]:
                    without[name] = NO_STEPS
    medians = {name: statistics.median(s) for name, s in spent.items() if name not in without}
    return {
        "task": case.task,
        "network": case.network,
        "width": case.width,
        "batch_size": case.batch_size,
        "methods": {
            name: {
                "step_ms": 1000 * median,
                "x_nominal": median / medians[REFERENCE],
                "beside": SEARCHES if turns[name].searches else "",
            }
            for name, median in medians.items()
        },
        "without_steps": without,
    }
