"""How cost grows with chips and with images: a straight line, if all is well; memory with chips: not at all."""

import statistics
from pathlib import Path
from typing import Any

import torch

from bench import plan
from bench.environment import peak_memory_mib
from bench.fast import precision_for
from bench.montecarlo import Rig
from bench.store import home
from bench.timing.turns import seconds, speed_chip


def growth(processor: torch.device, data: Path | None) -> dict[str, Any]:
    """Seconds against chips and against images, each with a straight line through them; memory against chips."""
    task = plan.task_of("mnist")
    test = task.splits(home() / "data", data).test
    torch.manual_seed(0)
    network = task.network("mlp").to(processor)
    device, names, precision = plan.device_of("rram"), task.analog(network), precision_for(processor)

    def sweep(rig: Rig, chips: int) -> None:
        for c in range(chips):
            speed_chip(rig, device, c)

    rig = Rig(network, names, task, test, precision)
    sweep(rig, 2)
    chips = [8, 16, 32, 64, 128]
    memory, chip_s = [], []
    for n in chips:
        chip_s.append(min(seconds(lambda n=n: sweep(rig, n), processor) for _ in range(3)))  # type: ignore[misc]
        memory.append(peak_memory_mib(processor))
    images = [1250, 2500, 5000, 10_000]
    rigs = [Rig(network, names, task, test.head(n), precision) for n in images]
    image_s = [min(seconds(lambda r=r: sweep(r, 8), processor) for _ in range(3)) for r in rigs]  # type: ignore[misc]
    return {
        "chips": {"n": chips, "seconds": chip_s, "peak_memory_mib": memory, **_line(chips, chip_s)},
        "images": {"n": images, "seconds": image_s, **_line(images, image_s)},
    }


def _line(x: list[int], y: list[float]) -> dict[str, float]:
    """Least squares y = intercept + slope x, and R^2."""
    slope, intercept = statistics.linear_regression(x, y)
    return {"slope": slope, "intercept": intercept, "r2": statistics.correlation(x, y) ** 2}
