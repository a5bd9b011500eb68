"""Phase-change memory: programming noise, drift that differs from cell to cell, 1/f read noise, compensation.

Source: Joshi et al. 2020, Nature Communications, and Nandakumar et al. 2019, as Rasch et al. 2023 (arXiv 2302.08469)
use them. Conductances in uS, g_max = 25, x = g / g_max; t_abs = t + t0, t0 = 20 s; t counts from the end of
programming; level l multiplies every spread:

    programming   g_p = max(0, g + l s xi),  s = .26348 + 1.9650 x - 1.1731 x^2
    drift         g_d = g_p (t_abs / t0)^-nu,  nu = |mean + l std xi|,
                  mean = clamp(-.0155 ln x + .0244, .049, .1),  std = clamp(-.0125 ln x - .0059, .008, .045)
    read          g = max(0, g_d + l g_d Q sqrt(ln((t_abs + t_r) / (2 t_r))) xi),  t_r = 250 ns,
                  Q = min(.2, .0088 / max(x_p^.65, .001)),  x_p = g_p / g_max

nu follows the state that was asked for, Q the one that was reached. Global drift compensation as a chip would do it:
the mean |output| of each layer over one-hot inputs, measured right after programming and again at t, both through
noisy reads of their own; outputs are scaled by the ratio. Deviations: none known. Level 0 is mean drift without any
spread: nu depends on the state, so compensation leaves a rest even there.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._base import NOISY_READS, Axis, Weights, draw_normal, setting, streams, unflatten
from devices._cells import Cells, CellSettings, ReadNoise

T0_S, T_READ_S = 20.0, 250e-9


@dataclass(frozen=True, kw_only=True)
class PcmSettings(CellSettings):
    """Settings of phase-change memory."""

    compensation: bool = setting(True, "global drift compensation, measured from noisy reads")


class Pcm(Cells):
    """Phase-change memory with drift, read noise and measured drift compensation."""

    name = "pcm"
    source = "Joshi et al. 2020; Nandakumar et al. 2019; Rasch et al. 2023"
    g_max_us = 25.0
    Settings = PcmSettings
    senseless = {"read_noise": NOISY_READS}
    times_s = (0.0, 1e10)
    default_time_s = 86_400.0
    axis = Axis(
        name="multiplier",
        unit="x all spreads",
        levels=(0.0, 0.5, 1.0, 2.0, 3.0, 4.0),
        train_level=2.0,
        maximum=10.0,
    )

    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """Gaussian about the target, as wide as the state says, cut at 0."""
        if level == 0:
            return target_us
        square, linear, constant = (level * c for c in (-1.1731 / self.g_max_us**2, 1.9650 / self.g_max_us, 0.26348))
        return self.noisy(target_us, (target_us * square).add_(linear).mul_(target_us).add_(constant), generator)

    def exponents(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        """nu of every cell, like target_us."""
        # Below x = .0076 mean and std are at their upper bounds: no cell needs the logarithm of 0
        log_x = target_us.div(self.g_max_us).clamp_(min=0.005).log_()
        nu = (log_x * -0.0155).add_(0.0244).clamp_(0.049, 0.1)
        if level == 0:
            return nu
        std = log_x.mul_(-0.0125).sub_(0.0059).clamp_(0.008, 0.045).mul_(level)
        return nu.addcmul_(draw_normal(nu.numel(), generator, nu).view_as(nu), std).abs_()

    def drifted(
        self, g_us: Tensor, target_us: Tensor, generator: torch.Generator, level: float, time_s: float | None
    ) -> Tensor:
        """A power law of time, each cell its own."""
        if not time_s:
            return g_us
        return self.exponents(target_us, generator, level).mul_(-math.log1p(time_s / T0_S)).exp_().mul_(g_us)

    def read_noise(self, programmed_us: Tensor, level: float) -> ReadNoise:
        """1/f noise that builds up from programming on."""
        q = (programmed_us / self.g_max_us).pow_(0.65).clamp_(min=1e-3).reciprocal_().mul_(0.0088).clamp_(max=0.2)

        def std_us(g_us: Tensor, time_s: float | None) -> Tensor:
            since = math.log(((time_s or 0.0) + T0_S + T_READ_S) / (2 * T_READ_S))
            return (q * g_us).mul_(level * math.sqrt(since))

        return std_us

    def compensation(
        self,
        programmed_us: Tensor,
        now_us: Tensor,
        time_s: float | None,
        noise: ReadNoise | None,
        generator: torch.Generator,
        like: Weights,
    ) -> dict[str, Tensor] | None:
        """Mean |output| after programming over mean |output| now; a layer that shows nothing is left alone."""
        if not self.settings.compensation or not time_s:
            return None
        before, after = streams(generator, 2)
        then = self._mean_outputs(programmed_us, 0.0, noise, before, like)
        now = self._mean_outputs(now_us, time_s, noise, after, like)
        return {name: torch.where(now[name] > 0, then[name] / now[name], 1.0) for name in like}

    def _mean_outputs(
        self, g_us: Tensor, time_s: float, noise: ReadNoise | None, generator: torch.Generator, like: Weights
    ) -> dict[str, Tensor]:
        """Mean over inputs and outputs of |output| for one-hot inputs, in uS: one read of every cell."""
        seen = g_us if noise is None else self.noisy(g_us, noise(g_us, time_s), generator)
        return {name: part.abs().mean() for name, part in unflatten(self.cell_mapping.join(seen), like).items()}
