"""What the VGGs of MTRD share: groups of 3x3 convolutions, global average pool, three fully connected layers.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD). Each convolution has BatchNorm and
ReLU, each group but the last ends with a max-pool; then 512-256-128-C with BatchNorm and ReLU between.
Deviations: layers before a BatchNorm have no bias (BatchNorm would cancel it). Layers start from
torch's default, but the first filters of a convolution pass their inputs through (Dirac filters; Jordan
2024), which learns faster (docs/log.md): by PASS instead of 1, since a 1 would become the range of
devices whose deviation is relative to max|w|.
"""

from torch import nn

from tasks._models._parts import scaled

PASS = 0.25


def vgg(groups: tuple[tuple[int, ...], ...], in_shape: tuple[int, int, int], classes: int, width: float) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `groups`: output channels of each convolution; `in_shape`: at least 16 x 16."""
    if min(in_shape[1:]) < 16:
        raise ValueError("needs at least 16 x 16 pixels")
    layers = nn.Sequential()
    before, number = in_shape[0], 0
    for i, group in enumerate(groups, start=1):
        for place, channels in enumerate(group, start=1):
            number, after = number + 1, scaled(channels, width)
            layers.add_module(f"conv{number}", nn.Conv2d(before, after, 3, padding=1, bias=False))
            layers.add_module(f"bn{number}", nn.BatchNorm2d(after))
            if place == len(group) and i < len(groups):
                # Maximum and ReLU commute, so pooling first is the same and a quarter of the ReLU's work.
                layers.add_module(f"pool{i}", nn.MaxPool2d(2))
            layers.add_module(f"relu{number}", nn.ReLU())
            before = after
    layers.add_module("average", nn.AdaptiveAvgPool2d(1))
    layers.add_module("flatten", nn.Flatten())
    for features in (256, 128):
        number, after = number + 1, scaled(features, width)
        layers.add_module(f"fc{number}", nn.Linear(before, after, bias=False))
        layers.add_module(f"bn{number}", nn.BatchNorm1d(after))
        layers.add_module(f"relu{number}", nn.ReLU())
        before = after
    layers.add_module(f"fc{number + 1}", nn.Linear(before, classes))
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.in_channels > in_shape[0]:
            first = layer.weight.detach()[: layer.in_channels]
            nn.init.dirac_(first)
            first.mul_(PASS)
    return layers
