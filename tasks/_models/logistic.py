"""Multinomial logistic regression: one linear layer on the flattened input, the baseline that a network has to beat."""

from math import prod

from torch import nn


def build(in_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: any shape; it has no hidden width."""
    layers = nn.Sequential()
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc", nn.Linear(prod(in_shape), classes))
    return layers
