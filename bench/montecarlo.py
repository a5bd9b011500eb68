"""Chips over a sweep: each chip holds for the whole split, and is the same chip at every level."""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from bench.fast import compute
from bench.folding import Folded
from bench.spec import ChipPolicy, seed_of
from bench.stats import chips_needed
from devices._base import Chip, Device, PeripherySettings, Weights
from devices._curve import Curve
from devices._pairs import detached, programmable
from devices._periphery import Periphery
from devices._power import PowerMeter
from devices._products import UnknownProduct
from devices._ranges import Ranges, learned_ranges
from methods._base import Adaptation
from tasks._base import Split, Task

log = logging.getLogger("bench")

CALIBRATION = 500  # samples that set the ranges of converters
# Samples a pass: so many stay in the caches of a CPU; more where passes are short (docs/log.md). 500 where the
# caches are not what counts, and where noise is drawn in each pass, whose numbers must not depend on the processor.
BATCH, SMALL_BATCH, USUAL_BATCH = 250, 2000, 500
SMALL_FLOPS = 2_000_000  # of a forward pass of one sample
PILOT, PILOT_SAMPLES = 8, 1000  # validation chips and samples from which samples a chip are chosen
POWER_SAMPLES = 200  # over which read power is averaged: it differs little from sample to sample
MINIMUM_SAMPLES = 128  # so that a chip's metric is near normal
FLOPS_A_WEIGHT = 2000  # of a forward pass, in the time that programming a weight takes (docs/statistics.md)


def chip_generator(purpose: str, index: int) -> torch.Generator:
    """The random numbers of chip `index`: the same for every method, level and machine (drawn on the CPU)."""
    return torch.Generator().manual_seed(seed_of(purpose, index))


