"""The MNIST network of nonideality-aware training: 784-25-10, sigmoid between, the bias a row of the crossbar.

Source: Joksas, Wang et al., "Nonideality-Aware Training for Accurate and Robust Low-Power Memristive Neural Networks",
Advanced Science 2022, doi 10.1002/advs.202105784.
Deviations: takes inputs of any shape, flattened, and normalised as its task does it (there pixels from 0 to 1); a
width factor; torch's default initialisation.
"""

from math import prod

from torch import nn

from tasks._models._parts import BiasRow, scaled


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: any shape."""
    hidden = scaled(25, width)
    layers = nn.Sequential()
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc1", BiasRow(prod(in_shape), hidden))
    layers.add_module("sigmoid1", nn.Sigmoid())
    layers.add_module("fc2", BiasRow(hidden, classes))
    return layers
