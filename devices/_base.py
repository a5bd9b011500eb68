"""The device interface: signed weights go in, the weights that one chip shows come out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from devices._curve import Curve
from devices._flat import Weights, draw_bits, draw_normal, flatten, normalised, scaled, streams, unflatten, weight_peaks
from devices._pairs import WeightPairs, carry_pairs, normalised_pairs, programmable
from devices._periphery import Periphery
from devices._periphery_settings import PeripherySettings
from devices._ranges import Ranges
from devices._settings import SettingError, Settings, numbers, setting

__all__ = [
    "NOISY_READS",
    "UNCOMPENSATED",
    "Axis",
    "Chip",
    "Device",
    "DeviceError",
    "PeripherySettings",
    "SettingError",
    "Settings",
    "WeightPairs",
    "Weights",
    "carry_pairs",
    "draw_bits",
    "draw_normal",
    "flatten",
    "normalised",
    "normalised_pairs",
    "numbers",
    "programmable",
    "scaled",
    "setting",
    "streams",
    "unflatten",
    "weight_peaks",
]

UNCOMPENSATED = "its source describes no compensation of drift; that of pcm does"
NOISY_READS = "its reads are noisy already, by its source's formula, at every level but 0"


class DeviceError(ValueError):
    """A user's mistake about a device, told in one line."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What the sweep varies.

    `levels` are the levels of a record, `train_level` is where noise-aware methods train
    unless told otherwise; both are in `unit`. No level may exceed `maximum`.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    train_level: float
    maximum: float

    @property
    def usual_level(self) -> float:
        """1 on a multiplier axis, which is the device as measured; elsewhere where methods train."""
        return 1.0 if self.name == "multiplier" else self.train_level


class Chip(dict[str, Tensor]):
    """Weights by name, as one chip shows them, and the cells behind them where the device has cells.

    `cells`: conductances in uS by name, (2, *w.shape), plus cells first; (2, k, *w.shape) with k pairs or slices.
    A device that needs them for nothing else may give a function that makes them when they are asked for.
    `scales`: weight units per uS by name: (), (out, 1, ...), or w.shape where each tile has its own.
    `digital`: tensors of the network by name that this chip's digital part has of its own, such as statistics.
    `pairs`: what was programmed in training, where that was W+ and W-: gradients of curved cells go to them.
    A plain dict is a chip too, of a device without cells.
    """

    digital: Weights = MappingProxyType({})
    pairs: WeightPairs | None = None

    def __init__(
        self,
        weights: Weights,
        *,
        cells: Weights | Callable[[], Weights] | None = None,
        scales: Weights | None = None,
    ) -> None:
        super().__init__(weights)
        self._cells, self.scales = cells, scales

    @property
    def cells(self) -> Weights | None:
        if callable(self._cells):
            self._cells = self._cells()
        return self._cells

    def showing(self, weights: Weights) -> "Chip":
        """The same cells with other tensors for weights: equal in value, with gradients of their own."""
        return Chip(weights, cells=self._cells, scales=self.scales)


