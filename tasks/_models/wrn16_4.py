"""WideResNet-16-4: three stages of two blocks, 64-128-256 channels, BatchNorm and ReLU before each convolution.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", arXiv 1605.07146: depth 16, widening factor 4, no dropout;
the CIFAR-100 network of Rasch et al. 2023. 2.75 M parameters for ten classes, 0.39 G multiply-adds at 3 x 32 x 32.
Deviations: none known; convolutions start from Kaiming (fan out).
"""

from torch import Tensor, nn

from tasks._models._parts import kaiming, scaled


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is carried, through a 1x1 convolution where shapes differ."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.relu1 = nn.BatchNorm2d(before), nn.ReLU()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(after), nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.changes = before != after or stride != 1
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if self.changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) -> (n, after, h / stride, w / stride), rounded up."""
        normalised = self.relu1(self.bn1(x))
        kept = self.shortcut(normalised if self.changes else x)
        return self.conv2(self.relu2(self.bn2(self.conv1(normalised)))) + kept


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), any size."""
    layers = nn.Sequential()
    before = scaled(16, width)
    layers.add_module("conv1", nn.Conv2d(in_shape[0], before, 3, padding=1, bias=False))
    for i, channels in enumerate((64, 128, 256), start=1):
        after = scaled(channels, width)
        stage = nn.Sequential(Block(before, after, 1 if i == 1 else 2), Block(after, after, 1))
        layers.add_module(f"layer{i}", stage)
        before = after
    layers.add_module("bn", nn.BatchNorm2d(before))
    layers.add_module("relu", nn.ReLU())
    layers.add_module("average", nn.AdaptiveAvgPool2d(1))
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc", nn.Linear(before, classes))
    return kaiming(layers)
