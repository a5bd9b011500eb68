"""ResNet18 for small images: 3x3 stem without max-pool, four stages of two basic blocks.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016, with the stem that MTRD and
NeFT use for 32 x 32. Stages 64-128-256-512, strides 1-2-2-2. 0.56 G multiply-adds at 3 x 32 x 32.
Deviations: none beyond the stem; convolutions start from Kaiming (fan out).
"""

from torch import Tensor, nn

from tasks._models._parts import kaiming, scaled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input is carried, through a 1x1 convolution where shapes differ."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) -> (n, after, h / stride, w / stride), rounded up."""
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), any size."""
    layers = nn.Sequential()
    before = scaled(64, width)
    layers.add_module("conv1", nn.Conv2d(in_shape[0], before, 3, padding=1, bias=False))
    layers.add_module("bn1", nn.BatchNorm2d(before))
    layers.add_module("relu1", nn.ReLU())
    for i, channels in enumerate((64, 128, 256, 512), start=1):
        after = scaled(channels, width)
        stage = nn.Sequential(BasicBlock(before, after, 1 if i == 1 else 2), BasicBlock(after, after, 1))
        layers.add_module(f"layer{i}", stage)
        before = after
    layers.feedback_stages = ("relu1", "layer1", "layer2", "layer3")  # type: ignore[assignment]
    layers.add_module("average", nn.AdaptiveAvgPool2d(1))
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("fc", nn.Linear(before, classes))
    return kaiming(layers)
