"""Where the time of a sweep and of a noisy step goes: what keeps them from the ceiling."""

import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench import plan
from bench.fast import precision_for, wait
from bench.rig import Rig, flops
from bench.timing.networks import Case, OurSteps
from bench.timing.turns import ceiling, seconds, speed_chip
from tasks._base import Splits, Task

PRODUCTS = "products"
# Kind of work -> parts of the names of torch's operators; the first that fits counts.
KINDS = {
    PRODUCTS: ("conv", "mm", "matmul", "linear"),
    "BatchNorm": ("batch_norm",),
    "pooling, ReLU": ("max_pool", "maximum", "relu", "threshold", "clamp"),
    "random numbers": ("normal", "rand", "uniform"),
    "copies, casts": ("copy", "cat", "clone", "fill", "zero", "index", "gather", "flip", "pad", "reshape"),
    "sums, factors": ("add", "mul", "sum", "div", "sub", "exp", "mean"),
}
REST = "between operators, and others"


def profile(processor: torch.device, splits: Splits, task: Task, case: Case) -> list[dict[str, Any]]:
    """Of a noise injection step and of a sweep: shares of the time by kind of work, GFLOP/s of the products.

    Operators are waited for one by one, so call it with one thread: noise that other threads draw is not seen.
    """
    precision = precision_for(processor)
    network = task.network(case.network, case.width).to(processor).to(memory_format=torch.channels_last)
    mflop = flops(network.eval(), task.prepare(splits.test.inputs[:1].to(processor))) / 1e6

    def step(clock: Clock) -> tuple[float, float]:
        spent = OurSteps("noise_injection", case, task, splits, processor)(clock)
        return sum(spent), 3 * mflop * case.batch_size * len(spent)

    rig = Rig(network, task.analog(network), task, splits.test.head(case.images), precision)

    def sweep(clock: Clock) -> tuple[float, float]:
        with clock:
            return seconds(lambda: speed_chip(rig, plan.device_of("rram")), processor), mflop * case.images

    found, before = [], ceiling(processor, precision)
    for work, turn in {"noise_injection step": step, "sweep": sweep}.items():
        turn(Clock(processor))  # to be warm
        clock = Clock(processor)
        whole, work_mflop = turn(clock)
        shares = {kind: spent / whole for kind, spent in clock.seconds.items()}
        found.append(
            {
                "network": case.title,
                "work": work,
                "shares": shares | {REST: 1 - sum(shares.values())},
                "products_gflops": work_mflop / 1000 / clock.seconds[PRODUCTS],
                "ceiling_gflops": max(before, ceiling(processor, precision)),
            }
        )
    return found


def kind_of(operator: str) -> str:
    """The kind of work that an operator's name stands for."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), REST)


class Clock(TorchDispatchMode):
    """Adds up the seconds of every operator that reaches the processor, backward passes included."""

    def __init__(self, processor: torch.device) -> None:
        super().__init__()
        self.processor = processor
        self.seconds = dict.fromkeys(KINDS, 0.0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wait(self.processor)
        began = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        wait(self.processor)
        if (kind := kind_of(func.__name__)) != REST:
            self.seconds[kind] += time.perf_counter() - began
        return result
