"""BatchNorm folded into the layer before it, after programming: one pass over the activations less.

W' = W s, b' = (b - mean) s + beta with s = gamma / sqrt(var + eps) (Jacob et al. 2018, eq. 14). The
chip is drawn from the trained weights and folded afterwards, so that what varies is what sits on the crossbar.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.fusing import fuse
from bench.tracing import followers

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Fold:
    """A layer and what its BatchNorm, whose name is `norm`, does to each output channel, but for its statistics."""

    norm: str
    gamma: Tensor
    beta: Tensor
    bias: Tensor | float  # the layer's own
    eps: float

    def scale(self, variance: Tensor) -> Tensor:
        """The factor of the layer's weights, (out,)."""
        return self.gamma / torch.sqrt(variance + self.eps)

    def shift(self, mean: Tensor, scale: Tensor) -> Tensor:
        """The layer's bias afterwards, (out,)."""
        return (self.bias - mean) * scale + self.beta


class Folded:
    """A network in evaluation mode, its BatchNorms folded and its ReLUs fused where that can be done."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        """`example`: a few inputs, on which folding is tried; where outputs differ, nothing is folded."""
        self.network = copy.deepcopy(network).eval()
        self.scales: dict[str, Tensor] = {}  # weight name -> factor of each output channel
        self._folds: dict[str, Fold] = {}  # layer -> what was folded into it
        found = _norms(self.network)
        with torch.no_grad():
            before = self.network(example)
            for layer, norm in found.items():
                self._fold(layer, norm)
            if found:
                own = dict(self.network.named_parameters())
                after = torch.func.functional_call(self.network, self.state(own, torch.float32), (example,))
                if not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * before.abs().max().item()):
                    self.network, self.scales, self._folds = copy.deepcopy(network).eval(), {}, {}
        fuse(self.network)

    def _fold(self, layer_name: str, norm_name: str) -> None:
        layer: Any = self.network.get_submodule(layer_name)
        norm: Any = self.network.get_submodule(norm_name)
        gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
        beta = torch.zeros_like(norm.running_var) if norm.bias is None else norm.bias
        bias = 0.0 if layer.bias is None else layer.bias
        fold = self._folds[layer_name] = Fold(norm_name, gamma, beta, bias, norm.eps)
        scale = self.scales[f"{layer_name}.weight"] = fold.scale(norm.running_var)
        layer.bias = nn.Parameter(fold.shift(norm.running_mean, scale))
        self.network.set_submodule(norm_name, nn.Identity())

    def state(
        self, weights: Mapping[str, Tensor], dtype: torch.dtype, statistics: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What to run `network` with: a chip's weights, folded and cast once instead of once a batch.

        `statistics`: buffers of the unfolded network by name that the chip has of its own; those of a BatchNorm that
        was folded, both, are folded anew.
        """
        own = dict(self.network.named_parameters())
        state, scales = dict(weights), dict(self.scales)
        left, biases = dict(statistics or {}), {}
        for layer, fold in self._folds.items():
            mean, variance = (left.pop(f"{fold.norm}.running_{kind}", None) for kind in ("mean", "var"))
            if mean is not None and variance is not None:
                with torch.no_grad():
                    scale = scales[f"{layer}.weight"] = fold.scale(variance)
                    biases[f"{layer}.bias"] = fold.shift(mean, scale)
        for name, scale in scales.items():
            weight = weights.get(name, own[name])
            state[name] = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        return {name: tensor.to(dtype) for name, tensor in state.items()} | biases | left


def _norms(network: nn.Module) -> dict[str, str]:
    """Layer -> BatchNorm that takes its output and that alone, and has statistics of its own."""
    found = followers(network, LAYERS, NORMS)
    return {layer: norm for layer, norm in found.items() if _statistics(network.get_submodule(norm)) is not None}


def _statistics(norm: Any) -> Tensor | None:
    return norm.running_var
