"""Cells that can't be programmed: a share of them is stuck, all others are what was asked for.

Source: Joksas et al. 2022, Advanced Science (nonideality-aware training), stuck devices: with probability p a device
sits at G_off, at G_on, or at a value drawn from a measured distribution. Ta/HfO2: G_off = 43.6 uS, G_on = 978 uS,
p = .101 measured, values of the stuck devices smoothed with a Gaussian kernel of 17.7 uS. p is the axis.
Deviations: the values themselves are not in our source. "spread" takes them as uniform from G_off to G_on, smoothed
with that kernel and cut at 0. Both devices have the range of Ta/HfO2; they differ in where stuck cells sit.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from devices._base import Axis, draw_bits, setting
from devices._cells import Cells, MappingSettings

G_OFF_US, G_ON_US, KERNEL_US = 43.6, 978.0, 17.7
STATES = ("both", "off", "on", "spread")
WHERE = "where stuck cells sit: G_on or G_off (both: half each), or spread"
VALUE_BITS = 15  # of a cell's 31 random bits; the other 16 say whether it is stuck


@dataclass(frozen=True, kw_only=True)
class StuckSettings(MappingSettings):
    """Settings of `stuck`."""

    state: str = setting("both", WHERE, choices=STATES)


@dataclass(frozen=True, kw_only=True)
class Tahfo2Settings(StuckSettings):
    """Settings of `tahfo2`."""

    state: str = setting("spread", WHERE, choices=STATES)


class _Stuck(Cells):
    """Common to the two."""

    g_min_us: ClassVar[float] = G_OFF_US
    g_max_us: ClassVar[float] = G_ON_US
    senseless = {
        **Cells.senseless,
        **dict.fromkeys(("stuck_on", "stuck_off"), "its level is the share of stuck cells; see state"),
    }
    axis = Axis(
        name="share",
        unit="of all cells stuck",
        levels=(0.0, 0.02, 0.05, 0.1, 0.15, 0.2),
        train_level=0.1,
        maximum=1.0,
    )

    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """The target, or the state in which a cell is stuck: one draw a cell, kept at every level."""
        luck = draw_bits(target_us.numel(), generator, target_us).view_as(target_us)
        states = _states_us(self.settings.state).to(target_us.device)
        where = (luck & (2**VALUE_BITS - 1)).view(-1)
        return torch.where(luck >> VALUE_BITS < level * 2**16, states[where].view_as(target_us), target_us)


def _states_us(state: str) -> Tensor:
    """Equally likely conductances of a stuck cell, (2^VALUE_BITS,)."""
    n = 2**VALUE_BITS
    if state != "spread":
        on = {"on": n, "off": 0, "both": n // 2}[state]
        return torch.where(torch.arange(n) < on, G_ON_US, G_OFF_US)
    x = torch.linspace(-5 * KERNEL_US, G_ON_US + 5 * KERNEL_US, 20_001, dtype=torch.float64)
    cdf = (_ramp((x - G_OFF_US) / KERNEL_US) - _ramp((x - G_ON_US) / KERNEL_US)) * KERNEL_US / (G_ON_US - G_OFF_US)
    p = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    above = torch.searchsorted(cdf, p).clamp(1, len(x) - 1)
    share = (p - cdf[above - 1]) / (cdf[above] - cdf[above - 1])
    return (x[above - 1] + share * (x[above] - x[above - 1])).clamp(min=0).float()


def _ramp(z: Tensor) -> Tensor:
    """Integral of the standard normal distribution function up to z."""
    return z * torch.special.ndtr(z) + torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


class Stuck(_Stuck):
    """Stuck-at faults: a share of the cells at G_on or G_off, whatever was asked."""

    name = "stuck"
    source = "Joksas et al. 2022"
    Settings = StuckSettings


class Tahfo2(_Stuck):
    """Ta/HfO2: a share of the cells stuck anywhere between G_off and G_on."""

    name = "tahfo2"
    source = "Joksas et al. 2022, Ta/HfO2"
    Settings = Tahfo2Settings
