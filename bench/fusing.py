"""ReLU computed inside the convolution before it, in sweeps: one pass over the activations less.

oneDNN applies a ReLU to each value that a convolution has computed before writing it ("post-op"). torch
offers that to its compiler only for weights that never change; a sweep changes them with every chip, so
the operator is called by its name here. A processor or a version of torch without it runs the two apart.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.fast import SMALL_MAP
from bench.tracing import followers

# Between a convolution and its ReLU these change nothing about the result: the maximum and ReLU commute.
PASSED = (nn.Identity, nn.MaxPool2d)


class ConvReLU(nn.Module):
    """A convolution and the ReLU after it, with the convolution's own parameters."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry: tuple[Any, ...] = (conv.stride, conv.padding, conv.dilation, conv.groups)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, o, h', w'), no value below 0."""
        if not self._fused(x):
            return F.relu(F.conv2d(x, self.weight, self.bias, *self.geometry))
        stride, padding, dilation, groups = self.geometry
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, bias, padding, stride, dilation, groups, "relu", [], ""
        )

    def _fused(self, x: Tensor) -> bool:
        """In bf16 on a CPU, without gradient; small maps have a faster way (bench/fast.py)."""
        here = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.bfloat16
        return here and not torch.is_grad_enabled() and x.shape[2] * x.shape[3] > SMALL_MAP and _there()


@functools.cache
def _there() -> bool:
    """Has this torch the operator, and does it do what is expected?"""
    own = torch.Generator().manual_seed(0)  # a training's own numbers go on as if nobody had asked
    x, w, b = (torch.randn(shape, generator=own).bfloat16() for shape in ((1, 16, 8, 8), (16, 16, 3, 3), (16,)))
    try:
        found = torch.ops.mkldnn._convolution_pointwise(x, w, b, (1, 1), (1, 1), (1, 1), 1, "relu", [], "")
    except (RuntimeError, AttributeError, TypeError):
        return False
    return torch.allclose(found, F.relu(F.conv2d(x, w, b, padding=1)), rtol=0.02, atol=0.1)


def fuse(network: nn.Module) -> int:
    """Let convolutions compute their ReLUs, in place, where the ReLU alone takes their output; how many do now."""
    found = followers(network, (nn.Conv2d,), (nn.ReLU,), across=PASSED)
    found = {conv: relu for conv, relu in found.items() if _plain(network.get_submodule(conv))}
    for conv, relu in found.items():
        layer: Any = network.get_submodule(conv)
        network.set_submodule(conv, ConvReLU(layer))
        network.set_submodule(relu, nn.Identity())
    return len(found)


def _plain(conv: Any) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
