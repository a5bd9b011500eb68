"""SRNN: a recurrent layer of 64 leaky integrate-and-fire neurons on spikes, and leaky integrators as its outputs.

Source: Yin, Corradi and Bohte, "Accurate and efficient time-domain classification with adaptive spiking recurrent
neural networks", 2021 (heartbeats as level-crossing spikes); neurons and surrogate gradient from snnTorch (Eshraghian
et al. 2023). Send-on-delta: whenever the signal is `delta` away from what was sent last, a spike goes up or down,
several where it is steep; those of `frame` points (of an image: of a row) make a time step. Then

    u_t = beta u_(t-1) + W_in x_t + W_rec s_(t-1) - s_(t-1),   s_t = u_t > 1,   y_t = readout y_(t-1) + W_out s_t

with the gradient of an arctangent in place of the step's; y after the last step are the logits. All three matrices are
used at every time step. Neurons compute in float32.
Deviations: neurons don't adapt, and beta is the same for all of them. Outputs that are averaged over time fit these
beats much worse (docs/log.md).
"""

from typing import Any

import torch
from torch import Tensor, nn

from tasks._base import TaskError
from tasks._models._parts import scaled
from tasks._models._sequences import FRAME, HIDDEN, Frames


class SendOnDelta(nn.Module):
    """A sample as spikes up and down, counted over each frame."""

    def __init__(self, in_shape: tuple[int, ...], delta: float, frame: int) -> None:
        """`delta`: between two levels, in units of the signal. ValueError if it isn't above 0, and as of `Frames`."""
        super().__init__()
        if not delta > 0:
            raise ValueError("delta must be above 0")
        self.points = Frames(in_shape, 1)
        self.delta, self.frame = delta, frame if self.points.is_signal else 1
        if not 1 <= self.frame <= self.points.steps:
            raise ValueError(f"needs a frame of 1 to {self.points.steps} points")
        self.features = 2 * self.points.features

    def forward(self, x: Tensor) -> Tensor:
        """(n, *in_shape) -> (n, time, 2 channels), counts of at least 0: ups, then downs."""
        points = self.points(x.float())
        sent = torch.zeros_like(points[:, 0])
        moves = []
        for point in points.unbind(1):
            moves.append(((point - sent) / self.delta).trunc())
            sent = sent + self.delta * moves[-1]
        moved = torch.stack(moves, 1)
        spikes = torch.cat([moved, -moved], 2).clamp(min=0)
        return spikes[:, : spikes.shape[1] // self.frame * self.frame].unflatten(1, (-1, self.frame)).sum(2)


class Spiking(nn.Module):
    """A recurrent layer of leaky integrate-and-fire neurons."""

    def __init__(self, features: int, hidden: int, beta: float) -> None:
        """`beta`: what is left of a membrane potential after a time step, 0 to 1. TaskError without snnTorch."""
        super().__init__()
        snn, beta = snntorch(), checked("beta", beta)
        self.input = nn.Linear(features, hidden)
        self.recurrent = nn.Linear(hidden, hidden, bias=False)
        self.neuron = snn.Leaky(beta=beta, spike_grad=snn.surrogate.atan())

    def forward(self, x: Tensor) -> Tensor:
        """(n, time, features) -> spikes (n, time, hidden), 0 or 1."""
        currents = self.input(x).float()  # in bf16 a potential would lose what little is added to it
        potential = spike = torch.zeros_like(currents[:, 0])
        kept = self.neuron.mem
        spikes = []
        for current in currents.unbind(1):
            spike, potential = self.neuron(current + self.recurrent(spike).float(), potential)
            spikes.append(spike)
        self.neuron.mem = kept  # it would hold on to the last potential, and with it to the pass's graph
        return torch.stack(spikes, 1)


class Integrator(nn.Module):
    """Leaky neurons that never fire: their potential after the last time step."""

    def __init__(self, beta: float) -> None:
        """`beta`: what is left of a potential after a time step, 0 to 1."""
        super().__init__()
        self.beta = checked("readout", beta)

    def forward(self, x: Tensor) -> Tensor:
        """Currents (n, time, features) -> (n, features)."""
        age = torch.arange(x.shape[1] - 1, -1, -1, device=x.device)
        return (self.beta ** age.float()) @ x.float()


def checked(name: str, beta: float) -> float:
    """A leak. ValueError if it isn't from 0 to 1."""
    if not 0 <= beta <= 1:
        raise ValueError(f"{name} must be from 0 to 1")
    return beta


def snntorch() -> Any:
    """The package. TaskError if it isn't installed."""
    try:
        import snntorch
        import snntorch.surrogate
    except ImportError as error:
        raise TaskError("network srnn: needs snnTorch: pip install 'cim-bench[spikes]' brings it") from error
    return snntorch


def build(
    in_shape: tuple[int, ...],
    classes: int,
    width: float = 1.0,
    *,
    hidden: int = HIDDEN,
    frame: int = FRAME,
    delta: float = 0.25,
    beta: float = 0.9,
    readout: float = 0.95,
) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, time) or (channels, height, width)."""
    encoder, size = SendOnDelta(in_shape, delta, frame), scaled(hidden, width)
    network = nn.Sequential()
    network.add_module("encoder", encoder)
    network.add_module("spiking", Spiking(encoder.features, size, beta))
    network.add_module("fc", nn.Linear(size, classes))
    network.add_module("integrator", Integrator(readout))
    return network
