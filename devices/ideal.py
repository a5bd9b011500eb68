"""The digital network: programming changes nothing.

Source: none; the reference that every other device is compared with.
"""

import torch
from torch import Tensor

from devices._base import Axis, Device, Weights


class Ideal(Device):
    """Perfect memory: the chip is the digital network, bit for bit."""

    name = "ideal"
    differentiable = True
    axis = Axis(name="variation", unit="", levels=(0.0,), train_level=0.0, maximum=0.0)

    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> dict[str, Tensor]:
        """Return the weights as they are."""
        return dict(weights)
