"""MLP: one hidden layer of 128, no bias; 784-128-10 on MNIST.

Source: the MNIST network of memristor-aware training (MAT, Moro).
Deviations: takes inputs of any shape, flattened; torch's default initialisation.
"""

from math import prod

from torch import nn

from tasks._models._parts import scaled


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: any shape."""
    hidden = scaled(128, width)
    layers = nn.Sequential()
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc1", nn.Linear(prod(in_shape), hidden, bias=False))
    layers.add_module("relu1", nn.ReLU())
    layers.add_module("fc2", nn.Linear(hidden, classes, bias=False))
    return layers
