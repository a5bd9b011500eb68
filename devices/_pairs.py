"""Weights that say themselves what both cells of a differential pair get: W+ and W-, each at least 0.

Source: Joksas et al. 2022, Advanced Science (nonideality-aware training), "double weights". A network carries the
halves of its weight NAME as two parameters more, NAME_plus and NAME_minus; NAME itself is their difference.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from devices._flat import flatten, unflatten, weight_peaks

PLUS, MINUS = "_plus", "_minus"


class WeightPairs(dict[str, Tensor]):
    """W+ - W- by name, for whatever knows no pairs, and the halves for devices whose cells come in pairs."""

    def __init__(self, plus: Mapping[str, Tensor], minus: Mapping[str, Tensor]) -> None:
        """`plus[name]`, `minus[name]`: at least 0, of one shape and memory format. ValueError if they differ there."""
        for name, half in plus.items():
            if (half.shape, half.stride()) != (minus[name].shape, minus[name].stride()):
                raise ValueError(f"weight {name}: its halves must have one shape and memory format")
        super().__init__({name: plus[name] - minus[name] for name in plus})
        self.plus, self.minus = dict(plus), dict(minus)

    def larger(self) -> dict[str, Tensor]:
        """The larger half of each weight: what a scale must have room for."""
        return {name: torch.maximum(self.plus[name], self.minus[name]) for name in self}


def normalised_pairs(
    weights: WeightPairs, peaks_of: Callable[[Tensor], Tensor] = weight_peaks
) -> tuple[Tensor, dict[str, Tensor]]:
    """`normalised` of both halves: (2, n) in [0, 1], plus first, divided by what `peaks_of` says of the larger ones."""
    flat, peaks = torch.stack([flatten(half).float() for half in (weights.plus, weights.minus)]), {}
    for name, u in unflatten(flat, weights).items():
        peaks[name] = peaks_of(u.amax(0))
        u.div_(peaks[name].clamp(min=1e-30))
    return flat, peaks


def carry_pairs(network: nn.Module, names: tuple[str, ...]) -> None:
    """Let the network carry the halves of these weights, by the minimum rule: one of the two is 0."""
    for name in names:
        place, _, own = name.rpartition(".")
        module, w = network.get_submodule(place), network.get_parameter(name).detach()
        module.register_parameter(own + PLUS, nn.Parameter(w.clamp(min=0)))
        module.register_parameter(own + MINUS, nn.Parameter((-w).clamp(min=0)))


def programmable(network: nn.Module, names: tuple[str, ...]) -> dict[str, Tensor]:
    """What a device is given of a network's weights: themselves, or the pairs that the network carries instead."""
    own = dict(network.named_parameters())
    if not names or not all(name + PLUS in own for name in names):
        return {name: own[name] for name in names}
    return WeightPairs({name: own[name + PLUS] for name in names}, {name: own[name + MINUS] for name in names})


def detached(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without gradients."""
    if isinstance(weights, WeightPairs):
        plus, minus = ({name: w.detach() for name, w in half.items()} for half in (weights.plus, weights.minus))
        return WeightPairs(plus, minus)
    return {name: w.detach() for name, w in weights.items()}


def cell_scaled(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors whose largest magnitude is what a cell at g_max stands for."""
    return weights.larger() if isinstance(weights, WeightPairs) else weights
