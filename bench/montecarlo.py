"""Chips over a sweep: each chip holds for the whole split, and is the same chip at every level."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.fast import compute
from bench.spec import ChipPolicy, seed_of
from bench.stats import chips_needed
from devices._base import Device
from tasks._base import Split, Task

BATCH = 500


def chip_generator(purpose: str, index: int) -> torch.Generator:
    """The random numbers of chip `index`: the same for every method, level and machine (drawn on the CPU)."""
    return torch.Generator().manual_seed(seed_of(purpose, index))


class Rig:
    """A network and a split, prepared once, on which many chips are measured."""

    def __init__(self, network: nn.Module, analog: tuple[str, ...], task: Task, split: Split, precision: str) -> None:
        self.network = network.eval()
        self.task = task
        self.precision = precision
        weights = dict(network.named_parameters())
        self.weights = {name: weights[name].detach() for name in analog}
        self.processor = next(network.parameters()).device
        split = split.to(self.processor)
        self.targets = split.targets.split(BATCH)
        # The forward pass would round inputs to bf16 at the first layer: hold them so, in half the memory.
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self.batches = [
            x.to(dtype) if x.is_floating_point() else x for x in map(task.prepare, split.inputs.split(BATCH))
        ]

    def program(self, device: Device, generator: torch.Generator, level: float, time_s: float | None):
        """The analog weights of one chip."""
        with torch.no_grad():
            chip = device.program(self.weights, generator, level=level, time_s=time_s)
            return device.read(chip, generator)

    def measure(self, chip: dict[str, Tensor] | None = None) -> tuple[float, Tensor | None]:
        """(metric, probabilities (n, classes) on the CPU or None) of one chip, or of the digital network."""
        correct, probabilities = [], []
        with torch.inference_mode(), compute(self.processor, self.precision):
            for inputs, targets in zip(self.batches, self.targets, strict=True):
                output = functional_call(self.network, chip or {}, (inputs,)).float()
                correct.append(self.task.correct(output, targets))
                probabilities.append(self.task.probabilities(output))
        metric = torch.cat(correct).cpu().double().mean().item()
        known = [p.cpu() for p in probabilities if p is not None]
        return metric, torch.cat(known) if known else None


class Disagreement:
    """EKL from running sums: E_x E_chip KL(p_mean(x) || p_chip(x)), one pass over the chips."""

    def __init__(self) -> None:
        self.n = 0
        self.sum_p: Tensor | float = 0.0
        self.sum_log_p: Tensor | float = 0.0

    def add(self, probabilities: Tensor) -> None:
        """`probabilities`: (images, classes) of one chip."""
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
    on_chip: Callable[[float, int], None] = lambda metric, planned: None,
) -> dict[str, Any]:
    """Measure chips 0, 1, ... at one level until the policy is content.

    Returns {"level", "chips": metric per chip, "first_stage", "ekl"}. `on_chip(metric, planned)` is
    called after each chip.
    """
    planned = policy.minimum if device.is_random(level) else 1
    first_stage = planned
    chips: list[float] = []
    spread = Disagreement()
    while len(chips) < planned:
        chip = rig.program(device, chip_generator("test chip", len(chips)), level, time_s)
        metric, probabilities = rig.measure(chip)
        chips.append(metric)
        # Over the first stage alone: EKL grows with the number of chips, and that number must not differ.
        if probabilities is not None and len(chips) <= first_stage:
            spread.add(probabilities)
        if len(chips) == first_stage > 1 and policy.half_width is not None:
            planned = chips_needed(chips, policy.half_width, policy.maximum)
        on_chip(metric, planned)
    return {"level": level, "chips": chips, "first_stage": first_stage, "ekl": spread.value()}


def validate(rig: Rig, device: Device, levels: Sequence[float], *, chips: int, time_s: float | None) -> list[float]:
    """Mean metric at each level over `chips` validation chips, which no test chip equals."""
    means = []
    for level in levels:
        n = chips if device.is_random(level) else 1
        values = [
            rig.measure(rig.program(device, chip_generator("validation chip", c), level, time_s))[0] for c in range(n)
        ]
        means.append(sum(values) / n)
    return means
