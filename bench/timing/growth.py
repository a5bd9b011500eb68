"""How cost grows with chips and with images: a straight line, if all is well; memory with chips: not at all.

And what small networks gain by chips side by side.
"""

import statistics
from pathlib import Path
from typing import Any

import torch

from bench import plan
from bench.environment import peak_memory_mib
from bench.fast import precision_for
from bench.montecarlo import in_order
from bench.rig import Rig
from bench.store import home, local
from bench.timing.turns import Turn, seconds, speed_chip


def growth(processor: torch.device, data: Path | None) -> dict[str, Any]:
    """Seconds against chips and against images, each with a straight line through them; memory against chips."""
    task = plan.task_of("mnist")
    test = task.splits(local(home()) / "data", data).test
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


def side_by_side(processor: torch.device, data: Path | None, rounds: int) -> dict[str, Any]:
    """Images x chips a second of small networks by name: each chip on all threads, and chips side by side."""
    found = {}
    for name, task_name in (("mlp", "mnist"), ("lenet", "fashion_mnist")):
        task = plan.task_of(task_name)
        torch.manual_seed(0)
        network = task.network(name).to(processor)
        test = task.splits(local(home()) / "data", data).test
        found[name] = _ways(Rig(network, task.analog(network), task, test, precision_for(processor)), rounds)
    return found


def _ways(rig: Rig, rounds: int, chips: int = 32) -> dict[str, float]:
    device = plan.device_of("rram")

    def one(own: Rig, c: int) -> int:
        speed_chip(own, device, c)
        return c

    ways: dict[str, Turn] = {
        "one_by_one": lambda: [one(rig, c) for c in range(chips)],
        "side_by_side": lambda: list(in_order(rig, one, range(chips))),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):  # the first is warming up
        for way, turn in ways.items():
            times[way].append(seconds(turn, rig.processor))
    return {way: chips * len(rig.targets) / statistics.median(took[1:]) for way, took in times.items()}


def _line(x: list[int], y: list[float]) -> dict[str, float]:
    """Least squares y = intercept + slope x, and R^2."""
    slope, intercept = statistics.linear_regression(x, y)
    return {"slope": slope, "intercept": intercept, "r2": statistics.correlation(x, y) ** 2}
