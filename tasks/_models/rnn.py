"""RNN: one recurrent layer of 64 with tanh, and a linear layer on its last state.

Source: Elman, "Finding Structure in Time", 1990. A time step takes in four points of a signal (`?frame=4`), or a row
of an image; `?hidden=64` and `?layers=1` are further arguments. Both matrices of a layer are used at every step.
Deviations: the recurrent matrix starts orthogonal (Le et al. 2015 start it as the identity), so that what a state
says is neither lost nor blown up over the steps; the rest starts from torch's default.
"""

from typing import Any

from torch import nn

from tasks._models._sequences import sequence_network


def build(in_shape: tuple[int, ...], classes: int, width: float = 1.0, **arguments: Any) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, time) or (channels, height, width)."""
    network = sequence_network(nn.RNN, in_shape, classes, width, **arguments)
    for name, weight in network.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(weight)
    return network
