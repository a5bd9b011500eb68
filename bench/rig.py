"""A network and a split on which chips are measured: chips are programmed, adapted, surrounded, run."""

import copy
import functools
import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from bench.fast import compute
from bench.folding import Folded
from bench.keys import seed_of
from bench.measurement import Measurement
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
POWER_SAMPLES = 200  # over which read power is averaged: it differs little from sample to sample
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
            return min(SMALL_BATCH, self.task.batch)
        return min(BATCH if self.processor.type == "cpu" else USUAL_BATCH, self.task.batch)

    @property
    def analog_weights(self) -> int:
        """Weights on crossbars, a pair of halves being one."""
        return sum(w.numel() for w in self.weights.values())

    @property
    def is_small(self) -> bool:
        """Does one pass leave the cores of this processor idle?"""
        return self.processor.type == "cpu" and self._flops <= SMALL_FLOPS

    def beside(self) -> "Rig":
        """A rig that can be used while this one is: networks of its own, all else shared."""
        other = copy.copy(self)
        other.network, other.folded = copy.deepcopy(self.network), copy.deepcopy(self.folded)
        return other

    def _prepared(self, inputs: Tensor) -> Tensor:
        parts = inputs.to(self.processor).split(min(SMALL_BATCH, self.task.batch))
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
        learned = learned_ranges(self.network, make=False) if settings.input_range != "static" else None
        ranges = Ranges(learned)
        few = min(CALIBRATION, self.task.batch, len(self._calibration))
        inputs = self.task.prepare(self._calibration.head(few).inputs)
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
        inputs = self.inputs[: min(POWER_SAMPLES, self.task.batch)]
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
    ) -> Measurement:
        """One chip, or the digital network; without probabilities unless they are asked for.

        `samples`: indices of the samples to measure on, without details then; None: all.
        """
        correct, predictive, details, is_number = self._run(chip, samples, probabilities, periphery)
        known = [p.cpu() for p in predictive if p is not None]
        names = details[0] if samples is None else ()
        means = {name: torch.cat([d[name] for d in details]).double().nanmean().item() for name in names}
        known_means = {name: mean for name, mean in means.items() if not math.isnan(mean)}  # some sample has it
        if samples is None:
            known_means |= self.task.derived(correct)
        return Measurement(self.task.overall(correct), torch.cat(known) if known else None, known_means, is_number)

    def program_cost(self) -> float:
        """What a chip costs before its first sample, in samples: by counting, so that it is the same every time."""
        programming = self.analog_weights * FLOPS_A_WEIGHT / max(self._flops, 1)
        return programming + len(self._unlabelled)

    def per_sample(self, chip: dict[str, Tensor], periphery: AbstractContextManager[Any] | None = None) -> Tensor:
        """Each sample's share in the metric on one chip, (n,) float64 on the CPU."""
        return self._run(chip, None, False, periphery)[0]

    def outputs(
        self,
        n: int,
        chip: dict[str, Tensor] | None = None,
        periphery: AbstractContextManager[Any] | None = None,
    ) -> Tensor:
        """What the first n samples, few enough for one pass, become on one chip or in the digital network."""
        network, state = self._ready(chip, periphery)
        with torch.inference_mode(), compute(self.processor, self.precision), periphery or nullcontext():
            return functional_call(network, state, (self.inputs[:n],)).float()

    def _ready(
        self, chip: dict[str, Tensor] | None, periphery: AbstractContextManager[Any] | None
    ) -> tuple[nn.Module, dict[str, Tensor]]:
        """The network and the tensors to run it with."""
        digital = _digital(chip)
        if self.folded is not None and periphery is None:  # an ADC sits between a product and its BatchNorm
            return self.folded.network, self.folded.state(chip or self.weights, self.dtype, digital)
        return self.network, {**(chip or {}), **digital}

    def _run(
        self,
        chip: dict[str, Tensor] | None,
        samples: Tensor | None,
        probabilities: bool,
        periphery: AbstractContextManager[Any] | None,
    ) -> tuple[Tensor, list[Tensor | None], list[dict[str, Tensor]], bool]:
        inputs, targets = (x if samples is None else x[samples] for x in (self.inputs, self.targets))
        correct, predictive, details, sums = [], [], [], []
        network, state = self._ready(chip, periphery)
        batch = self._batch if periphery is None else min(USUAL_BATCH, self.task.batch)
        with torch.inference_mode(), compute(self.processor, self.precision), periphery or nullcontext():
            for some, theirs in zip(inputs.split(batch), targets.split(batch), strict=True):
                output = functional_call(network, state, (some,)).float()
                sums.append(output.sum())  # NaN if one of them is
                correct.append(self.task.correct(output, theirs))
                details.append(self.task.details(output, theirs))
                if probabilities:
                    predictive.append(self.task.probabilities(output))
            is_number = not torch.stack(sums).isnan().any().item()
        return torch.cat(correct).cpu().double(), predictive, details, is_number


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
    fused = {torch.ops.aten.mkldnn_rnn_layer: _fused_flops}
    with FlopCounterMode(display=False, custom_mapping=fused) as counter, torch.no_grad():
        network(inputs)
    return counter.get_total_flops()


def _fused_flops(x: Sequence[int], w_ih: Sequence[int], w_hh: Sequence[int], *rest: Any, **named: Any) -> int:
    """Of oneDNN's LSTM layer, which torch's counter doesn't know, from shapes; x: (time, n, in)."""
    return 2 * x[0] * x[1] * (math.prod(w_ih) + math.prod(w_hh))
