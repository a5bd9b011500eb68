"""Additive Gaussian variation: w' = w + eps, eps ~ N(0, (sigma M)^2), one draw a weight.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), there called PCM, where M = max|w|; Moro et al.,
"Memristor-aware training" (MAT), whose noise_sd is on another axis, M = max w - min w, about twice as long. The setting
relative_to says which one sigma is on: peak, the default, or range, MAT's. M is each tensor's own. Gradients are
straight-through, as in both. Deviations: none.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._base import Axis, Device, PeripherySettings, Weights, draw_normal, flatten, setting, unflatten


@dataclass(frozen=True, kw_only=True)
class GaussianSettings(PeripherySettings):
    """Settings of `gaussian`."""

    relative_to: str = setting(
        "peak", "what sigma is relative to: max|w| (MTRD) or max w - min w (MAT)", choices=("peak", "range")
    )


class Gaussian(Device):
    """Gaussian noise on every weight, as wide relative to the tensor's largest weight."""

    name = "gaussian"
    source = "Wu et al., MTRD; Moro et al., MAT"
    Settings = GaussianSettings
    axis = Axis(
        name="sigma",
        unit="std / max|w|",
        levels=(0.0, 0.02, 0.04, 0.06, 0.08, 0.1),
        train_level=0.06,
        maximum=1.0,
    )

    def __init__(self, settings: GaussianSettings | None = None) -> None:
        super().__init__(settings)
        if self.settings.relative_to == "range":
            vars(self).update(axis=dataclasses.replace(self.axis, unit="std / (max w - min w)"))

    @torch.no_grad()
    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> dict[str, Tensor]:
        """Add noise to every weight."""
        self.check(level, time_s)
        flat = flatten(weights).float()
        noise = draw_normal(flat.numel(), generator, flat)
        for w, some in zip(weights.values(), unflatten(noise, weights).values(), strict=True):
            some.mul_(level * self._span(w).float())
        return {name: w.to(weights[name].dtype) for name, w in unflatten(flat.add_(noise), weights).items()}

    def _span(self, w: Tensor) -> Tensor:
        """What sigma is relative to, a scalar."""
        return w.abs().max() if self.settings.relative_to == "peak" else w.max() - w.min()
