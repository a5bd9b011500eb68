"""Chips over a sweep: each chip holds for the whole split, and is the same chip at every level."""

import math
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.measurement import Measurement
from bench.rig import Rig, chip_generator, numbered_chip
from bench.spec import ChipPolicy
from bench.stats import chips_needed
from devices._base import Device

T = TypeVar("T")

PILOT, PILOT_SAMPLES = 8, 1000  # validation chips and samples from which samples a chip are chosen
MINIMUM_SAMPLES = 128  # so that a chip's metric is near normal


class Disagreement:
    """EKL from running sums: E_x E_chip KL(p_mean(x) || p_chip(x)), one pass over the chips."""

    def __init__(self) -> None:
        self.n = 0
        self.sum_p: Tensor | float = 0.0
        self.sum_log_p: Tensor | float = 0.0

    def add(self, probabilities: Tensor) -> None:
        """`probabilities`: (images, classes, ...) of one chip."""
        self.n += 1
        self.sum_p = self.sum_p + probabilities.double()
        self.sum_log_p = self.sum_log_p + probabilities.double().clamp_min(1e-12).log()

    def value(self) -> float | None:
        """Mean over images, in nats; None where the task has no probabilities."""
        if not isinstance(self.sum_p, Tensor):
            return None
        mean_p, mean_log_p = self.sum_p / self.n, self.sum_log_p / self.n
        each = (mean_p * (mean_p.clamp_min(1e-12).log() - mean_log_p)).sum(1)
        return max(each.mean().item(), 0.0)


def sweep_level(
    rig: Rig,
    device: Device,
    *,
    level: float,
    time_s: float | None,
    policy: ChipPolicy,
    samples: int | None = None,
    on_chip: Callable[[float, int], None] = lambda metric, planned: None,
) -> dict[str, Any]:
    """Measure chips 0, 1, ... at one level until the policy is content.

    `samples`: each chip meets so many random samples of the split, its own (the same for all methods,
    and fewer are a part of more); the chips' values stay independent and unbiased, so that intervals
    over them hold. Not where chips can't differ: there the one chip meets all.
    Returns {"level", "chips": metric per chip, "first_stage", "ekl", "samples"}, the power of devices with
    cells and the "details" per chip of tasks that have some; neither these nor EKL with `samples`.
    `on_chip(metric, planned)` is called after each chip.
    """
    if not device.is_random(level) or (samples is not None and samples >= len(rig.targets)):
        samples = None
    planned = first_stage = policy.minimum if device.is_random(level) else 1
    chips: list[float] = []
    power: dict[str, float] = {}
    details: dict[str, list[float]] = {}
    spread = Disagreement()

    def one(own: Rig, c: int) -> Measurement:
        chip, around = numbered_chip(own, device, "test chip", c, level, time_s)
        if c == 0:  # of the first chip: of millions of cells, the others' take as much
            power.update(own.power(device, chip, around))
        # EKL over the first stage alone: it grows with the number of chips, and that number must not differ.
        chosen = None if samples is None else samples_of_chip(len(own.targets), samples, c).to(own.processor)
        wanted = samples is None and c < first_stage
        found = own.measure(chip, samples=chosen, probabilities=wanted, periphery=around)
        return found.checked(f"on chip {c} at level {level:g}")

    while len(chips) < planned:
        for found in in_order(rig, one, range(len(chips), planned)):
            chips.append(found.metric)
            for name, value in found.details.items():
                details.setdefault(name, []).append(value)
            if found.probabilities is not None:
                spread.add(found.probabilities)
            if len(chips) == first_stage > 1 and policy.half_width is not None:
                planned = chips_needed(chips, policy.half_width, policy.maximum)
            on_chip(found.metric, planned)
    made = {
        "level": level,
        "chips": chips,
        "first_stage": first_stage,
        "ekl": spread.value(),
        "samples": samples,
    }
    return made | power | ({"details": details} if details else {})


def in_order(rig: Rig, one: Callable[[Rig, int], T], chips: range) -> Iterator[T]:
    """one(rig, c) of each chip; of small networks several at once, each on a thread and a rig of its own.

    A pass of a small network is too short to be shared out over cores (docs/log.md). The first chip is always alone:
    what it calibrates serves the others.
    """
    first, rest = chips[:1], chips[1:]
    yield from (one(rig, c) for c in first)
    threads = torch.get_num_threads()
    workers = min(threads, len(rest)) if rig.is_small else 1
    if workers <= 1:
        yield from (one(rig, c) for c in rest)
        return
    idle: queue.SimpleQueue[Rig] = queue.SimpleQueue()
    for _ in range(workers):
        idle.put(rig.beside())

    def on_its_own(c: int) -> T:
        own = idle.get()
        try:
            return one(own, c)
        finally:
            idle.put(own)

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(on_its_own, rest)
    finally:
        torch.set_num_threads(threads)  # what a worker says holds for threads that are yet to start, too


def samples_of_chip(n: int, samples: int, chip: int) -> Tensor:
    """The random samples that chip number `chip` meets."""
    return torch.randperm(n, generator=chip_generator("test samples", chip))[:samples]


def best_samples(rig: Rig, device: Device, *, level: float, time_s: float | None) -> int | None:
    """Samples a chip that shorten the interval of the mean fastest; None: all. `rig`: on validation data.

    With variance V_c between chips and V_s between samples on a chip, m samples a chip and k chips give
    the mean a variance of (V_c + V_s / m) / k at a cost of k (a + m), a in samples: best at
    m = sqrt(V_s a / V_c). Variances come from a pilot of PILOT chips; m is rounded to a power of two.
    """
    if not device.is_random(level):
        return None
    values = torch.stack([_pilot(rig, device, c, level, time_s) for c in range(PILOT)])  # (chips, samples)
    within = values.var(1).mean().item()
    between = values.mean(1).var().item() - within / values.shape[1]
    if between <= 0:
        return None
    m = math.sqrt(within * rig.program_cost() / between)
    return max(2 ** round(math.log2(m)), MINIMUM_SAMPLES) if m > 0 else MINIMUM_SAMPLES


def _pilot(rig: Rig, device: Device, c: int, level: float, time_s: float | None) -> Tensor:
    return rig.per_sample(*numbered_chip(rig, device, "pilot chip", c, level, time_s))


def validate(rig: Rig, device: Device, levels: Sequence[float], *, chips: int, time_s: float | None) -> list[float]:
    """Mean metric at each level over `chips` validation chips, which no test chip equals."""
    each = validate_each(rig, device, levels, chips=range(chips), time_s=time_s)
    return [fmean(values) for values in each]


def validate_each(
    rig: Rig, device: Device, levels: Sequence[float], *, chips: range, time_s: float | None
) -> list[list[float]]:
    """Metric at each level of the validation chips with these numbers; of the first alone where chips can't differ."""
    found = []
    for level in levels:
        values = []
        for c in chips if device.is_random(level) else chips[:1]:
            chip, around = numbered_chip(rig, device, "validation chip", c, level, time_s)
            values.append(rig.measure(chip, probabilities=False, periphery=around).metric)
        found.append(values)
    return found
