"""1T1R RRAM of the NeuRRAM chip: a Gaussian about the target, whose width depends on conductance and time.

Source: Wan et al. 2022, Nature 608 (NeuRRAM), cells read 1 s, 1 day and 2 days after programming, g_max = 40 uS. With
x = g / g_max and level l,

    g' = max(0, g + l s(x, t) xi),  s: a quartic in x for each of the three times.

Deviations: a cell keeps its xi at all three times, so that a chip is one chip; each time alone is as measured.
"""

import torch
from torch import Tensor

from devices._base import Axis
from devices._cells import Cells

DAY_S = 86_400.0
# Time -> coefficients of s in uS, ascending powers of x.
QUARTICS = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    DAY_S: (0.701, 22.086, -50.773, 47.095, -16.458),
    2 * DAY_S: (0.782, 20.274, -43.507, 37.062, -11.934),
}


class RramWan2022(Cells):
    """NeuRRAM's 1T1R cells: relaxation 1 s, 1 day and 2 days after programming."""

    name = "rram_wan2022"
    source = "Wan et al. 2022, NeuRRAM"
    g_max_us = 40.0
    times_s = (1.0, 2 * DAY_S)
    only_times_s = tuple(QUARTICS)
    default_time_s = DAY_S
    axis = Axis(
        name="multiplier",
        unit="x measured spread",
        levels=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5),
        train_level=0.75,
        maximum=4.0,
    )

    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """On target: what the source measured includes what happens later."""
        return target_us

    def drifted(
        self, g_us: Tensor, target_us: Tensor, generator: torch.Generator, level: float, time_s: float | None
    ) -> Tensor:
        """Spread about the target as at that time."""
        if level == 0:
            return g_us
        x = target_us / self.g_max_us
        *lower, highest = QUARTICS[DAY_S if time_s is None else time_s]
        std = torch.full_like(x, highest)
        for coefficient in reversed(lower):
            std.mul_(x).add_(coefficient)
        return self.noisy(g_us, std.mul_(level), generator)