class Rig:
    """A network and a split, prepared once, on which many chips are measured."""

    def __init__(
        self,
        network: nn.Module,
        analog: tuple[str, ...],
        task: Task,
        split: Split,
        precision: str,
        calibration: Split | None = None,
        adaptation: tuple[Adaptation, Split] | None = None,
    ) -> None:
        """`calibration`: samples that set the ranges of converters, where a device has any; by default the split's.

        `adaptation`: what every chip does before it is measured, and the samples that it is given for that.
        """
        self.network = network.eval()
        self.task = task
        self.precision = precision
        self.weights = detached(programmable(network, analog))
        self.processor = next(network.parameters()).device
        split = split.to(self.processor)
        self.targets = split.targets
        # The forward pass would round inputs to bf16 at the first layer: hold them so, in half the memory.
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self.inputs = self._prepared(split.inputs)
        # In fp32 the network stays what it is, bit for bit.
        self.folded = None if precision == "fp32" else Folded(self.network, task.prepare(split.inputs[:2]))
        self._calibration = split if calibration is None else calibration
        self.adaptation = None if adaptation is None else adaptation[0]
        self._unlabelled = self.inputs[:0] if adaptation is None else self._prepared(adaptation[1].inputs)
        self._ranges: dict[PeripherySettings, Ranges] = {}
        self._curved: tuple[PeripherySettings, Curve, Ranges] | None = None  # the last ones through an I-V curve
        self._powerless = False
        self._sample = split.inputs[:1].clone()

    @functools.cached_property
    def _flops(self) -> int:
        """Of a forward pass of one sample; counted when asked for, as it takes a pass."""
        return flops(self.network, self.task.prepare(self._sample))

    @functools.cached_property
    def _batch(self) -> int:
        """Samples a pass where nothing surrounds the products."""
        if self._flops <= SMALL_FLOPS:
            return SMALL_BATCH
        return BATCH if self.processor.type == "cpu" else USUAL_BATCH

    def _prepared(self, inputs: Tensor) -> Tensor:
        parts = inputs.to(self.processor).split(SMALL_BATCH)
        return torch.cat([_cast(self.task.prepare(x), self.dtype) for x in parts])

    def program(self, device: Device, generator: torch.Generator, level: float, time_s: float | None):
        """The analog weights of one chip."""
        with torch.no_grad():
            chip = device.program(self.weights, generator, level=level, time_s=time_s)
            return device.read(chip, generator)

    def adapted(self, chip: dict[str, Tensor], periphery: AbstractContextManager[Any] | None) -> Chip:
        """The chip, with the digital tensors that it found for itself; `periphery`: around its products meanwhile."""
        assert self.adaptation is not None

        def run(inputs: Tensor) -> Tensor:
            with compute(self.processor, self.precision), periphery or nullcontext():
                return functional_call(self.network, chip, (inputs,)).float()

        adapted = chip if isinstance(chip, Chip) else Chip(chip)
        with torch.no_grad():
            adapted.digital = self.adaptation(self.network, run, self._unlabelled)
        return adapted

    def periphery(
        self, device: Device, chip: dict[str, Tensor], generator: torch.Generator
    ) -> AbstractContextManager[Any] | None:
        """What surrounds this chip's products, None if nothing does; its noise is seeded by `generator`."""
        if not device.surrounds(chip):
            return None
        seed = int(torch.randint(2**62, (), generator=generator))
        noise = torch.Generator(self.processor).manual_seed(seed)
        ranges = self._calibrated(device.settings, device.curve(chip))
        return device.periphery(chip, clean=self.weights, ranges=ranges, generator=noise)

    def _calibrated(self, settings: PeripherySettings, curve: Curve | None = None) -> Ranges:
        """Full scales of the converters, set once for all chips, by the digital network.

        Where the I-V curve of a chip's cells is no straight line, signals grow with it from layer to layer: there the
        chip itself sets them, as it does in training. Chips that conduct alike are calibrated once.
        """
        if curve is None or curve.is_ohmic:
            if settings not in self._ranges:
                self._ranges[settings] = self._observed(settings, self.weights, None)
            return self._ranges[settings]
        if self._curved is None or self._curved[0] != settings or not self._curved[1].conducts_like(curve):
            self._curved = settings, curve, self._observed(settings, curve.chip, curve)
        return self._curved[2]

    def _observed(self, settings: PeripherySettings, weights: Weights, curve: Curve | None) -> Ranges:
        """What the calibration samples show on their way through these weights and curves."""
        learned = learned_ranges(self.network, make=False) if settings.input_range == "learned" else None
        ranges = Ranges(learned)
        inputs = self.task.prepare(self._calibration.head(min(CALIBRATION, len(self._calibration))).inputs)
        around = Periphery(settings, weights, curve=curve, ranges=ranges)
        with torch.inference_mode(), compute(self.processor, self.precision), ranges.observing(), around:
            functional_call(self.network, dict(weights), (_cast(inputs.to(self.processor), self.dtype),))
        return ranges

    def power(
        self, device: Device, chip: dict[str, Tensor], periphery: AbstractContextManager[Any] | None = None
    ) -> dict[str, float]:
        """Read power (W) and energy an inference (J) of a chip's cells; {} if the device has none.

        Also {} where the network has a product that can't be followed: without a periphery such a network runs.
        """
        if self._powerless or (curve := device.curve(chip)) is None:
            return {}
        around, meter = periphery, PowerMeter(curve, device.settings.read_v)
        inputs = self.inputs[:POWER_SAMPLES]
        try:
            if not isinstance(around, Periphery):
                around = Periphery(device.settings, chip, ranges=self._calibrated(device.settings, curve))
            with torch.inference_mode(), compute(self.processor, self.precision), around.metered(meter):
                functional_call(self.network, {**chip, **_digital(chip)}, (inputs,))
        except UnknownProduct as error:
            if periphery is not None:
                raise
            log.warning("no read power: %s", error)
            self._powerless = True
            return {}
        return {"read_power_w": meter.power_w(), "read_energy_j": meter.energy_j(len(inputs))}

    def measure(
        self,
        chip: dict[str, Tensor] | None = None,
        *,
        samples: Tensor | None = None,
        probabilities: bool = True,
        periphery: AbstractContextManager[Any] | None = None,
    ) -> tuple[float, Tensor | None]:
        """(metric, probabilities (n, classes) on the CPU or None) of one chip, or of the digital network.

        `samples`: indices of the samples to measure on; None: all.
        """
        correct, predictive = self._run(chip, samples, probabilities, periphery)
        known = [p.cpu() for p in predictive if p is not None]
        return correct.mean().item(), torch.cat(known) if known else None

    def program_cost(self) -> float:
        """What a chip costs before its first sample, in samples: by counting, so that it is the same every time."""
        weights = sum(w.numel() for w in self.weights.values())
        programming = weights * FLOPS_A_WEIGHT / max(self._flops, 1)
        return programming + len(self._unlabelled)

    def per_sample(self, chip: dict[str, Tensor], periphery: AbstractContextManager[Any] | None = None) -> Tensor:
        """Each sample's share in the metric on one chip, (n,) float64 on the CPU."""
        return self._run(chip, None, False, periphery)[0]

    def _run(
        self,
        chip: dict[str, Tensor] | None,
        samples: Tensor | None,
        probabilities: bool,
        periphery: AbstractContextManager[Any] | None,
    ) -> tuple[Tensor, list[Tensor | None]]:
        inputs, targets = (x if samples is None else x[samples] for x in (self.inputs, self.targets))
        correct, predictive = [], []
        digital = _digital(chip)
        network, state = self.network, {**(chip or {}), **digital}
        if self.folded is not None and periphery is None:  # an ADC sits between a product and its BatchNorm
            network, state = self.folded.network, self.folded.state(chip or self.weights, self.dtype, digital)
        batch = self._batch if periphery is None else USUAL_BATCH
        with torch.inference_mode(), compute(self.processor, self.precision), periphery or nullcontext():
            for some, theirs in zip(inputs.split(batch), targets.split(batch), strict=True):
                output = functional_call(network, state, (some,)).float()
                correct.append(self.task.correct(output, theirs))
                if probabilities:
                    predictive.append(self.task.probabilities(output))
        return torch.cat(correct).cpu().double(), predictive


