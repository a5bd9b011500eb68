"""Device-to-device spread: resistances are lognormal, as wide as the resistance says, with the mean kept.

Source: Joksas et al. 2022, Advanced Science (nonideality-aware training), on the range of SiOx in its high-resistance
state, G_off = .525 uS, G_on = 2.62 uS:

    ln R' ~ N(ln R - s^2 / 2, s^2),  s linear in R from s_on at R_on = 1 / G_on to s_off at R_off = 1 / G_off.

The axis is s_off; s_on = on_ratio * s_off. The paper's cases (s_on, s_off) are (.25, .25), (.5, .5) and, with
on_ratio = .1, (.05, .5). Deviations: none. The mean of R is kept, so that of G = 1 / R rises by exp(s^2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from devices._base import Axis, draw_normal, setting
from devices._cells import Cells, CellSettings


@dataclass(frozen=True, kw_only=True)
class D2dSettings(CellSettings):
    """Settings of device-to-device spread."""

    on_ratio: float = setting(1.0, "spread of ln R at R_on relative to R_off", low=0.0, high=10.0)


class D2dLognormal(Cells):
    """Lognormal spread of resistance from cell to cell, on SiOx in its high-resistance state."""

    name = "d2d_lognormal"
    source = "Joksas et al. 2022"
    g_min_us = 0.525
    g_max_us = 2.62
    Settings = D2dSettings
    axis = Axis(
        name="sigma",
        unit="std of ln R at R_off",
        levels=(0.0, 0.1, 0.25, 0.5, 0.75, 1.0),
        train_level=0.5,
        maximum=2.0,
    )

    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """One lognormal factor a cell."""
        if level == 0:
            return target_us
        s = target_us.reciprocal().mul_(self._slope()).add_(self.settings.on_ratio - self._slope() / self.g_max_us)
        s.mul_(level)
        noise = draw_normal(s.numel(), generator, s).view_as(s)
        return (s / 2).sub_(noise).mul_(s).exp_().mul_(target_us)

    def _slope(self) -> float:
        """Change of s / s_off for each 1 / uS of R."""
        return (1 - self.settings.on_ratio) / (1 / self.g_min_us - 1 / self.g_max_us)
