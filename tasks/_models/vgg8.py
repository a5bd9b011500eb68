"""VGG8 as in NeFT: six 3x3 convolutions in three pairs, two fully connected layers.

Source: Qin et al., "Negative feedback training" (NeFT), arXiv 2305.14561.
64-128-P-256-256-P-512-512-P, each with BatchNorm and ReLU (P: 2x2 max-pool), then 8192-1024-C with
ReLU between (8192 at 32 x 32). 0.54 G multiply-adds at 3 x 32 x 32.
Deviations: convolutions have no bias (the BatchNorm after them would cancel it) and start from Kaiming
(fan out), linear layers from torch's default.
"""

from torch import nn

from tasks._models._parts import kaiming, scaled


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), at least 8 x 8."""
    layers = nn.Sequential()
    before, height, breadth = in_shape
    for i, channels in enumerate((64, 128, 256, 256, 512, 512), start=1):
        after = scaled(channels, width)
        layers.add_module(f"conv{i}", nn.Conv2d(before, after, 3, padding=1, bias=False))
        layers.add_module(f"bn{i}", nn.BatchNorm2d(after))
        if i % 2 == 0:
            # Maximum and ReLU commute, so pooling first is the same and a quarter of the ReLU's work.
            layers.add_module(f"pool{i // 2}", nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
        layers.add_module(f"relu{i}", nn.ReLU())
        before = after
    if min(height, breadth) < 1:
        raise ValueError("needs at least 8 x 8 pixels")
    hidden = scaled(1024, width)
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc7", nn.Linear(before * height * breadth, hidden))
    layers.add_module("relu7", nn.ReLU())
    layers.add_module("fc8", nn.Linear(hidden, classes))
    return kaiming(layers)
