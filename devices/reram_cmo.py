"""Filamentary CMO/HfOx ReRAM: programming to an acceptance range, relaxation in the logarithm of time, read noise.

Source: the noise model of conductive-metal-oxide/HfOx ReRAM (Falcone et al. 2025), cells of 9 to 88.2 uS. With
conductances in uS, t in s since programming and level l on every spread,

    programming   g_p = g + l (c0 + c1 g) xi,  c by acceptance range: .2 % or 2 %
    relaxation    g_d = g_p - .08900206 ln t + l (.04201137 ln t + .41183342) xi,  cut to 9 to 88.2
    read          g_d + l .0277316483 log10(g_d) sqrt(ln((t + 1 us) / 2 us)) xi,  cut at 0

Deviations: reads are not held within 9 to 88.2. Our source has conductances stay there where it speaks of relaxation:
we take it as the range of programming and relaxation, and reads as noise on top, cut at 0 alone. The mean relaxation
stays at level 0. Times beyond what was measured are the formula's.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._base import NOISY_READS, Axis, setting
from devices._cells import Cells, CellSettings, ReadNoise

ACCEPTANCE = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}  # percent -> c0 (uS), c1
T_READ_S = 1e-6
YEAR_S = 365.25 * 86_400


@dataclass(frozen=True, kw_only=True)
class ReramCmoSettings(CellSettings):
    """Settings of CMO/HfOx ReRAM."""

    acceptance: float = setting(0.2, "acceptance range of programming, in percent", choices=tuple(ACCEPTANCE))


class ReramCmo(Cells):
    """CMO/HfOx ReRAM: programmed to an acceptance range, relaxing with time."""

    name = "reram_cmo"
    source = "Falcone et al. 2025, CMO/HfOx ReRAM"
    g_min_us = 9.0
    g_max_us = 88.2
    Settings = ReramCmoSettings
    senseless = {**Cells.senseless, "read_noise": NOISY_READS}
    times_s = (1.0, 10 * YEAR_S)
    default_time_s = 3600.0
    axis = Axis(
        name="multiplier",
        unit="x all spreads",
        levels=(0.0, 1.0, 2.0, 4.0, 8.0),
        train_level=4.0,
        maximum=20.0,
    )

    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """Gaussian about the target, as wide as the acceptance range."""
        if level == 0:
            return target_us
        c0, c1 = ACCEPTANCE[self.settings.acceptance]
        return self.noisy(target_us, (target_us * (level * c1)).add_(level * c0), generator)

    def drifted(
        self, g_us: Tensor, target_us: Tensor, generator: torch.Generator, level: float, time_s: float | None
    ) -> Tensor:
        """A mean fall and a spread that grow with ln t, within the range of conductance."""
        log_t = math.log(time_s or self.default_time_s)
        std = g_us.new_full((), level * (0.04201137 * log_t + 0.41183342))
        relaxed = self.noisy(g_us, std, generator) if level > 0 else g_us.clone()
        return relaxed.sub_(0.08900206 * log_t).clamp_(self.g_min_us, self.g_max_us)

    def read_noise(self, programmed_us: Tensor, level: float) -> ReadNoise:
        """1/f noise, by the logarithm of the conductance."""

        def std_us(g_us: Tensor, time_s: float | None) -> Tensor:
            since = math.log(((time_s or self.default_time_s) + T_READ_S) / (2 * T_READ_S))
            return g_us.log10().mul_(level * 0.0277316483 * math.sqrt(since))

        return std_us
