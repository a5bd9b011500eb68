"""MobileNetV2 as in MAT: 0.4 times as wide, a stem of stride 1 for 32 x 32.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, in torchvision's form; width,
stem and dropout (0.2) are those of memristor-aware training (MAT, Moro). 0.50 M parameters for ten classes,
6.5 M multiply-adds at 3 x 32 x 32.
Depthwise convolutions, on crossbars too, are grouped: each channel has a crossbar of its own.
Deviations: none known. The last convolution keeps its 1,280 channels below full width, as there and in torchvision.
"""

from torch import nn
from torchvision.models import MobileNetV2

from tasks._models._parts import kaiming

WIDTH = 0.4


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), any size; `width` multiplies MAT's."""
    network = MobileNetV2(num_classes=classes, width_mult=WIDTH * width, dropout=0.2)
    stem = network.features[0]
    stem[0] = nn.Conv2d(in_shape[0], stem[0].out_channels, 3, padding=1, bias=False)  # theirs: stride 2, colour
    kaiming(stem)
    return network
