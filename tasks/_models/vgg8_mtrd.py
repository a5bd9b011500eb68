"""VGG8 as in MTRD: five 3x3 convolutions, global average pool, three fully connected layers.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), the CIFAR-10 network.
64-128-256-512-512, each with BatchNorm and ReLU, max-pool after the first four; then 512-256-128-C
with BatchNorm and ReLU between. 68 M multiply-adds at 3 x 32 x 32.
Deviations: layers before a BatchNorm have no bias (BatchNorm would cancel it). Layers start from
torch's default, but the first filters of a convolution pass their inputs through (Dirac filters; Jordan
2024), which learns faster (docs/log.md): by PASS instead of 1, since a 1 would become the range of
devices whose deviation is relative to max|w|.
"""

from torch import nn

from tasks._models._parts import scaled

PASS = 0.25


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), at least 16 x 16."""
    layers = nn.Sequential()
    before = in_shape[0]
    for i, channels in enumerate((64, 128, 256, 512, 512), start=1):
        after = scaled(channels, width)
        layers.add_module(f"conv{i}", nn.Conv2d(before, after, 3, padding=1, bias=False))
        layers.add_module(f"bn{i}", nn.BatchNorm2d(after))
        if i < 5:
            # Maximum and ReLU commute, so pooling first is the same and a quarter of the ReLU's work.
            layers.add_module(f"pool{i}", nn.MaxPool2d(2))
        layers.add_module(f"relu{i}", nn.ReLU())
        before = after
    layers.add_module("average", nn.AdaptiveAvgPool2d(1))
    layers.add_module("flatten", nn.Flatten())
    for i, features in enumerate((256, 128), start=6):
        after = scaled(features, width)
        layers.add_module(f"fc{i}", nn.Linear(before, after, bias=False))
        layers.add_module(f"bn{i}", nn.BatchNorm1d(after))
        layers.add_module(f"relu{i}", nn.ReLU())
        before = after
    layers.add_module("fc8", nn.Linear(before, classes))
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.in_channels > in_shape[0]:
            first = layer.weight.detach()[: layer.in_channels]
            nn.init.dirac_(first)
            first.mul_(PASS)
    return layers
