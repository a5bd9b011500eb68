"""What the architectures share: the width rule, the initialisation, a layer with its bias on the crossbar."""

import torch.nn.functional as F
from torch import Tensor, nn


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`: a multiple of 8 from 8 upwards, at least 1, unchanged for width 1."""
    if width == 1:
        return channels
    exact = channels * width
    return max(1, round(exact)) if exact < 8 else 8 * round(exact / 8)


def kaiming(network: nn.Module) -> nn.Module:
    """Initialise the convolutions by He et al. (fan out, ReLU), in place; the rest stays torch's."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class BiasRow(nn.Linear):
    """A linear layer whose bias is one more row of the crossbar, with input 1: weight (out, in + 1), the bias last.

    So the bias deviates as weights do, and shares their scale.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features + 1, out_features, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(F.pad(input, (0, 1), value=1.0), self.weight)
