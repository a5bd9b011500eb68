"""Networks that can't be run as asked: unknown ones, and those whose weights don't say which tile they lie on."""

import functools

from torch import nn

from bench import registry
from bench.errors import BenchError
from tasks._base import Task


@functools.cache
def check(task: str, network: str, width: float, by_tile: bool) -> None:
    """Unknown networks are refused before anything runs; once, since building one takes a while."""
    made = registry.get("tasks", task)()
    check_groups(made, made.network(network, width), by_tile)


def check_groups(task: Task, network: nn.Module, by_tile: bool) -> None:
    """BenchError for a scale of each tile where tiles can't be told: of grouped convolutions."""
    on_crossbars = {name.removesuffix(".weight") for name in task.analog(network)}
    for name, module in network.named_modules():
        if by_tile and getattr(module, "groups", 1) > 1 and name in on_crossbars:
            raise BenchError(
                f"setting scale=tile: layer {name} is a grouped convolution, each group of which has tiles of its own, "
                "and a weight doesn't say which are its group's; take scale=column or scale=layer"
            )
