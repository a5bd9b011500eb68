"""VGG16 as in MTRD: thirteen 3x3 convolutions in five groups, global average pool, three fully connected layers.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), the larger of its CIFAR networks.
64 x 2, 128 x 2, 256 x 3, 512 x 3, 512 x 3, each with BatchNorm and ReLU, max-pool after each group but the
last; then 512-256-128-C with BatchNorm and ReLU between, as its VGG8. 313 M multiply-adds at 3 x 32 x 32.
Deviations: those of tasks/_models/_mtrd.py: no superfluous bias, Dirac filters at the start.
"""

from torch import nn

from tasks._models._mtrd import vgg

GROUPS = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), at least 16 x 16."""
    return vgg(GROUPS, in_shape, classes, width)
