"""What all timings share: seconds of a turn, the level, the methods."""

import time
from collections.abc import Callable

import torch

from bench.fast import wait
from bench.rig import Rig, chip_generator
from devices._base import Device

SIGMA = 0.3  # of rram, in every figure
METHODS = ("nominal", "noise_injection", "mtrd")
Turn = Callable[[], object]


def seconds(turn: Turn, processor: torch.device) -> float:
    """How long a turn takes, until the processor is done."""
    wait(processor)
    began = time.perf_counter()
    turn()
    wait(processor)
    return time.perf_counter() - began


def ceiling(processor: torch.device, precision: str, size: int = 2048) -> float:
    """GFLOP/s of a square matrix product, the best of a few."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a, b = (torch.randn(size, size, device=processor).to(dtype) for _ in range(2))
    best = min(seconds(lambda: torch.mm(a, b), processor) for _ in range(8))
    return 2 * size**3 / best / 1e9


def speed_chip(rig: Rig, device: Device, index: int = 0) -> None:
    """Program one chip and measure it."""
    rig.measure(rig.program(device, chip_generator("speed chip", index), SIGMA, None), probabilities=False)
