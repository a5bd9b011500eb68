"""Additive Gaussian variation: w' = w + eps, eps ~ N(0, (sigma max|w|)^2), one draw a weight.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), there called PCM; Moro et al.,
"Memristor-aware training" (MAT), whose noise_sd is on another axis: std = noise_sd (max w - min w), so sigma
here is about twice that noise_sd. max|w| is each tensor's own. Gradients are straight-through, as in both.
Deviations: none.
"""

import torch
from torch import Tensor

from devices._base import Axis, Device, Weights, draw_normal, flatten, unflatten


class Gaussian(Device):
    """Gaussian noise on every weight, as wide relative to the tensor's largest weight."""

    name = "gaussian"
    source = "Wu et al., MTRD; Moro et al., MAT"
    axis = Axis(
        name="sigma",
        unit="std / max|w|",
        levels=(0.0, 0.02, 0.04, 0.06, 0.08, 0.1),
        train_level=0.06,
        maximum=1.0,
    )

    @torch.no_grad()
    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> dict[str, Tensor]:
        """Add noise to every weight."""
        self.check(level, time_s)
        flat = flatten(weights).float()
        noise = draw_normal(flat.numel(), generator, flat)
        for w, some in zip(weights.values(), unflatten(noise, weights).values(), strict=True):
            some.mul_(level * w.abs().max().float())
        return {name: w.to(weights[name].dtype) for name, w in unflatten(flat.add_(noise), weights).items()}
