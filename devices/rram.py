"""RRAM with lognormal conductance variation: w' = w exp(theta), theta ~ N(0, sigma^2), one draw a weight.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), device section. The mean
shift exp(sigma^2 / 2) is not corrected, as there. Deviations: none.
"""

import torch
from torch import Tensor

from devices._base import Axis, Device, Weights, draw_normal, flatten, unflatten


class Rram(Device):
    """Lognormal RRAM: each weight times exp(N(0, sigma^2)), sign kept."""

    name = "rram"
    source = "Wu et al., MTRD"
    differentiable = True
    axis = Axis(name="sigma", unit="std of ln w", levels=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5), train_level=0.3, maximum=2.0)

    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> dict[str, Tensor]:
        """Multiply every weight by its own lognormal factor."""
        flat = flatten(weights)
        factor = draw_normal(flat.numel(), generator, flat).mul_(level).exp_()
        chip = unflatten(flat * factor.to(flat.dtype), weights)
        return {name: w.to(weights[name].dtype) for name, w in chip.items()}
