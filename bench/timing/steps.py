"""What a training step of every method costs on one network, taking turns, against nominal."""

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
    """Milliseconds of the fastest step of those methods and of nominal; why not, of those that have none.

    The fastest, since other programs and a machine that drifts only ever make a step slower.
    """
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
    fastest = {name: min(s) for name, s in spent.items() if name not in without}
    return {
        "task": case.task,
        "network": case.network,
        "width": case.width,
        "batch_size": case.batch_size,
        "methods": {
            name: {
                "step_ms": 1000 * best,
                "x_nominal": best / fastest[REFERENCE],
                "beside": SEARCHES if turns[name].searches else "",
            }
            for name, best in fastest.items()
        },
        "without_steps": without,
    }
