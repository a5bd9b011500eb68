"""VGG8 as in MTRD: five 3x3 convolutions, global average pool, three fully connected layers.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), the CIFAR-10 network.
64-128-256-512-512, each with BatchNorm and ReLU, max-pool after the first four; then 512-256-128-C
with BatchNorm and ReLU between. 68 M multiply-adds at 3 x 32 x 32.
Deviations: those of tasks/_models/_mtrd.py: no superfluous bias, Dirac filters at the start.
"""

from torch import nn

from tasks._models._mtrd import vgg


def build(in_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """(n, *in_shape) -> (n, classes). `in_shape`: (channels, height, width), at least 16 x 16."""
    return vgg(((64,), (128,), (256,), (512,), (512,)), in_shape, classes, width)