class Device(ABC):
    """A memristive device technology.

    A chip is a set of tensors: `program` returns the analog weights as one programmed chip
    shows them. All randomness comes from `generator`, drawn in the order of `weights` and in
    amounts that do not depend on `level`, so that one generator state is one physical chip
    at every level and for every network of that shape and memory format.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    source: ClassVar[str] = ""
    # How a weight sits on cells; settings may change it, so an instance may state its own.
    mapping: str = "signed weight"
    # Least and greatest conductance of a cell, in uS; None: weights vary, and there are no conductances.
    conductances_us: tuple[float, float] | None = None
    # Do gradients pass through `program` to the clean weights? Otherwise training is straight-through.
    differentiable: ClassVar[bool] = False
    # Earliest and latest time since programming that the source covers; None: no time axis.
    times_s: ClassVar[tuple[float, float] | None] = None
    # The only times there are, where the source has nothing between them.
    only_times_s: ClassVar[tuple[float, ...] | None] = None
    default_time_s: ClassVar[float | None] = None
    axis: ClassVar[Axis]
    # Of a device: PeripherySettings, or a subclass with the device's own.
    Settings: ClassVar[type[PeripherySettings]] = PeripherySettings
    # Why a setting that other devices have would make no sense on this one, whether its Settings know it or not.
    senseless: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("stuck_on", "stuck_off"), "it varies weights, and has no cells that could be stuck"),
        **dict.fromkeys(("rule", "pairs", "cell_bits", "scale"), "it varies weights, and has no cells to put them on"),
        "read_v": "it varies weights, and has no cells that a voltage could be put across",
        "compensation": UNCOMPENSATED,
    }

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = self.Settings() if settings is None else settings

    @abstractmethod
    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> dict[str, Tensor]:
        """Return the chip: a tensor of the same shape and dtype for each name in `weights`.

        `weights[name]`: any shape, signed, in the network's own units. WeightPairs say what both cells of a pair
        get; a device without pairs takes them as signed weights.
        """

    def read(self, chip: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """What changes at every inference (read noise). Default: nothing."""
        return chip

    def cells_us(
        self, asked_us: Tensor, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> Tensor:
        """Single cells that were asked for `asked_us`, (n,), within `conductances_us`: what one read shows, in uS.

        As on a chip, but for what the chip does digitally. Raises DeviceError if there are no conductances.
        """
        raise DeviceError(f"{self.name}: varies weights and has no conductances, so there are no single cells to show")

    def is_random(self, level: float) -> bool:
        """Can two chips differ at this level? If not, the sweep runs one chip there."""
        return level > 0 or self.settings.noisy

    @property
    def scales_by_tile(self) -> bool:
        """Does each tile of a weight have a digital scale of its own?"""
        return self.settings.scales_by_tile

    def curve(self, chip: Weights) -> Curve | None:
        """How the chip's cells conduct, None if it has no cells. Default: by Ohm's law."""
        if not isinstance(chip, Chip) or chip.scales is None:
            return None
        return Curve(chip, lambda: chip.cells, chip.scales)

    def surrounds(self, chip: Weights) -> bool:
        """Does anything happen around this chip's products?"""
        curve = self.curve(chip)
        return self.settings.surrounds or (curve is not None and not curve.is_ohmic)

    def periphery(
        self,
        chip: Weights,
        *,
        clean: Weights | None = None,
        ranges: Ranges | None = None,
        generator: torch.Generator | None = None,
    ) -> AbstractContextManager[Any]:
        """What surrounds the products of forward passes with this chip: a context to run them in.

        `chip`: the tensors that functional_call is given; `clean`: those that were programmed; `ranges`:
        full scales of the converters, by default those of each batch; `generator`: of the noise, lives where
        the network lives. A context that does nothing where nothing surrounds.
        """
        if not self.surrounds(chip):
            return nullcontext()
        return Periphery(self.settings, chip, clean=clean, curve=self.curve(chip), ranges=ranges, generator=generator)

    def check(self, level: float, time_s: float | None = None) -> None:
        """Raise DeviceError for a level or a time that this device's source does not cover."""
        if not 0 <= level <= self.axis.maximum:
            raise DeviceError(
                f"{self.name}: level {level:g} is out of range; {self.axis.name} goes from 0 to {self.axis.maximum:g}"
            )
        if time_s is None:
            return
        if self.times_s is None:
            raise DeviceError(f"{self.name}: has no time axis, so --time {time_s:g} means nothing; leave it out")
        first, last = self.times_s
        if not first <= time_s <= last:
            raise DeviceError(
                f"{self.name}: time {time_s:g} s is out of range; its source covers {first:g} to {last:g} s"
            )
        if self.only_times_s is not None and time_s not in self.only_times_s:
            known = ", ".join(f"{t:g}" for t in self.only_times_s)
            raise DeviceError(f"{self.name}: time {time_s:g} s was not measured; its source has {known} s")

    def training_chip(
        self,
        weights: Weights,
        generator: torch.Generator,
        *,
        level: float,
        time_s: float | None = None,
        straight_through: bool = False,
    ) -> dict[str, Tensor]:
        """A chip, read once, for a forward pass in training, with gradients to `weights`.

        Through the device's own formula where it has a gradient; otherwise, or if
        `straight_through`, the gradient of a chip weight is that of the clean weight.
        """
        if self.differentiable and not straight_through:
            return self.read(self.program(weights, generator, level=level, time_s=time_s), generator)
        with torch.no_grad():
            chip = self.read(self.program(weights, generator, level=level, time_s=time_s), generator)
        shown = {name: _StraightThrough.apply(weights[name], chip[name]) for name in weights}
        if not isinstance(chip, Chip):
            return shown
        chip = chip.showing(shown)
        chip.pairs = weights if isinstance(weights, WeightPairs) else None
        return chip


class _StraightThrough(torch.autograd.Function):
    """Forward: the chip's weight. Backward: identity to the clean weight."""

    @staticmethod
    def forward(ctx, clean: Tensor, chip: Tensor) -> Tensor:  # type: ignore[override]
        return chip.view_as(chip)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad, None
