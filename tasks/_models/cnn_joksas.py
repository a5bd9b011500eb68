"""The CIFAR-10 network of nonideality-aware training: digital convolutions 32-64-64, an analog head 1024-25-10.

Source: Joksas, Wang et al., "Nonideality-Aware Training for Accurate and Robust Low-Power Memristive Neural Networks",
Advanced Science 2022, doi 10.1002/advs.202105784. 3x3 convolutions without padding, each with ReLU, max-pool after the
first two: 1024 features at 3 x 32 x 32. The head is that of its MNIST network: sigmoid between, biases on the crossbar.
Deviations: kernel, padding and pooling are inferred from the 1024; a width factor; convolutions start from
Kaiming (fan out), the head from torch's default.
"""

from torch import nn

from tasks._models._parts import BiasRow, kaiming, scaled


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), at least 18 x 18."""
    layers = nn.Sequential()
    before, height, breadth = in_shape
    for i, channels in enumerate((32, 64, 64), start=1):
        after = scaled(channels, width)
        layers.add_module(f"conv{i}", nn.Conv2d(before, after, 3))
        height, breadth = height - 2, breadth - 2
        if i < 3:
            # Maximum and ReLU commute, so pooling first is the same and a quarter of the ReLU's work.
            layers.add_module(f"pool{i}", nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
        layers.add_module(f"relu{i}", nn.ReLU())
        before = after
    if min(height, breadth) < 1:
        raise ValueError("needs at least 18 x 18 pixels")
    hidden = scaled(25, width)
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc4", BiasRow(before * height * breadth, hidden))
    layers.add_module("sigmoid4", nn.Sigmoid())
    layers.add_module("fc5", BiasRow(hidden, classes))
    layers.digital = ("conv1", "conv2", "conv3")  # type: ignore[assignment]
    return kaiming(layers)
