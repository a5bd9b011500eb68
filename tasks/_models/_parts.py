"""What the architectures share: the width rule and the initialisation."""

from torch import nn


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
