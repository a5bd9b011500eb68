"""Multi-level cells whose variation depends on their state: RRAM1, FeFET2, RRAM4, FeFET6.

Source: Qin et al., "Negative feedback training" (NeFT), arXiv 2305.14561, device section. An 8-bit weight sits on
four 2-bit cells; states in the middle of the range vary s times as much as the outer ones. M is max|w| of a tensor.
As published, the whole weight is perturbed once (form "whole"):

    w' = w + eps K M (sigma_d / N) m(|w| / M),  eps ~ N(0, 1),  m(x) = s if .25 < x < .75 else 1,
    K = sqrt(sum_i 16^i) / sum_i 4^i = .7776 (i = 0..3),  N = sqrt(.4 s^2 + .6).

Form "sliced" is what these constants stand for: |w| / M rounded to 8 bits, digits d_i of 0 to 3, one draw a cell:

    w' = sign(w) M / 85 sum_i 4^i (d_i / 3 + eps_i (sigma_d / N) m(d_i / 3)),

so std(w') = M (sigma_d / N) sqrt(sum_i 16^i m(d_i / 3)^2) / 85. The two forms differ: with uniform codes the outer
spread of the slices is 5, 21 and 45 % larger for s = 2, 4 and 6, since low digits are in the middle anyway.
Gradients are straight-through, as there. Deviations: none in "whole"; "sliced" is ours.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from devices._base import Axis, Device, PeripherySettings, Weights, draw_normal, normalised, setting, unflatten
from devices._mapping import BitSlices

SLICES = BitSlices(g_min_us=0.0, g_max_us=1.0)  # cells in shares of their range: the source has no conductances
K = math.sqrt(sum(place**2 for place in SLICES.places)) / sum(SLICES.places)


@dataclass(frozen=True, kw_only=True)
class NeftSettings(PeripherySettings):
    """Settings of NeFT's devices."""

    form: str = setting("whole", "one draw a weight, as published, or one a 2-bit cell", choices=("whole", "sliced"))


class _Neft(Device):
    """Common to the four; `middle`: s."""

    middle: ClassVar[float]
    Settings = NeftSettings
    senseless = {**Device.senseless, "cell_bits": "its slices are 2-bit cells; form=sliced shows them one by one"}
    axis = Axis(
        name="sigma_d",
        unit="device variation of NeFT",
        levels=(0.0, 0.1, 0.2, 0.3, 0.4),
        train_level=0.2,
        maximum=2.0,
    )

    def __init__(self, settings: NeftSettings | None = None) -> None:
        super().__init__(settings)
        if self.settings.form == "sliced":
            self.mapping = "sign and 8 bits over four 2-bit cells"

    @torch.no_grad()
    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> dict[str, Tensor]:
        """Add noise whose width follows each weight's, or each cell's, place in its range."""
        self.check(level, time_s)
        flat, peaks = normalised(weights)
        sigma = level / math.sqrt(0.4 * self.middle**2 + 0.6)
        sliced = self.settings.form == "sliced"
        shown = self._sliced(flat, generator, sigma) if sliced else self._noise(flat, generator, sigma)
        chip = unflatten(shown, weights)
        for name, w in weights.items():
            chip[name].mul_(peaks[name])
            if not sliced:
                chip[name].add_(w)
        return {name: w.to(weights[name].dtype) for name, w in chip.items()}

    def _noise(self, u: Tensor, generator: torch.Generator, sigma: float) -> Tensor:
        """u: (n,) in [-1, 1]; the deviation of each as a whole."""
        return draw_normal(u.numel(), generator, u).mul_(K * sigma).mul_(self._width(u))

    def _sliced(self, u: Tensor, generator: torch.Generator, sigma: float) -> Tensor:
        """u: (n,) in [-1, 1]; the same as its noisy slices show it."""
        cells = SLICES.split(u)  # (2, 4, n)
        digits = cells[0] - cells[1]
        noise = draw_normal(digits.numel(), generator, u).view_as(digits)
        cells[0].add_(noise.mul_(self._width(digits)), alpha=sigma)
        return SLICES.join(cells).mul_(SLICES.per_us)

    def _width(self, x: Tensor) -> Tensor:
        """m: how much wider than the outer states, by place in the range, x in [-1, 1]."""
        x = x.abs()
        return torch.where((x > 0.25) & (x < 0.75), self.middle, 1.0)


class Rram1(_Neft):
    """RRAM whose states all vary alike (NeFT's RRAM1)."""

    name = "rram1"
    source = "Qin et al., NeFT"
    middle = 1.0


class Fefet2(_Neft):
    """FeFET whose middle states vary twice as much (NeFT's FeFET2)."""

    name = "fefet2"
    source = "Qin et al., NeFT"
    middle = 2.0


class Rram4(_Neft):
    """RRAM whose middle states vary four times as much (NeFT's RRAM4)."""

    name = "rram4"
    source = "Qin et al., NeFT"
    middle = 4.0


class Fefet6(_Neft):
    """FeFET whose middle states vary six times as much (NeFT's FeFET6)."""

    name = "fefet6"
    source = "Qin et al., NeFT"
    middle = 6.0
