"""What all timings share: seconds of a turn, the level, the methods."""

import time
from collections.abc import Callable

import torch

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


def wait(processor: torch.device) -> None:
    """Until all that was handed to the processor is done."""
    if processor.type != "cpu":
        torch.accelerator.synchronize()
