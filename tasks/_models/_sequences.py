"""What recurrent networks share: a sample as a sequence of frames, and a linear layer on the last hidden state."""

from collections.abc import Callable

from torch import Tensor, nn

from tasks._models._parts import scaled

HIDDEN = 64
FRAME = 4


class Frames(nn.Module):
    """A sample as a sequence: `frame` points of a signal are what a time step takes in; of an image, a row.

    What fills no frame at the end of a signal is left out.
    """

    def __init__(self, in_shape: tuple[int, ...], frame: int) -> None:
        """`in_shape`: (channels, time) or (channels, height, width). ValueError for another one, and for no frame."""
        super().__init__()
        if len(in_shape) not in (2, 3) or frame < 1:
            raise ValueError("needs (channels, time) or (channels, height, width), and a frame of at least 1")
        self.is_signal = len(in_shape) == 2
        self.frame, self.steps = frame, in_shape[1] // frame if self.is_signal else in_shape[1]
        self.features = in_shape[0] * (frame if self.is_signal else in_shape[2])
        if self.steps < 1:
            raise ValueError(f"needs at least one frame of {frame} points")

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, time) -> (n, time / frame, channels frame); (n, c, h, w) -> (n, h, c w)."""
        if self.is_signal:
            x = x[:, :, : self.steps * self.frame].unflatten(2, (self.steps, self.frame))
        return x.transpose(1, 2).flatten(2)


class Recurrent(nn.Module):
    """A recurrent layer's hidden states alone."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(n, time, features) -> (n, time, hidden)."""
        return self.layer(x)[0]


class Last(nn.Module):
    """The last time step."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, time, features) -> (n, features)."""
        return x[:, -1]


def sequence_network(
    layer: Callable[..., nn.RNNBase],
    in_shape: tuple[int, ...],
    classes: int,
    width: float,
    *,
    hidden: int = HIDDEN,
    layers: int = 1,
    frame: int = FRAME,
) -> nn.Sequential:
    """(n, *in_shape) -> (n, classes): frames, `layers` recurrent layers of `hidden`, the last state, a linear layer."""
    size = scaled(hidden, width)
    frames = Frames(in_shape, frame)
    network = nn.Sequential()
    network.add_module("frames", frames)
    network.add_module("recurrent", Recurrent(layer(frames.features, size, layers, batch_first=True)))
    network.add_module("last", Last())
    network.add_module("fc", nn.Linear(size, classes))
    return network
