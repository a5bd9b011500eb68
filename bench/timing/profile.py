"""Where the time of a sweep and of a noisy step goes: what keeps them from the ceiling."""

import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.fast import wait
from bench.timing.turns import Turn, seconds

PRODUCTS = "products"
# Kind of work -> parts of the names of torch's operators; the first that fits counts.
KINDS = {
    PRODUCTS: ("convolution", "mm", "linear"),
    "BatchNorm": ("batch_norm",),
    "pooling, ReLU": ("max_pool", "maximum", "relu", "threshold", "clamp"),
    "random numbers": ("normal", "rand", "uniform"),
    "copies, casts": ("copy", "cat", "clone", "fill", "zero", "index", "gather", "flip", "pad"),
    "sums, factors": ("add", "mul", "sum", "div", "sub", "exp", "mean"),
}
REST = "between operators, and others"


def where_time_goes(turn: Turn, processor: torch.device) -> dict[str, float]:
    """Share of one turn's seconds by kind of work, operators waited for one by one. Runs the turn twice, to be warm."""
    for _ in range(2):
        with _Clock(processor) as clock:
            whole = seconds(turn, processor)
    return {kind: spent / whole for kind, spent in clock.seconds.items()} | {REST: 1 - clock.total() / whole}


def kind_of(operator: str) -> str:
    """The kind of work that an operator's name stands for."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), REST)


class _Clock(TorchDispatchMode):
    """Adds up the seconds of every operator that reaches the processor, backward passes included."""

    def __init__(self, processor: torch.device) -> None:
        super().__init__()
        self.processor = processor
        self.seconds = dict.fromkeys(KINDS, 0.0)

    def total(self) -> float:
        return sum(self.seconds.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wait(self.processor)
        began = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        wait(self.processor)
        if (kind := kind_of(func.__name__)) != REST:
            self.seconds[kind] += time.perf_counter() - began
        return result
