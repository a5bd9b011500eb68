"""SiOx memristors, whose current is no straight line: Poole-Frenkel emission in two ranges of resistance.

Source: Joksas et al. 2022, Advanced Science (nonideality-aware training), I-V nonlinearity, T = 293.15 K:
I = sgn(V) c |V| exp(b sqrt|V|), ln c and ln d_eps linear in ln(1 / G), formulas in devices/_curve.py. Differential
pairs by the minimum rule between G_off and G_on; inputs of full scale at .5 V. The axis multiplies ln(I / (G V)),
the curvature, and the residuals: 1 is the device as measured, 0 is Ohm's law.
Deviations: the covariance of the residuals of ln c and ln d_eps is not published; it is a setting, and 0 unless
set, so that all chips are alike. A multiplier of the curvature is ours. Inputs beyond full scale are clipped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from devices._base import Axis, SettingError, Weights, draw_normal, setting, streams, unflatten
from devices._cells import CellChip, Cells, CellSettings
from devices._curve import Curve, PooleFrenkel


@dataclass(frozen=True, kw_only=True)
class SioxSettings(CellSettings):
    """Settings of SiOx."""

    curved = True

    read_v: float = setting(0.5, "read voltage of a full-scale input, V", low=0.001, high=5.0)
    residual_c: float = setting(0.0, "spread of ln c from cell to cell, std", low=0.0, high=5.0)
    residual_d: float = setting(0.0, "spread of ln d_eps from cell to cell, std", low=0.0, high=5.0)
    residual_correlation: float = setting(0.0, "correlation of the two", low=-1.0, high=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.residual_correlation != 0 and 0 in (self.residual_c, self.residual_d):
            raise SettingError(
                f"setting residual_correlation={self.residual_correlation:g}: two spreads correlate; set both "
                "residual_c and residual_d above 0 too"
            )


class CurvedChip(CellChip):
    """Cells with a level of curvature and residuals, by name: (2, 2[, k], *w.shape), of ln c and ln d_eps."""

    def __init__(self, chip: CellChip, weights: Weights, level: float, residuals: Mapping[str, Tensor] | None) -> None:
        dict.__init__(self, weights)
        self._cells, self.scales, self.g_us, self.read_std_us = chip.cells, chip.scales, chip.g_us, chip.read_std_us
        self.level, self.residuals = level, residuals

    def showing(self, weights: Weights) -> "CurvedChip":
        return CurvedChip(self, weights, self.level, self.residuals)


class _Siox(Cells):
    """Common to the two ranges."""

    law: ClassVar[PooleFrenkel]
    Settings = SioxSettings
    version = "2"
    axis = Axis(
        name="multiplier",
        unit="x measured curvature",
        levels=(0.0, 0.5, 1.0, 1.5, 2.0),
        train_level=1.0,
        maximum=4.0,
    )

    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """The target: what differs is how a cell conducts."""
        return target_us

    @torch.no_grad()
    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> CurvedChip:
        """Cells at their conductances, and each cell's residuals."""
        chip = super().program(weights, generator, level=level, time_s=time_s)
        (stream,) = streams(generator, 1)
        return CurvedChip(chip, chip, level, self._residuals(chip.g_us, weights, stream))

    def curve(self, chip: Weights) -> Curve | None:
        """Poole-Frenkel, at the level at which the chip was programmed."""
        if not isinstance(chip, CurvedChip) or chip.scales is None:
            return None
        return Curve(
            chip,
            lambda: chip.cells,
            chip.scales,
            join=self.cell_mapping.join,
            law=self.law,
            level=chip.level,
            residuals=chip.residuals,
        )

    def is_random(self, level: float) -> bool:
        spread = max(self.settings.residual_c, self.settings.residual_d)
        return super().is_random(level if spread > 0 else 0.0)

    def _residuals(self, g_us: Tensor, like: Weights, generator: torch.Generator) -> dict[str, Tensor] | None:
        """Gaussian, of the settings' covariance; None if that is 0."""
        s = self.settings
        if s.residual_c == s.residual_d == 0:
            return None
        c, d = draw_normal(2 * g_us.numel(), generator, g_us).view(2, *g_us.shape)
        d = s.residual_correlation * c + math.sqrt(1 - s.residual_correlation**2) * d
        return unflatten(torch.stack([s.residual_c * c, s.residual_d * d]), like)


class SioxLow(_Siox):
    """SiOx in its low-resistance range, 690 to 3450 uS: nearly Ohm's law."""

    name = "siox_low"
    source = "Joksas et al. 2022"
    g_min_us = 690.0
    g_max_us = 3450.0
    version = "3"
    law = PooleFrenkel(slope_c=-1.12, intercept_c=0.628, slope_d=-1.34, intercept_d=-25.9)


class SioxHigh(_Siox):
    """SiOx in its high-resistance range, .525 to 2.62 uS: strongly curved, and thrifty."""

    name = "siox_high"
    source = "Joksas et al. 2022"
    g_min_us = 0.525
    g_max_us = 2.62
    law = PooleFrenkel(slope_c=-1.03, intercept_c=-0.251, slope_d=-0.0901, intercept_d=-37.1)
