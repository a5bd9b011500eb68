"""DnCNN: a chain of 3x3 convolutions that finds the noise of a picture, which is then taken off.

Source: Zhang et al. 2017, "Beyond a Gaussian Denoiser", arXiv 1608.03981, as in Wu et al. (MTRD): 17 layers of 64
channels, no bias, ReLU after all but the last, BatchNorm in all but the first and the last; 0.56 M parameters.
`depth` multiplies the number of layers (`--network dncnn?depth=0.5`), never below 3.
Deviations: the network gives the picture without the noise (the difference is digital, in float32), so that its
outputs are what is asked for; convolutions start from Kaiming (fan out), the last at a tenth of that.
"""

import torch
from torch import Tensor, nn

from tasks._models._parts import kaiming, scaled

LAYERS, CHANNELS = 17, 64


class DnCNN(nn.Module):
    """(n, c, h, w) -> (n, c, h, w), the picture without its noise."""

    def __init__(self, colours: int, channels: int, layers: int) -> None:
        super().__init__()
        self.noise = nn.Sequential()
        for i in range(1, layers + 1):
            into, out = (colours if i == 1 else channels), (colours if i == layers else channels)
            self.noise.add_module(f"conv{i}", nn.Conv2d(into, out, 3, padding=1, bias=False))
            if 1 < i < layers:
                self.noise.add_module(f"bn{i}", nn.BatchNorm2d(channels))
            if i < layers:
                self.noise.add_module(f"relu{i}", nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> float32 (n, c, h, w)."""
        return x.float() - self.noise(x).float()


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0, depth: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, *in_shape); `classes`: the picture's own channels."""
    if classes != in_shape[0]:
        raise ValueError("gives pictures with as many channels as it is given")
    if not depth > 0:
        raise ValueError(f"depth {depth} must be above 0")
    network = kaiming(DnCNN(in_shape[0], scaled(CHANNELS, width), max(3, round(LAYERS * depth))))
    with torch.no_grad():
        list(network.parameters())[-1].mul_(0.1)
    return network