def numbered_chip(
    rig: Rig, device: Device, purpose: str, index: int, level: float, time_s: float | None
) -> tuple[dict[str, Tensor], AbstractContextManager[Any] | None]:
    """Chip number `index`, adapted if that is what the rig's chips do, and what surrounds its products.

    Noise around products has numbers of its own: at level 0 some devices draw less than elsewhere.
    """
    chip = rig.program(device, chip_generator(purpose, index), level, time_s)
    if rig.adaptation is not None:
        around = rig.periphery(device, chip, chip_generator(f"{purpose}, noise while adapting", index))
        chip = rig.adapted(chip, around)
    return chip, rig.periphery(device, chip, chip_generator(f"{purpose}, noise", index))


def _digital(chip: Weights | None) -> Weights:
    """Digital tensors that the chip has of its own."""
    return chip.digital if isinstance(chip, Chip) else {}


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def flops(network: nn.Module, inputs: Tensor) -> int:
    """Floating-point operations of a forward pass, by torch's own counter. `network`: in evaluation mode."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(inputs)
    return counter.get_total_flops()


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
    samples: int | None = None,
    on_chip: Callable[[float, int], None] = lambda metric, planned: None,
) -> dict[str, Any]:
    """Measure chips 0, 1, ... at one level until the policy is content.

    `samples`: each chip meets so many random samples of the split, its own (the same for all methods,
    and fewer are a part of more); the chips' values stay independent and unbiased, so that intervals
    over them hold. Not where chips can't differ: there the one chip meets all.
    Returns {"level", "chips": metric per chip, "first_stage", "ekl", "samples"}, and the power of
    devices with cells; no EKL with `samples`.
    `on_chip(metric, planned)` is called after each chip.
    """
    if not device.is_random(level) or (samples is not None and samples >= len(rig.targets)):
        samples = None
    planned = policy.minimum if device.is_random(level) else 1
    first_stage = planned
    chips: list[float] = []
    power: dict[str, float] = {}
    spread = Disagreement()
    while len(chips) < planned:
        chip, around = numbered_chip(rig, device, "test chip", len(chips), level, time_s)
        if not chips:  # of the first chip: of millions of cells, the others' take as much
            power = rig.power(device, chip, around)
        # EKL over the first stage alone: it grows with the number of chips, and that number must not differ.
        chosen = None if samples is None else samples_of_chip(len(rig.targets), samples, len(chips)).to(rig.processor)
        wanted = samples is None and len(chips) < first_stage
        metric, predictive = rig.measure(chip, samples=chosen, probabilities=wanted, periphery=around)
        chips.append(metric)
        if predictive is not None:
            spread.add(predictive)
        if len(chips) == first_stage > 1 and policy.half_width is not None:
            planned = chips_needed(chips, policy.half_width, policy.maximum)
        on_chip(metric, planned)
    return {
        "level": level,
        "chips": chips,
        "first_stage": first_stage,
        "ekl": spread.value(),
        "samples": samples,
    } | power


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
    return [sum(values) / len(values) for values in each]


def validate_each(
    rig: Rig, device: Device, levels: Sequence[float], *, chips: range, time_s: float | None
) -> list[list[float]]:
    """Metric at each level of the validation chips with these numbers; of the first alone where chips can't differ."""
    found = []
    for level in levels:
        values = []
        for c in chips if device.is_random(level) else chips[:1]:
            chip, around = numbered_chip(rig, device, "validation chip", c, level, time_s)
            values.append(rig.measure(chip, probabilities=False, periphery=around)[0])
        found.append(values)
    return found
