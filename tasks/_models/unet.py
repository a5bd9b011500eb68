"""U-Net: four levels down, a bottleneck, four levels up, each of two 3x3 convolutions.

Source: Ronneberger et al. 2015, "U-Net", arXiv 1505.04597, in the form of Wu et al. (MTRD): 64-128-256-512,
bottleneck 1024, BatchNorm and ReLU after each convolution. 31.0 M parameters; 6.7 G multiply-adds at 1 x 96 x 96.
Deviations: padded convolutions, so that the map is as large as the picture, without bias (the BatchNorm after
them would cancel it); a step up is a 1x1 convolution to four times the channels, rearranged to twice the edge:
the same numbers as a transposed convolution of 2x2 with stride 2, in a form that a crossbar's converters can
surround. Convolutions start from Kaiming (fan out).
"""

import torch
from torch import Tensor, nn

from tasks._models._parts import kaiming, scaled

CHANNELS = (64, 128, 256, 512, 1024)


def double(before: int, after: int) -> nn.Sequential:
    """(n, before, h, w) -> (n, after, h, w): two convolutions with BatchNorm and ReLU."""
    layers = nn.Sequential()
    for i, channels in enumerate((before, after), start=1):
        layers.add_module(f"conv{i}", nn.Conv2d(channels, after, 3, padding=1, bias=False))
        layers.add_module(f"bn{i}", nn.BatchNorm2d(after))
        layers.add_module(f"relu{i}", nn.ReLU())
    return layers


class UNet(nn.Module):
    """(n, c, h, w) -> (n, maps, h, w); h and w multiples of 16."""

    def __init__(self, in_channels: int, maps: int, channels: list[int]) -> None:
        super().__init__()
        edges = [in_channels, *channels]
        self.down = nn.ModuleList(double(a, b) for a, b in zip(edges, edges[1:], strict=False))
        self.pool = nn.MaxPool2d(2)
        upwards = list(zip(channels[:0:-1], channels[-2::-1], strict=True))  # (1024, 512), ... (128, 64)
        self.rise = nn.ModuleList(nn.Sequential(nn.Conv2d(a, 4 * b, 1), nn.PixelShuffle(2)) for a, b in upwards)
        self.up = nn.ModuleList(double(2 * b, b) for _, b in upwards)
        self.last = nn.Conv2d(channels[0], maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, maps, h, w)."""
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else self.pool(x))
            kept.append(x)
        for i, (rise, block) in enumerate(zip(self.rise, self.up, strict=True), start=2):
            x = block(torch.cat([kept[-i], rise(x)], dim=1))
        return self.last(x)


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes, h, w). `in_shape`: (channels, height, width), multiples of 16."""
    if in_shape[1] % 16 or in_shape[2] % 16:
        raise ValueError("needs a height and a width that are multiples of 16")
    return kaiming(UNet(in_shape[0], classes, [scaled(channels, width) for channels in CHANNELS]))
