"""Devices made of cells with a conductance: mapping, then programming -> stuck -> drift -> read, in that order.

A leaf states its range of conductance and what its cells do at each step; the order is here and nowhere else:

1. mapping: weights become target conductances (devices/_mapping.py);
2. `programmed`: what a cell gets when it is asked for its target;
3. stuck: a share of the cells sits at g_max or g_min whatever was asked, and goes on from there;
4. `drifted`: where a cell is at the time asked for;
5. `compensation`: factors that a chip applies digitally, after it has measured itself;
6. read: noise that is new at every read, as wide as `read_noise` says.

All cells of a chip are one tensor (2[, k], n), so that each step is a few passes over it. Each step draws from a
stream of its own: a setting of one step changes no other step's numbers.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from devices._base import (
    UNCOMPENSATED,
    Chip,
    Device,
    DeviceError,
    PeripherySettings,
    SettingError,
    WeightPairs,
    Weights,
    draw_normal,
    setting,
    streams,
    unflatten,
)
from devices._faults import FaultSettings
from devices._mapping import RULES, SCALES, BitSlices, CellMapping, DifferentialPair

ReadNoise = Callable[[Tensor, float | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class MappingSettings(PeripherySettings):
    """How weights sit on the cells."""

    rule: str = setting("minimum", "the cell that a weight's sign leaves unused: at g_min, or mirrored", choices=RULES)
    pairs: int = setting(1, "differential pairs a weight, averaged", low=1, high=64)
    cell_bits: int | None = setting(None, "slices of an 8-bit weight, bits a cell; none: analog", choices=(1, 2, 4, 8))
    scale: str = setting("layer", "what shares one digital scale", choices=SCALES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell_bits is not None and (self.pairs > 1 or self.rule != "minimum"):
            raise SettingError(
                f"setting cell_bits={self.cell_bits}: slices take one pair and the minimum rule; leave pairs, rule out"
            )

    @property
    def scales_by_tile(self) -> bool:
        return self.scale == "tile"


@dataclass(frozen=True, kw_only=True)
class CellSettings(MappingSettings, FaultSettings):
    """Settings of a device of cells: mapping and stuck cells."""


class CellChip(Chip):
    """A chip that still knows what reading it will do."""

    def __init__(
        self, weights: Weights, g_us: Tensor, read_std_us: Tensor | None, scales: Mapping[str, Tensor]
    ) -> None:
        super().__init__(weights, cells=unflatten(g_us, weights), scales=scales)
        self.g_us, self.read_std_us = g_us, read_std_us


class Cells(Device):
    """A device of cells. Gradients are straight-through."""

    g_min_us: ClassVar[float] = 0.0
    g_max_us: ClassVar[float]
    Settings: ClassVar[type[PeripherySettings]] = CellSettings
    senseless: ClassVar[Mapping[str, str]] = {"compensation": UNCOMPENSATED}

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        s = self.settings
        plan: dict[str, Any] = {
            "g_min_us": self.g_min_us,
            "g_max_us": self.g_max_us,
            "scale": s.scale,
            "tile_rows": s.tile_rows,
            "tile_columns": s.tile_columns,
        }
        self.cell_mapping: CellMapping = (
            DifferentialPair(**plan, rule=s.rule, pairs=s.pairs)
            if s.cell_bits is None
            else BitSlices(**plan, cell_bits=s.cell_bits)
        )
        self.mapping = str(self.cell_mapping)
        self.conductances_us = (self.g_min_us, self.g_max_us)

    @abstractmethod
    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """Conductances after programming; target_us: (2[, k], n), not to be changed."""

    def drifted(
        self, g_us: Tensor, target_us: Tensor, generator: torch.Generator, level: float, time_s: float | None
    ) -> Tensor:
        """Conductances at `time_s`, from those after programming; neither argument is to be changed."""
        return g_us

    def read_noise(self, programmed_us: Tensor, level: float) -> ReadNoise | None:
        """The std of a read of each cell, as a function of (conductances, seconds); None: reads are exact."""
        return None

    def compensation(
        self,
        programmed_us: Tensor,
        now_us: Tensor,
        time_s: float | None,
        noise: ReadNoise | None,
        generator: torch.Generator,
        like: Weights,
    ) -> dict[str, Tensor] | None:
        """Digital factors on the outputs, by name, each (); None: the chip corrects nothing."""
        return None

    def is_random(self, level: float) -> bool:
        return super().is_random(level) or self._has_faults

    @property
    def _has_faults(self) -> bool:
        return isinstance(self.settings, FaultSettings) and self.settings.stuck_share > 0

    @torch.no_grad()
    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> CellChip:
        """Map, program, stick, drift, compensate; the chip before a read."""
        self.check(level, time_s)
        time_s = self.default_time_s if time_s is None else time_s
        *living, measuring = streams(generator, 4)
        target, scales = self._targets(weights)
        fresh, now = self._live(target, living, level, time_s)
        noise = self.read_noise(fresh, level) if level > 0 else None
        factors = self.compensation(fresh, now, time_s, noise, measuring, weights)
        if factors is not None:
            scales = {name: scale * factors[name] for name, scale in scales.items()}
        return self._chip(now, None if noise is None else noise(now, time_s), scales, weights)

    def _live(
        self, target_us: Tensor, living: Sequence[torch.Generator], level: float, time_s: float | None
    ) -> tuple[Tensor, Tensor]:
        """Cells right after programming and at `time_s`, each like target_us; living: a stream for each step."""
        programming, sticking, drifting = living
        fresh = self.programmed(target_us, programming, level)
        if self._has_faults:
            # A cell that is stuck is one whose target was its stuck state: it drifts and is read from there
            target_us, fresh = self.settings.stick((target_us, fresh), self.g_max_us, self.g_min_us, sticking)
        return fresh, self.drifted(fresh, target_us, drifting, level, time_s)

    @torch.no_grad()
    def cells_us(
        self, asked_us: Tensor, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> Tensor:
        """As the order of the steps says, without mapping and compensation."""
        self.check(level, time_s)
        time_s = self.default_time_s if time_s is None else time_s
        *living, reading = streams(generator, 4)
        fresh, now = self._live(asked_us, living, level, time_s)
        noise = self.read_noise(fresh, level) if level > 0 else None
        return now if noise is None else self.noisy(now, noise(now, time_s), reading)

    @torch.no_grad()
    def read(self, chip: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The chip as one read shows it; reading it again gives other noise."""
        if not isinstance(chip, CellChip) or chip.read_std_us is None or chip.scales is None:
            return chip
        seen = self.noisy(chip.g_us, chip.read_std_us, generator)
        return self._chip(seen, chip.read_std_us, chip.scales, chip)

    @staticmethod
    def noisy(g_us: Tensor, std_us: Tensor, generator: torch.Generator) -> Tensor:
        """max(0, g + std xi), xi ~ N(0, 1), one draw a cell."""
        noise = draw_normal(g_us.numel(), generator, g_us).view_as(g_us)
        return noise.mul_(std_us).add_(g_us).clamp_(min=0)

    def _targets(self, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
        """Target conductances (2[, k], n) in uS, and weight units per uS by name."""
        if isinstance(weights, WeightPairs):
            return self._pair_targets(weights)
        return self.cell_mapping.to_cells(weights)

    def _pair_targets(self, weights: WeightPairs) -> tuple[Tensor, dict[str, Tensor]]:
        """The same where weights say what both cells get. DeviceError if a setting says otherwise."""
        if getattr(self.settings, "rule", "minimum") != "minimum":
            raise DeviceError(
                f"setting rule={self.settings.rule}: these weights come as W+ and W-, each for a cell of its own, and "
                "no rule splits them; leave rule out"
            )
        return self.cell_mapping.pairs_to_cells(weights)

    def _chip(self, g_us: Tensor, std_us: Tensor | None, scales: Mapping[str, Tensor], like: Weights) -> CellChip:
        return CellChip(self.cell_mapping.to_weights(g_us, scales, like), g_us, std_us, scales)
