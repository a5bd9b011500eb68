"""LSTM: one layer of 64 cells, and a linear layer on its last state.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, with forget gates. A time step takes in four points
of a signal (`?frame=4`), or a row of an image; `?hidden=64` and `?layers=1` are further arguments. All four gates share
one matrix for inputs and one for states, 256 columns each, which are used at every step.
Deviations: the forget gate's bias starts at 1 (Jozefowicz et al. 2015), the rest from torch's default.
"""

from typing import Any

import torch
from torch import nn

from tasks._models._sequences import sequence_network


def build(in_shape: tuple[int, ...], classes: int, width: float = 1.0, **arguments: Any) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, time) or (channels, height, width)."""
    network = sequence_network(nn.LSTM, in_shape, classes, width, **arguments)
    with torch.no_grad():
        for name, bias in network.named_parameters():
            if "bias_ih" in name:  # gates in torch's order: input, forget, cell, output
                bias.chunk(4)[1].add_(1)
    return network
