"""LeNet-5: two 5x5 convolutions of 6 and 16 channels, three fully connected layers 120-84-C.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998.
Deviations: ReLU and max-pool for the sigmoid and the trained subsampling, full connections between
the convolutions, a linear output; convolutions start from Kaiming (fan out). Images below 32 x 32
are padded by 2, as there (28 x 28 digits in a 32 x 32 field).
"""

from torch import nn

from tasks._models._parts import kaiming, scaled


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), at least 12 x 12."""
    channels, height, breadth = in_shape
    padding = 2 if min(height, breadth) < 32 else 0
    first, second, third, fourth = (scaled(n, width) for n in (6, 16, 120, 84))
    rows, columns = (((size + 2 * padding - 4) // 2 - 4) // 2 for size in (height, breadth))
    if min(rows, columns) < 1:
        raise ValueError("needs at least 12 x 12 pixels")
    layers = nn.Sequential()
    # Maximum and ReLU commute, so pooling first is the same and a quarter of the ReLU's work.
    layers.add_module("conv1", nn.Conv2d(channels, first, 5, padding=padding))
    layers.add_module("pool1", nn.MaxPool2d(2))
    layers.add_module("relu1", nn.ReLU())
    layers.add_module("conv2", nn.Conv2d(first, second, 5))
    layers.add_module("pool2", nn.MaxPool2d(2))
    layers.add_module("relu2", nn.ReLU())
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc3", nn.Linear(second * rows * columns, third))
    layers.add_module("relu3", nn.ReLU())
    layers.add_module("fc4", nn.Linear(third, fourth))
    layers.add_module("relu4", nn.ReLU())
    layers.add_module("fc5", nn.Linear(fourth, classes))
    return kaiming(layers)
