"""Seconds to a decision: which of three networks is best at each level, by shared chips and by independent ones."""

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench import plan, stats
from bench.fast import precision_for
from bench.montecarlo import PILOT_SAMPLES, best_samples, samples_of_chip
from bench.progress import Monitor
from bench.rig import Rig, chip_generator
from bench.runner import Runner
from bench.store import home
from bench.timing.plain import Sweeper
from bench.timing.turns import METHODS, SIGMA
from devices._base import Device

LOOKS = (10, 20, 40, 80, 160, 320, 640, 1280)
EQUAL = 0.1  # points within which two networks count as equally good


def decision(processor: torch.device, data: Path | None, plain_chips: int, preset: str = "quick") -> dict[str, Any]:
    """Three trained networks (mlp on mnist) ranked at every level of rram: our way, and by independent chips."""
    request = plan.Request(
        methods=METHODS,
        devices=("rram",),
        tasks=("mnist",),
        seeds=(0,),
        preset=preset,
        precision=precision_for(processor),
        network="mlp",
        width=1.0,
    )
    runner = Runner(home=home(), results=Path(), data_dir=data, processor=processor, monitor=Monitor(quiet=True))
    trainings = [cell.evaluation.training for cell in plan.cells(request)]
    task, found = runner.task(trainings[0])
    networks = {training.method: runner.train(training) for training in trainings}
    device = plan.device_of("rram")
    precision = request.precision
    rigs = {m: Rig(n, task.analog(n), task, found.test, precision) for m, n in networks.items()}
    pilots = {m: Rig(n, task.analog(n), task, found.val.head(PILOT_SAMPLES), precision) for m, n in networks.items()}
    levels = [level for level in device.axis.levels if device.is_random(level)]
    looks = [look for look in LOOKS if look <= plain_chips]  # never more than the other way
    ours = [decide(rigs, pilots, device, level, looks) for level in levels]
    plain = {m: Sweeper(n, task, found.test.to(processor), SIGMA, batch_size=1000) for m, n in networks.items()}
    began = time.perf_counter()
    theirs = []
    for level in levels:
        values = {}
        for method, sweeper in plain.items():
            sweeper.sigma = level
            values[method] = [sweeper.chip(loading=False) for _ in range(plain_chips)]
        theirs.append({m: statistics.fmean(v) for m, v in values.items()})
    plain_s = time.perf_counter() - began
    spent = sum(d["image_chips"] for d in ours)
    theirs_spent = plain_chips * len(found.test) * len(networks) * len(levels)
    return {
        "levels": levels,
        "ours": ours,
        "ours_s": sum(d["seconds"] for d in ours),
        "ours_image_chips": spent,
        "plain_chips": plain_chips,
        "plain_means": theirs,
        "plain_s": plain_s,
        "plain_image_chips": theirs_spent,
        "fewer_image_chips": theirs_spent / spent,
        "faster": plain_s / sum(d["seconds"] for d in ours),
    }


def decide(
    rigs: Mapping[str, Rig], pilots: Mapping[str, Rig], device: Device, level: float, looks: Sequence[int]
) -> dict[str, Any]:
    """Chips, in looks of doubling number, until every pair is apart or equal within EQUAL, at 95% in all.

    Paired differences over shared chips; the error is shared out over pairs and looks (Bonferroni).
    """
    began = time.perf_counter()
    wanted = [best_samples(pilot, device, level=level, time_s=None) for pilot in pilots.values()]
    n = len(next(iter(rigs.values())).targets)
    samples = max(min(n, m or n) for m in wanted)
    values: dict[str, list[float]] = {name: [] for name in rigs}
    names = list(rigs)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    alpha = stats.ALPHA / (len(pairs) * len(looks))
    open_pairs = pairs
    for look in looks:
        for c in range(len(values[names[0]]), look):
            chosen = samples_of_chip(n, samples, c)
            for name, rig in rigs.items():
                chip = rig.program(device, chip_generator("test chip", c), level, None)
                index = None if samples == n else chosen.to(rig.processor)
                values[name].append(rig.measure(chip, samples=index, probabilities=False)[0])
        open_pairs = [pair for pair in open_pairs if not _settled(values[pair[0]], values[pair[1]], alpha)]
        if not open_pairs:
            break
    chips = len(values[names[0]])
    return {
        "level": level,
        "samples_per_chip": samples,
        "chips": chips,
        "image_chips": chips * samples * len(rigs),
        "means": {name: statistics.fmean(v) for name, v in values.items()},
        "open": [list(pair) for pair in open_pairs],
        "seconds": time.perf_counter() - began,
    }


def _settled(a: list[float], b: list[float], alpha: float) -> bool:
    """Is the interval of the paired difference on one side of 0, or within EQUAL of it?"""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    _, low, high = stats.interval(differences, alpha=alpha)
    return low > 0 or high < 0 or -EQUAL < low <= high < EQUAL
